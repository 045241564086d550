"""Sightings and decisions, told as strips: one letter per frame, half a second apart.

Capital A, B, C: top-1 with 0.95. Small a, b, c: top-1 with 0.70, and the next label 0.20. A digit: A with that
many tenths. `_`: background. `~`: a second without frames, told by gap().
"""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.decisions import REASONS, Ask, Book, Ignore, Watcher, decide
from inference.errors import ModelMismatch
from inference.sightings import Score, Sighting, Vote, Window
from tests import rules
from tests.waiting import DEADLINE_S

START = datetime(2026, 11, 21, 8, 0, tzinfo=UTC)
LABELS = ("A", "B", "C", "none")
RULES = rules.sightings(background=frozenset({"none"}))
ALL = frozenset(LABELS)


def at(seconds):
    return START + timedelta(seconds=seconds)


def scores(letter):
    values = dict.fromkeys(LABELS, 0.0)
    if letter == "_":
        values["none"] = 0.97
    elif letter.isdigit():
        values["A"] = int(letter) / 10
    elif letter.isupper():
        values[letter] = 0.95
    else:
        values[letter.upper()] = 0.70
        values[LABELS[(LABELS.index(letter.upper()) + 1) % 3]] = 0.20
    return list(values.values())


class Told:
    """A watcher and everything it decided, with the second of each decision."""

    def __init__(self, rules=RULES, candidates=ALL, step_s=0.5):
        self.closed = []
        self.opened = []
        self.decisions = []
        self.now_s = 0.0
        self.step_s = step_s
        self.watcher = Watcher(
            "cam", LABELS, rules, candidates, on_opened=self.opened.append, on_closed=self.closed.append
        )

    def play(self, strip):
        for letter in strip:
            if letter == "~":
                self.watcher.gap()
                self.now_s += 1.0
            else:
                self._note(self.watcher.push(scores(letter), at(self.now_s)))
                self.now_s += self.step_s
        return self

    def tick(self, seconds):
        self._note(self.watcher.tick(at(seconds)))
        return self

    def finish(self):
        self._note(self.watcher.finish(at(self.now_s)))
        return self

    def _note(self, decisions):
        self.decisions += [(self.now_s, decision) for decision in decisions]

    def short(self):
        """Each decision as a word: what, label, second."""
        return " ".join(
            f"{type(d).__name__.lower()}:{d.sighting.label}@{second:g}"
            + (f"({d.reason})" if isinstance(d, Ignore) else "")
            for second, d in self.decisions
        )


@pytest.mark.parametrize(
    ("strip", "expected"),
    [
        # opening
        ("AA", ""),
        ("AAA", "book:A@1"),
        ("_AA", ""),  # 2 of 3 votes are more than the share, but no agreement of three frames
        ("__~_AA", ""),  # nor where a gap has emptied the window
        ("__AA", ""),  # 2 of 4
        ("__AAA", "book:A@2"),  # 3 of 5 is 0.6 exactly
        ("A_A_A", "book:A@2"),
        ("__A_A_A_", "book:A@3"),  # 3 of 5 again
        ("A__A__A__A", ""),
        ("ABABAB", "book:A@2 book:B@2.5"),
        ("______", ""),
        # one item, once
        ("AAAAAAAAAAAAAAAAAAAA", "book:A@1"),
        ("AAA_AAA", "book:A@1"),
        ("AAA_____AAA", "book:A@1"),  # 2.0 s seen without it: a hand over it
        ("AAA______AAA", "book:A@1 book:A@5.5"),  # 2.5 s: left and came back
        ("AAA________", "book:A@1"),
        ("AAA______AA", "book:A@1"),  # came back a moment ago
        ("AAA______AA______", "book:A@1 ignore:A@8(too_brief)"),  # came back for too short a time
        # a glimpse: in view, and gone before the window agreed
        ("__AA_____", ""),  # 2.0 s seen without it: it may still come back
        ("__AA______", "ignore:A@4.5(too_brief)"),
        ("__A______", "ignore:A@4(too_brief)"),
        ("__a______", "ignore:A@4(too_brief)"),
        ("__4______", ""),  # below ask_above: nothing that anybody would call an item
        ("__AA____AA____AA______", "ignore:A@10.5(too_brief)"),  # it flickered, and is told once
        ("__AA____AAA______", "book:A@5"),  # it opens after all
        ("BAAA______", "book:A@1.5 ignore:B@3(too_brief)"),
        ("__AA~~~~~~___", ""),  # a gap is no absence of a glimpse either
        ("AAABBB", "book:A@1 book:B@2.5"),
        # the peak comes later
        ("aaaA", "book:A@1.5"),
        ("aaaaaaaaaaaA", "book:A@5.5"),
        ("aaaaaaaaaaaaA", "book:A@6"),  # on the very frame
        ("aaaaaaaaaaaaaA", "ask:A@6"),  # decided after 6 s: what comes later books nothing
        ("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaAAAAAAA", "ask:A@6"),
        ("aaa_____", ""),  # 2.0 s seen without it: it may still come back
        ("aaa______", "ask:A@4"),  # with the next frame it cannot
        ("aaa______aaa______", "ask:A@4 ask:A@8.5"),
        # below
        ("444______", "ignore:A@4(too_unsure)"),
        ("555______", "ask:A@4"),
        ("999____", "book:A@1"),
        ("888______", "ask:A@4"),
        ("4444444444444", "ignore:A@6(too_unsure)"),
        # a gap empties the window; it neither opens nor closes
        ("AA~A", ""),
        ("AA~AAA", "book:A@3"),
        ("AAA~~~~~~A", "book:A@1"),
        ("AAA~~~~~~AAAA", "book:A@1"),  # still there when the picture is back: the same item
        ("AAA~~~~~~____AAA", "book:A@1"),  # 2.0 s of watched absence
        ("AAA~~~~~~______AAA", "book:A@1 book:A@11.5"),  # gone, and a new one
        ("AAA___~_A", "book:A@1"),  # absence waits in a gap: 1.5 s watched
        ("AAA___~____AAA", "book:A@1 book:A@7"),  # 1.5 s before it and 1.0 s after it
        ("aaa~~~~~~____", "ask:A@7.5"),  # the first frame after 6 s decides
    ],
)
def test_what_a_strip_of_frames_leads_to(strip, expected):
    assert Told().play(strip).short() == expected


