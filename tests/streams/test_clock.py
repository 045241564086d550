"""Stamps to time: rates, drift, jumps, wraps, bursts, stamps that mean nothing. Pure: time is an argument."""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.clock import FileClock, LiveClock
from streams.sampler import Sampler
from streams.timeline import Timeline

WALL = datetime(2026, 11, 21, 8, 0, tzinfo=UTC)
START_S = 1000.0
TICKS = 90_000
DELAY_S = 0.02
LEARNT_S = 6.0  # of which the first few belong to learning
ERROR_MAX_S = 0.5
FRESH_S = 0.5

Stamp = Callable[[int, float], float | None]


@dataclass(frozen=True, kw_only=True)
class Camera:
    """Films `fps(t)` pictures a second, stamps them, and sends them over a network that does not lose its patience."""

    fps: Callable[[float], float]
    stamp: Stamp = lambda frame, t: frame / 25
    jitter_s: float = 0.005
    burst_s: float = 0.0  # everything is sent every so many seconds
    lost: float = 0.0
    pauses: list[tuple[float, float]] = field(default_factory=list)  # (from, for) in which nothing gets through
    seed: int = 1

    def packets(self, seconds: float) -> Iterator[tuple[float, float | None, float]]:
        """(filmed, stamp, arrived) in order of arrival."""
        rng = random.Random(self.seed)
        filmed_s, frame, last_s = 0.0, 0, 0.0
        while filmed_s < seconds:
            arrived_s = filmed_s + DELAY_S + rng.expovariate(1 / self.jitter_s)
            if self.burst_s:
                arrived_s = (arrived_s // self.burst_s + 1) * self.burst_s
            for from_s, for_s in self.pauses:
                if from_s <= arrived_s < from_s + for_s:
                    arrived_s = from_s + for_s
            last_s = max(last_s, arrived_s)
            stamp_s = self.stamp(frame, filmed_s)
            if rng.random() >= self.lost:
                yield filmed_s, None if stamp_s is None else round(stamp_s * TICKS) / TICKS, last_s
            frame, filmed_s = frame + 1, filmed_s + 1 / self.fps(filmed_s)


@dataclass(frozen=True, kw_only=True)
class Seen:
    """filmed, told: when each sample was taken, and when the clock says that it was; arrived: when it was here."""

    filmed_s: float
    told_s: float
    arrived_s: float
    stream_s: float


def watched(camera: Camera, seconds: float, sample_fps: float = 2.0) -> tuple[list[Seen], list[float]]:
    """(the samples after the first few seconds, the error of each packet's time)"""
    clock, sampler = LiveClock(WALL, START_S), Sampler(sample_fps)
    samples, errors_s = [], []
    last_told_s = float("-inf")
    for filmed_s, stamp_s, arrived_s in camera.packets(seconds):
        now_s = START_S + arrived_s
        arrival = clock.arrived(stamp_s, now_s)
        told_at, told_s = clock.captured(arrival.stream_s, now_s)
        assert last_told_s <= told_s <= now_s
        assert told_at == WALL + timedelta(seconds=told_s - START_S)
        last_told_s = told_s
        is_due = sampler.is_due(arrival.stream_s)
        if is_due:
            sampler.taken(arrival.stream_s)
        if filmed_s >= LEARNT_S:
            errors_s.append(told_s - START_S - filmed_s)
            if is_due:
                seen = Seen(filmed_s=filmed_s, told_s=told_s - START_S, arrived_s=arrived_s, stream_s=arrival.stream_s)
                samples.append(seen)
    return samples, errors_s


def steadily(fps: float) -> Callable[[float], float]:
    return lambda t: fps


def fresh_per_s(samples: list[Seen], seconds: float) -> float:
    return sum(seen.arrived_s - seen.told_s <= FRESH_S for seen in samples) / (seconds - LEARNT_S)


@pytest.mark.parametrize("fps", [24.8, 12.5, 5.0])
def test_after_half_an_hour_of_any_rate_times_are_right(fps: float) -> None:
    samples, errors_s = watched(Camera(fps=steadily(fps)), 1800)
    assert max(abs(error_s) for error_s in errors_s) < 0.15
    assert fresh_per_s(samples, 1800) == pytest.approx(2.0, rel=0.02)


@pytest.mark.parametrize("fps", [26.0, 25.25, 25.05, 25.0125, 25.0, 24.975, 24.95, 24.9, 24.7, 24.0, 21.0, 15.0, 10.0])
def test_the_clock_follows_any_steady_rate(fps: float) -> None:
    samples, errors_s = watched(Camera(fps=steadily(fps)), 90)
    assert max(abs(error_s) for error_s in errors_s) < 0.15
    assert fresh_per_s(samples, 90) == pytest.approx(2.0, rel=0.04)


def test_stamps_that_run_as_time_does_are_taken_as_they_are() -> None:
    clock = LiveClock(WALL, START_S)
    for filmed_s, stamp_s, arrived_s in Camera(fps=steadily(25), jitter_s=0.02).packets(120):
        assert clock.arrived(stamp_s, START_S + arrived_s).stream_s == pytest.approx(filmed_s, abs=1e-4)


def of_unit(ticks_per_s: float) -> Stamp:
    """A clock that is said to count 90 000 a second, and counts so many."""
    return lambda frame, t: t * ticks_per_s / TICKS


RNG = random.Random(3)
ODD: dict[str, Stamp] = {
    "stand still": lambda frame, t: 7.0,
    "count milliseconds": of_unit(1000),
    "count 48 kHz": of_unit(48_000),
    "count microseconds": of_unit(1e6),
    "count a tenth of a microsecond": of_unit(1e7),
    "count nanoseconds": of_unit(1e9),
    "count whole seconds": lambda frame, t: float(int(t)),
    "go in pairs": lambda frame, t: frame // 2 * 2 / 25,
    "are random": lambda frame, t: RNG.random() * 47_000,
    "are off by up to 2 s": lambda frame, t: t + RNG.uniform(-2, 2),
    "are off by up to 0.1 s": lambda frame, t: t + RNG.uniform(-0.1, 0.1),
    "start anew every 20 s": lambda frame, t: t % 20,
    "start anew every 2 s": lambda frame, t: t % 2,
    "wrap at 32 bits": lambda frame, t: (t + 47_690) % (2**32 / TICKS),
    "jump by hours": lambda frame, t: t + 7200 * (t > 40),
    "jump back by hours": lambda frame, t: t + 7200 * (t < 40),
    "are missing": lambda frame, t: None,
    "are missing at first": lambda frame, t: t if frame > 5 else None,
    "come of B-frames": lambda frame, t: (frame + (2, -1, -1)[frame % 3]) / 25,
}


@pytest.mark.parametrize("stamp", ODD.values(), ids=ODD)
@pytest.mark.parametrize("burst_s", [0.0, 0.5], ids=["steadily", "in bursts"])
def test_a_camera_is_sampled_in_time_whatever_its_stamps_do(stamp: Stamp, burst_s: float) -> None:
    samples, errors_s = watched(Camera(fps=steadily(25), stamp=stamp, burst_s=burst_s), 80)
    assert fresh_per_s(samples, 80) == pytest.approx(2.0, rel=0.1)
    assert max(abs(error_s) for error_s in errors_s) < ERROR_MAX_S + burst_s / 4


@pytest.mark.parametrize("night_fps", [20.0, 12.5, 8.0, 5.0])
def test_a_rate_that_changes_on_the_way_is_followed(night_fps: float) -> None:
    camera = Camera(fps=lambda t: 25.0 if t < 40 or t > 80 else night_fps)
    samples, errors_s = watched(camera, 120)
    assert max(abs(error_s) for error_s in errors_s) < ERROR_MAX_S
    assert fresh_per_s(samples, 120) == pytest.approx(2.0, rel=0.1)


def test_a_rate_that_changes_together_with_its_stamps_changes_nothing() -> None:
    samples, errors_s = watched(Camera(fps=lambda t: 25.0 if t < 40 else 5.0, stamp=lambda frame, t: t), 80)
    assert max(abs(error_s) for error_s in errors_s) < 0.1
    assert fresh_per_s(samples, 80) == pytest.approx(2.0, rel=0.05)


@settings(max_examples=25)
@given(
    fps=st.floats(5, 30),
    jitter_s=st.floats(0.001, 0.03),
    burst_s=st.sampled_from([0.0, 0.0, 0.1, 0.3]),
    lost=st.sampled_from([0.0, 0.01, 0.1]),
    pauses=st.lists(st.tuples(st.floats(3, 50), st.floats(0.3, 1.5)), max_size=3),
    seed=st.integers(0, 2**16),
)
def test_times_are_right_at_every_rate_over_every_network(
    fps: float, jitter_s: float, burst_s: float, lost: float, pauses: list[tuple[float, float]], seed: int
) -> None:
    camera = Camera(fps=steadily(fps), jitter_s=jitter_s, burst_s=burst_s, lost=lost, pauses=sorted(pauses), seed=seed)
    samples, errors_s = watched(camera, 60)
    settled_s = errors_s[len(errors_s) // 4 :]
    assert sum(abs(error_s) < ERROR_MAX_S for error_s in settled_s) >= 0.97 * len(settled_s)
    assert abs(errors_s[-1]) < ERROR_MAX_S
    assert len(samples) == pytest.approx(2 * (60 - LEARNT_S), rel=0.12)


def settled(seconds: float = 20.0) -> LiveClock:
    clock = LiveClock(WALL, START_S)
    for _, stamp_s, arrived_s in Camera(fps=steadily(25)).packets(seconds):
        clock.arrived(stamp_s, START_S + arrived_s)
    return clock


def test_a_burst_after_a_pause_keeps_the_time_at_which_it_was_filmed() -> None:
    clock = settled()
    arrivals = [clock.arrived(20 + frame / 25, START_S + 21.5) for frame in range(30)]
    assert arrivals[0].late_s == pytest.approx(1.45, abs=0.05)
    assert clock.captured(20 + 10 / 25, START_S + 21.5)[1] == pytest.approx(START_S + 20.4, abs=0.05)
    assert [after.late_s - before.late_s for before, after in pairwise(arrivals)] == pytest.approx([-0.04] * 29)


@pytest.mark.parametrize("fps", [25.0, 12.5, 8.0])
def test_a_b_frame_that_leaves_the_decoder_late_is_not_told_to_be_too_old(fps: float) -> None:
    clock = LiveClock(WALL, START_S)
    camera = Camera(fps=steadily(fps), stamp=lambda frame, t: (frame + (2, -1, -1)[frame % 3]) / 25)
    before: list[float] = []
    for filmed_s, stamp_s, arrived_s in camera.packets(30):
        before.append(clock.arrived(stamp_s, START_S + arrived_s).stream_s)
        if filmed_s < LEARNT_S:
            continue
        _, told_s = clock.captured(sorted(before[-12:])[-7], START_S + arrived_s)  # six frames later
        assert arrived_s - (told_s - START_S) <= FRESH_S
        assert abs(told_s - START_S - (filmed_s - 6 / fps)) < ERROR_MAX_S + 1 / fps


def test_packets_that_come_steadily_are_not_late_whatever_their_stamps() -> None:
    clock = settled()
    late_s = [clock.arrived(20 + frame / 50, START_S + 20 + frame / 25).late_s for frame in range(200)]
    assert max(late_s) == 0.0


def test_what_was_lost_in_a_pause_makes_nothing_late() -> None:
    clock = settled()
    assert clock.arrived(21.0, START_S + 21.03).late_s == pytest.approx(0.0, abs=0.05)


def test_stamps_that_lag_for_good_are_believed_after_a_while() -> None:
    clock = settled()
    lags_s = [clock.arrived(20 + frame / 25, START_S + 22 + frame / 25).late_s for frame in range(150)]
    assert lags_s[0] > 1.9
    assert lags_s[30:] == [0.0] * 120


def test_the_wall_clock_is_read_once() -> None:
    clock = LiveClock(WALL, START_S)
    clock.arrived(0.0, START_S)
    clock.arrived(60.0, START_S + 60)
    assert clock.captured(60.0, START_S + 60) == (WALL + timedelta(seconds=60), START_S + 60)


def test_packets_buffered_while_connecting_do_not_shift_what_follows() -> None:
    clock = LiveClock(WALL, START_S)
    for frame in range(10):
        clock.arrived(frame / 25, START_S + 0.4)
    assert clock.captured(9 / 25, START_S + 0.4)[1] == pytest.approx(START_S + 0.4)
    assert clock.captured(8 / 25, START_S + 0.4)[1] == pytest.approx(START_S + 0.4), "never before an earlier answer"


@given(
    st.lists(st.tuples(st.floats(-3, 3) | st.none(), st.floats(0, 2)), min_size=2, max_size=60),
)
def test_captured_times_never_go_back_and_are_never_in_the_future(steps: list[tuple[float | None, float]]) -> None:
    clock = LiveClock(WALL, START_S)
    stamp_s, now_s, last_s = 100.0, START_S, float("-inf")
    for stamp_step_s, now_step_s in steps:
        stamp_s, now_s = stamp_s + (stamp_step_s or 0.0), now_s + now_step_s
        arrival = clock.arrived(None if stamp_step_s is None else stamp_s, now_s)
        assert arrival.late_s >= 0.0
        captured_at, captured_s = clock.captured(arrival.stream_s, now_s)
        assert last_s <= captured_s <= now_s
        assert captured_at.tzinfo is not None
        last_s = captured_s


def test_a_timeline_starts_at_zero_and_follows_the_stamps() -> None:
    timeline = Timeline()
    assert [timeline.stream_s(90_000.0 + frame, 10.0 + frame) for frame in range(3)] == [0.0, 1.0, 2.0]


def test_a_stretched_timeline_runs_on_from_where_it_is() -> None:
    timeline = Timeline()
    timeline.stream_s(5.0, 10.0)
    timeline.stream_s(5.5, 11.0)
    timeline.stretch(2.0)
    assert timeline.stream_s(6.0, 12.0) == pytest.approx(1.5)
    assert timeline.stream_s(6.25, 12.5) == pytest.approx(2.0)


@pytest.mark.parametrize("new_s", [0.0, 95_443.7, 1e9])
def test_a_jump_of_the_stamps_is_bridged_by_what_has_passed(new_s: float) -> None:
    timeline = Timeline()
    timeline.stream_s(500.0, 10.0)
    timeline.stream_s(500.04, 10.04)
    assert timeline.stream_s(new_s, 10.09) == pytest.approx(0.09)
    assert timeline.jumped
    assert timeline.stream_s(new_s + 0.04, 10.13) == pytest.approx(0.13)
    assert not timeline.jumped


@pytest.mark.parametrize("frame_s", [0.04, 0.2])
def test_the_reordering_of_b_frames_is_no_jump(frame_s: float) -> None:
    timeline = Timeline()
    stamps = [frame_s * frame for frame in (0, 4, 2, 1, 3, 8, 6, 5, 7)]
    assert [timeline.stream_s(7 + stamp, 1.0) for stamp in stamps] == pytest.approx(stamps)


def test_a_pause_of_the_network_is_no_jump() -> None:
    timeline = Timeline()
    timeline.stream_s(0.0, 10.0)
    assert timeline.stream_s(30.0, 40.0) == 30.0
    assert not timeline.jumped


def test_after_a_pause_a_step_is_still_one_frame() -> None:
    timeline = Timeline()
    for frame in range(10):
        timeline.stream_s(frame / 25, 10.0 + frame / 25)
    timeline.stream_s(1.0, 11.0)
    assert timeline.step_s == pytest.approx(0.04)


def test_packets_without_a_stamp_at_the_start_take_their_place_before_the_first_with_one() -> None:
    timeline = Timeline()
    assert timeline.stream_s(None, 10.0) == 0.0
    assert timeline.stream_s(777.0, 10.04) == pytest.approx(0.04)
    assert timeline.stream_s(777.04, 10.08) == pytest.approx(0.08)


def test_a_recording_was_taken_when_it_says() -> None:
    captured_at, captured_mono_s = FileClock(WALL).captured(12.5, 99.0)
    assert captured_at == WALL + timedelta(seconds=12.5)
    assert captured_mono_s == 99.0
