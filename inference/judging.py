"""Each booking and question of one recording, held against what really happened there.

A decision and a true item match when the item's label is the one booked (or stands among the options asked), and the
sighting overlaps the item's time widened by `tolerance_s` at both ends. Each matches one at most; bookings first, then
the pairs that overlap longest. So a second booking of one item is double, a booking that matches no item is false, and
a question about an item that is booked or asked already is asked again.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from inference.decisions import Ask, Book
from inference.truth import TruthItem, TruthRecording

NOTHING, ASKED, MISSED = "(nothing)", "(asked)", "(missed)"

Judged = Literal["right", "false", "double", "asked_right", "asked_without_answer", "asked_again", "asked_needlessly"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One booking or question, judged. item: the true one it is about, if any."""

    recording: str
    decision: Book | Ask
    judged: Judged
    item: TruthItem | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One true item and what became of it: its label when booked rightly, a wrong label, (asked) or (missed)."""

    recording: str
    item: TruthItem
    became: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """One recording, judged. confusion: (true label or (nothing), became) -> how often."""

    verdicts: tuple[Verdict, ...]
    outcomes: tuple[Outcome, ...]
    confusion: Counter[tuple[str, str]]


def judge(
    name: str, recording: TruthRecording, acted: Sequence[Book | Ask], origin: datetime, tolerance_s: float
) -> Judgement:
    """Judge one recording. origin: when its first frame was, on the clock of the decisions.

    Each item stands in the confusion once. Each double booking, and each false one that no unmatched item explains,
    stands in it once more, in the row of what was there.
    """
    match = _Match(recording.items, acted, origin, tolerance_s)
    became: dict[int, str] = {}
    confusion: Counter[tuple[str, str]] = Counter()
    verdicts = []
    for index, decision in enumerate(acted):
        judged, number = match.judged(index), match.about(index)
        item = None if number is None else recording.items[number]
        verdicts.append(Verdict(recording=name, decision=decision, judged=judged, item=item))
        label = decision.sighting.label
        if judged in ("right", "asked_right") and number is not None:
            became[number] = label if judged == "right" else ASKED
        elif judged == "false" and number is not None and number not in match.taken and number not in became:
            became[number] = label
        elif judged in ("false", "double"):
            confusion[item.label if item else NOTHING, label] += 1
    outcomes = tuple(
        Outcome(recording=name, item=item, became=became.get(number, MISSED))
        for number, item in enumerate(recording.items)
    )
    confusion.update((each.item.label, each.became) for each in outcomes)
    return Judgement(verdicts=tuple(verdicts), outcomes=outcomes, confusion=confusion)


class _Match:
    """Which decision belongs to which item: `taken` by item, `owned` by decision."""

    def __init__(
        self, items: Sequence[TruthItem], acted: Sequence[Book | Ask], origin: datetime, tolerance_s: float
    ) -> None:
        self._items = items
        self._acted = acted
        self.taken: dict[int, int] = {}
        self.owned: dict[int, int] = {}
        overlap_s = [[_overlap_s(each, item, origin) for item in items] for each in acted]
        # the items around each decision, the longest overlap first; below 0 is a distance
        self._around = [
            sorted((n for n, length_s in enumerate(row) if length_s >= -tolerance_s), key=lambda n: -row[n])
            for row in overlap_s
        ]
        pairs = [(index, number) for index in range(len(acted)) for number in self._named(index)]
        pairs.sort(key=lambda pair: (isinstance(acted[pair[0]], Ask), -overlap_s[pair[0]][pair[1]], pair))
        for index, number in pairs:
            if number not in self.taken and index not in self.owned:
                self.taken[number], self.owned[index] = index, number

    def about(self, index: int) -> int | None:
        """The item a decision is about: its own, else the nearest that it names, else the nearest."""
        if index in self.owned:
            return self.owned[index]
        return next(iter(self._named(index) or self._around[index]), None)

    def judged(self, index: int) -> Judged:
        if isinstance(self._acted[index], Book):
            return "right" if index in self.owned else "double" if self._named(index) else "false"
        if index in self.owned:
            return "asked_right"
        if self._named(index):
            return "asked_again"
        return "asked_without_answer" if self._around[index] else "asked_needlessly"

    def _named(self, index: int) -> list[int]:
        decision = self._acted[index]
        labels = (
            [decision.sighting.label] if isinstance(decision, Book) else [option.label for option in decision.options]
        )
        return [number for number in self._around[index] if self._items[number].label in labels]


def _overlap_s(decision: Book | Ask, item: TruthItem, origin: datetime) -> float:
    """How long sighting and item overlap; below 0, how far they are apart."""
    sighting = decision.sighting
    from_s = (sighting.started_at - origin).total_seconds()
    to_s = ((sighting.ended_at or sighting.evidence_at) - origin).total_seconds()
    return min(to_s, item.to_s) - max(from_s, item.from_s)