@pytest.mark.parametrize(
    ("strip", "candidates", "expected"),
    [
        ("AAA", "B", "ignore:A@1(not_candidate)"),
        ("aaaA", "B", "ignore:A@1.5(not_candidate)"),
        ("aaa______", "B", "ask:A@4"),  # B stands second with 0.20
        ("aaa______", "C", "ignore:A@4(no_candidate_option)"),
        ("444______", "C", "ignore:A@4(too_unsure)"),
        ("888______", "", "ignore:A@4(no_candidate_option)"),
    ],
)
def test_candidates_decide_what_may_be_booked_and_asked(strip, candidates, expected):
    assert Told(candidates=frozenset(candidates)).play(strip).short() == expected


def test_every_reason_is_reached():
    strips = [("AAA", "B"), ("444______", "A"), ("888______", ""), ("__AA______", "A")]
    told = [Told(candidates=frozenset(c)).play(strip).decisions for strip, c in strips]
    assert {decision.reason for each in told for _, decision in each} == set(REASONS)


def test_a_sighting_tells_from_when_to_when_and_its_best_frame():
    told = Told().play("_aaAa______")
    (_, booked), (closed,) = told.decisions[0], told.closed
    assert isinstance(booked, Book)
    assert (booked.sighting.camera, booked.sighting.label) == ("cam", "A")
    assert (booked.sighting.started_at, booked.sighting.ended_at) == (at(0.5), None)
    assert (booked.sighting.peak, booked.sighting.evidence_at) == (0.95, at(1.5))
    assert booked.sighting.top == (Score("A", 0.95),)
    assert (closed.started_at, closed.ended_at) == (at(0.5), at(2.0))
    assert [each.started_at for each in told.opened] == [at(0.5)]


def test_votes_that_left_the_window_before_it_opened_are_not_its_start():
    told = Told().play("A____AAA")
    assert told.decisions[0][1].sighting.started_at == at(2.5)


def test_options_are_candidates_best_first_without_background_or_crumbs():
    watcher = Watcher("cam", LABELS, RULES, ALL)
    decisions = [d for n in range(13) for d in watcher.push([0.30, 0.06, 0.60, 0.04], at(n / 2))]
    assert decisions == [Ask(decisions[0].sighting, (Score("C", 0.6), Score("A", 0.3), Score("B", 0.06)))]
    watcher = Watcher("cam", LABELS, RULES, ALL)
    (asked,) = [d for n in range(13) for d in watcher.push([0.60, 0.04, 0.01, 0.35], at(n / 2))]
    assert asked.options == (Score("A", 0.6),)  # "none" stands second: background is no answer
    assert [each.label for each in asked.sighting.top] == ["A", "none", "B"]


