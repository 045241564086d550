"""The append-only ledger: what a surgery used, and who says so.

A posting is never changed. A placeholder stands for a question nobody answered yet; the answer voids it and, if it is
yes, puts a consumption in its place. A correction is a posting, too: it adds a consumption that nobody saw, or voids
one that was wrong, and says who and why. A posting is voided at most once, and a void is final.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from daemon.domain.catalogue import Item


class PostingKind(StrEnum):
    CONSUMPTION = "consumption"
    PLACEHOLDER = "placeholder"
    VOID = "void"


class Source(StrEnum):
    VISION = "vision"
    TOUCH = "touch"
    CORRECTION = "correction"


@dataclass(frozen=True, slots=True, kw_only=True)
class Posting:
    """One row. timestamp: start of the sighting; posted_at: when it became true. voids: the posting this one ends.

    reason: of a correction. request_key: the client's own key of the request, so that sending it again posts nothing.
    """

    id: UUID
    run_id: UUID
    kind: PostingKind
    item: Item
    qty: int
    doctor_id: str
    source: Source
    timestamp: datetime
    posted_at: datetime
    sighting_id: UUID | None = None
    confirmation_id: UUID | None = None
    voids: UUID | None = None
    reason: str | None = None
    request_key: str | None = None


class DetailStatus(StrEnum):
    BOOKED = "booked"
    PENDING = "pending"


@dataclass(frozen=True, slots=True, kw_only=True)
class Detail:
    posting: Posting
    status: DetailStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class Total:
    item: Item
    quantity: int


def details(postings: Iterable[Posting], *, include_pending: bool = False) -> list[Detail]:
    """The postings that count now, in the order they were seen; placeholders only when asked for."""
    rows = list(postings)
    voided = {row.voids for row in rows if row.voids is not None}
    status = {PostingKind.CONSUMPTION: DetailStatus.BOOKED}
    if include_pending:
        status[PostingKind.PLACEHOLDER] = DetailStatus.PENDING
    alive = [row for row in rows if row.kind in status and row.id not in voided]
    return [
        Detail(posting=row, status=status[row.kind]) for row in sorted(alive, key=lambda r: (r.timestamp, r.posted_at))
    ]


def summary(rows: Sequence[Detail]) -> list[Total]:
    """Totals by item_id, named as its first detail is; pending details are listed but never counted."""
    named: dict[str, Item] = {}
    totals: dict[str, int] = {}
    for row in rows:
        item = row.posting.item
        named.setdefault(item.item_id, item)
        counted = row.posting.qty if row.status is DetailStatus.BOOKED else 0
        totals[item.item_id] = totals.get(item.item_id, 0) + counted
    return [Total(item=named[item_id], quantity=quantity) for item_id, quantity in totals.items()]
