"""The ring: a moment as picture and clip, from the camera's own packets, within its bounds."""

from __future__ import annotations

import io
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from streams.frame import Frame
from streams.ring import NotFilmed, Ring
from streams.source import Source
from tests.streams.clips import counted, encode, index_of
from tests.streams.reading import decoding_all
from tests.streams.test_rtsp import Rtsp

T0 = datetime(2026, 4, 21, tzinfo=UTC)


def filled(clip: Path, *, seconds: float = 8.0, bytes_max: int = 8 << 20) -> Ring:
    ring = Ring(seconds=seconds, bytes_max=bytes_max)
    Source(decoding_all(clip, pace="fast", started_at=T0), ring).run(lambda frame: None, threading.Event())
    return ring


def at(second: float) -> datetime:
    return T0 + timedelta(seconds=second)


def shown(clip: bytes) -> list[int]:
    with av.open(io.BytesIO(clip)) as container:
        return [index_of(frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]


def packets(clip: bytes | Path) -> list[bytes]:
    with av.open(io.BytesIO(clip) if isinstance(clip, bytes) else str(clip)) as container:
        return [bytes(packet) for packet in container.demux(video=0) if packet.size]


def test_a_clip_begins_at_a_key_frame_and_holds_the_moment(clip: Path) -> None:
    ring = filled(clip)
    last = 299 if "h264" in clip.name else 149
    moment = last / 25 - 2
    film = ring.reel().clip(at(moment - 1), at(moment + 1))
    frames = shown(film)
    assert frames[0] % 25 == 0
    assert frames == list(range(frames[0], frames[0] + len(frames)))
    assert frames[0] <= (moment - 1) * 25 <= frames[0] + 25
    assert round(moment * 25) in frames
    assert frames[-1] == round((moment + 1) * 25)


def test_a_clip_is_the_cameras_own_packets(clip: Path) -> None:
    last = 299 if "h264" in clip.name else 149
    film = packets(filled(clip).reel().clip(at(last / 25 - 3), at(last / 25)))
    sent = packets(clip)[-len(film) :]
    assert [len(packet) for packet in film] == [len(packet) for packet in sent]
    assert film == sent
    assert len(film) >= 75


def test_a_clip_keeps_the_cameras_pace(h264: Path) -> None:
    with av.open(io.BytesIO(filled(h264).reel().clip(at(8), at(10)))) as container:
        stamps = [float(packet.pts * packet.time_base) for packet in container.demux(video=0) if packet.pts is not None]
    assert np.allclose(np.diff(stamps), 0.04)


def test_pictures_that_come_in_another_order_than_they_are_sent_stay_in_place(tmp_path: Path) -> None:
    clip = encode(tmp_path / "b.mp4", counted(100), group=25, b_frames=2)
    ring = filled(clip)
    frames = shown(ring.reel().clip(at(1), at(3)))
    assert frames[:51] == list(range(25, 76))


def test_the_picture_is_the_frame_of_the_moment_at_full_size(clip: Path) -> None:
    jpeg = filled(clip).reel().picture(at(5.2))
    pixels = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert pixels is not None
    assert pixels.shape == (240, 320, 3)
    assert index_of(np.ascontiguousarray(pixels)) == 130


def test_the_ring_is_bounded_in_time(h264: Path) -> None:
    ring = filled(h264, seconds=3.0)
    assert 3.0 <= ring.length_s < 5.0


def test_the_ring_is_bounded_in_bytes_by_whole_groups(h264: Path) -> None:
    whole = filled(h264, seconds=100)
    ring = filled(h264, seconds=100, bytes_max=whole.held_bytes // 3)
    assert 0 < ring.held_bytes <= whole.held_bytes // 3
    assert shown(ring.reel().clip(at(0), at(100)))[0] % 25 == 0


def test_an_endless_group_does_not_fill_the_memory(tmp_path: Path) -> None:
    clip = encode(tmp_path / "endless.mp4", counted(100), group=100)
    size = sum(map(len, packets(clip)))
    ring = filled(clip, bytes_max=size // 2)
    assert ring.held_bytes <= size // 2
    with pytest.raises(NotFilmed):
        ring.reel().picture(at(3))


def test_a_ring_that_saw_nothing_says_so() -> None:
    with pytest.raises(NotFilmed, match="no picture has come"):
        Ring(seconds=8, bytes_max=1 << 20).reel().clip(at(0), at(1))


def test_a_live_cameras_moment_is_in_its_clip_and_picture(rtsp: Rtsp, clip: Path) -> None:
    camera = rtsp(clip)
    ring = Ring(seconds=8, bytes_max=8 << 20)
    frames: list[Frame] = []
    stop = threading.Event()

    def keep(frame: Frame) -> None:
        frames.append(frame)
        if len(frames) == 8:
            stop.set()

    Source(decoding_all(camera.url), ring).run(keep, stop)
    moment = frames[4]
    film = ring.reel().clip(moment.captured_at - timedelta(seconds=1), moment.captured_at + timedelta(seconds=1))
    assert index_of(moment.rgb) in shown(film)
    pixels = cv2.imdecode(np.frombuffer(ring.reel().picture(moment.captured_at), np.uint8), cv2.IMREAD_COLOR)
    assert pixels is not None
    assert index_of(np.ascontiguousarray(pixels)) == index_of(moment.rgb)
    # RTSP brings start codes where MP4 has lengths, and delimiters: the slices themselves are the same.
    assert slices(film) <= slices(clip)
    assert len(slices(film)) >= 25


def slices(clip: bytes | Path) -> set[bytes]:
    """The units that carry the pictures themselves."""
    found = set()
    for packet in packets(clip):
        rest = packet
        while rest:
            size = int.from_bytes(rest[:4], "big")
            unit, rest = rest[4 : 4 + size], rest[4 + size :]
            found.add(unit)
    is_h265 = any(unit[0] >> 1 in (19, 20, 21) and unit[1] == 1 for unit in found)
    return {unit for unit in found if (unit[0] >> 1 < 32 if is_h265 else 1 <= unit[0] & 31 <= 5)}
