"""What happened in a surgery, in order: the outbox, the live feed and the consumption log all speak in facts."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from daemon.domain.catalogue import Item
from daemon.domain.ledger import Total


class FactKind(StrEnum):
    SURGERY_STARTED = "surgery_started"
    SURGERY_RESUMED = "surgery_resumed"
    SURGERY_ENDED = "surgery_ended"
    BOOKED = "booked"
    ASKED = "asked"
    CONFIRMED = "confirmed"
    REJECTED = "rejected"
    UNRESOLVED = "unresolved"
    IGNORED = "ignored"
    MERGED = "merged"
    VOIDED = "voided"
    OBJECT_STORED = "object_stored"
    OBJECT_LOST = "object_lost"
    OBJECT_EXPIRED = "object_expired"
    CAMERA_BLIND = "camera_blind"
    CAMERA_SEES = "camera_sees"


# The kinds that are about an object and about a camera; all others are about an item or the surgery.
OF_OBJECTS = frozenset({FactKind.OBJECT_STORED, FactKind.OBJECT_LOST, FactKind.OBJECT_EXPIRED})
OF_CAMERAS = frozenset({FactKind.CAMERA_BLIND, FactKind.CAMERA_SEES})


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    label: str
    score: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """The sighting: of which camera, and what the model took it for, best first."""

    sighting_id: UUID
    camera: str
    top: tuple[Score, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Posted:
    """The posting, and what it does to the tally: adds qty, or as a void takes it off; 0 where it does neither.

    doctor_id: who answers for that. voids: the posting that no longer counts.
    """

    posting_id: UUID
    qty: int = 0
    doctor_id: str = ""
    voids: UUID | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AboutItem:
    """timestamp: when it was used. seen, posted: None where nobody saw it, where nothing was posted.

    evidence: key of the object that shows it.
    """

    item: Item
    timestamp: datetime
    reason: str = ""
    seen: Seen | None = None
    posted: Posted | None = None
    confirmation_id: UUID | None = None
    evidence: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AboutObject:
    """The object of this key: it shows a sighting, or is the sound of a question. why: it is lost or gone."""

    key: str
    why: str
    sighting_id: UUID | None
    confirmation_id: UUID | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AboutCamera:
    """A camera of the surgery. why: it does not see; empty where it sees again."""

    camera: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """seq: its place in the outbox, 0 until committed. about: None of one that is about the surgery as a whole.

    Rows, events and lines of the log have the same columns for all kinds: what a fact says nothing of is empty there,
    and so it is here.
    """

    kind: FactKind
    run_id: UUID
    surgery_id: str
    at: datetime
    seq: int = 0
    about: AboutItem | AboutObject | AboutCamera | None = None

    @property
    def item(self) -> Item | None:
        return self.about.item if isinstance(self.about, AboutItem) else None

    @property
    def timestamp(self) -> datetime | None:
        return self.about.timestamp if isinstance(self.about, AboutItem) else None

    @property
    def seen(self) -> Seen | None:
        return self.about.seen if isinstance(self.about, AboutItem) else None

    @property
    def posted(self) -> Posted | None:
        return self.about.posted if isinstance(self.about, AboutItem) else None

    @property
    def camera(self) -> str:
        if isinstance(self.about, AboutCamera):
            return self.about.camera
        return self.seen.camera if self.seen else ""

    @property
    def top(self) -> tuple[Score, ...]:
        return self.seen.top if self.seen else ()

    @property
    def qty(self) -> int:
        return self.posted.qty if self.posted else 0

    @property
    def doctor_id(self) -> str:
        return self.posted.doctor_id if self.posted else ""

    @property
    def posting_id(self) -> UUID | None:
        return self.posted.posting_id if self.posted else None

    @property
    def voids(self) -> UUID | None:
        return self.posted.voids if self.posted else None

    @property
    def sighting_id(self) -> UUID | None:
        if isinstance(self.about, AboutObject):
            return self.about.sighting_id
        return self.seen.sighting_id if self.seen else None

    @property
    def confirmation_id(self) -> UUID | None:
        return self.about.confirmation_id if isinstance(self.about, AboutItem | AboutObject) else None

    @property
    def reason(self) -> str:
        if isinstance(self.about, AboutObject | AboutCamera):
            return self.about.why
        return self.about.reason if self.about else ""

    @property
    def evidence(self) -> str:
        if isinstance(self.about, AboutObject):
            return self.about.key
        return self.about.evidence if isinstance(self.about, AboutItem) else ""


def counted(facts: Iterable[Fact]) -> list[Total]:
    """What these facts add up to by item, first named first; what was voided is taken off again."""
    named: dict[str, Item] = {}
    totals: dict[str, int] = {}
    sign = {FactKind.BOOKED: 1, FactKind.CONFIRMED: 1, FactKind.VOIDED: -1}
    for fact in facts:
        if fact.item is not None and fact.kind in sign:
            named.setdefault(fact.item.item_id, fact.item)
            totals[fact.item.item_id] = totals.get(fact.item.item_id, 0) + sign[fact.kind] * fact.qty
    return [Total(item=named[item_id], quantity=quantity) for item_id, quantity in totals.items() if quantity]
