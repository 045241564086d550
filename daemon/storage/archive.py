"""The archive: a PostgreSQL in which the ledgers of several servers meet. It follows the local ledger, never leads it.

History is copied in batches of facts, oldest first. A batch is one transaction of the archive, and the place that the
copy has come to is in that same transaction: whatever is cut off half way, the next attempt goes on where the archive
itself says it stands. Rows are known by their UUID, so a batch that is copied twice is there once.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import psycopg
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool

from daemon.storage.database import Tx, Unit
from daemon.storage.history import History
from daemon.storage.schema import confirmations, ledgers, objects, outbox, postings, sightings, surgeries

BATCH_FACTS = 200
_CONNECT_TIMEOUT_S = 3
_STATEMENT_TIMEOUT_S = 10
# A copy of a batch or a read that takes longer stands on a connection that is dead, whatever TCP believes.
_COPY_TIMEOUT_S = 20.0
_READ_TIMEOUT_S = 5.0
_PING_TIMEOUT_S = 1.0


class ArchiveUnavailable(OSError):
    """The archive does not take or give rows right now."""

    hint = "Is the PostgreSQL of database.url up, reachable, and its password right? Nothing is lost meanwhile."


@dataclass(frozen=True, slots=True, kw_only=True)
class Copied:
    """seq: the fact up to which the archive now holds everything. more: whether facts were waiting behind the batch."""

    seq: int
    facts: int
    more: bool


class Archive:
    """The event loop's own way into it: copies history there, and reads what other servers put there."""

    def __init__(self, url: sa.URL) -> None:
        self.url = url
        self._engine = open_archive(url)

    async def close(self) -> None:
        await self._engine.dispose()

    @asynccontextmanager
    async def read(self) -> AsyncIterator[Tx]:
        """A consistent view. Raises ArchiveUnavailable."""
        with self._translated():
            async with asyncio.timeout(_READ_TIMEOUT_S), self._engine.connect() as connection:
                yield Tx(connection)
                await connection.rollback()

    async def check(self) -> None:
        """Raises ArchiveUnavailable when it does not answer at once."""
        with self._translated():
            async with asyncio.timeout(_PING_TIMEOUT_S), self._engine.connect() as connection:
                await connection.execute(sa.text("SELECT 1"))

    async def copy(self, unit: Unit, now: datetime) -> Copied:
        """Copy the next facts of the ledger, with all the rows they stand on. Raises ArchiveUnavailable."""
        async with unit.read() as tx:
            ledger, newest = await tx.history.ledger(), await tx.history.newest()
        with self._translated():
            async with asyncio.timeout(_COPY_TIMEOUT_S), self._engine.begin() as connection:
                stands_at = await _take(connection, ledger)
                # A ledger that came back from a backup counts on from there: what it holds now is compared by UUID.
                after = stands_at if stands_at <= newest else 0
                left_open = await _active(connection, ledger["id"])
                async with unit.read() as tx:
                    history = await tx.history.after(after, limit=BATCH_FACTS, also=left_open)
                if not history.facts and not history.surgeries and after == stands_at:
                    return Copied(seq=stands_at, facts=0, more=False)
                await _write(connection, history)
                seq = history.seq or after
                place = {"archived_seq": seq, "archived_at": now}
                await connection.execute(sa.update(ledgers).where(ledgers.c.id == ledger["id"]).values(place))
        return Copied(seq=seq, facts=len(history.facts), more=len(history.facts) == BATCH_FACTS)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except TimeoutError as error:
            raise ArchiveUnavailable("no answer in time") from error
        except sa.exc.TimeoutError as error:
            raise ArchiveUnavailable("all connections are busy") from error
        except (sa.exc.DBAPIError, psycopg.Error) as error:
            raise ArchiveUnavailable(self._plain(error)) from error

    def _plain(self, error: Exception) -> str:
        """The driver's first line, without the password wherever it may have got into it."""
        cause = getattr(error, "orig", None) or error
        text = next(iter(str(cause).strip().splitlines()), type(cause).__name__)
        return text.replace(self.url.password, "***") if isinstance(self.url.password, str) else text


def open_archive(url: sa.URL) -> AsyncEngine:
    return create_async_engine(
        url,
        poolclass=AsyncAdaptedQueuePool,
        pool_size=3,
        max_overflow=0,
        pool_timeout=2.0,
        pool_pre_ping=True,
        hide_parameters=True,
        connect_args={
            "connect_timeout": _CONNECT_TIMEOUT_S,
            "tcp_user_timeout": _STATEMENT_TIMEOUT_S * 1000,
            "application_name": "orwatch",
            "options": f"-c statement_timeout={_STATEMENT_TIMEOUT_S}s -c lock_timeout={_STATEMENT_TIMEOUT_S}s "
            f"-c idle_in_transaction_session_timeout={_COPY_TIMEOUT_S:.0f}s -c timezone=UTC",
        },
    )


async def _take(connection: AsyncConnection, ledger: dict[str, Any]) -> int:
    """This ledger's place in the archive, held for this transaction."""
    row = {key: ledger[key] for key in ("id", "host", "created_at")}
    await connection.execute(insert(ledgers).values(row).on_conflict_do_nothing())
    place = sa.select(ledgers.c.archived_seq).where(ledgers.c.id == ledger["id"]).with_for_update()
    return int((await connection.execute(place)).scalar_one())


async def _active(connection: AsyncConnection, ledger_id: UUID) -> list[UUID]:
    """Runs that the archive takes for active: their end may have left no fact."""
    query = sa.select(surgeries.c.id).where(
        surgeries.c.ledger_id == ledger_id, surgeries.c.state.in_(["starting", "running"])
    )
    return list((await connection.execute(query)).scalars())


async def _write(connection: AsyncConnection, history: History) -> None:
    """In the order that foreign keys ask for; a run that is over before the run that took its id."""
    over_first = sorted(history.surgeries, key=lambda row: (row["state"] in ("starting", "running"), row["started_at"]))
    await _put(connection, surgeries, over_first, replace=True)
    await _put(connection, sightings, sorted(history.sightings, key=lambda row: row["merged_into"] is not None))
    await _put(connection, postings, sorted(history.postings, key=lambda row: row["voids"] is not None))
    await _put(connection, confirmations, history.confirmations, replace=True)
    await _put(connection, objects, history.objects, replace=True)
    # The archive counts its facts itself: its order is theirs, its numbers are its own.
    facts = [{key: value for key, value in row.items() if key != "seq"} for row in history.facts]
    await _put(connection, outbox, facts)


async def _put(
    connection: AsyncConnection, table: sa.Table, rows: Iterable[dict[str, Any]], *, replace: bool = False
) -> None:
    clean = [{key: _storable(value) for key, value in row.items()} for row in rows]
    if not clean:
        return
    statement = insert(table)
    keys = [column.name for column in table.primary_key]
    if replace:
        changed = {name: statement.excluded[name] for name in clean[0] if name not in keys}
        await connection.execute(statement.on_conflict_do_update(index_elements=keys, set_=changed), clean)
    else:
        known_by = ["id"] if "id" in table.c else keys
        await connection.execute(statement.on_conflict_do_nothing(index_elements=known_by), clean)


def _storable(value: Any) -> Any:
    """PostgreSQL has no place for NUL in a text; one such name must not hold up all that comes after it."""
    return value.replace("\0", "\N{SYMBOL FOR NULL}") if isinstance(value, str) else value
