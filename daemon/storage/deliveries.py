"""Deliveries to webhooks: what is owed, in which order, and how it went."""

from collections.abc import Collection
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from daemon.domain.delivery import OWED, Delivery, DeliveryState
from daemon.storage.schema import imaging_deliveries

_ERROR_MAX = 500


class DeliveryRows:
    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def add(self, job_id: UUID, line: str, url: str, now: datetime) -> None:
        """One that waits for the end of its job, behind all that are there."""
        values = {"id": uuid4(), "job_id": job_id, "line": line, "url": url, "state": DeliveryState.WAITING.value}
        await self._connection.execute(
            sa.insert(imaging_deliveries).values(**values, attempts=0, error="", created_at=now, next_at=now)
        )

    async def waiting(self, job_id: UUID) -> bool:
        """Whether one waits for the end of that job."""
        query = sa.select(sa.func.count()).where(
            imaging_deliveries.c.job_id == job_id, imaging_deliveries.c.state == DeliveryState.WAITING
        )
        return bool((await self._connection.execute(query)).scalar_one())

    async def ready(self, job_id: UUID, body: str, now: datetime) -> None:
        """The job has ended: what waited for that may go."""
        await self._connection.execute(
            sa.update(imaging_deliveries)
            .where(imaging_deliveries.c.job_id == job_id, imaging_deliveries.c.state == DeliveryState.WAITING)
            .values(state=DeliveryState.READY.value, body=body, ready_at=now, next_at=now)
        )

    async def again(self, job_id: UUID, now: datetime) -> None:
        """The job goes on after it had ended: what was not told yet waits; what was told is followed by another."""
        known = await self.of(job_id)
        if not known:
            return
        last = known[-1]
        if last.state is DeliveryState.READY:
            await self._connection.execute(
                sa.update(imaging_deliveries)
                .where(imaging_deliveries.c.number == last.number)
                .values(state=DeliveryState.WAITING.value, body=None, ready_at=None, attempts=0, error="")
            )
        elif last.state is not DeliveryState.WAITING:
            await self.add(job_id, last.line, last.url, now)

    async def save(self, delivery: Delivery) -> bool:
        """How an attempt at one that was ready went; False where it is no longer, since its job goes on."""
        changed = await self._connection.execute(
            sa.update(imaging_deliveries)
            .where(
                imaging_deliveries.c.number == delivery.number,
                imaging_deliveries.c.state == DeliveryState.READY,
                imaging_deliveries.c.ready_at == delivery.ready_at,
            )
            .values(
                state=delivery.state.value,
                body=delivery.body,
                attempts=delivery.attempts,
                error=delivery.error[:_ERROR_MAX],
                next_at=delivery.next_at,
                ended_at=delivery.ended_at,
            )
        )
        return bool(changed.rowcount)

    async def next_due(self, besides: Collection[str]) -> Delivery | None:
        """The delivery that is due first, now or later, among those that are ready and first in their line.

        besides: lines that are being worked on.
        """
        here, before = imaging_deliveries, imaging_deliveries.alias("before")
        is_held_up = (
            sa.select(before.c.number)
            .where(before.c.line == here.c.line, before.c.number < here.c.number, before.c.state.in_(list(OWED)))
            .exists()
        )
        query = (
            sa.select(here)
            .where(here.c.state == DeliveryState.READY, here.c.line.not_in(list(besides)), ~is_held_up)
            .order_by(here.c.next_at, here.c.number)
            .limit(1)
        )
        row = (await self._connection.execute(query)).first()
        return _delivery(row) if row else None

    async def of(self, job_id: UUID) -> list[Delivery]:
        """In order."""
        query = (
            sa.select(imaging_deliveries)
            .where(imaging_deliveries.c.job_id == job_id)
            .order_by(imaging_deliveries.c.number)
        )
        return [_delivery(row) for row in await self._connection.execute(query)]

    async def owed(self) -> tuple[int, datetime | None]:
        """How many are ready, and since when the oldest of them is."""
        query = sa.select(sa.func.count(), sa.func.min(imaging_deliveries.c.ready_at)).where(
            imaging_deliveries.c.state == DeliveryState.READY
        )
        count, since = (await self._connection.execute(query)).one()
        return int(count), since


def _delivery(row: sa.Row[Any]) -> Delivery:
    fields = dict(row._mapping)
    fields["state"] = DeliveryState(row.state)
    return Delivery(**fields)
