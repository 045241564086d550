"""The append-only ledger: what a surgery used, and who says so.

A posting is never changed. A placeholder stands for a question nobody answered yet; the answer voids it and, if it is
yes, puts a consumption in its place. A correction is a posting, too: it adds a consumption that nobody saw, or voids
one that was wrong, and says who and why. A posting is voided at most once, and a void is final.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID, uuid4

from daemon.domain.catalogue import Item
from daemon.domain.errors import PostingAlreadyVoided, PostingNotFound, PostingNotVoidable


class PostingKind(StrEnum):
    CONSUMPTION = "consumption"
    PLACEHOLDER = "placeholder"
    VOID = "void"


class Source(StrEnum):
    VISION = "vision"
    TOUCH = "touch"
    VOICE = "voice"
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Correction:
    """Who corrects, and why. request_key: as in Posting."""

    doctor_id: str
    reason: str
    request_key: str | None = None

    def adding(self, item: Item, run_id: UUID, now: datetime) -> Posting:
        """A consumption that nobody saw; its time is when it was said."""
        return Posting(
            id=uuid4(),
            run_id=run_id,
            kind=PostingKind.CONSUMPTION,
            item=item,
            qty=1,
            doctor_id=self.doctor_id,
            source=Source.CORRECTION,
            timestamp=now,
            posted_at=now,
            reason=self.reason,
            request_key=self.request_key,
        )

    def voiding(self, posting_id: UUID, rows: Sequence[Posting], now: datetime) -> Posting:
        """The void of one of these rows. Raises PostingNotFound, PostingAlreadyVoided, PostingNotVoidable.

        The void names no sighting: the row that counted keeps it. A placeholder ends with the answer to its question,
        and an unanswered one counts nothing.
        """
        target = next((row for row in rows if row.id == posting_id), None)
        if target is None:
            raise PostingNotFound("没有这一条记账。")
        if any(row.voids == target.id for row in rows):
            raise PostingAlreadyVoided("该条记账已作废或已被答复取代，不能再次作废。")
        if target.kind is PostingKind.VOID:
            raise PostingNotVoidable("作废行本身不能作废；如需恢复，请补记一条。")
        if target.kind is PostingKind.PLACEHOLDER:
            raise PostingNotVoidable("该条是待确认的占位，不能作废，请答复对应的待确认项。")
        return Posting(
            id=uuid4(),
            run_id=target.run_id,
            kind=PostingKind.VOID,
            item=target.item,
            qty=target.qty,
            doctor_id=self.doctor_id,
            source=Source.CORRECTION,
            timestamp=target.timestamp,
            posted_at=now,
            confirmation_id=target.confirmation_id,
            voids=target.id,
            reason=self.reason,
            request_key=self.request_key,
        )


def voiders(rows: Iterable[Posting]) -> dict[UUID, UUID]:
    """Posting that no longer counts -> the posting that ended it."""
    return {row.voids: row.id for row in rows if row.voids is not None}


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
    voided = voiders(rows)
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
