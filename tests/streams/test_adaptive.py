"""The still mode: what it believes, what wakes it, what it costs."""

from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from streams.adaptive import REST_AFTER_S, Stillness, block_means
from streams.frame import Rgb
from tests.servers.rtsp import RtspCamera
from tests.streams.clips import Gray, encode, noisy
from tests.streams.reading import Reader, read_file

PIXELS = 1920 * 1080
FPS, GROUP = 25, 50
RNG = np.random.default_rng(11)
SCENE: Rgb = np.kron(RNG.integers(40, 200, (28, 28, 3)), np.ones((8, 8, 1))).astype(np.uint8)


def moved(rgb: Rgb) -> Rgb:
    changed = rgb.copy()
    changed[100:116, 100:116] = 255 - changed[100:116, 100:116]
    return changed


class Stream:
    """Feeds a Stillness as the picker does: every packet, and the pictures that get decoded."""

    def __init__(self, size: Callable[[], int], group: int = GROUP) -> None:
        self.stillness = Stillness(PIXELS)
        self.size, self.group, self.index = size, group, 0
        self.scene = SCENE

    def play(self, seconds: float) -> None:
        for _ in range(round(seconds * FPS)):
            at_s, is_key = self.index / FPS, self.index % self.group == 0
            due = self.index % 12 == 0
            group_s = self.group / FPS if self.index > self.group else None
            self.stillness.packet(90_000 if is_key else self.size(), is_key=is_key, group_s=group_s, sample_due=due)
            if is_key or (due and not self.stillness.is_still):
                self.stillness.picture(self.scene, at_s)
            self.index += 1


def quiet() -> int:
    return int(RNG.normal(260, 50))


def test_block_means_are_the_means_of_the_blocks() -> None:
    rgb = RNG.integers(0, 256, (50, 43, 3), dtype=np.uint8)
    means = block_means(rgb)
    assert means.shape == (6, 5, 3)
    assert means[5, 4] == pytest.approx(rgb[40:48, 32:40].mean(axis=(0, 1)))
    white = np.full((8, 8, 3), 255, np.uint8)
    assert block_means(white) == pytest.approx(255.0)
    assert block_means(white[:4]).shape == (1, 1, 3), "smaller than a block"


def test_a_scene_without_change_becomes_still_after_a_while() -> None:
    stream = Stream(quiet)
    stream.play(REST_AFTER_S - 0.1)
    assert not stream.stillness.is_still
    stream.play(1.0)
    assert stream.stillness.is_still
    stream.play(60)
    assert stream.stillness.is_still
    assert stream.stillness.wakes <= 1


def test_packets_that_grow_wake_it_within_three_frames() -> None:
    stream = Stream(quiet)
    stream.play(10)
    assert stream.stillness.is_still
    stream.size = lambda: quiet() + 600
    stream.play(3 / FPS)
    assert not stream.stillness.is_still
    assert (stream.stillness.wakes, stream.stillness.late_wakes) == (1, 0)


def test_one_large_packet_alone_wakes_nothing() -> None:
    stream = Stream(quiet)
    stream.play(10 + 3 / FPS)
    sizes = iter([5000])
    stream.size = lambda: next(sizes, 260)
    stream.play(1.0)
    assert stream.stillness.is_still


def test_a_change_that_the_sizes_did_not_tell_of_wakes_at_the_next_key_frame_and_costs_trust() -> None:
    stream = Stream(quiet)
    stream.play(9)
    stream.scene = moved(SCENE)
    stream.play(GROUP / FPS)
    assert not stream.stillness.is_still
    assert stream.stillness.late_wakes == 1
    stream.play(REST_AFTER_S + 1)
    assert not stream.stillness.is_still, "the rest before the next still is longer now"
    stream.play(REST_AFTER_S)
    assert stream.stillness.is_still


def test_a_stream_whose_noise_raises_alarms_is_suspected_less() -> None:
    stream = Stream(quiet)
    stream.size = lambda: 620 if stream.index % 12 == 0 else 260  # at each sample, and nothing moves
    stream.play(60)
    assert 1 <= stream.stillness.wakes <= 4
    assert stream.stillness.is_still
    stream.play(12 / FPS)  # to the sample after the key frame
    stream.size = lambda: 2000
    stream.play(1 / FPS)
    assert not stream.stillness.is_still, "one packet that stands out is still enough when a sample is due"