def test_at_most_three_options_however_many_are_looked_at():
    labels = tuple("ABCDEF")
    seen = Sighting(
        camera="cam",
        label="A",
        started_at=at(0),
        ended_at=None,
        peak=0.5,
        top=tuple(Score(label, 0.5 if label == "A" else 0.1) for label in labels),
        evidence_at=at(0),
    )
    asked = decide(seen, RULES, frozenset(labels))
    assert [each.label for each in asked.options] == ["A", "B", "C"]


def test_time_without_frames_asks_but_closes_nothing():
    told = Told().play("aaa").tick(5.9)
    assert told.short() == ""
    told.tick(6.0)
    assert told.short().startswith("ask:A")
    assert told.watcher.open_sightings[0].ended_at is None
    told.tick(600.0)
    assert len(told.decisions) == 1
    assert told.closed == []


def test_a_frame_a_little_older_than_the_last_tick_still_votes():
    told = Told().play("aa").tick(1.1)
    told.play("A")
    assert told.short() == "book:A@1"


def test_the_end_of_the_surgery_decides_what_is_open_and_ends_everything():
    told = Told().play("aaa").finish()
    assert told.short() == "ask:A@1.5"
    assert [each.ended_at for each in told.closed] == [at(1.0)]
    told.play("BBBBBB").tick(100).finish()
    assert len(told.decisions) == 1


def test_the_end_of_the_surgery_decides_nothing_twice():
    assert Told().play("AAA").finish().short() == "book:A@1"
    assert Told().play("AA").finish().short() == "ignore:A@1(too_brief)"
    assert Told().play("44").finish().short() == ""


def test_one_instant_has_one_vote_and_a_late_frame_has_none():
    watcher = Watcher("cam", LABELS, RULES, ALL)
    for _ in range(5):
        assert watcher.push(scores("A"), at(0)) == []
    assert watcher.push(scores("A"), at(0.5)) == []
    assert watcher.push(scores("A"), at(0.2)) == []
    assert watcher.late_frames == 5
    assert len(watcher.push(scores("A"), at(1.0))) == 1


def test_a_clock_set_back_is_a_gap_and_the_watch_goes_on():
    told = Told().play("AAA")
    told.now_s = -3600.0
    told.play("AAAA____BBB")
    assert told.short() == "book:A@1 book:B@-3595"
    assert told.watcher.late_frames == 0


def test_after_a_clock_was_set_back_the_next_of_a_kind_is_another():
    told = Told().play("AAA")
    told.now_s = -600.0
    told.play("_______AAAA")
    assert told.short() == "book:A@1 book:A@-595.5"


@pytest.mark.parametrize("step_s", [0.1, 0.2, 0.36])
def test_behind_a_gap_three_frames_close_together_are_a_glimpse(step_s):
    away = "_" * 22
    told = Told(step_s=step_s).play("AAA" + away + "~AAA" + away)
    assert [getattr(decision, "reason", "booked") for _, decision in told.decisions] == ["too_brief", "too_brief"]


def test_a_clock_set_back_does_not_stop_the_question():
    told = Told().play("aaa")
    told.now_s = -3600.0
    told.play("aaaaaaaaaaaa")
    assert told.short() == "ask:A@-3595"  # 1.0 s before and 5.0 s after


def test_a_step_longer_than_gap_max_is_a_gap_without_being_told():
    told = Told(step_s=1.5).play("AAA")  # the window of 2 s never holds three
    assert told.short() == ""
    told = Told(rules.sightings(window_s=10.0, open_share=0.3), step_s=1.5).play("AAA")
    assert told.short() == "book:A@3"
    told = Told(rules.sightings(window_s=10.0), step_s=1.8).play("AAAAAA")
    assert told.short() == ""


def test_votes_of_a_closed_sighting_do_not_open_another():
    long = replace(RULES, window_s=10.0, absence_s=1.0, open_share=0.15)
    assert Told(long).play("AAA________").short() == "book:A@1"
    assert Told(long).play("AAA____AAA").short() == "book:A@1 book:A@4.5"


def test_votes_of_a_glimpse_that_is_over_do_not_open_a_sighting():
    long = replace(RULES, window_s=10.0, absence_s=1.0, open_share=0.25)  # 5 of 17 votes would be enough
    told = Told(long).play("________AA____AAA____")
    assert told.short() == "ignore:A@6.5(too_brief) ignore:A@10(too_brief)"


