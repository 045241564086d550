"""What cameras say otherwise than the book, and what each refusal tells the one on call."""

from __future__ import annotations

import pytest

from daemon.pipeline.capture import FINAL
from streams import (
    StreamBroken,
    StreamBusy,
    StreamError,
    StreamMoved,
    StreamNotFound,
    StreamRefused,
    StreamStalled,
    StreamTransportRefused,
    StreamUnauthorized,
    StreamUnreachable,
    StreamUnsupported,
    StreamUntrusted,
)
from tests.servers.odd_camera import Manners, OddCamera, Reply, Request, digest
from tests.servers.rtp_payloads import RtpClip
from tests.streams.reading import Reader

AUDIO = "m=audio 0 RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\na=control:trackID=9\r\n"
METADATA = "m=application 0 RTP/AVP 107\r\na=rtpmap:107 vnd.onvif.metadata/90000\r\na=control:trackID=8\r\n"
UNKNOWN = "m=video 0 RTP/AVP 98\r\na=rtpmap:98 X-ODD/90000\r\na=control:trackID=7\r\n"

DIALECTS = {
    "no Content-Base": Manners(content_base=None),
    "a Content-Base without a slash": Manners(content_base="{url}"),
    "a relative Content-Base": Manners(content_base="/stream/"),
    "a control that is an address": Manners(controls=("rtsp://192.0.2.9/stream/trackID=1", "b")),
    "a control that is a path": Manners(controls=("/stream/trackID=1", "b")),
    "a control that is the whole": Manners(content_base=None, controls=("/stream", "b")),
    "no control of the whole": Manners(session_control=None),
    "a query in the url": Manners(path="/live?channel=1&subtype=0"),
    "a slash at the end of the url": Manners(path="/live/"),
    "other channels": Manners(channels=(6, 7)),
    "no Public": Manners(public=None),
    "no OPTIONS": Manners(answers={"OPTIONS": Reply(501, "Not Implemented")}),
    "lines that end with LF": Manners(newline="\n"),
    "no CSeq": Manners(cseq=lambda _: ""),
    "always the same CSeq": Manners(cseq=lambda _: "1"),
    "a session with blanks": Manners(session=" {id} ; timeout = 30 ;x"),
    "a session without a time-out": Manners(session="{id}"),
    "100 Continue": Manners(before_answer={"DESCRIBE": b"RTSP/1.0 100 Continue\r\nCSeq: 2\r\n\r\n"}),
    "an answer twice": Manners(before_answer={"DESCRIBE": b"RTSP/1.0 200 OK\r\nCSeq: 1\r\n\r\n"}),
    "a question of its own": Manners(before_answer={"SETUP": b"OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\n"}),
    "video before the answer": Manners(before_answer={"PLAY": b"$\x00\x00\x04abcd"}),
    "audio and metadata first": Manners(other_media=AUDIO + METADATA),
    "video that nobody knows first": Manners(other_media=UNKNOWN),
    "parameter sets in the stream alone": Manners(sets_in_sdp=False),
    "stamps that begin at 0": Manners(start_ticks=0),
    "stamps and numbers that wrap": Manners(start_ticks=2**32 - 4000, start_sequence=65533),
    "reports in between": Manners(sends_reports=True),
    "IPv6": Manners(host="::1"),
}


@pytest.mark.parametrize("name", DIALECTS)
def test_a_camera_is_read_whatever_its_dialect(clip: RtpClip, name: str) -> None:
    with OddCamera(clip, DIALECTS[name]) as camera:
        with Reader(url=camera.url) as reader:
            frames = reader.wait_for(3)
        assert [round(frame.stream_s * 25) for frame in frames] == [0, 13, 25]
        camera.wait_until(lambda: "TEARDOWN" in camera.methods)
        assert sum(method == "SETUP" for method in camera.methods) == 1
    assert reader.source.stats.lost == 0


def test_ipv6_is_read_over_udp(clip: RtpClip) -> None:
    with OddCamera(clip, Manners(host="::1")) as camera, Reader(url=camera.url, transport="udp") as reader:
        reader.wait_for(3)


def test_a_control_that_is_meant_by_the_book_is_found(clip: RtpClip) -> None:
    def by_the_book(request: Request) -> Reply | None:
        return Reply(404, "Stream Not Found") if "/live/stream/" in request.url else None

    manners = Manners(content_base="rtsp://cam/live/stream", answers={"SETUP": by_the_book})
    with OddCamera(clip, manners) as camera, Reader(url=camera.url) as reader:
        reader.wait_for(1)


