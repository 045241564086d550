"""Rows of the ledger: appended, read, never changed."""

from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from daemon.domain.catalogue import Item
from daemon.domain.ledger import Posting, PostingKind, Source
from daemon.storage.schema import postings


class LedgerRows:
    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def post(self, posting: Posting) -> None:
        await self._connection.execute(
            sa.insert(postings).values(
                id=posting.id,
                run_id=posting.run_id,
                kind=posting.kind.value,
                item_id=posting.item.item_id,
                item_name=posting.item.item_name,
                qty=posting.qty,
                doctor_id=posting.doctor_id,
                source=posting.source.value,
                timestamp=posting.timestamp,
                posted_at=posting.posted_at,
                sighting_id=posting.sighting_id,
                confirmation_id=posting.confirmation_id,
                voids=posting.voids,
                reason=posting.reason,
                request_key=posting.request_key,
            )
        )

    async def get(self, posting_id: UUID) -> Posting:
        return _posting((await self._connection.execute(sa.select(postings).where(postings.c.id == posting_id))).one())

    async def by_request_key(self, run_id: UUID, key: str) -> Posting | None:
        query = sa.select(postings).where(postings.c.run_id == run_id, postings.c.request_key == key)
        row = (await self._connection.execute(query)).first()
        return _posting(row) if row else None

    async def of_run(self, run_id: UUID) -> list[Posting]:
        """Every row of the run, oldest first."""
        query = sa.select(postings).where(postings.c.run_id == run_id).order_by(postings.c.posted_at, postings.c.id)
        return [_posting(row) for row in await self._connection.execute(query)]


def _posting(row: sa.Row[Any]) -> Posting:
    return Posting(
        id=row.id,
        run_id=row.run_id,
        kind=PostingKind(row.kind),
        item=Item(item_id=row.item_id, item_name=row.item_name),
        qty=row.qty,
        doctor_id=row.doctor_id,
        source=Source(row.source),
        timestamp=row.timestamp,
        posted_at=row.posted_at,
        sighting_id=row.sighting_id,
        confirmation_id=row.confirmation_id,
        voids=row.voids,
        reason=row.reason,
        request_key=row.request_key,
    )