def test_scores_that_are_no_numbers_vote_for_nobody():
    watcher = Watcher("cam", LABELS, RULES, ALL)
    for n in range(10):
        assert watcher.push([float("nan"), float("inf"), float("-inf"), 0.0], at(n / 2)) == []
    assert watcher.open_sightings == ()


def test_a_float32_of_the_threshold_reaches_the_threshold():
    import numpy as np

    watcher = Watcher("cam", LABELS, RULES, ALL)
    row = np.array([0.9, 0.1, 0, 0], np.float32)
    assert [type(d) for n in range(3) for d in watcher.push(row, at(n / 2))] == [Book]


def test_another_number_of_scores_is_refused():
    with pytest.raises(ModelMismatch, match="cam: expected 4 scores, one per label, got 3"):
        Watcher("cam", LABELS, RULES, ALL).push([0.1, 0.2, 0.7], at(0))


@pytest.mark.parametrize(
    ("strip", "peak_frames", "expected"),
    [
        ("aaAaaa______", 1, "book:A@1"),
        ("aaAaaa______", 2, "ask:A@5.5"),  # one lucky frame: (0.70 + 0.95) / 2
        ("aaAAaa____", 2, "book:A@1.5"),
        ("aAbA____", 2, "book:A@1.5"),  # a hand in between does not break the run
        ("aaA~AAaa____", 3, "ask:A@6"),  # a gap does
        ("aaA~AAA", 3, "book:A@3.5"),
        ("AAA______", 4, "ask:A@4"),  # three votes are no full peak of four: (3 x 0.95 + 0) / 4
    ],
)
def test_the_peak_over_several_frames(strip, peak_frames, expected):
    told = Told(replace(RULES, peak_frames=peak_frames))
    assert told.play(strip).short() == expected


def test_the_evidence_of_a_peak_over_several_frames_is_its_best_frame():
    told = Told(replace(RULES, peak_frames=2)).play("8a98______")
    sighting = told.closed[0]
    assert (sighting.peak, sighting.evidence_at, sighting.top) == (0.85, at(1.0), (Score("A", 0.9),))


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"window_s": 0}, "window_s: expected seconds above 0, got 0"),
        ({"gap_max_s": float("nan")}, "gap_max_s"),
        ({"open_share": 1.2}, "open_share: expected 0..1, got 1.2"),
        ({"peak_frames": 0}, "peak_frames: expected 1 or more, got 0"),
        ({"auto_confirm": 0.4}, "ask_above 0.5 is above auto_confirm 0.4"),
    ],
)
def test_rules_that_make_no_sense_are_refused(wrong, words):
    with pytest.raises(ValueError, match=words):
        rules.sightings(**wrong)


# Any sequence of frames, ticks, gaps and clock jumps.
ROWS = st.lists(st.sampled_from([0.0, 0.04, 0.3, 0.5, 0.7, 0.9, 0.97, 1.0, float("nan")]), min_size=4, max_size=4)
STEPS = st.sampled_from([0.5, 0.5, 0.5, 0.5, 0.1, 0.0, 1.0, 1.8, -0.4, -100.0, 7.0])
EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("frame"), STEPS, ROWS),
        st.tuples(st.just("frame"), st.just(0.5), st.sampled_from("ABCabc_").map(scores)),
        st.tuples(st.just("frame"), st.just(0.5), st.sampled_from("Aaa").map(scores)),
        st.tuples(st.just("tick"), STEPS, st.none()),
        st.tuples(st.just("gap"), st.just(0.0), st.none()),
    ),
    max_size=60,
)
ANY_RULES = st.builds(
    rules.sightings,
    open_share=st.sampled_from([0.2, 0.6, 1.0]),
    window_frames_min=st.integers(1, 4),
    absence_s=st.sampled_from([0.5, 2.0]),
    auto_confirm=st.sampled_from([0.7, 0.9]),
    peak_frames=st.integers(1, 3),
    background=st.just(frozenset({"none"})),
)
CANDIDATES = st.frozensets(st.sampled_from(LABELS))


def run(events, rules, candidates):
    opened, closed, decisions, now_s = [], [], [], 0.0
    watcher = Watcher("cam", LABELS, rules, candidates, on_opened=opened.append, on_closed=closed.append)
    for kind, step, row in events:
        now_s += step
        if kind == "gap":
            watcher.gap()
        else:
            decisions += watcher.push(row, at(now_s)) if kind == "frame" else watcher.tick(at(now_s))
    decisions += watcher.finish(at(now_s))
    return opened, closed, decisions


