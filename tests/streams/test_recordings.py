"""Recordings: which frames are sampled, when they were taken, how much is decoded."""

from __future__ import annotations

import io
import struct
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest

from streams import (
    Picture,
    Source,
    StreamNotFound,
    StreamUnsupported,
    probe,
)
from streams.frame import Rgb
from streams.recording import Parts
from streams.ring import Ring
from tests import rules
from tests.streams.clips import counted, encode, index_of
from tests.streams.counter import counter_of
from tests.streams.reading import Reader, decoding_all, read_file

START = datetime(2026, 11, 21, 8, 0, tzinfo=UTC)


def test_the_frames_at_the_sampling_times_are_taken(clip: Path) -> None:
    frames, source = read_file(clip, started_at=START)
    expected = [0, 13, *(25 * second + offset for second in range(1, 6) for offset in (0, 9))]
    assert [index_of(frame.rgb) for frame in frames][:12] == expected
    for frame, index in zip(frames, expected, strict=False):
        assert frame.stream_s == pytest.approx(index / 25, abs=0.001)
        assert (frame.captured_at - START).total_seconds() == pytest.approx(index / 25, abs=0.001)
    assert source.stats.sampled == len(frames)


def test_the_end_of_each_group_is_not_decoded(h264: Path) -> None:
    frames, source = read_file(h264)
    # 12 groups of 25 frames, samples at the key frame and 9 on; the first group is decoded whole, to learn its length,
    # and nothing after the last sample of the recording is.
    assert source.stats.decoded == 25 + 11 * 10
    assert source.stats.skipped == 11 * 15
    assert source.stats.packets == source.stats.decoded + source.stats.skipped
    assert source.stats.gop_frames == 25
    assert len(frames) == 24


def test_with_one_sample_a_group_only_key_frames_are_decoded(h264: Path) -> None:
    frames, source = read_file(h264, sample_fps=1.0)
    assert [index_of(frame.rgb) for frame in frames] == list(range(0, 300, 25))
    assert source.stats.decoded == 25 + 11


@pytest.mark.parametrize(("group", "sample_fps"), [(7, 2.0), (40, 2.0), (60, 2.0), (25, 5.0), (300, 2.0)])
def test_groups_of_any_length_are_sampled_without_drift(tmp_path: Path, group: int, sample_fps: float) -> None:
    clip = encode(tmp_path / "clip.mp4", counted(200, 160, 96), group=group)
    frames, _ = read_file(clip, sample_fps=sample_fps)
    for frame in frames:
        assert index_of(frame.rgb, 160) == round(frame.stream_s * 25)
    assert len(frames) == pytest.approx(8 * sample_fps, rel=0.15)


def test_b_frames_are_sampled_in_the_order_they_were_filmed(tmp_path: Path) -> None:
    clip = encode(tmp_path / "clip.mp4", counted(150), group=25, b_frames=3, options={"preset": "veryfast"})
    frames, _ = read_file(clip)
    expected = [0, 13, *(base + offset for base in range(25, 150, 25) for offset in (0, 9))]
    assert [index_of(frame.rgb) for frame in frames] == expected


def test_over_the_loop_time_runs_on(tmp_path: Path) -> None:
    clip = encode(tmp_path / "clip.mp4", counted(50, 160, 96), group=25)
    with Reader(url=str(clip), pace="fast", loop=True, started_at=START) as reader:
        frames = reader.wait_for(10)
    assert [index_of(frame.rgb, 160) for frame in frames] == [0, 13, 25, 34, 0, 9, 25, 34, 0, 9]
    assert [round(frame.stream_s * 25) for frame in frames] == [0, 13, 25, 34, 50, 59, 75, 84, 100, 109]
    assert frames[9].captured_at == START + timedelta(seconds=frames[9].stream_s)


def test_at_live_pace_a_recording_takes_its_time(tmp_path: Path) -> None:
    clip = encode(tmp_path / "clip.mp4", counted(50, 160, 96), group=25)
    with Reader(url=str(clip), pace="live") as reader:
        frames = reader.wait_for(3)
        assert frames[2].captured_mono_s - frames[0].captured_mono_s >= 0.9
        assert reader.wait_for_end() is None


def test_a_stop_ends_a_recording_at_once(h264: Path) -> None:
    stop = threading.Event()
    frames = []

    def keep(frame: object) -> None:
        frames.append(frame)
        stop.set()

    Source(decoding_all(h264, pace="fast")).run(keep, stop)
    assert len(frames) == 1


@pytest.mark.parametrize("fit", ["stretch", "crop"])
def test_the_counter_of_the_footage_says_that_the_right_frames_were_taken(footage: Path, fit: str) -> None:
    with Reader(url=str(footage), pace="fast", picture=Picture(width=224, height=224, fit=fit)) as reader:  # type: ignore[arg-type]
        frames = reader.wait_for(8)
    assert [counter_of(frame.rgb) for frame in frames] == [0, 13, 25, 38, 50, 59, 68, 77]


