"""Which moments are wanted."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.sampler import Groups, Sampler


def sampled(fps: float, sample_fps: float, group: int, frames: int) -> list[int]:
    """The indexes of the frames that are taken from a regular stream."""
    sampler, groups, taken = Sampler(sample_fps), Groups(), []
    for index in range(frames):
        at_s = index / fps
        is_key = index % group == 0
        groups.packet(at_s, is_key=is_key)
        if is_key:
            sampler.key(at_s, groups.length_s)
        if sampler.is_due(at_s):
            sampler.taken(at_s)
            taken.append(index)
    return taken


@pytest.mark.parametrize(
    ("sample_fps", "group", "expected"),
    [
        (2.0, 50, [0, 13, 25, 38, 50, 59, 68, 77]),  # evenly until the group length is learnt, then drawn together
        (2.0, 25, [0, 13, 25, 34, 50, 59, 75, 84]),
        (1.0, 25, [0, 25, 50, 75]),
        (5.0, 50, list(range(0, 100, 5))),
        (2.0, 12, list(range(0, 100, 12))),  # 0.48 s: every key frame, 4 % more often than asked
        (2.0, 6, list(range(0, 100, 12))),  # every second key frame
        (2.0, 1000, [0, 13, 25, 38, 50, 63, 75, 88]),
        (25.0, 50, list(range(100))),
        (100.0, 50, list(range(100))),
    ],
)
def test_the_frames_that_are_taken(sample_fps: float, group: int, expected: list[int]) -> None:
    assert sampled(25.0, sample_fps, group, 100) == expected


@given(
    fps=st.sampled_from([10.0, 12.5, 15.0, 20.0, 25.0, 29.97, 30.0, 50.0]),
    sample_fps=st.sampled_from([0.5, 1.0, 2.0, 3.0, 4.0]),
    group=st.integers(1, 300),
)
def test_the_rate_is_kept_within_the_tolerance_and_does_not_drift(fps: float, sample_fps: float, group: int) -> None:
    seconds = 120
    taken = sampled(fps, sample_fps, group, round(seconds * fps))
    # A tenth off, counted from the other side, and one at either end.
    assert len(taken) == pytest.approx(seconds * sample_fps, abs=seconds * sample_fps * (1 / 0.9 - 1) + 2)


@given(group=st.integers(1, 120), sample_fps=st.sampled_from([1.0, 2.0, 4.0]))
def test_no_two_samples_are_further_apart_than_two_periods(group: int, sample_fps: float) -> None:
    taken = sampled(25.0, sample_fps, group, 1500)
    longest = max(after - before for before, after in pairwise(taken))
    assert longest <= 2 * 25 / sample_fps


def test_after_a_gap_the_next_frame_is_due_and_the_missed_ones_are_not_made_up() -> None:
    sampler = Sampler(2.0)
    sampler.taken(0.0)
    assert sampler.is_due(60.3)
    sampler.taken(60.3)
    assert not sampler.is_due(60.49)
    assert sampler.is_due(60.5)


def test_the_grid_finds_the_key_frames_again_wherever_they_fall() -> None:
    """The camera loses 0.4 s of a group: a sample has just been taken before the new key frame."""
    sampler, taken = Sampler(2.0), []
    keys_s = [0.0, 1.0, 2.0, *(2.6 + group for group in range(5))]
    for frame in range(round(7.6 * 25)):
        at_s = frame / 25
        if any(abs(at_s - key_s) < 0.001 for key_s in keys_s):
            sampler.key(at_s, 1.0 if at_s else None)
        if sampler.is_due(at_s):
            sampler.taken(at_s)
            taken.append(at_s)
    assert [key_s for key_s in keys_s[4:] if key_s not in [pytest.approx(at_s) for at_s in taken]] == []
    assert len(taken) <= 2 * 7.6 + 2


@given(
    group=st.integers(25, 250),
    cut=st.integers(1, 24),
    sample_fps=st.sampled_from([1.0, 2.0, 4.0]),
)
def test_a_key_frame_out_of_turn_opens_no_long_pause(group: int, cut: int, sample_fps: float) -> None:
    """An encoder puts in a key frame where the scene changes, and begins its group anew."""
    sampler, groups, taken = Sampler(sample_fps), Groups(), []
    for index in range(1500):
        is_key = index % group == 0 if index < 750 else (index - 750 - cut) % group == 0
        groups.packet(index / 25, is_key=is_key)
        if is_key:
            sampler.key(index / 25, groups.length_s)
        if sampler.is_due(index / 25):
            sampler.taken(index / 25)
            taken.append(index)
    assert max(after - before for before, after in pairwise(taken)) <= 2 * 25 / sample_fps + 1


def test_the_length_of_a_group_is_the_longest_of_the_last_few() -> None:
    groups = Groups()
    assert groups.end_s is None
    for key_s in (0.0, 1.0, 3.0, 4.0):
        groups.packet(key_s, is_key=True)
    assert groups.length_s == 2.0
    assert groups.end_s == 6.0
    groups.packet(5.0, is_key=True)
    groups.packet(6.0, is_key=True)
    assert groups.length_s == 1.0