def is_glimpse(decision):
    return isinstance(decision, Ignore) and decision.reason == "too_brief"


@settings(max_examples=150)
@given(EVENTS, ANY_RULES)
def test_whatever_comes_what_was_shown_is_told(events, rules):
    """Every label that once was the best of a frame with ask_above stands in a decision, as an item or a glimpse."""
    _, _, decisions = run(events, rules, ALL)
    shown, now_s, last_s = set(), 0.0, None
    for kind, step, row in events:
        now_s += step
        if kind != "frame":
            continue
        is_late = last_s is not None and -rules.gap_max_s <= now_s - last_s <= 0
        if not is_late:
            last_s = now_s
            vote = Vote.of(LABELS, row, at(now_s))
            if vote.label is not None and vote.label not in rules.background and vote.score >= rules.ask_above:
                shown.add(vote.label)
    assert shown <= {decision.sighting.label for decision in decisions}


@settings(max_examples=150)
@given(EVENTS, ANY_RULES, CANDIDATES)
def test_whatever_comes_each_sighting_is_decided_exactly_once(events, rules, candidates):
    opened, closed, decisions = run(events, rules, candidates)
    decisions = [each for each in decisions if not is_glimpse(each)]
    assert len(opened) == len(closed) == len(decisions)
    names = sorted((each.label, each.started_at) for each in opened)
    assert names == sorted((each.label, each.started_at) for each in closed)
    assert names == sorted((d.sighting.label, d.sighting.started_at) for d in decisions)


@settings(max_examples=150)
@given(EVENTS, ANY_RULES, CANDIDATES)
def test_whatever_comes_only_sure_candidates_are_booked_and_only_candidates_offered(events, rules, candidates):
    for decision in run(events, rules, candidates)[2]:
        sighting = decision.sighting
        assert sighting.label not in rules.background
        if isinstance(decision, Book):
            assert sighting.label in candidates
            assert sighting.peak >= rules.auto_confirm
        elif isinstance(decision, Ask):
            assert rules.ask_above <= sighting.peak < rules.auto_confirm
            assert 1 <= len(decision.options) <= 3
            assert {each.label for each in decision.options} <= candidates - rules.background
            assert all(each.score >= rules.option_min for each in decision.options)
            assert list(decision.options) == sorted(decision.options, key=lambda each: -each.score)


@settings(max_examples=50)
@given(EVENTS, ANY_RULES, CANDIDATES)
def test_the_same_frames_lead_to_the_same_decisions(events, rules, candidates):
    assert run(events, rules, candidates) == run(events, rules, candidates)


@settings(max_examples=100)
@given(st.text("ABab_", max_size=40))
def test_nothing_is_decided_without_agreement_in_a_window(strip):
    """Against a plain recount: before each opening, some window of 2 s must hold 60 % of its votes."""
    told = Told().play(strip).finish()
    votes = [None if letter == "_" else letter.upper() for letter in strip]
    for decision in (each for _, each in told.decisions if not is_glimpse(each)):
        windows = [votes[max(0, end - 4) : end + 1] for end in range(2, len(votes))]
        assert any(each.count(decision.sighting.label) / len(each) >= 0.6 for each in windows)


@settings(max_examples=50)
@given(st.lists(st.floats(0.001, 3), max_size=80))
def test_the_window_holds_no_more_than_its_length(steps):
    window, now_s, times = Window(RULES), 0.0, []
    for step in steps:
        now_s += step
        times.append(at(now_s))
        window.add(Vote(at(now_s), (Score("A", 1.0),)))
        assert len(window) == sum(times[-1] - each <= timedelta(seconds=2) for each in times)


def test_the_rules_import_nothing_but_the_standard_library():
    import subprocess
    import sys
    from pathlib import Path

    # the package's own __init__ brings numpy; the two files alone must not
    folder = Path(sys.modules["inference.sightings"].__file__).parent
    code = (
        "import sys, types\n"
        f"package = types.ModuleType('inference'); package.__path__ = [{str(folder)!r}]\n"
        "sys.modules['inference'] = package\n"
        "import inference.decisions\n"
        "print([name for name in ('numpy', 'pydantic', 'yaml', 'onnxruntime') if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=DEADLINE_S, check=True)
    assert done.stdout.strip() == "[]"
