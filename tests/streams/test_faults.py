"""What cameras do wrong, done to a real server: each fault is one error, in time, and a stop is always heard.

The one time that is measured tells what the product promises (a stall is seen in 2 s) from twice as long.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from streams import Frame, Source, StreamBroken, StreamStalled, StreamUnreachable, picker
from streams.picker import BEHIND_S
from tests.servers.ports import free_port
from tests.servers.rtsp import RtspCamera, SilentServer
from tests.streams.clips import counted, encode
from tests.streams.reading import Reader, decoding_all

Rtsp = Callable[..., RtspCamera]
# A stall is promised to be seen within the read timeout. libav gives out the picture that it held when it is
# interrupted, and waiting once more after it was a bug once: twice the timeout, less what PyAV's polling takes off.
READ_TIMEOUT_S = 2.0
SEEN_WITHIN_S = 1.8 * READ_TIMEOUT_S


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_a_frozen_encoder_is_seen_in_time(rtsp: Rtsp, h264: Path, transport: str) -> None:
    camera = rtsp(h264)
    with Reader(url=camera.url, transport=transport, read_timeout_s=READ_TIMEOUT_S) as reader:
        reader.wait_for(2)
        camera.freeze()
        assert isinstance(reader.wait_for_end(SEEN_WITHIN_S), StreamStalled)
    camera.thaw()
    with Reader(url=camera.url, transport=transport) as reader:
        reader.wait_for(1)


def test_a_hiccup_of_the_camera_costs_no_more_than_itself(
    rtsp: Rtsp, h264: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pause was once taken for the length of a frame, so that all later packets seemed late and were skipped."""
    camera = rtsp(h264)
    monkeypatch.setattr(picker, "BEHIND_S", BEHIND_S)

    def come_one_by_one(frames: list[Frame]) -> bool:
        last = frames[before:][-4:]
        return len(last) == 4 and last[-1].stream_s - last[0].stream_s < 3 * 0.7

    with Reader(url=camera.url, read_timeout_s=READ_TIMEOUT_S) as reader:
        reader.wait_for(3)
        camera.freeze()
        paused = not reader.stop.wait(0.6)
        camera.thaw()
        before = len(reader.frames)
        reader.until(come_one_by_one)
    assert paused


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_a_machine_that_is_gone_is_seen_in_time(rtsp: Rtsp, h265: Path, transport: str) -> None:
    camera = rtsp(h265)
    with Reader(url=camera.url, transport=transport, read_timeout_s=READ_TIMEOUT_S) as reader:
        reader.wait_for(2)
        camera.suspend()
        assert isinstance(reader.wait_for_end(SEEN_WITHIN_S), StreamStalled)
        assert isinstance(reader.error, TimeoutError)
    camera.resume()


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_a_killed_camera_is_seen_and_comes_back_on_its_port(rtsp: Rtsp, h264: Path, transport: str) -> None:
    camera = rtsp(h264)
    with Reader(url=camera.url, transport=transport, read_timeout_s=READ_TIMEOUT_S) as reader:
        reader.wait_for(2)
        port = camera.port
        camera.kill()
        assert isinstance(reader.wait_for_end(), StreamBroken)
    with Reader(url=camera.url) as reader:
        assert isinstance(reader.wait_for_end(), StreamUnreachable)
    camera.start()
    assert camera.port == port
    with Reader(url=camera.url) as reader:
        reader.wait_for(1)


def test_a_camera_that_ends_its_stream_is_broken(rtsp: Rtsp, tmp_path: Path) -> None:
    camera = rtsp(encode(tmp_path / "short.mp4", counted(50, 160, 96), group=25), loop=False)
    with Reader(url=camera.url, read_timeout_s=READ_TIMEOUT_S) as reader:
        assert isinstance(reader.wait_for_end(), (StreamBroken, StreamStalled))
    assert len(reader.frames) == 4