def test_the_sub_stream_is_the_one_that_is_read(tmp_path: Path, h264: Path) -> None:
    sub = encode(tmp_path / "sub.mp4", counted(25, 160, 96), group=25)
    frames, source = read_file(h264, detect_url=str(sub))
    assert (source.stats.width, source.stats.height) == (160, 96)
    assert len(frames) == 2


def test_a_missing_device_falls_back_to_software(h264: Path) -> None:
    for hwaccel in ("auto", "cuda", "no-such-device"):
        frames, source = read_file(h264, hwaccel=hwaccel)
        assert len(frames) == 24
        if hwaccel == "no-such-device":
            assert source.stats.decoder == "software"


def test_a_damaged_recording_is_read_around_the_damage(tmp_path: Path, h264: Path) -> None:
    data = bytearray(h264.read_bytes())
    rng = np.random.default_rng(1)
    middle = len(data) // 2
    data[middle : middle + 3000] = rng.integers(0, 256, 3000, dtype=np.uint8).tobytes()
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(data)
    frames, _ = read_file(broken)
    indexes = [index_of(frame.rgb) for frame in frames]
    assert indexes[:8] == [0, 13, 25, 34, 50, 59, 75, 84]
    assert indexes[-2:] == [275, 284]


def test_what_is_no_recording_is_named(tmp_path: Path) -> None:
    with pytest.raises(StreamNotFound, match=r"nothing\.mp4"):
        read_file(tmp_path / "nothing.mp4")
    text = tmp_path / "notes.mp4"
    text.write_text("no video", encoding="utf-8")
    with pytest.raises(StreamUnsupported, match=r"notes\.mp4"):
        read_file(text)


def test_an_address_of_another_kind_is_refused_without_its_password() -> None:
    with pytest.raises(StreamUnsupported, match="expected rtsp://") as caught:
        read_file("http://user:secret@127.0.0.1/video")  # type: ignore[arg-type]
    assert "secret" not in str(caught.value)


def test_a_probe_says_what_a_recording_is(clip: Path) -> None:
    info = probe(str(clip), transport="tcp", trust=rules.trust(), timeout_s=10)
    assert info.codec in ("h264", "hevc")
    assert (info.width, info.height, info.fps, info.gop_frames) == (320, 240, 25.0, 25)
    assert info.gop_s == pytest.approx(1.0)
    assert info.bitrate_bps > 1000


def copied(source: Path, target: Path, *, shift_s: float = 0.0, container: str = "mpegts") -> Path:
    """The packets of a recording in another container, their stamps shifted."""
    with av.open(str(source)) as read, av.open(str(target), "w", format=container) as written:
        taken = read.streams.video[0]
        given = written.add_stream_from_template(taken)
        assert taken.time_base is not None
        shift = round(shift_s / taken.time_base)
        for packet in read.demux(taken):
            if packet.pts is None or packet.dts is None:
                continue
            packet.pts, packet.dts, packet.stream = packet.pts + shift, packet.dts + shift, given
            written.mux(packet)
    return target


@pytest.fixture(scope="module", params=[0, 3], ids=["plain", "B-frames"])
def part(request: pytest.FixtureRequest, clips: Path) -> Path:
    """4 s."""
    return encode(
        clips / f"part{request.param}.mp4", counted(100), b_frames=request.param, options={"preset": "veryfast"}
    )


@pytest.mark.parametrize("starts_s", [(0.0, 0.0, 0.0), (0.0, 7200.0), (7200.0, 0.0), (95_440.0, 0.0)])
def test_over_the_joints_of_a_recording_time_runs_on(part: Path, tmp_path: Path, starts_s: tuple[float, ...]) -> None:
    parts = [copied(part, tmp_path / f"{n}.ts", shift_s=at_s) for n, at_s in enumerate(starts_s)]
    joined = tmp_path / "joined.ts"
    joined.write_bytes(b"".join(path.read_bytes() for path in parts))
    frames, source = read_file(joined, started_at=START)
    assert source.stats.length_s == pytest.approx(4.0 * len(parts), abs=0.01)
    for frame in frames:
        assert round(frame.stream_s * 25) % 100 == index_of(frame.rgb)
        assert (frame.captured_at - START).total_seconds() == pytest.approx(frame.stream_s, abs=1e-5)
    assert all(before.captured_at < after.captured_at for before, after in pairwise(frames))
    assert len(frames) == 8 * len(parts)


