"""What one run must come to, in the plainest words: counts, questions, voids and facts, kept beside the ledger."""

from collections.abc import Collection
from dataclasses import dataclass, field
from uuid import UUID

from daemon.domain.facts import Fact, FactKind
from daemon.domain.sighting import Outcome
from daemon.services.correct import Add, Corrected, Void
from tests.daemon.rows import GAUZE, SUTURE

ITEM_OF = {"gauze": GAUZE, "suture": SUTURE}
FUSION_S = 5


@dataclass
class Shown:
    """A sighting that counts. taken: the cameras whose sighting of the same consumption it has taken in."""

    camera: str
    label: str
    second: int
    taken: set[str] = field(default_factory=set)


@dataclass
class Run:
    """What counts, what is asked, what was ended by what."""

    counts: dict[UUID, str] = field(default_factory=dict)
    asked: dict[UUID, UUID] = field(default_factory=dict)
    answered: list[UUID] = field(default_factory=list)
    voids: dict[UUID, UUID] = field(default_factory=dict)
    shown: list[Shown] = field(default_factory=list)
    requests: dict[str, tuple[Add | Void, Corrected]] = field(default_factory=dict)
    facts: list[FactKind] = field(default_factory=list)

    def ends(self) -> None:
        self.facts += [FactKind.UNRESOLVED] * len(self.asked) + [FactKind.SURGERY_ENDED]

    def sees(self, label: str, camera: str, outcome: Outcome, second: int, told: Fact) -> None:
        """As the rules say: within 5 s, the same item before the other camera is the same consumption, once each."""
        partner = next(
            (
                each
                for each in reversed(self.shown)
                if (each.label, each.camera != camera, camera in each.taken) == (label, True, False)
                and second - each.second <= FUSION_S
            ),
            None,
        )
        if outcome is Outcome.IGNORED:
            self.facts.append(FactKind.IGNORED)
        elif partner is not None:
            partner.taken.add(camera)
            self.facts.append(FactKind.MERGED)
        else:
            self.shown.append(Shown(camera, label, second))
            assert told.posting_id
            if outcome is Outcome.BOOKED:
                self.counts[told.posting_id] = ITEM_OF[label].item_id
                self.facts.append(FactKind.BOOKED)
            else:
                assert told.confirmation_id
                self.asked[told.confirmation_id] = told.posting_id
                self.facts.append(FactKind.ASKED)

    def answers(self, question: UUID, word: str | None, posting: UUID) -> None:
        self.voids[self.asked.pop(question)] = posting
        self.answered.append(question)
        if word is not None:
            self.counts[posting] = ITEM_OF[word].item_id
        self.facts.append(FactKind.CONFIRMED if word else FactKind.REJECTED)

    def corrects(self, wanted: Add | Void, corrected: Corrected, key: str | None) -> None:
        if isinstance(wanted, Add):
            self.counts[corrected.posting.id] = ITEM_OF[wanted.word].item_id
            self.facts.append(FactKind.BOOKED)
        else:
            del self.counts[wanted.posting_id]
            self.voids[wanted.posting_id] = corrected.posting.id
            self.facts.append(FactKind.VOIDED)
        if key:
            self.requests[key] = (wanted, corrected)

    def not_voidable(self, what: str, pick: int) -> Collection[UUID]:
        """Postings that a correction must refuse to void."""
        voids = [void for void in self.voids.values() if void not in self.counts and void not in self.voids]
        return {
            "ended": list(self.voids),
            "open": list(self.asked.values()),
            "void": voids,
            "nobody's": [UUID(int=pick)],
        }[what]