def test_a_refused_port_is_unreachable_at_once() -> None:
    with Reader(url=f"rtsp://ops:secret@127.0.0.1:{free_port()}/stream") as reader:
        error = reader.wait_for_end()
    assert isinstance(error, StreamUnreachable)
    assert isinstance(error, ConnectionError)
    assert "Connection refused" in str(error)
    assert "secret" not in str(error)


def test_a_name_that_does_not_exist_is_unreachable() -> None:
    with Reader(url="rtsp://ops:secret@camera.invalid/stream") as reader:
        error = reader.wait_for_end()
    assert isinstance(error, StreamUnreachable)
    assert "camera.invalid" in str(error)


def test_a_server_that_never_speaks_is_given_up_after_the_connect_timeout() -> None:
    with SilentServer() as server, Reader(url=server.url, connect_timeout_s=0.5) as reader:
        error = reader.wait_for_end()
    assert isinstance(error, StreamUnreachable)
    assert "does not answer RTSP" in str(error)


def test_what_answers_but_is_no_rtsp_server_is_named() -> None:
    with SilentServer() as server, Reader(url=server.url) as reader:
        server.answer(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        error = reader.wait_for_end()
    assert isinstance(error, StreamBroken)
    assert "not RTSP" in str(error)


def test_a_door_that_is_shut_again_is_unreachable() -> None:
    with SilentServer() as server, Reader(url=server.url) as reader:
        server.answer(b"")
        error = reader.wait_for_end()
    assert isinstance(error, StreamUnreachable)
    assert "closed the connection" in str(error) or "reset" in str(error)


def test_a_stop_is_heard_while_connecting() -> None:
    with SilentServer() as server, Reader(url=server.url, connect_timeout_s=3600) as reader:
        server.wait_for_client()
        reader.stop.set()
        assert reader.wait_for_end() is None


def test_a_camera_that_is_frozen_from_the_start_is_stalled(rtsp: Rtsp, h264: Path) -> None:
    camera = rtsp(h264)
    camera.freeze()
    with Reader(url=camera.url, connect_timeout_s=2.0) as reader:
        error = reader.wait_for_end()
    assert isinstance(error, StreamStalled)


def test_a_stop_during_a_stall_is_no_error(rtsp: Rtsp, h264: Path) -> None:
    camera = rtsp(h264)
    with Reader(url=camera.url) as reader:
        reader.wait_for(1)
        camera.suspend()
        reader.stop.set()
        assert reader.wait_for_end() is None
    camera.resume()


def test_after_a_pause_of_this_machine_the_newest_frames_win(
    rtsp: Rtsp, h264: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    camera = rtsp(h264)
    monkeypatch.setattr(picker, "BEHIND_S", BEHIND_S)
    stop = threading.Event()
    frames: list[Frame] = []
    source = Source(decoding_all(camera.url))

    def consume(frame: Frame) -> None:
        frames.append(frame)
        if len(frames) == 3:
            stop.wait(1.2)  # the thread is kept from its camera
        elif len(frames) == 4:
            stop.set()

    source.run(consume, stop)
    assert source.stats.behind >= 1
    # What was filmed in the pause is left out, but for what is fresh at its end.
    assert frames[3].stream_s - frames[2].stream_s >= 1.2 - BEHIND_S


def test_one_bad_camera_does_not_disturb_another(rtsp: Rtsp, h264: Path, h265: Path) -> None:
    bad, good = rtsp(h264), rtsp(h265)
    with Reader(url=bad.url) as failing, Reader(url=good.url) as reading:
        failing.wait_for(1)
        reading.wait_for(1)
        bad.kill()
        assert isinstance(failing.wait_for_end(), StreamBroken)
        frames = reading.wait_for(len(reading.frames) + 4)
    gaps = [after.stream_s - before.stream_s for before, after in pairwise(frames)]
    assert max(gaps) < 0.7  # the longest pause in a group of a second is 0.65 s
