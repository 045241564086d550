"""Settled sightings: each with what became of it and why."""

from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from daemon.domain.facts import Score
from daemon.domain.sighting import Outcome, SettledSighting
from daemon.storage.schema import sightings


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
        """Of one label, started from `first` to `last`."""
        query = sa.select(sightings).where(
            sightings.c.run_id == run_id,
            sightings.c.label == label,
            sightings.c.started_at >= first,
            sightings.c.started_at <= last,
        )
        return [_sighting(row) for row in await self._connection.execute(query)]

    async def last_counted(self, run_id: UUID, camera: str) -> SettledSighting | None:
        """The latest sighting of this camera that was booked or asked."""
        query = (
            sa.select(sightings)
            .where(
                sightings.c.run_id == run_id,
                sightings.c.camera == camera,
                sightings.c.outcome.in_([Outcome.BOOKED, Outcome.ASKED, Outcome.MERGED]),
            )
            .order_by(sightings.c.started_at.desc())
            .limit(1)
        )
        row = (await self._connection.execute(query)).first()
        return _sighting(row) if row else None


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
