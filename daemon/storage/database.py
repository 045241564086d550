"""The ledger database: how it is opened, and the transactions over it.

SQLite in WAL mode with `synchronous=FULL`: a commit that returned is on the disk. One writer at a time: a write
transaction takes SQLite's write lock at once (BEGIN IMMEDIATE), so two verbs never deadlock half way, and waits for
its turn in the process on a lock of ours. Readers see a snapshot and never wait.
"""

import asyncio
import os
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncTransaction, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool

from daemon.bridge import uninterrupted
from daemon.domain.facts import Fact
from daemon.storage.confirmations import ConfirmationRows
from daemon.storage.deliveries import DeliveryRows
from daemon.storage.history import HistoryRows
from daemon.storage.imaging import ImagingRows
from daemon.storage.ledger import LedgerRows
from daemon.storage.object_rows import ObjectRows
from daemon.storage.outbox import OutboxRows
from daemon.storage.sightings import SightingRows
from daemon.storage.surgeries import SurgeryRows

_BUSY_TIMEOUT_MS = 10_000


class LedgerUnavailable(OSError):
    """The ledger database does not take or give rows right now."""

    hint = "Look at the disk under database.ledger: full, read-only or failing?"


class Tx:
    """The rows of one transaction, and the facts it makes true."""

    def __init__(self, connection: AsyncConnection) -> None:
        self.surgeries = SurgeryRows(connection)
        self.ledger = LedgerRows(connection)
        self.confirmations = ConfirmationRows(connection)
        self.sightings = SightingRows(connection)
        self.outbox = OutboxRows(connection)
        self.objects = ObjectRows(connection)
        self.history = HistoryRows(connection)
        self.imaging = ImagingRows(connection)
        self.deliveries = DeliveryRows(connection)
        self.facts: list[Fact] = []

    async def emit(self, fact: Fact) -> Fact:
        """Store the fact now; it is told to others only after the commit."""
        stored = await self.outbox.add(fact)
        self.facts.append(stored)
        return stored


class Unit:
    """Begins transactions. after_commit is awaited, in commit order, with the facts of each."""

    def __init__(self, engine: AsyncEngine, after_commit: Callable[[list[Fact]], Awaitable[None]]) -> None:
        self._engine = engine
        self._after_commit = after_commit
        self._writing = asyncio.Lock()
        self.last_progress_mono_s = time.monotonic()
        self.last_commit_mono_s = float("-inf")

    async def close(self) -> None:
        """Close its connections, once nobody uses them any more."""
        await self._engine.dispose()

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[Tx]:
        """A write transaction: all of it, or nothing. Cancelled in its commit, it is committed and told first."""
        async with self._writing:
            with _translated():
                async with self._engine.connect() as connection:
                    await connection.execution_options(orwatch_write=True)
                    async with connection.begin() as transaction:
                        tx = Tx(connection)
                        yield tx
                        await uninterrupted(self._make_true(transaction, tx))

    async def _make_true(self, transaction: AsyncTransaction, tx: Tx) -> None:
        await transaction.commit()
        self.last_progress_mono_s = self.last_commit_mono_s = time.monotonic()
        if tx.facts:
            await self._after_commit(tx.facts)

    @asynccontextmanager
    async def read(self) -> AsyncIterator[Tx]:
        """A consistent view; nothing written through it survives."""
        with _translated():
            async with self._engine.connect() as connection, connection.begin() as transaction:
                yield Tx(connection)
                await transaction.rollback()

    async def check(self) -> None:
        """Raises LedgerUnavailable when the database does not answer."""
        with _translated():
            async with self._engine.connect() as connection:
                # From its cache, a connection that has just written would answer for a file that is gone.
                await connection.exec_driver_sql("PRAGMA shrink_memory")
                await connection.execute(sa.text("SELECT 1 FROM surgeries LIMIT 1"))
        self.last_progress_mono_s = time.monotonic()


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except sa.exc.DatabaseError as error:
        # A broken constraint or a wrong statement is a class of its own, and a bug of ours.
        if type(error) not in (sa.exc.DatabaseError, sa.exc.OperationalError):
            raise
        raise LedgerUnavailable(f"{error.orig}") from error


class _Connection(sqlite3.Connection):
    def close(self) -> None:
        """Give up the transaction first.

        SQLite keeps a closed connection, and its write lock, for as long as one of its cursors lives: one that a
        cancelled task left behind locked everybody out until the garbage was collected.
        """
        if self.in_transaction:
            self.rollback()
        super().close()


def open_engine(path: Path) -> AsyncEngine:
    path.parent.mkdir(parents=True, exist_ok=True)
    engine = create_async_engine(
        sa.URL.create("sqlite+aiosqlite", database=str(path)),
        poolclass=AsyncAdaptedQueuePool,
        pool_size=4,
        connect_args={"factory": _Connection},
    )
    sa.event.listen(engine.sync_engine, "connect", _prepare)
    sa.event.listen(engine.sync_engine, "begin", _begin)
    sa.event.listen(engine.sync_engine, "handle_error", _distrust)
    return engine


def open_reader(path: Path) -> AsyncEngine:
    """For looking at a ledger that another process may be writing; nothing can be written through it."""
    engine = create_async_engine(reading_url(path, "sqlite+aiosqlite"), poolclass=AsyncAdaptedQueuePool)
    sa.event.listen(engine.sync_engine, "connect", _prepare_reader)
    sa.event.listen(engine.sync_engine, "begin", _begin)
    return engine


def reading_url(path: Path, driver: str) -> sa.URL:
    """The URL of a ledger that is only looked at."""
    # Where nobody writes and the folder is not ours to write, SQLite could not make the files that WAL needs.
    has_writer = path.with_name(path.name + "-wal").exists() or os.access(path.parent, os.W_OK)
    uri = f"{path.resolve().as_uri()}?mode=ro" + ("" if has_writer else "&immutable=1")
    return sa.URL.create(driver, database=uri, query={"uri": "true"})


def _prepare_reader(connection: Any, _record: object) -> None:
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout={_BUSY_TIMEOUT_MS}")
    cursor.close()


def _prepare(connection: Any, _record: object) -> None:
    # The driver must not begin transactions on its own: it would begin them deferred.
    connection.isolation_level = None
    is_ready = False
    try:
        cursor = connection.cursor()
        for pragma in (
            "journal_mode=WAL",
            "synchronous=FULL",
            "foreign_keys=ON",
            f"busy_timeout={_BUSY_TIMEOUT_MS}",
        ):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()
        is_ready = True
    finally:
        if not is_ready:
            connection.close()  # what was never handed out is closed by nobody else


def _distrust(context: sa.ExceptionContext) -> None:
    """A damaged or replaced file is a bare DatabaseError, and other connections may still answer from their caches."""
    if type(context.original_exception) is sqlite3.DatabaseError:
        context.is_disconnect = True  # the pool opens every connection anew


def _begin(connection: sa.Connection) -> None:
    writes = connection.get_execution_options().get("orwatch_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
