"""What is kept beside the ledger, and how far each object has come."""

from collections.abc import Collection
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from daemon.domain.objects import KeptObject, ObjectKind, ObjectState
from daemon.domain.surgery import SurgeryState
from daemon.storage.schema import ledgers, objects, outbox, surgeries


class ObjectRows:
    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def add(self, kept: KeptObject) -> None:
        await self._connection.execute(sa.insert(objects).values(**_values(kept)))

    async def save(self, kept: KeptObject) -> None:
        await self._connection.execute(sa.update(objects).where(objects.c.key == kept.key).values(**_values(kept)))

    async def get(self, key: str) -> KeptObject | None:
        row = (await self._connection.execute(sa.select(objects).where(objects.c.key == key))).first()
        return _object(row) if row else None

    async def in_state(self, state: ObjectState, keys: Collection[str]) -> set[str]:
        """Those of these keys that are in that state."""
        query = sa.select(objects.c.key).where(objects.c.state == state, objects.c.key.in_(list(keys)))
        return set((await self._connection.execute(query)).scalars())

    async def of_run(self, run_id: UUID) -> set[tuple[UUID | None, ObjectKind]]:
        """What there is, or was, of each sighting."""
        query = sa.select(objects.c.sighting_id, objects.c.kind).where(objects.c.run_id == run_id)
        return {(row.sighting_id, ObjectKind(row.kind)) for row in await self._connection.execute(query)}

    async def next_waiting(self, after: KeptObject | None = None) -> KeptObject | None:
        """The one that has waited longest, or longest after that one."""
        later = (
            sa.true()
            if after is None
            else sa.tuple_(objects.c.created_at, objects.c.key)
            > sa.tuple_(sa.literal(after.created_at, objects.c.created_at.type), after.key)
        )
        query = (
            sa.select(objects)
            .where(objects.c.state == ObjectState.WAITING, later)
            .order_by(objects.c.created_at, objects.c.key)
            .limit(1)
        )
        row = (await self._connection.execute(query)).first()
        return _object(row) if row else None

    async def count(self, state: ObjectState) -> int:
        query = sa.select(sa.func.count()).select_from(objects).where(objects.c.state == state)
        return int((await self._connection.execute(query)).scalar_one())

    async def stored_bytes(self) -> int:
        query = sa.select(sa.func.coalesce(sa.func.sum(objects.c.size), 0)).where(objects.c.state == ObjectState.STORED)
        return int((await self._connection.execute(query)).scalar_one())

    async def oldest_deletable(self, *, archived_only: bool, limit: int) -> list[KeptObject]:
        """Stored objects of runs that are over; archived_only: and whose last fact is in the archive."""
        over = sa.select(surgeries.c.id).where(surgeries.c.state.not_in([SurgeryState.STARTING, SurgeryState.RUNNING]))
        if archived_only:
            last_seq = (
                sa.select(sa.func.coalesce(sa.func.max(outbox.c.seq), 0))
                .where(outbox.c.run_id == surgeries.c.id)
                .scalar_subquery()
            )
            over = over.join(ledgers, ledgers.c.id == surgeries.c.ledger_id).where(ledgers.c.archived_seq >= last_seq)
        query = (
            sa.select(objects)
            .where(objects.c.state == ObjectState.STORED, objects.c.run_id.in_(over))
            .order_by(objects.c.created_at, objects.c.key)
            .limit(limit)
        )
        return [_object(row) for row in await self._connection.execute(query)]


def _values(kept: KeptObject) -> dict[str, Any]:
    return {
        "key": kept.key,
        "run_id": kept.run_id,
        "kind": kept.kind.value,
        "content_type": kept.content_type,
        "state": kept.state.value,
        "size": kept.size,
        "sha256": kept.sha256,
        "sighting_id": kept.sighting_id,
        "confirmation_id": kept.confirmation_id,
        "created_at": kept.created_at,
        "changed_at": kept.changed_at,
        "why": kept.why[:500],
    }


def _object(row: sa.Row[Any]) -> KeptObject:
    return KeptObject(
        key=row.key,
        run_id=row.run_id,
        kind=ObjectKind(row.kind),
        content_type=row.content_type,
        state=ObjectState(row.state),
        size=row.size,
        sha256=row.sha256,
        sighting_id=row.sighting_id,
        confirmation_id=row.confirmation_id,
        created_at=row.created_at,
        changed_at=row.changed_at,
        why=row.why,
    )
