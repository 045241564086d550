"""A password is read as it was meant, or refused: its tail never becomes a path that somebody else is told."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from net.address import parts_of


@pytest.mark.parametrize(
    ("url", "user", "password", "host", "port", "path"),
    [
        ("rtsp://cam/1", None, None, "cam", None, "/1"),
        ("RTSPS://cam:8322", None, None, "cam", 8322, ""),
        ("rtsp://u:p%40%23%2F%3F%3A%25@cam/1?x=1", "u", "p@#/?:%", "cam", None, "/1?x=1"),
        ("rtsp://u:pa#ss@127.0.0.1:5/stream", "u", "pa#ss", "127.0.0.1", 5, "/stream"),
        ("rtsp://u:a/b?c#d:e@cam:554/1", "u", "a/b?c#d:e", "cam", 554, "/1"),
        ("rtsp://u:p@ss@cam/1", "u", "p@ss", "cam", None, "/1"),
        ("rtsp://u:100%@cam/1", "u", "100%", "cam", None, "/1"),
        ("rtsp://u:p ss@cam/1", "u", "p ss", "cam", None, "/1"),
        ("rtsp://护士:密码@cam/1", "护士", "密码", "cam", None, "/1"),
        ("rtsp://u@cam/1", "u", None, "cam", None, "/1"),
        ("rtsp://u:@cam/1", "u", "", "cam", None, "/1"),
        ("rtsp://u:p@[fe80::1%25eth0]:554/1", "u", "p", "fe80::1%25eth0", 554, "/1"),
        ("rtsp://cam/ch@2", None, None, "cam", None, "/ch@2"),
        ("rtsp://u:p@cam/ch@2", "u", "p", "cam", None, "/ch@2"),
        ("rtsp://cam/1?mail=a@b.example", None, None, "cam", None, "/1?mail=a@b.example"),
    ],
)
def test_an_address_with_one_clear_reading_is_read(
    url: str, user: str | None, password: str | None, host: str, port: int | None, path: str
) -> None:
    parts = parts_of(url)
    assert (parts.user, parts.password, parts.host, parts.port, parts.path) == (user, password, host, port, path)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("rtsp://u:12#34secret@10.0.0.1/x", "where the password ends"),
        ("rtsp://u:p@secret/word@cam/ch", "where the password ends"),
        ("rtsp://u:p@secret/word@cam.example", "where the password ends"),
        ("rtsp://u:p%40#secret@cam/1", "percent-encoded in one place and not in another"),
        ("rtsp://u:p%40%secret@cam/1", "percent-encoded in one place and not in another"),
        ("rtsp://u:secret@:554/1", "expected rtsp://host:port/path"),
        ("rtsp://u:secret@cam:99999/1", "expected rtsp://host:port/path"),
        ("rtsp://u:secret\r\nX: y@cam/1", "no control characters"),
        ("u:secret@cam/1", "expected scheme://"),
    ],
)
def test_an_address_that_can_be_read_in_two_ways_is_refused_without_its_secret(url: str, why: str) -> None:
    with pytest.raises(ValueError, match=why) as caught:
        parts_of(url)
    assert "secret" not in str(caught.value)


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126, exclude_characters="%"), min_size=1))
def test_a_raw_password_is_read_whole_or_refused(password: str) -> None:
    try:
        parts = parts_of(f"rtsp://user:{password}@cam.example:554/ch1")
    except ValueError:
        return
    assert (parts.password, parts.host, parts.path) == (password, "cam.example", "/ch1")
