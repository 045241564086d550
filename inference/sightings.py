"""When a camera's frames agree that an item is there: votes, the window, and sightings from first to last vote.

Each frame votes for its top-1 label. A label opens a sighting when its share of the votes of the last `window_s`
reaches `open_share` with at least `window_frames_min` votes; every frame counts in the share, whatever it votes for.
They have to stand for that share of `window_s`, too: a few frames close together behind a gap are no agreement.
A sighting closes once its label was absent for more than `absence_s`.

Absence is what was seen without the item: only the time between two frames in a row that both do not show it. What
passed between the last frame that shows it and the first that does not was not watched, nor was a gap in the stream. So
how the samples lie, close together behind a key frame and far apart before the next, decides nothing; and an
interrupted stream neither opens a sighting (its window is emptied) nor closes one: an item that is still there when the
picture is back is the same item, and one that is gone is closed after `absence_s` of pictures without it.

What votes for a label too seldom to open a sighting is a glimpse of it. It ends as a sighting does, and is told.

All times are arguments, and sums of them are exact. Scores are kept to six decimals: float32(0.9) reaches 0.9.
"""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Self

_ZERO = timedelta(0)
_DECIMALS = 6
TOP_K = 3  # the labels of a frame that are kept, best first
_ROUNDING = 1e-9  # 0.6 of 5 frames is 3 frames, whatever binary fractions say


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """Every threshold of sightings and decisions; `orwatch evaluate` decides their values, not taste."""

    window_s: float
    open_share: float  # of the votes in the window, to open a sighting
    window_frames_min: int
    absence_s: float  # between frames without a vote, to close it
    # Between two frames; a longer one is an interruption. Half-way between three and four frames at 2 a second, so that
    # jitter decides nothing; above absence_s it would let a hole in the stream close a sighting (double bookings).
    gap_max_s: float
    auto_confirm: float  # peak to book without a question
    ask_above: float  # peak to ask
    decide_s: float  # from the first vote to the question, if the item stays
    option_min: float  # score of a candidate to be offered as an answer
    peak_frames: int  # the peak is the best mean score of this many consecutive votes for the label
    background: frozenset[str]  # labels that never open a sighting

    def __post_init__(self) -> None:
        for name in ("window_s", "absence_s", "gap_max_s", "decide_s"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name}: expected seconds above 0, got {getattr(self, name)}")
        for name in ("open_share", "auto_confirm", "ask_above", "option_min"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}: expected 0..1, got {getattr(self, name)}")
        for name in ("window_frames_min", "peak_frames"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected 1 or more, got {getattr(self, name)}")
        if self.ask_above > self.auto_confirm:
            raise ValueError(f"ask_above {self.ask_above} is above auto_confirm {self.auto_confirm}")


@dataclass(frozen=True, slots=True)
class Score:
    """A label and its score in one frame."""

    label: str
    score: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """One item in front of one camera, from its appearance to its disappearance, as far as it is known."""

    camera: str
    label: str
    started_at: datetime  # the first vote that belongs to it
    ended_at: datetime | None  # the last one; None while it is open
    peak: float
    top: tuple[Score, ...]  # the best labels of the evidence frame, best first
    evidence_at: datetime  # the frame with the highest score within the peak


@dataclass(frozen=True, slots=True)
class Vote:
    """What one frame says: its best labels and when. No label: no score was above 0."""

    at: datetime
    top: tuple[Score, ...]

    @classmethod
    def of(cls, labels: Sequence[str], scores: Sequence[float], at: datetime) -> Self:
        """The vote of one frame. Of equal scores the lower index wins; a score that is not finite counts as 0."""
        finite = [score if math.isfinite(score) else 0.0 for score in map(float, scores)]
        best = sorted(range(len(finite)), key=lambda index: -finite[index])[:TOP_K]
        return cls(
            at, tuple(Score(labels[index], round(finite[index], _DECIMALS)) for index in best if finite[index] > 0)
        )

    @property
    def label(self) -> str | None:
        return self.top[0].label if self.top else None

    @property
    def score(self) -> float:
        return self.top[0].score if self.top else 0.0


class Window:
    """The votes of the last window_s of one camera."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._length = timedelta(seconds=rules.window_s)
        self._votes: deque[Vote] = deque()
        self._spent: dict[str, datetime] = {}  # votes up to here belong to a sighting that is closed

    def __len__(self) -> int:
        return len(self._votes)

    def add(self, vote: Vote) -> None:
        """Add one vote, later than all before; forget those older than window_s."""
        self._votes.append(vote)
        start = vote.at - self._length
        while self._votes[0].at < start:
            self._votes.popleft()
        self._spent = {label: at for label, at in self._spent.items() if at >= start}

    def clear(self) -> None:
        """Forget everything: agreement across a gap would be false."""
        self._votes.clear()
        self._spent.clear()

    def spend(self, label: str, until: datetime) -> None:
        """The votes for a label up to here belonged to a sighting that is closed; they cannot open another."""
        self._spent[label] = until

    def agreed(self) -> dict[str, list[Vote]]:
        """The labels whose share opens a sighting, with the votes that belong to it. Background never does."""
        by_label: dict[str, list[Vote]] = {}
        for vote in self._votes:
            label = vote.label
            if label is None or label in self._rules.background:
                continue
            spent = self._spent.get(label)
            if spent is None or vote.at > spent:
                by_label.setdefault(label, []).append(vote)
        enough = max(self._rules.open_share * len(self._votes) - _ROUNDING, self._rules.window_frames_min)
        return {label: votes for label, votes in by_label.items() if len(votes) >= enough and self._lasts(votes)}

    def _lasts(self, votes: list[Vote]) -> bool:
        """Whether they stand for their share of the whole window, of which a gap may have left little."""
        if len(votes) == 1:
            return True
        stands_for = (votes[-1].at - votes[0].at) * len(votes) / (len(votes) - 1)
        return stands_for.total_seconds() >= self._rules.open_share * self._rules.window_s - _ROUNDING


@dataclass(slots=True)
class OpenSighting:
    """A sighting that goes on, or a glimpse that may become one: its votes folded into a peak."""

    camera: str
    label: str
    started_at: datetime
    rules: Rules
    passed: timedelta = _ZERO  # since the first vote; runs through gaps
    absent: timedelta = _ZERO  # between the frames in a row that did not show it, up to the last one
    is_missing: bool = False  # the last frame did not show it
    is_decided: bool = False
    peak: float = 0.0
    last_at: datetime = field(init=False)
    evidence: Vote | None = None
    _run: deque[Vote] = field(init=False)

    def __post_init__(self) -> None:
        self.last_at = self.started_at
        self._run = deque(maxlen=self.rules.peak_frames)

    def vote(self, vote: Vote) -> None:
        """Add a vote for this label. Fewer than peak_frames votes are no full peak: the missing ones count as 0."""
        self.last_at = vote.at
        self.absent, self.is_missing = _ZERO, False
        self._run.append(vote)
        mean = round(sum(each.score for each in self._run) / self.rules.peak_frames, _DECIMALS)
        if mean > self.peak or self.evidence is None:
            self.peak = mean
            self.evidence = max(self._run, key=lambda each: each.score)

    def miss(self, watched: timedelta) -> None:
        """A frame that does not show it. watched: since the frame before; none in a gap."""
        if self.is_missing:
            self.absent += watched
        self.is_missing = True

    def interrupt(self) -> None:
        """A gap: votes on both sides of it are not consecutive."""
        self._run.clear()

    def snapshot(self, *, has_ended: bool) -> Sighting:
        """The sighting as it is known now."""
        assert self.evidence is not None, "a sighting opens with its votes"
        return Sighting(
            camera=self.camera,
            label=self.label,
            started_at=self.started_at,
            ended_at=self.last_at if has_ended else None,
            peak=self.peak,
            top=self.evidence.top,
            evidence_at=self.evidence.at,
        )