@pytest.mark.parametrize("shift_s", [-1.0, 50_000.0])
def test_a_recording_begins_with_its_first_frame_whatever_its_stamp(part: Path, tmp_path: Path, shift_s: float) -> None:
    frames, source = read_file(copied(part, tmp_path / "shifted.mkv", shift_s=shift_s, container="matroska"))
    assert [round(frame.stream_s * 25) for frame in frames] == [index_of(frame.rgb) for frame in frames]
    assert source.stats.length_s == pytest.approx(4.0, abs=0.01)


def test_what_an_edit_list_leaves_out_is_no_time(part: Path, tmp_path: Path) -> None:
    frames, source = read_file(copied(part, tmp_path / "edited.mp4", shift_s=-0.4, container="mp4"))
    assert [round(frame.stream_s * 25) + 10 for frame in frames] == [index_of(frame.rgb) for frame in frames]
    assert frames[0].stream_s == 0.0
    assert source.stats.length_s == pytest.approx(3.6, abs=0.01)


def test_b_frames_without_stamps_do_not_take_time_back(tmp_path: Path) -> None:
    clip = encode(tmp_path / "clip.avi", counted(150), b_frames=3, options={"preset": "veryfast"})
    frames, _ = read_file(clip, sample_fps=25.0)
    assert all(before.stream_s <= after.stream_s for before, after in pairwise(frames))
    assert max(abs(frame.stream_s - index_of(frame.rgb) / 25) for frame in frames) < 0.2


def test_a_pause_within_a_recording_is_time_and_hours_are_a_joint() -> None:
    parts = Parts(25)
    for at_s in (0.0, 0.04):
        parts.stream_s(at_s, at_s, None)
    assert parts.stream_s(120.0, 120.0, None) == 120.0
    assert parts.joins == 0
    assert parts.stream_s(4000.0, 4000.0, None) == pytest.approx(120.04)
    assert parts.stream_s(3.0, 3.0, None) == pytest.approx(120.08)
    assert parts.joins == 2


def test_packets_without_any_stamp_follow_each_other() -> None:
    parts = Parts(25)
    assert [parts.stream_s(None, None, None) for _ in range(3)] == pytest.approx([0.0, 0.04, 0.08])
    assert parts.stream_s(500.0, None, None) == pytest.approx(0.12)


def filmed_on_its_side(clip: Path, target: Path, matrix: tuple[int, int, int, int]) -> Path:
    """The same MP4 with a, b, c, d in the matrix of its track header, as a phone writes it."""
    data = bytearray(clip.read_bytes())
    at = data.index(b"tkhd") + 4 + 4 + 20 + 8 + 8
    a, b, c, d = (value << 16 for value in matrix)
    data[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    target.write_bytes(data)
    return target


@pytest.mark.parametrize(
    ("matrix", "told", "back"),
    [
        ((1, 0, 0, 1), "as it is", lambda rgb: rgb),
        ((0, 1, -1, 0), "turned by 90 degrees", np.rot90),
        ((-1, 0, 0, -1), "turned by 180 degrees", lambda rgb: np.rot90(rgb, 2)),
        ((0, -1, 1, 0), "turned by 270 degrees", lambda rgb: np.rot90(rgb, 3)),
        ((-1, 0, 0, 1), "left and right exchanged", lambda rgb: rgb[:, ::-1]),
        ((1, 0, 0, -1), "top and bottom exchanged", lambda rgb: rgb[::-1]),
    ],
)
def test_a_recording_is_seen_the_way_up_that_its_container_says(
    h264: Path, tmp_path: Path, matrix: tuple[int, int, int, int], told: str, back: Callable[[Rgb], Rgb]
) -> None:
    clip = filmed_on_its_side(h264, tmp_path / "turned.mp4", matrix)
    width, height = (240, 320) if matrix[0] == 0 else (320, 240)
    frames, source = read_file(clip, picture=Picture(width=width, height=height, fit="stretch"))
    indexes = [index_of(back(frame.rgb)) for frame in frames]
    assert indexes[:4] == [0, 13, 25, 34]
    assert len(frames) == 24
    assert source.stats.damaged == 0
    assert probe(str(clip), transport="tcp", trust=rules.trust(), timeout_s=10).turn.told == told


def test_evidence_of_a_turned_recording_is_the_right_way_up(h264: Path, tmp_path: Path) -> None:
    clip = filmed_on_its_side(h264, tmp_path / "turned.mp4", (0, 1, -1, 0))
    ring, frames = Ring(seconds=60, bytes_max=1 << 24), []
    Source(decoding_all(clip, pace="fast", started_at=START), ring).run(frames.append, threading.Event())
    jpeg = ring.reel().picture(frames[3].captured_at)
    with av.open(io.BytesIO(jpeg)) as container:
        assert isinstance(container, av.container.InputContainer)
        shown = next(container.decode(video=0)).to_ndarray(format="rgb24")
    assert shown.shape == (320, 240, 3)
    assert index_of(np.rot90(shown)) == 34
