"""What of the ledger is to be archived: the next facts, and every row they stand on."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from daemon.domain.facts import FactKind
from daemon.storage.schema import confirmations, ledgers, objects, outbox, postings, sightings, surgeries

Row = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """Rows as the tables have them. Closed: what a row refers to is here too, or was in an earlier batch."""

    facts: list[Row]
    surgeries: list[Row]
    sightings: list[Row]
    postings: list[Row]
    confirmations: list[Row]
    objects: list[Row]

    @property
    def seq(self) -> int:
        """The place of the last fact in the outbox; 0 without one."""
        return int(self.facts[-1]["seq"]) if self.facts else 0


class HistoryRows:
    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def ledger(self) -> Row:
        """The ledger's own row."""
        return dict((await self._connection.execute(sa.select(ledgers))).one()._mapping)

    async def newest(self) -> int:
        return int((await self._connection.execute(sa.select(sa.func.max(outbox.c.seq)))).scalar_one() or 0)

    async def waiting(self, after: int) -> tuple[int, datetime | None]:
        """How many facts are later than `after`, and since when the first of them waits."""
        later = outbox.c.seq > after
        counting = sa.select(sa.func.count()).select_from(outbox).where(later)
        count = (await self._connection.execute(counting)).scalar_one()
        first = sa.select(outbox.c.at).where(later).order_by(outbox.c.seq).limit(1)
        return int(count), (await self._connection.execute(first)).scalar_one_or_none()

    async def last_of(self, surgery_id: str) -> int:
        """The last fact of any run under this id; 0 where there is none."""
        query = (
            sa.select(sa.func.max(outbox.c.seq))
            .join(surgeries, surgeries.c.id == outbox.c.run_id)
            .where(surgeries.c.surgery_id == surgery_id)
        )
        return int((await self._connection.execute(query)).scalar_one() or 0)

    async def note(self, seq: int, at: datetime) -> None:
        """What the archive is known to hold. It may hold more: a note can be lost."""
        await self._connection.execute(sa.update(ledgers).values(archived_seq=seq, archived_at=at))

    async def after(self, seq: int, *, limit: int, also: Iterable[UUID]) -> History:
        """The next facts. also: runs to be copied whether a fact is about them or not."""
        facts = await self._rows(sa.select(outbox).where(outbox.c.seq > seq).order_by(outbox.c.seq).limit(limit))
        runs = {fact["run_id"] for fact in facts}
        asked = await self._rows(sa.select(confirmations).where(confirmations.c.run_id.in_(runs)))
        kept = await self._rows(sa.select(objects).where(objects.c.run_id.in_(runs)))
        ended = {fact["run_id"] for fact in facts if fact["kind"] == FactKind.SURGERY_ENDED}
        booked = await self._postings(facts, asked, ended)
        named = {
            *(UUID(fact["body"]["sighting_id"]) for fact in facts if fact["body"]["sighting_id"]),
            *(row["sighting_id"] for row in (*asked, *kept, *booked.values()) if row["sighting_id"]),
        }
        return History(
            facts=facts,
            surgeries=await self._rows(sa.select(surgeries).where(surgeries.c.id.in_(runs | set(also)))),
            sightings=await self._sightings(named, ended),
            postings=list(booked.values()),
            confirmations=asked,
            objects=kept,
        )

    async def _postings(self, facts: list[Row], asked: list[Row], ended: set[UUID]) -> dict[UUID, Row]:
        """Those that facts and questions name, those of the same sightings and answers, and what they void."""
        bodies = [fact["body"] for fact in facts]
        named = {UUID(body[key]) for body in bodies for key in ("posting_id", "voids") if body.get(key)}
        named |= {row["placeholder_id"] for row in asked}
        seen = {UUID(body["sighting_id"]) for body in bodies if body["sighting_id"]}
        answered = {UUID(body["confirmation_id"]) for body in bodies if body["confirmation_id"]}
        found = await self._keyed(
            postings,
            postings.c.id.in_(named)
            | postings.c.voids.in_(named)
            | postings.c.sighting_id.in_(seen)
            | postings.c.confirmation_id.in_(answered)
            | postings.c.run_id.in_(ended),
        )
        while missing := {row["voids"] for row in found.values() if row["voids"]} - found.keys():
            found |= await self._keyed(postings, postings.c.id.in_(missing))
        return found

    async def _sightings(self, named: set[UUID], ended: set[UUID]) -> list[Row]:
        found = await self._keyed(sightings, sightings.c.id.in_(named) | sightings.c.run_id.in_(ended))
        while missing := {row["merged_into"] for row in found.values() if row["merged_into"]} - found.keys():
            found |= await self._keyed(sightings, sightings.c.id.in_(missing))
        return list(found.values())

    async def _keyed(self, table: sa.Table, condition: sa.ColumnElement[bool]) -> dict[UUID, Row]:
        return {row["id"]: row for row in await self._rows(sa.select(table).where(condition))}

    async def _rows(self, query: sa.Select[Any]) -> list[Row]:
        return [dict(row._mapping) for row in await self._connection.execute(query)]