def test_a_camera_that_plays_single_tracks_only_is_asked_so(clip: RtpClip) -> None:
    def single(request: Request) -> Reply | None:
        return None if request.url.endswith("trackID=1") else Reply(459, "Aggregate Operation Not Allowed")

    with OddCamera(clip, Manners(answers={"PLAY": single})) as camera, Reader(url=camera.url) as reader:
        reader.wait_for(1)


REFUSALS = [
    (400, StreamRefused, "camera's manual"),
    (403, StreamUnauthorized, "Allow this user"),
    (404, StreamNotFound, "not at this path"),
    (406, StreamUnsupported, "H.264"),
    (415, StreamUnsupported, "H.264"),
    (451, StreamRefused, "camera's manual"),
    (453, StreamBusy, "Close another viewer"),
    (454, StreamBroken, "tried again"),
    (455, StreamBroken, "tried again"),
    (457, StreamRefused, "live video"),
    (459, StreamRefused, "single track"),
    (460, StreamRefused, "whole stream"),
    (461, StreamTransportRefused, 'transport = "udp"'),
    (462, StreamTransportRefused, 'transport = "udp"'),
    (500, StreamBusy, "tried again"),
    (501, StreamRefused, "firmware"),
    (503, StreamBusy, "tried again"),
    (505, StreamRefused, "firmware"),
    (551, StreamRefused, "firmware"),
    (499, StreamRefused, "camera's manual"),
    (599, StreamBusy, "tried again"),
]


@pytest.mark.parametrize(("status", "kind", "advice"), REFUSALS)
@pytest.mark.parametrize("method", ["DESCRIBE", "SETUP", "PLAY"])
def test_a_refusal_says_what_the_camera_said_and_what_to_do(
    clip: RtpClip, method: str, status: int, kind: type[StreamError], advice: str
) -> None:
    manners = Manners(answers={method: Reply(status, "Odd\x07 Words")})
    with OddCamera(clip, manners) as camera, Reader(url=camera.url) as reader:
        error = reader.wait_for_end()
    assert isinstance(error, StreamError)
    assert type(error) is kind
    assert advice in error.hint
    assert f"it answered {method} with {status} Odd Words" in str(error)


def test_what_passes_is_tried_again_and_what_needs_a_hand_is_not() -> None:
    passing = (StreamBusy, StreamRefused, StreamBroken, StreamStalled, StreamUnreachable)
    final = (
        StreamUnauthorized,
        StreamNotFound,
        StreamUnsupported,
        StreamTransportRefused,
        StreamUntrusted,
        StreamMoved,
    )

    assert not any(issubclass(kind, FINAL) for kind in passing)
    assert all(issubclass(kind, FINAL) for kind in final)


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_the_transport_that_a_camera_has_is_named(clip: RtpClip, transport: str) -> None:
    other = "udp" if transport == "tcp" else "tcp"
    with OddCamera(clip, Manners(transports=(other,))) as camera, Reader(url=camera.url, transport=transport) as reader:
        error = reader.wait_for_end()
    assert isinstance(error, StreamTransportRefused)
    assert f'transport = "{other}"' in error.hint


@pytest.mark.parametrize(
    ("media", "why"),
    [
        (AUDIO + METADATA, "no video track; it has application, audio"),
        ("", "no video track"),
        ("m=video 0 RTP/SAVP 96\r\na=rtpmap:96 H264/90000\r\n", "SRTP"),
    ],
)
def test_a_camera_without_video_that_can_be_read_is_named_so(clip: RtpClip, media: str, why: str) -> None:
    with OddCamera(clip, Manners(videos=0, other_media=media)) as camera, Reader(url=camera.url) as reader:
        error = reader.wait_for_end()
    assert isinstance(error, StreamUnsupported)
    assert why in str(error)


@pytest.mark.parametrize(
    ("method", "kind"), [("OPTIONS", StreamBroken), ("DESCRIBE", StreamBroken), ("PLAY", StreamBroken)]
)
def test_a_camera_that_hangs_up_is_broken(clip: RtpClip, method: str, kind: type[StreamError]) -> None:
    with OddCamera(clip, Manners(closes_after=(method,))) as camera, Reader(url=camera.url) as reader:
        assert isinstance(reader.wait_for_end(), kind)


