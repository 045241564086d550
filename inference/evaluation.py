"""How good the decisions are, measured against a truth file: precision, recall, count error, threshold curve."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from inference.decisions import Ask, Book, Decision
from inference.judging import ASKED, MISSED, NOTHING, Judged, Outcome, Verdict, judge
from inference.replay import EPOCH, Trace, naive, replay
from inference.sightings import Rules
from inference.truth import Truth, load_truth

__all__ = [
    "ASKED",
    "EPOCH",
    "MISSED",
    "NOTHING",
    "Curve",
    "CurvePoint",
    "Evaluation",
    "LabelCount",
    "Outcome",
    "Trace",
    "Truth",
    "Verdict",
    "curve",
    "evaluate",
    "load_truth",
    "naive",
    "replay",
]

TOLERANCE_S = 1.0  # a sighting starts with its first vote, and truth is marked by eye: each is off by some frames
SWEEP = (0.3, 0.4, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.92, 0.94, 0.96, 0.98, 0.99)


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelCount:
    """How often an item was there, and how often it was counted."""

    label: str
    true: int
    booked: int
    asked: int  # questions whose right answer counts it

    @property
    def error_booked(self) -> int:
        """Counted too often (above 0) or too seldom, before any question is answered."""
        return self.booked - self.true

    @property
    def error_settled(self) -> int:
        """The same once every question is answered rightly."""
        return self.booked + self.asked - self.true


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """Everything measured. A rate is NaN where there is nothing to divide by."""

    verdicts: tuple[Verdict, ...]  # every booking and question
    outcomes: tuple[Outcome, ...]  # every true item
    confusion: Mapping[tuple[str, str], int]  # (true label or (nothing), label booked, (asked) or (missed))
    ignored: Mapping[str, int]  # sightings ignored, by reason

    def count(self, judged: Judged) -> int:
        """How many bookings or questions were judged so."""
        return sum(verdict.judged == judged for verdict in self.verdicts)

    @property
    def items(self) -> int:
        return len(self.outcomes)

    @property
    def booked(self) -> int:
        return sum(isinstance(verdict.decision, Book) for verdict in self.verdicts)

    @property
    def false_bookings(self) -> int:
        """Bookings of what was not there, or was something else."""
        return self.count("false")

    @property
    def double_bookings(self) -> int:
        """Bookings of an item that another booking has counted already."""
        return self.count("double")

    @property
    def questions(self) -> int:
        return sum(isinstance(verdict.decision, Ask) for verdict in self.verdicts)

    @property
    def questions_right(self) -> int:
        """Questions that offer the right answer about an item not counted yet."""
        return self.count("asked_right")

    @property
    def missed(self) -> int:
        """Items neither booked rightly nor asked about with the right answer offered."""
        return sum(each.became not in (each.item.label, ASKED) for each in self.outcomes)

    @property
    def booked_not_asked(self) -> int:
        """Items that, says the truth file, must be asked about, and that were booked. Rightly, as precision goes."""
        return sum(each.item.expect == "ask" and each.became == each.item.label for each in self.outcomes)

    @property
    def precision(self) -> float:
        """The share of what was booked that was right. A double booking is wrong."""
        return _share(self.count("right"), self.booked)

    @property
    def recall_booked(self) -> float:
        """The share of the items that should be booked that was."""
        due = [each for each in self.outcomes if each.item.expect == "book"]
        return _share(sum(each.became == each.item.label for each in due), len(due))

    @property
    def recall(self) -> float:
        """The share of all items that was booked, or asked about with the right answer offered."""
        return _share(self.items - self.missed, self.items)

    @property
    def counts(self) -> tuple[LabelCount, ...]:
        """The count error of every label that was there or was booked."""
        true = Counter(each.item.label for each in self.outcomes)
        booked = Counter(each.decision.sighting.label for each in self.verdicts if isinstance(each.decision, Book))
        asked = Counter(each.item.label for each in self.outcomes if each.became == ASKED)
        return tuple(
            LabelCount(label=label, true=true[label], booked=booked[label], asked=asked[label])
            for label in sorted(true.keys() | booked.keys())
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CurvePoint:
    """What one value of one threshold leads to."""

    threshold: float
    evaluation: Evaluation


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """Each threshold swept while the other stays as the rules say."""

    rules: Rules
    auto_confirm: tuple[CurvePoint, ...]
    ask_above: tuple[CurvePoint, ...]


def evaluate(
    truth: Truth,
    decisions: Mapping[str, Sequence[Decision]],
    *,
    tolerance_s: float = TOLERANCE_S,
    origins: Mapping[str, datetime] | None = None,
) -> Evaluation:
    """Judge decisions, by recording as the truth file names it. Matching: see `judging`.

    origins: when each recording's first frame was, for decisions of a live run; else that of `replay` and `naive`.
    In a recording of the truth that has no decisions everything was missed. ValueError: one unknown to the truth.
    """
    if unknown := sorted(decisions.keys() - truth.recordings.keys()):
        raise ValueError(f"the truth file knows no recording {', '.join(unknown)}")
    verdicts: list[Verdict] = []
    outcomes: list[Outcome] = []
    confusion: Counter[tuple[str, str]] = Counter()
    ignored: Counter[str] = Counter()
    for name, recording in truth.recordings.items():
        made = decisions.get(name, ())
        acted = sorted((d for d in made if isinstance(d, Book | Ask)), key=lambda d: d.sighting.started_at)
        judged = judge(name, recording, acted, (origins or {}).get(name, EPOCH), tolerance_s)
        verdicts += judged.verdicts
        outcomes += judged.outcomes
        confusion += judged.confusion
        ignored.update(d.reason for d in made if not isinstance(d, Book | Ask))
    return Evaluation(
        verdicts=tuple(verdicts), outcomes=tuple(outcomes), confusion=dict(confusion), ignored=dict(ignored)
    )


def curve(
    truth: Truth,
    traces: Mapping[str, Trace],
    rules: Rules,
    candidates: frozenset[str],
    *,
    thresholds: Sequence[float] = SWEEP,
    tolerance_s: float = TOLERANCE_S,
) -> Curve:
    """Run the rules over stored scores at every threshold. ask_above is never taken above auto_confirm."""

    def point(threshold: float, swept: Rules) -> CurvePoint:
        made = {name: replay(trace, swept, candidates) for name, trace in traces.items()}
        return CurvePoint(threshold=threshold, evaluation=evaluate(truth, made, tolerance_s=tolerance_s))

    values = sorted(set(thresholds))
    confirm = [replace(rules, auto_confirm=value, ask_above=min(rules.ask_above, value)) for value in values]
    ask = [replace(rules, ask_above=value) for value in values if value <= rules.auto_confirm]
    return Curve(
        rules=rules,
        auto_confirm=tuple(point(each.auto_confirm, each) for each in confirm),
        ask_above=tuple(point(each.ask_above, each) for each in ask),
    )


def _share(part: int, whole: int) -> float:
    return part / whole if whole else math.nan
