"""Facts in commit order, written in the transaction that made them true."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from daemon.domain.catalogue import Item
from daemon.domain.facts import (
    OF_CAMERAS,
    OF_OBJECTS,
    AboutCamera,
    AboutItem,
    AboutObject,
    Fact,
    FactKind,
    Posted,
    Score,
    Seen,
)
from daemon.storage.schema import outbox


class OutboxRows:
    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def add(self, fact: Fact) -> Fact:
        """Store the fact; returns it with its place in the outbox."""
        statement = (
            sa.insert(outbox)
            .values(id=uuid4(), run_id=fact.run_id, kind=fact.kind.value, at=fact.at, body=_body(fact))
            .returning(outbox.c.seq)
        )
        return replace(fact, seq=(await self._connection.execute(statement)).scalar_one())

    async def of_run(self, run_id: UUID, *, after: int = 0, limit: int | None = None) -> list[Fact]:
        query = (
            sa.select(outbox).where(outbox.c.run_id == run_id, outbox.c.seq > after).order_by(outbox.c.seq).limit(limit)
        )
        return [_fact(row) for row in await self._connection.execute(query)]

    async def recent_runs(self, facts: int = 10_000) -> list[UUID]:
        """The runs that the latest facts are about, so that a start costs the same however long the history is."""
        latest = sa.select(outbox.c.run_id).order_by(outbox.c.seq.desc()).limit(facts).subquery()
        return list((await self._connection.execute(sa.select(latest.c.run_id).distinct())).scalars())


def _body(fact: Fact) -> dict[str, Any]:
    return {
        "surgery_id": fact.surgery_id,
        "timestamp": fact.timestamp.astimezone(UTC).isoformat() if fact.timestamp else None,
        "camera": fact.camera,
        "item_id": fact.item.item_id if fact.item else None,
        "item_name": fact.item.item_name if fact.item else None,
        "qty": fact.qty,
        "doctor_id": fact.doctor_id,
        "top": [[score.label, score.score] for score in fact.top],
        "reason": fact.reason,
        "posting_id": _text(fact.posting_id),
        "confirmation_id": _text(fact.confirmation_id),
        "sighting_id": _text(fact.sighting_id),
        "evidence": fact.evidence,
        "voids": _text(fact.voids),
    }


def _fact(row: sa.Row[Any]) -> Fact:
    kind = FactKind(row.kind)
    return Fact(
        kind=kind,
        run_id=row.run_id,
        surgery_id=row.body["surgery_id"],
        at=row.at,
        seq=row.seq,
        about=_about(kind, row.body),
    )


def _about(kind: FactKind, body: dict[str, Any]) -> AboutItem | AboutObject | AboutCamera | None:
    if kind in OF_OBJECTS:
        return _object(body)
    if kind in OF_CAMERAS:
        return AboutCamera(camera=body["camera"], why=body["reason"])
    return _item(body)


def _object(body: dict[str, Any]) -> AboutObject:
    return AboutObject(
        key=body["evidence"],
        why=body["reason"],
        sighting_id=_uuid(body["sighting_id"]),
        confirmation_id=_uuid(body["confirmation_id"]),
    )


def _item(body: dict[str, Any]) -> AboutItem | None:
    """None: it is about no item."""
    if body["item_id"] is None:
        return None
    sighting_id, posting_id = _uuid(body["sighting_id"]), _uuid(body["posting_id"])
    seen = posted = None
    if sighting_id is not None:
        top = tuple(Score(label=label, score=score) for label, score in body["top"])
        seen = Seen(sighting_id=sighting_id, camera=body["camera"], top=top)
    if posting_id is not None:
        # Facts of the first schema have no voids, and no evidence.
        voids = _uuid(body.get("voids"))
        posted = Posted(posting_id=posting_id, qty=body["qty"], doctor_id=body["doctor_id"], voids=voids)
    return AboutItem(
        item=Item(item_id=body["item_id"], item_name=body["item_name"]),
        timestamp=datetime.fromisoformat(body["timestamp"]),
        reason=body["reason"],
        seen=seen,
        posted=posted,
        confirmation_id=_uuid(body["confirmation_id"]),
        evidence=body.get("evidence", ""),
    )


def _text(value: UUID | None) -> str | None:
    return str(value) if value else None


def _uuid(value: str | None) -> UUID | None:
    return UUID(value) if value else None
