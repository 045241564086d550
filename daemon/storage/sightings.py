"""Settled sightings: each with what became of it and why."""

from collections.abc import Collection
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from daemon.domain.facts import Score
from daemon.domain.sighting import Outcome, SettledSighting
from daemon.storage.schema import in_view, sightings


class SightingRows:
    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def add(self, sighting: SettledSighting) -> None:
        await self._connection.execute(
            sa.insert(sightings).values(
                id=sighting.id,
                run_id=sighting.run_id,
                camera=sighting.camera,
                label=sighting.label,
                started_at=sighting.started_at,
                decided_at=sighting.decided_at,
                peak=sighting.peak,
                top=[[score.label, score.score] for score in sighting.top],
                outcome=sighting.outcome.value,
                reason=sighting.reason,
                merged_into=sighting.merged_into,
            )
        )

    async def get(self, sighting_id: UUID) -> SettledSighting:
        row = (await self._connection.execute(sa.select(sightings).where(sightings.c.id == sighting_id))).one()
        return _sighting(row)

    async def around(self, run_id: UUID, label: str, first: datetime, last: datetime) -> list[SettledSighting]:
        """The sightings of one label that started from `first` to `last`."""
        query = sa.select(sightings).where(
            sightings.c.run_id == run_id,
            sightings.c.label == label,
            sightings.c.started_at >= first,
            sightings.c.started_at <= last,
        )
        return [_sighting(row) for row in await self._connection.execute(query)]

    async def comes_into_view(self, sighting: SettledSighting) -> None:
        """It is counted, and before the camera."""
        row = {"run_id": sighting.run_id, "camera": sighting.camera, "label": sighting.label}
        await self._connection.execute(
            insert(in_view)
            .values(**row, sighting_id=sighting.id)
            .on_conflict_do_update(index_elements=list(row), set_={"sighting_id": sighting.id})
        )

    async def in_view(self, run_id: UUID, camera: str, label: str) -> SettledSighting | None:
        query = (
            sa.select(sightings)
            .join(in_view, in_view.c.sighting_id == sightings.c.id)
            .where(in_view.c.run_id == run_id, in_view.c.camera == camera, in_view.c.label == label)
        )
        row = (await self._connection.execute(query)).first()
        return _sighting(row) if row else None

    async def leave_view(self, run_id: UUID, camera: str, still: Collection[str]) -> None:
        """All labels but these are gone from before the camera."""
        await self._connection.execute(
            sa.delete(in_view).where(
                in_view.c.run_id == run_id, in_view.c.camera == camera, in_view.c.label.not_in(list(still))
            )
        )


def _sighting(row: sa.Row[Any]) -> SettledSighting:
    return SettledSighting(
        id=row.id,
        run_id=row.run_id,
        camera=row.camera,
        label=row.label,
        started_at=row.started_at,
        decided_at=row.decided_at,
        peak=row.peak,
        top=tuple(Score(label=label, score=score) for label, score in row.top),
        outcome=Outcome(row.outcome),
        reason=row.reason,
        merged_into=row.merged_into,
    )
