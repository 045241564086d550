"""What to do about each sighting: book it, ask about it or ignore it, once.

A peak of `auto_confirm` decides as soon as the sighting is open: a candidate is booked, anything else is ignored.
Otherwise it is decided when it closes, after `decide_s`, or when the surgery ends, whichever is first: asked about if
the peak reaches `ask_above` and at least one candidate stands among the top scores of its evidence frame, else ignored
with the reason. What was decided stays decided: after a question a higher peak books nothing, since the answer will.

A glimpse, what never agreed for long enough to open a sighting, is ignored once it is over, if its best frame reached
`ask_above`: below that it is the model's murmur, not an item.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, get_args

from inference.errors import ModelMismatch
from inference.sightings import OpenSighting, Rules, Score, Sighting, Vote, Window

_ZERO = timedelta(0)
OPTIONS_MAX = 3  # a spoken question with more answers is not remembered

Reason = Literal["not_candidate", "too_unsure", "no_candidate_option", "too_brief"]
REASONS: tuple[Reason, ...] = get_args(Reason)


@dataclass(frozen=True, slots=True)
class Book:
    """Sure, and a candidate: one consumption."""

    sighting: Sighting


@dataclass(frozen=True, slots=True)
class Ask:
    """Not sure: ask the nurse. options: 1 to 3 candidates, best first."""

    sighting: Sighting
    options: tuple[Score, ...]


@dataclass(frozen=True, slots=True)
class Ignore:
    """Nothing to book and nothing to ask, and why.

    not_candidate: sure, but not a candidate of this surgery. too_unsure: the peak is below ask_above.
    no_candidate_option: between the two, and no candidate stands among the top scores. too_brief: in view, and gone
    before its frames agreed.
    """

    sighting: Sighting
    reason: Reason


Decision = Book | Ask | Ignore


class Watcher:
    """The sightings of one camera in one surgery, and what is decided about them.

    Not thread-safe. Order of frames: a frame at the time of the last one or before it (by at most gap_max_s) adds
    nothing and is counted in `late_frames`, so one instant has one vote; one from further back means that the clock was
    set, and is the first after a gap. After `finish` nothing is decided any more.
    """

    def __init__(
        self,
        camera: str,
        labels: Sequence[str],
        rules: Rules,
        candidates: frozenset[str],
        *,
        on_opened: Callable[[Sighting], None] | None = None,
        on_closed: Callable[[Sighting], None] | None = None,
    ) -> None:
        """candidates: labels that may be booked. on_opened, on_closed: for a timeline; called in push and finish."""
        self.late_frames = 0
        self._camera = camera
        self._labels = tuple(labels)
        self._rules = rules
        self._candidates = candidates
        self._on_opened = on_opened
        self._on_closed = on_closed
        self._window = Window(rules)
        self._open: dict[str, OpenSighting] = {}
        self._glimpses: dict[str, OpenSighting] = {}  # of labels that are not open
        self._frame_at: datetime | None = None  # the last frame; None at the start and in a gap
        self._clock_at: datetime | None = None  # the latest time heard of, from frames or ticks
        self._is_finished = False
        self._gap_max = timedelta(seconds=rules.gap_max_s)
        self._absence = timedelta(seconds=rules.absence_s)
        self._decide = timedelta(seconds=rules.decide_s)

    @property
    def open_sightings(self) -> tuple[Sighting, ...]:
        """What is in front of the camera now."""
        return tuple(each.snapshot(has_ended=False) for each in self._open.values())

    def push(self, scores: Sequence[float], at: datetime) -> list[Decision]:
        """Add the scores of one frame, one per label; return what it settles. Raises ModelMismatch on another count."""
        if len(scores) != len(self._labels):
            raise ModelMismatch(
                f"{self._camera}: expected {len(self._labels)} scores, one per label, got {len(scores)}"
            )
        if self._is_finished:
            return []
        watched = _ZERO
        if self._frame_at is not None:
            step = at - self._frame_at
            if -self._gap_max <= step <= _ZERO:
                self.late_frames += 1
                return []
            if step < _ZERO or step > self._gap_max:
                self.gap()
            else:
                watched = step
        self._frame_at = at
        self._advance(at)
        vote = Vote.of(self._labels, scores, at)
        self._window.add(vote)
        self._see(vote, watched)
        decisions = self._close_absent()
        self._open_agreed(at)
        return decisions + self._settle()

    def tick(self, now: datetime) -> list[Decision]:
        """Time passed, perhaps without frames: decide what is due after decide_s.

        It never closes a sighting: that takes frames without the item.
        """
        if self._is_finished:
            return []
        self._advance(now)
        return self._settle()

    def gap(self) -> None:
        """The stream was interrupted: the window is emptied, open sightings wait for its return.

        A step of more than gap_max_s between two frames is noticed without this.
        """
        self._window.clear()
        self._frame_at = None
        for each in (*self._open.values(), *self._glimpses.values()):
            each.interrupt()

    def finish(self, now: datetime) -> list[Decision]:
        """The surgery ends: every open sighting closes and is decided now, and every glimpse is over."""
        decisions = self.tick(now)
        for label in list(self._open):
            decisions += self._close(label)
        for label in list(self._glimpses):
            decisions += self._pass_over(label)
        self._is_finished = True
        return decisions

    def _advance(self, to: datetime) -> None:
        """Let time pass for decide_s. Frames are a little older than ticks; a clock set back restarts."""
        if self._clock_at is None or self._clock_at - to > self._gap_max:
            self._clock_at = to
        elif to > self._clock_at:
            for each in self._open.values():
                each.passed += to - self._clock_at
            self._clock_at = to

    def _see(self, vote: Vote, watched: timedelta) -> None:
        """One frame in what it shows, and in everything that it does not show. watched: since the frame before."""
        seen = vote.label
        if seen is not None and seen not in self._rules.background and seen not in self._open:
            self._glimpses.setdefault(seen, OpenSighting(self._camera, seen, vote.at, self._rules))
        for each in (*self._open.values(), *self._glimpses.values()):
            if each.label == seen:
                each.vote(vote)
            else:
                each.miss(watched)

    def _close_absent(self) -> list[Decision]:
        decisions: list[Decision] = []
        for label in [label for label, each in self._open.items() if each.absent > self._absence]:
            decisions += self._close(label)
        for label in [label for label, each in self._glimpses.items() if each.absent > self._absence]:
            decisions += self._pass_over(label)
        return decisions

    def _open_agreed(self, at: datetime) -> None:
        for label, votes in self._window.agreed().items():
            if label in self._open:
                continue
            opened = OpenSighting(self._camera, label, votes[0].at, self._rules, passed=at - votes[0].at)
            for vote in votes:
                opened.vote(vote)
            glimpse = self._glimpses.pop(label)
            opened.absent, opened.is_missing = glimpse.absent, glimpse.is_missing
            self._open[label] = opened
            if self._on_opened:
                self._on_opened(opened.snapshot(has_ended=False))

    def _settle(self) -> list[Decision]:
        """Decide what is due among the open sightings."""
        due = [each for each in self._open.values() if not each.is_decided]
        return [
            self._decided(each, has_ended=False)
            for each in due
            if each.peak >= self._rules.auto_confirm or each.passed >= self._decide
        ]

    def _close(self, label: str) -> list[Decision]:
        closed = self._open.pop(label)
        self._spend(closed)
        decisions = [] if closed.is_decided else [self._decided(closed, has_ended=True)]
        if self._on_closed:
            self._on_closed(closed.snapshot(has_ended=True))
        return decisions

    def _pass_over(self, label: str) -> list[Decision]:
        over = self._glimpses.pop(label)
        self._spend(over)
        sighting = over.snapshot(has_ended=True)
        return [Ignore(sighting, "too_brief")] if sighting.top[0].score >= self._rules.ask_above else []

    def _spend(self, over: OpenSighting) -> None:
        # Its last vote lies ahead where the clock was set back since: no vote to come belongs to it.
        until = over.last_at if self._frame_at is None else min(over.last_at, self._frame_at)
        self._window.spend(over.label, until)

    def _decided(self, sighting: OpenSighting, *, has_ended: bool) -> Decision:
        assert not sighting.is_decided, "a sighting is decided once"
        sighting.is_decided = True
        return decide(sighting.snapshot(has_ended=has_ended), self._rules, self._candidates)


def decide(sighting: Sighting, rules: Rules, candidates: frozenset[str]) -> Decision:
    """The decision on a sighting that is due."""
    if sighting.peak >= rules.auto_confirm:
        return Book(sighting) if sighting.label in candidates else Ignore(sighting, "not_candidate")
    if sighting.peak < rules.ask_above:
        return Ignore(sighting, "too_unsure")
    options = tuple(
        each
        for each in sighting.top
        if each.label in candidates and each.label not in rules.background and each.score >= rules.option_min
    )
    return Ask(sighting, options[:OPTIONS_MAX]) if options else Ignore(sighting, "no_candidate_option")
