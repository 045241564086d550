"""Messages and frames come out of bytes however they are cut, and nothing of them is without a bound."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.rtsp.message import BODY_BYTES_MAX, JUNK_BYTES_MAX, NotRtsp, Receiver, Request, Response

ANSWER = b"RTSP/1.0 200 OK\r\nCSeq: 3\r\nContent-Length: 4\r\nPublic: A,\r\n  B\r\npublic: C\r\n\r\nv=0\n"
FRAME = b"$\x00\x00\x03abc"
ASKED = b"ANNOUNCE rtsp://cam/1 RTSP/1.0\nCSeq: 9\n\n"


@given(st.lists(st.integers(1, 40), min_size=1))
def test_it_does_not_matter_how_the_bytes_are_cut(cuts: list[int]) -> None:
    receiver, stream, found = Receiver(), ANSWER + FRAME + ASKED + b"\r\n" + FRAME + ANSWER, []
    at = 0
    for size in cuts:
        found += receiver.feed(stream[at : at + size])
        at += size
    found += receiver.feed(stream[at:])

    answer, frame, asked, frame_again, answer_again = found
    assert isinstance(answer, Response)
    assert (answer.status, answer.reason, answer.cseq, answer.body) == (200, "OK", 3, b"v=0\n")
    assert answer.all("public") == ["A, B", "C"]
    assert frame == frame_again == (0, b"abc")
    assert isinstance(asked, Request)
    assert (asked.method, asked.url, asked.cseq) == ("ANNOUNCE", "rtsp://cam/1", 9)
    assert answer_again == answer


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "not RTSP"),
        (b"SSH-2.0-OpenSSH\r\n", "not RTSP"),
        (b"\x15\x03\x01\x00\x02", "speaks TLS"),
        (b"\x00" * 9, "not RTSP"),
        (b"A" * 5000, "not RTSP"),
        (b"RTSP/1.0 200 OK\r\n" + b"X: y\r\n" * 100 + b"\r\n", "more than 64 headers"),
        (b"RTSP/1.0 200 OK\r\nX: " + b"y" * 20_000, "a head of over"),
        (b"RTSP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n" % (BODY_BYTES_MAX + 1), "a body of"),
        (b"RTSP/1.0 200 OK\r\nContent-Length: -1\r\n\r\n", "that is no number"),
    ],
)
def test_what_is_no_rtsp_or_too_much_of_it_is_an_error(said: bytes, why: str) -> None:
    with pytest.raises(NotRtsp, match=why):
        Receiver().feed(said)


def test_while_it_plays_the_way_back_into_step_is_found() -> None:
    receiver = Receiver()
    receiver.channels = frozenset((0, 1))

    found = receiver.feed(b"\x00\x01\x02$\x07garbage" + FRAME + b"junk without an end\r\n" + ANSWER + FRAME)

    assert [each for each in found if isinstance(each, tuple)] == [(0, b"abc"), (0, b"abc")]
    assert [each.status for each in found if isinstance(each, Response)] == [200]


def test_a_camera_that_sends_nothing_but_junk_is_left() -> None:
    receiver = Receiver()
    receiver.channels = frozenset((0,))

    receiver.feed(b"\x00" * (JUNK_BYTES_MAX - 1))

    with pytest.raises(NotRtsp, match="neither RTSP nor RTP"):
        receiver.feed(b"\x00" * 1000)


@given(st.binary(max_size=600))
def test_no_bytes_whatever_they_are_break_anything(data: bytes) -> None:
    for channels in (frozenset[int](), frozenset((0, 1))):
        receiver = Receiver()
        receiver.channels = channels
        try:
            receiver.feed(data)
            receiver.feed(data)
        except NotRtsp:
            continue


def test_what_a_camera_says_is_fit_to_be_shown() -> None:
    [answer] = Receiver().feed(b"RTSP/1.0 500 a\x1b[31m \tb" + b"c" * 500 + b"\r\n\r\n")
    assert isinstance(answer, Response)
    assert answer.reason.startswith("a [31m bccc")
    assert len(answer.reason) < 100
