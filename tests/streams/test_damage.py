"""What misses a reference is never shown, and what misses none always is."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import av
import cv2
import numpy as np
import numpy.typing as npt
import pytest

from streams import StreamUnsupported, picker
from streams.adaptive import Stillness
from streams.frame import Frame
from streams.ring import NotFilmed, Ring
from streams.source import Source
from tests.streams.clips import encode, index_of, noisy
from tests.streams.lossy import Clip, Watched, at_random
from tests.streams.reading import decoding_all, read_file

COUNT, GROUP = 150, 25
HOLE_BYTES = 96
VIDEO_PID = 256  # of libav's transport streams
X264 = f"keyint={GROUP}:min-keyint={GROUP}:scenecut=0"
X265 = f"{X264}:pools=none:frame-threads=1:log-level=none"
KINDS: dict[str, tuple[str, dict[str, str]]] = {
    "h264": ("libx264", {"x264-params": f"{X264}:bframes=0"}),
    "h264 slices": ("libx264", {"x264-params": f"{X264}:bframes=0:slices=3"}),
    "h264 baseline": ("libx264", {"x264-params": f"{X264}:bframes=0", "profile": "baseline"}),
    "h264 pyramid": ("libx264", {"preset": "veryfast", "x264-params": f"{X264}:bframes=3:b-pyramid=normal"}),
    "h264 open": ("libx264", {"preset": "veryfast", "x264-params": f"{X264}:bframes=3:open-gop=1:b-pyramid=normal"}),
    "h264 refresh": ("libx264", {"preset": "veryfast", "x264-params": f"{X264}:bframes=0:intra-refresh=1"}),
    "h264 fields": ("libx264", {"preset": "veryfast", "x264-params": f"{X264}:bframes=2:tff=1"}),
    "h265": ("libx265", {"x265-params": f"{X265}:bframes=0:open-gop=0"}),
    "h265 pyramid": ("libx265", {"x265-params": f"{X265}:bframes=3:open-gop=0:b-pyramid=1"}),
    "h265 open": ("libx265", {"x265-params": f"{X265}:bframes=3:open-gop=1:b-pyramid=1"}),
    "h265 refresh": ("libx265", {"x265-params": f"{X265}:bframes=0:intra-refresh=1"}),
    "h265 layers": ("libx265", {"x265-params": f"{X265}:bframes=3:temporal-layers=1:open-gop=0"}),
}


def moving(count: int = COUNT, seed: int = 5) -> Iterator[npt.NDArray[np.uint8]]:
    """A table in soft noise over which something always moves, in one colour or another."""
    rng = np.random.default_rng(seed)
    table = rng.integers(60, 160, (8, 12, 3)).repeat(16, 0).repeat(16, 1).astype(np.int16)
    for index in range(count):
        pixels = table + rng.integers(-2, 3, table.shape)
        left = index * 5 % 144
        pixels[32 + index % 17 : 80, left : left + 48] = (230, 40 + index * 7 % 160, 60)
        yield pixels.clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="session", params=KINDS)
def path(request: pytest.FixtureRequest, clips: Path) -> Path:
    return made(clips, request.param)


def made(clips: Path, kind: str) -> Path:
    path = clips / f"moving-{kind.replace(' ', '-')}.mkv"
    if not path.exists():
        codec, options = KINDS[kind]
        encode(path, moving(), codec=codec, group=GROUP, options=options)
    return path


@pytest.mark.parametrize("sample_fps", [2.0, 25.0])
def test_a_stream_that_came_whole_loses_nothing(path: Path, sample_fps: float) -> None:
    clip = Clip(path)
    watched = Watched(clip, clip.through(lambda number, index: False), sample_fps=sample_fps, told=True)
    assert (watched.stats.damaged, watched.stats.losses, watched.stats.decode_errors) == (0, 0, 0)
    assert watched.differing(clip) == []
    # At the end of a group a sampler that wants every picture leaves out those that it cannot know of yet.
    assert len(watched.shown) >= (12 if sample_fps == 2.0 else 0.85 * COUNT)


@pytest.mark.parametrize(("share", "sample_fps"), [(0.02, 2.0), (0.003, 25.0), (0.02, 25.0)])
def test_after_a_lost_packet_only_true_pictures_are_shown(path: Path, share: float, sample_fps: float) -> None:
    clip = Clip(path)
    damaged = shown = 0
    for seed in range(2 if share < 0.01 else 1):
        watched = Watched(clip, clip.through(at_random(share, seed)), sample_fps=sample_fps, told=True)
        assert watched.differing(clip) == [], f"seed {seed}"
        damaged += watched.stats.damaged
        shown += len(watched.shown)
    assert damaged > 0
    assert shown > 0, "what came whole is shown"


def test_a_picture_that_is_gone_is_missed_although_nobody_tells(path: Path) -> None:
    clip = Clip(path)
    gone = 2 * GROUP + 7
    came = clip.through(lambda number, index: number == gone)
    watched = Watched(clip, came, sample_fps=25.0, told=False)
    assert watched.differing(clip) == []


@pytest.mark.parametrize("kind", ["h264", "h265"])
@pytest.mark.parametrize("at", [0, 7])
def test_a_loss_holds_until_the_next_clean_key_frame_and_each_picture_counts_once(
    clips: Path, kind: str, at: int
) -> None:
    clip = Clip(made(clips, kind))
    hurt = 2 * GROUP + at
    watched = Watched(
        clip, clip.through(lambda number, index: (number, index) == (hurt, 1)), sample_fps=25.0, told=True
    )
    shown = [ms // 40 for ms, _ in watched.shown]
    assert shown == [*range(hurt), *range(3 * GROUP, COUNT)]
    assert (watched.stats.damaged, watched.stats.losses) == (GROUP - at, 1)


@pytest.mark.parametrize("kind", ["h264 open", "h265 open"])
def test_after_a_loss_the_pictures_shown_before_an_open_key_frame_are_left_out(clips: Path, kind: str) -> None:
    clip = Clip(made(clips, kind))
    keys = [number for number, sent in enumerate(clip.sent) if sent.is_key]
    hurt = keys[2] - 1
    watched = Watched(clip, clip.through(lambda number, index: number == hurt), sample_fps=25.0, told=True)
    assert watched.differing(clip) == []
    begin_ms = round(clip.sent[keys[2]].shown_s * 1000)
    lost_ms = min(round(sent.shown_s * 1000) for sent in clip.sent[hurt:])
    shown = [ms for ms, _ in watched.shown if ms >= lost_ms]
    assert min(shown) >= begin_ms
    assert watched.stats.damaged > 0


def test_a_stream_without_key_frames_is_shown_again_once_it_has_refreshed_itself(clips: Path) -> None:
    clip = Clip(made(clips, "h264 refresh"))
    hurt = GROUP + 5
    came = clip.through(lambda number, index: (number, index) == (hurt, 0))
    watched = Watched(clip, came, sample_fps=25.0, told=True)
    shown = [ms // 40 for ms, _ in watched.shown]
    assert watched.differing(clip) == []
    assert shown[:hurt] == list(range(hurt))
    assert hurt + GROUP <= shown[hurt] <= hurt + 3 * GROUP
    assert shown[hurt:] == list(range(shown[hurt], COUNT))


def test_a_stream_that_names_no_clean_beginning_is_not_shown_after_a_loss_and_that_is_said(
    clips: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = Clip(made(clips, "h265 refresh"))
    came = clip.through(lambda number, index: (number, index) == (30, 0))
    watched = Watched(clip, came, sample_fps=25.0, told=True)
    assert [ms // 40 for ms, _ in watched.shown] == list(range(30))
    assert watched.stats.damaged == COUNT - 30
    monkeypatch.setattr(picker, "KEY_FRAME_WITHIN_S", 4.0)
    with pytest.raises(StreamUnsupported, match="no key frame in 4 s"):
        Watched(clip, came, sample_fps=25.0, told=True)


def test_a_damaged_key_frame_is_no_referee_and_nothing_is_repeated_until_a_clean_one(clips: Path) -> None:
    scene = next(moving(1))
    path = clips / "still.mkv"
    encode(path, noisy(scene, 16 * GROUP, sigma=1.0), group=GROUP)
    clip = Clip(path)
    size = scene.shape[0] * scene.shape[1]
    whole = Watched(clip, clip.through(lambda n, k: False), sample_fps=2.0, told=True, stillness=Stillness(64 * size))
    assert whole.repeated, "the scene is still"
    hurt = 12 * GROUP
    came = clip.through(lambda number, index: (number, index) == (hurt, 2))
    watched = Watched(clip, came, sample_fps=2.0, told=True, stillness=Stillness(64 * size))
    assert watched.differing(clip) == []
    begin_ms, end_ms = 12_000, 13_000
    assert any(begin_ms <= ms < end_ms for ms in whole.repeated)
    assert not [ms for ms in watched.repeated if begin_ms <= ms < end_ms]
    assert not [ms for ms, _ in watched.shown if begin_ms <= ms < end_ms]
    assert [ms for ms in watched.repeated if ms >= end_ms]


def remuxed(path: Path, target: Path) -> Path:
    with av.open(str(path)) as source, av.open(str(target), "w") as container:
        stream = container.add_stream_from_template(source.streams.video[0], opaque=True)
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = stream
                container.mux(packet)
    return target


def without_packets(whole: Path, target: Path, places: list[float]) -> Path:
    """A transport stream that lacks the video packets at these shares of it."""
    data = whole.read_bytes()
    packets = [data[at : at + 188] for at in range(0, len(data), 188)]
    video = [index for index, packet in enumerate(packets) if (packet[1] & 31) << 8 | packet[2] == VIDEO_PID]
    gone = {video[round(place * (len(video) - 1))] for place in places}
    target.write_bytes(b"".join(packet for index, packet in enumerate(packets) if index not in gone))
    return target


def differing(path: Path, frames: list[Frame]) -> list[float]:
    """Against what the whole recording shows at these times."""
    whole, _ = read_file(path, sample_fps=25.0)
    true = {round(frame.stream_s * 25): frame.rgb for frame in whole}
    return [f.stream_s for f in frames if np.abs(f.rgb.astype(int) - true[round(f.stream_s * 25)]).mean() > 1]


@pytest.mark.parametrize("kind", ["h264", "h265"])
def test_a_transport_stream_tells_which_of_its_packets_are_gone(tmp_path: Path, clips: Path, kind: str) -> None:
    whole = remuxed(made(clips, kind), tmp_path / "whole.ts")
    for seed in range(5):
        cut = without_packets(whole, tmp_path / f"cut-{seed}.ts", np.random.default_rng(seed).random(3).tolist())
        frames, source = read_file(cut, sample_fps=25.0)
        assert differing(whole, frames) == []
        assert source.stats.damaged > 0
        assert len(frames) > COUNT // 4


@pytest.mark.parametrize("kind", ["h264", "h265"])
def test_a_hole_in_a_recording_shows_nothing_false(tmp_path: Path, clips: Path, kind: str) -> None:
    whole = remuxed(made(clips, kind), tmp_path / "whole.mp4")
    data = whole.read_bytes()
    begin, end = data.index(b"mdat") + 4, data.rindex(b"moov")
    for seed in range(6):
        at = int(np.random.default_rng(seed).integers(begin + 4000, end - 4000))
        broken = tmp_path / f"hole-{seed}.mp4"
        broken.write_bytes(data[:at] + bytes(HOLE_BYTES) + data[at + HOLE_BYTES :])
        frames, source = read_file(broken, sample_fps=25.0)
        assert differing(whole, frames) == []
        assert source.stats.damaged > 0


def test_the_picture_for_the_record_is_never_a_damaged_one(tmp_path: Path, h264: Path) -> None:
    whole = remuxed(h264, tmp_path / "whole.ts")
    started_at = datetime(2026, 4, 21, tzinfo=UTC)
    cut = without_packets(whole, tmp_path / "cut.ts", [0.31, 0.52, 0.77])
    ring = Ring(seconds=100, bytes_max=8 << 20)
    source = Source(decoding_all(cut, pace="fast", started_at=started_at, sample_fps=25.0), ring)
    frames: list[Frame] = []
    source.run(frames.append, threading.Event())
    shown = {round(frame.stream_s * 25) for frame in frames}
    assert source.stats.damaged > 0
    assert len(shown) == source.stats.packets - source.stats.damaged
    reel = ring.reel()
    for number in range(source.stats.packets):
        jpeg = reel.picture(started_at + timedelta(seconds=number / 25))
        pixels = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
        assert pixels is not None
        assert index_of(np.ascontiguousarray(pixels, np.uint8)) in shown


def test_of_damaged_pictures_alone_no_record_is_made() -> None:
    with pytest.raises(NotFilmed):
        Ring(seconds=8, bytes_max=1 << 20).reel()
