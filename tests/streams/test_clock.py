"""Stamps to time: drift, jumps, wraps, bursts. Pure: time is an argument."""

import random
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.clock import FileClock, LiveClock, Timeline

WALL = datetime(2026, 11, 21, 8, 0, tzinfo=UTC)
FRAME_S = 0.04


def played(
    clock: LiveClock, seconds: float, *, speed: float = 1.0, delay_s: float = 0.02, start_s: float = 0.0
) -> float:
    """Frames of a camera whose clock runs at `speed`; returns the largest error of the captured time at the end."""
    rng = random.Random(5)
    errors = []
    for frame in range(round(seconds / FRAME_S)):
        true_s = start_s + frame * FRAME_S
        now_s = 1000 + true_s + delay_s + rng.expovariate(1 / 0.01)
        clock.arrived(true_s * speed, now_s)
        errors.append(abs(clock.captured(true_s * speed, now_s)[1] - (1000 + true_s + delay_s)))
    return max(errors[len(errors) // 2 :])


@pytest.mark.parametrize("speed", [1.0, 1.0005, 0.9995, 1.002, 0.998])
def test_a_camera_clock_that_is_off_does_not_pull_away(speed: float) -> None:
    assert played(LiveClock(WALL, 1000.0), 3600 / 4, speed=speed) < 0.1


def test_the_wall_clock_is_read_once() -> None:
    clock = LiveClock(WALL, 1000.0)
    clock.arrived(0.0, 1000.0)
    clock.arrived(60.0, 1060.0)
    captured_at, captured_mono_s = clock.captured(60.0, 1060.0)
    assert captured_at == WALL + timedelta(seconds=60)
    assert captured_mono_s == 1060.0


def test_a_burst_after_a_pause_keeps_the_time_at_which_it_was_filmed() -> None:
    clock = LiveClock(WALL, 1000.0)
    played(clock, 20)
    late_s = [clock.arrived(20 + frame * FRAME_S, 1021.5) for frame in range(30)]
    assert late_s[0] == pytest.approx(1.5, abs=0.05)
    assert clock.captured(20 + 10 * FRAME_S, 1021.5)[1] == pytest.approx(1020.4, abs=0.05)


def test_packets_buffered_while_connecting_do_not_shift_what_follows() -> None:
    clock = LiveClock(WALL, 1000.0)
    for frame in range(10):
        clock.arrived(frame * FRAME_S, 1000.4)
    assert clock.captured(9 * FRAME_S, 1000.4)[1] == pytest.approx(1000.4)
    assert clock.captured(8 * FRAME_S, 1000.4)[1] == pytest.approx(1000.4), "never before an earlier answer"


def test_stamps_that_lag_for_good_are_believed_after_a_while() -> None:
    clock = LiveClock(WALL, 1000.0)
    played(clock, 20)
    lags = [clock.arrived(20 + frame * FRAME_S, 1022 + frame * FRAME_S) for frame in range(150)]
    assert lags[0] > 1.9
    assert lags[-1] < 0.1


@given(
    st.lists(st.tuples(st.floats(-3, 3), st.floats(0, 2)), min_size=2, max_size=60),
)
def test_captured_times_never_go_back_and_are_never_in_the_future(steps: list[tuple[float, float]]) -> None:
    timeline, clock = Timeline(), LiveClock(WALL, 500.0)
    stamp_s, now_s, last_s = 100.0, 500.0, float("-inf")
    for stamp_step_s, now_step_s in steps:
        stamp_s, now_s = stamp_s + stamp_step_s, now_s + now_step_s
        stream_s = timeline.stream_s(stamp_s, now_s)
        assert clock.arrived(stream_s, now_s) >= -1e-9
        captured_at, captured_s = clock.captured(stream_s, now_s)
        assert last_s <= captured_s <= now_s
        assert captured_at.tzinfo is not None
        last_s = captured_s


def test_a_timeline_starts_at_zero_and_follows_the_stamps() -> None:
    timeline = Timeline()
    assert [timeline.stream_s(90_000.0 + frame, 10.0 + frame) for frame in range(3)] == [0.0, 1.0, 2.0]


@pytest.mark.parametrize("new_s", [0.0, 95_443.7, 1e9])
def test_a_jump_of_the_stamps_is_bridged_by_what_has_passed(new_s: float) -> None:
    timeline = Timeline()
    timeline.stream_s(500.0, 10.0)
    timeline.stream_s(500.04, 10.04)
    assert timeline.stream_s(new_s, 10.09) == pytest.approx(0.09)
    assert timeline.jumped
    assert timeline.stream_s(new_s + 0.04, 10.13) == pytest.approx(0.13)
    assert not timeline.jumped


def test_the_reordering_of_b_frames_is_no_jump() -> None:
    timeline = Timeline()
    stamps = [0.0, 0.12, 0.04, 0.08, 0.24, 0.16, 0.2]
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