def test_an_alarm_without_a_change_is_slept_off_sooner() -> None:
    stream = Stream(quiet)
    stream.play(10)
    stream.size = lambda: 2000
    stream.play(3 / FPS)
    assert not stream.stillness.is_still
    stream.size = quiet
    stream.play(2.5)
    assert stream.stillness.is_still


def test_a_camera_that_fills_its_bit_rate_with_noise_is_never_believed() -> None:
    stream = Stream(lambda: int(RNG.normal(19_000, 2500)))
    stream.play(60)
    assert not stream.stillness.is_still


def test_a_stream_with_long_groups_is_never_believed() -> None:
    stream = Stream(quiet, group=250)
    stream.play(60)
    assert not stream.stillness.is_still


def test_a_scene_that_changes_a_little_all_the_time_is_never_still() -> None:
    stream = Stream(quiet)
    for step in range(60):
        stream.scene = SCENE if step % 2 else moved(SCENE)
        stream.play(1.0)
        assert not stream.stillness.is_still


def visited(seconds: int, first: int, last: int) -> Iterator[Gray]:
    """A still scene through a sensor; from frame `first` to `last` a block slides in, stays, and slides out."""
    still = np.kron(np.random.default_rng(2).integers(60, 190, (30, 40)), np.ones((16, 16))).astype(np.uint8)
    for index, pixels in enumerate(noisy(still, seconds * FPS, sigma=1.0)):
        if first <= index < last:
            left = 300 + 20 * max(0, 10 - (index - first), 10 - (last - 1 - index))
            pixels[200:260, left : left + 60] = 250
        yield pixels


@pytest.fixture(scope="module")
def visit(clips: Path) -> Path:
    """20 s: still, a visit from 9.4 to 12.4 s, still."""
    options = {"preset": "veryfast", "tune": "zerolatency", "crf": "26"}
    return encode(clips / "visit.mp4", visited(20, 235, 310), group=50, options=options)


def test_the_pictures_of_a_visit_are_true_and_the_rest_is_hardly_decoded(visit: Path) -> None:
    full, all_of_it = read_file(visit)
    adaptive, source = read_file(visit, adaptive=True)
    stats = source.stats
    assert [frame.stream_s for frame in adaptive] == [frame.stream_s for frame in full]
    wrong = [
        true.stream_s
        for true, shown in zip(full, adaptive, strict=True)
        if np.abs(true.rgb.astype(int) - shown.rgb).max() > 60
    ]
    assert wrong == []
    assert not any(frame.repeated for frame in adaptive if 9.4 <= frame.stream_s <= 12.4)
    assert stats.repeated == sum(frame.repeated for frame in adaptive) >= 10
    assert stats.wakes >= 1
    assert stats.decoded < 0.75 * all_of_it.stats.decoded
    assert stats.mode == "still"


def test_key_frames_beside_the_sampling_grid_correct_the_repeated_picture(tmp_path: Path) -> None:
    """Groups of 1.2 s do not fit 2 samples a second; the light changes from one key frame to the next."""
    frames = [pixels // (1 + (index >= 360)) for index, pixels in enumerate(visited(18, 0, 0))]
    options = {"preset": "veryfast", "tune": "zerolatency", "crf": "26"}
    clip = encode(tmp_path / "dimmed.mp4", frames, group=30, options=options)
    shown, source = read_file(clip, adaptive=True)
    assert any(frame.repeated for frame in shown)
    assert source.stats.wakes + source.stats.late_wakes >= 1
    before = np.mean([frame.rgb.mean() for frame in shown if frame.stream_s < 14.3])
    after = [frame.rgb.mean() for frame in shown if frame.stream_s >= 14.4]
    assert len(after) >= 6
    assert max(after) < 0.6 * before


def test_without_adaptive_nothing_is_repeated(visit: Path) -> None:
    frames, source = read_file(visit)
    assert not any(frame.repeated for frame in frames)
    assert source.stats.mode == "full"


def test_a_repeated_picture_is_as_fresh_as_its_packet(rtsp: Callable[..., RtspCamera], visit: Path) -> None:
    camera = rtsp(visit)
    with Reader(url=camera.url, adaptive=True) as reader:
        frames = reader.until(lambda frames: len(frames) >= 15 and any(frame.repeated for frame in frames))
    times = [frame.captured_mono_s for frame in frames]
    assert max(after - before for before, after in pairwise(times)) < 1.1  # two periods, the longest pause by design
