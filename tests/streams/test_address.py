"""No address is ever shown with its secrets."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams import redacted
from streams.address import door_of
from tests import rules


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("rtsp://admin:secret@10.0.0.7:554/ch1", "rtsp://***@10.0.0.7:554/ch1"),
        ("rtsp://admin@10.0.0.7/ch1", "rtsp://***@10.0.0.7/ch1"),
        ("rtsp://10.0.0.7/ch1", "rtsp://10.0.0.7/ch1"),
        ("rtsp://admin:p@ss/w?rd@cam/ch1", "rtsp://***@cam/ch1"),
        ("rtsp://cam/live?user=admin&pw=secret&x", "rtsp://cam/live?user=***&pw=***&***"),
        ("rtsp://cam/user=admin&password=secret&channel=1", "rtsp://cam/user=***&password=***&channel=1"),
        ("recordings/or-cam-01.mp4", "recordings/or-cam-01.mp4"),
    ],
)
def test_an_address_is_shown_without_its_secrets(url: str, shown: str) -> None:
    assert redacted(url) == shown


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1))
def test_no_password_whatever_it_is_made_of_is_shown(password: str) -> None:
    shown = redacted(f"rtsp://user:SECRET{password}SECRET@cam.example/ch1")
    assert shown == "rtsp://***@cam.example/ch1"


def test_the_configuration_of_a_camera_prints_without_its_addresses() -> None:
    config = rules.camera("rtsp://admin:secret@cam/1", detect_url="rtsp://admin:secret@cam/2")
    assert "secret" not in repr(config)
    assert config.classified_url == "rtsp://admin:secret@cam/2"


@pytest.mark.parametrize(
    ("url", "host", "port", "plain"),
    [
        ("rtsp://u:p@cam/1", "cam", 554, "rtsp://cam/1"),
        ("rtsps://cam", "cam", 322, "rtsps://cam"),
        ("rtsp://u:a@b:c@cam:8554/1?x=1", "cam", 8554, "rtsp://cam:8554/1?x=1"),
        ("rtsp://[::1]:8554/1", "::1", 8554, "rtsp://[::1]:8554/1"),
    ],
)
def test_the_door_of_an_address(url: str, host: str, port: int, plain: str) -> None:
    door = door_of(url)
    assert (door.host, door.port, door.plain_url) == (host, port, plain)


@pytest.mark.parametrize("url", ["rtsp:///1", "rtsp://cam:port/1", "rtsp://u:secret@:554/1"])
def test_an_address_without_a_host_or_with_a_wrong_port_is_named_without_its_secrets(url: str) -> None:
    with pytest.raises(ValueError, match="expected rtsp://host:port/path") as caught:
        door_of(url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"sample_fps": 0}, "sample_fps must be above 0, got 0"),
        ({"read_timeout_s": -1.0}, "read_timeout_s must be above 0"),
        ({"transport": "http"}, "transport must be 'tcp' or 'udp', got 'http'"),
        ({"pace": "slow"}, "pace must be 'live' or 'fast', got 'slow'"),
    ],
)
def test_a_wrong_setting_is_named_with_its_value(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rules.camera("x.mp4", **wrong)
