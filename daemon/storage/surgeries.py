"""Runs of surgeries, and the cameras they hold."""

from collections.abc import Iterable
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from daemon.domain.surgery import Surgery, SurgeryState
from daemon.storage.schema import camera_holds, ledgers, surgeries


class SurgeryRows:
    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def latest(self, surgery_id: str) -> Surgery | None:
        """The latest run that came up, or is coming up, under this id."""
        query = (
            sa.select(surgeries)
            .where(surgeries.c.surgery_id == surgery_id, surgeries.c.state != SurgeryState.FAILED)
            .order_by(surgeries.c.started_at.desc())
            .limit(1)
        )
        row = (await self._connection.execute(query)).first()
        return _surgery(row) if row else None

    async def get(self, run_id: UUID) -> Surgery:
        row = (await self._connection.execute(sa.select(surgeries).where(surgeries.c.id == run_id))).one()
        return _surgery(row)

    async def active(self) -> list[Surgery]:
        query = sa.select(surgeries).where(surgeries.c.state.in_([SurgeryState.STARTING, SurgeryState.RUNNING]))
        return [_surgery(row) for row in await self._connection.execute(query.order_by(surgeries.c.started_at))]

    async def page(
        self, *, state: SurgeryState | None, cameras: frozenset[str] | None, limit: int, offset: int
    ) -> list[Surgery]:
        """Newest first. cameras: only runs that use no others."""
        query = sa.select(surgeries).order_by(surgeries.c.started_at.desc(), surgeries.c.id)
        if state is not None:
            query = query.where(surgeries.c.state == state)
        if cameras is not None:
            # SQLite's own function: the ledger is always SQLite.
            used = sa.func.json_each(surgeries.c.cameras).table_valued("value")
            query = query.where(~sa.select(used.c.value).where(used.c.value.not_in(cameras)).exists())
        return [_surgery(row) for row in await self._connection.execute(query.limit(limit).offset(offset))]

    async def save(self, surgery: Surgery) -> None:
        """Insert or replace the run; a run that is active holds its cameras, any other holds none."""
        values = {
            "surgery_id": surgery.surgery_id,
            "state": surgery.state.value,
            "cameras": list(surgery.cameras),
            "candidates": list(surgery.candidates),
            "started_at": surgery.started_at,
            "ended_at": surgery.ended_at,
        }
        changed = await self._connection.execute(
            sa.update(surgeries).where(surgeries.c.id == surgery.id).values(**values)
        )
        if changed.rowcount == 0:
            of_this_ledger = sa.select(ledgers.c.id).scalar_subquery()
            await self._connection.execute(
                sa.insert(surgeries).values(id=surgery.id, ledger_id=of_this_ledger, **values)
            )
        await self._connection.execute(sa.delete(camera_holds).where(camera_holds.c.run_id == surgery.id))
        if surgery.state.is_active:
            holds = [{"camera": camera, "run_id": surgery.id} for camera in surgery.cameras]
            await self._connection.execute(sa.insert(camera_holds), holds)

    async def holders(self, cameras: Iterable[str]) -> dict[str, str]:
        """Camera -> surgery_id of the active run that holds it."""
        query = (
            sa.select(camera_holds.c.camera, surgeries.c.surgery_id)
            .join(surgeries, surgeries.c.id == camera_holds.c.run_id)
            .where(camera_holds.c.camera.in_(list(cameras)))
        )
        return {row.camera: row.surgery_id for row in await self._connection.execute(query)}


def _surgery(row: sa.Row[Any]) -> Surgery:
    return Surgery(
        id=row.id,
        surgery_id=row.surgery_id,
        state=SurgeryState(row.state),
        cameras=tuple(row.cameras),
        candidates=tuple(row.candidates),
        started_at=row.started_at,
        ended_at=row.ended_at,
    )
