"""However the samples of a recording lie, the same items are counted: the sampler's own times in front of the rules."""

from datetime import UTC, datetime, timedelta
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.decisions import Book, Ignore, Watcher
from streams.sampler import Groups, Sampler
from tests import rules

START = datetime(2026, 11, 21, 8, 0, tzinfo=UTC)
FPS = 25
RULES = rules.sightings(background=frozenset({"none"}))

RATES = st.sampled_from([2.0, 3.0, 4.0, 5.0, 7.5, 10.0])
GROUPS_S = st.sampled_from([0.48, 0.5, 1.0, 1.3, 2.0, 2.4, 4.0])
LOST = st.sampled_from([None, None, 10, 25])  # one picture of so many


@cache
def sampled_s(length_s, rate, group_s, first_key_s=0.0):
    """Seconds of the pictures that are taken out of 25 a second with a key frame every group_s."""
    sampler, groups, taken = Sampler(rate), Groups(), []
    key_s = first_key_s
    for number in range(int(length_s * FPS)):
        at_s = number / FPS
        is_key = at_s >= key_s
        if is_key:
            key_s += group_s
        groups.packet(at_s, is_key=is_key)
        if is_key:
            sampler.key(at_s, groups.length_s)
        if sampler.is_due(at_s):
            sampler.taken(at_s)
            taken.append(at_s)
    return taken


def counted(times_s, is_shown):
    """(bookings, glimpses) of one label over the frames at these seconds."""
    watcher = Watcher("cam", ("item", "none"), RULES, frozenset({"item"}))
    decisions = []
    for at_s in times_s:
        row = [0.99, 0.01] if is_shown(at_s) else [0.02, 0.98]
        decisions += watcher.push(row, START + timedelta(seconds=at_s))
    decisions += watcher.finish(START + timedelta(seconds=times_s[-1]))
    booked = sum(isinstance(each, Book) for each in decisions)
    return booked, sum(isinstance(each, Ignore) and each.reason == "too_brief" for each in decisions)


def shown_but(hands, from_s=0.0, to_s=float("inf")):
    return lambda at_s: from_s <= at_s < to_s and not any(begin <= at_s < begin + long for begin, long in hands)


@pytest.mark.parametrize("hand_s", [1.0, 2.0])
@pytest.mark.parametrize("group_s", [0.5, 2.0, 4.0])
@pytest.mark.parametrize("rate", [2.0, 3.0, 5.0, 10.0])
def test_an_item_that_hands_pass_over_is_one(rate, group_s, hand_s):
    for shift in range(4):  # wherever the hands fall between the key frames
        hands = [(20 + 25 * number + shift * group_s / 4, hand_s) for number in range(5)]
        assert counted(sampled_s(150, rate, group_s), shown_but(hands)) == (1, 0), shift


@st.composite
def stories(draw):
    """(items as (from, to), hands as (from, seconds), seconds in all): hands of up to absence_s, items apart."""
    items, hands, now_s = [], [], draw(st.floats(4, 8))
    for _ in range(draw(st.integers(1, 4))):
        from_s = now_s
        now_s += draw(st.floats(4, 9))
        for _ in range(draw(st.integers(0, 3))):
            long_s = draw(st.floats(0.05, RULES.absence_s))
            hands.append((now_s, long_s))
            now_s += long_s + draw(st.floats(4, 9))
        items.append((from_s, now_s))
        now_s += draw(st.floats(5.5, 12))
    return items, hands, now_s


@settings(max_examples=150)
@given(stories(), RATES, GROUPS_S, st.floats(0, 4), LOST, st.randoms(use_true_random=False))
def test_the_same_recording_gives_the_same_tally_however_it_is_sampled(story, rate, group_s, first_key_s, lost, random):
    items, hands, length_s = story
    times = sampled_s(length_s, rate, group_s, first_key_s)
    first_lost = random.randrange(lost) if lost else -1
    times = [each for number, each in enumerate(times) if not lost or number % lost != first_lost]
    times = sorted(each + random.uniform(-0.02, 0.02) for each in times)

    def is_shown(at_s):
        return any(shown_but(hands, *item)(at_s) for item in items)

    booked, _ = counted(times, is_shown)
    assert booked == len(items)


@settings(max_examples=100)
@given(RATES, GROUPS_S, st.floats(0, 14), st.floats(0.3, 0.9))
def test_what_was_in_view_too_briefly_is_told_at_every_rate(rate, group_s, from_s, long_s):
    times = sampled_s(30, rate, group_s)
    is_shown = shown_but([], from_s, from_s + long_s)
    seen = sum(map(is_shown, times))
    booked, glimpses = counted(times, is_shown)
    assert (booked, glimpses) == (0, 1 if seen else 0)
