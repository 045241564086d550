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


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    label: str
    score: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """seq: its place in the outbox, 0 until committed. timestamp: of the sighting, where the fact is about one.

    evidence: key of the object that shows it. voids: the posting that no longer counts.
    """

    kind: FactKind
    run_id: UUID
    surgery_id: str
    at: datetime
    seq: int = 0
    timestamp: datetime | None = None
    camera: str = ""
    item: Item | None = None
    qty: int = 0
    doctor_id: str = ""
    top: tuple[Score, ...] = ()
    reason: str = ""
    posting_id: UUID | None = None
    confirmation_id: UUID | None = None
    sighting_id: UUID | None = None
    evidence: str = ""
    voids: UUID | None = None


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