@pytest.mark.parametrize("method", ["OPTIONS", "DESCRIBE", "SETUP", "PLAY"])
def test_a_camera_that_refuses_and_hangs_up_is_heard(clip: RtpClip, method: str) -> None:
    manners = Manners(answers={method: Reply(453, "Not Enough Bandwidth")}, closes_after=(method,))
    with OddCamera(clip, manners) as camera, Reader(url=camera.url) as reader:
        error = reader.wait_for_end()
    assert isinstance(error, StreamBroken if method == "OPTIONS" else StreamBusy)


def test_what_is_said_without_an_end_is_left(clip: RtpClip) -> None:
    endless = Manners(before_answer={"DESCRIBE": b"RTSP/1.0 100 Continue\r\n\r\n" * 200})
    large = Manners(answers={"DESCRIBE": Reply(200, body="v=0\r\n" + "x" * 100_000)})
    for manners in (endless, large):
        with OddCamera(clip, manners) as camera, Reader(url=camera.url) as reader:
            assert isinstance(reader.wait_for_end(), StreamBroken)


def test_a_camera_with_tls_asked_without_is_not_taken_for_video(clip: RtpClip) -> None:
    with (
        OddCamera(clip, Manners(before_answer={"OPTIONS": b"\x15\x03\x03\x00\x02\x02\x46"})) as camera,
        Reader(url=camera.url) as reader,
    ):
        error = reader.wait_for_end()
    assert isinstance(error, (StreamBroken, StreamUnreachable))
    assert "rtsps://" in str(error)


# --- while it plays ---


@pytest.mark.parametrize(
    "manners",
    [
        Manners(),
        Manners(public="OPTIONS, DESCRIBE, SETUP, PLAY", keeps_alive=("OPTIONS",)),
        Manners(answers={"GET_PARAMETER": Reply(501, "Not Implemented")}, keeps_alive=("OPTIONS",)),
        Manners(user="ops", password="p", challenges=(digest("MD5"),), nonce_lasts_s=3.0),
        Manners(user="ops", password="p", challenges=(digest("MD5"), digest("SHA-256"))),
    ],
    ids=["GET_PARAMETER", "OPTIONS alone", "GET_PARAMETER is refused", "a new nonce in mid-session", "Digest"],
)
def test_a_session_is_kept_alive(clip: RtpClip, manners: Manners) -> None:
    manners.session_timeout_s, manners.drops_idle_sessions = 4, True
    with OddCamera(clip, manners) as camera, Reader(url=camera.url) as reader:
        reader.until(lambda frames: bool(frames) and frames[-1].stream_s > 9.0)


def test_a_question_of_the_camera_while_it_plays_disturbs_nothing(clip: RtpClip) -> None:
    asked = b"ANNOUNCE rtsp://x RTSP/1.0\r\nCSeq: 4\r\nContent-Length: 5\r\n\r\nv=0\r\n"
    with OddCamera(clip) as camera, Reader(url=camera.url) as reader:
        reader.wait_for(1)
        camera.say(asked + b"OPTIONS * RTSP/1.0\r\nCSeq: 5\r\n\r\n" + b"$\x09\x00\x02xx")
        seen = len(reader.frames)
        reader.wait_for(seen + 4)
    assert reader.source.stats.lost == 0


@pytest.mark.parametrize("method", ["TEARDOWN", "REDIRECT"])
def test_a_camera_that_ends_the_session_is_believed(clip: RtpClip, method: str) -> None:
    with OddCamera(clip) as camera, Reader(url=camera.url) as reader:
        reader.wait_for(1)
        camera.say(f"{method} * RTSP/1.0\r\nCSeq: 4\r\nLocation: rtsp://u:secret@there/1\r\n\r\n".encode())
        error = reader.wait_for_end()
    assert isinstance(error, StreamBroken)
    assert "secret" not in str(error)


def test_a_session_that_is_forgotten_is_broken_at_once(clip: RtpClip) -> None:
    manners = Manners(session_timeout_s=2, answers={"GET_PARAMETER": Reply(454, "Session Not Found")})
    with OddCamera(clip, manners) as camera, Reader(url=camera.url) as reader:
        error = reader.wait_for_end()
    assert isinstance(error, StreamBroken)
    assert "454" in str(error)
