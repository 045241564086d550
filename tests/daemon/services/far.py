"""The archive that several servers share, with the faults it has, and what it must hold of each ledger."""

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import sqlalchemy as sa
from sqlalchemy.pool import NullPool

from daemon.storage import migrate
from daemon.storage.schema import confirmations, ledgers, objects, outbox, postings, sightings, surgeries
from tests.servers.postgres import Postgres
from tests.waiting import until

Row = dict[str, Any]
_TABLES = (surgeries, sightings, postings, confirmations, objects)
_NAMED = {"posting_id": postings, "confirmation_id": confirmations, "sighting_id": sightings, "voids": postings}


class Far:
    """One database for a whole run. Servers come in by a role of their own: it can be refused while we look on."""

    def __init__(self, server: Postgres) -> None:
        self._role = f"orwatch_{uuid4().hex[:12]}"
        ours = sa.make_url(server.database(self._role))
        self.url = ours.set(username=self._role)
        self._engine = sa.create_engine(ours, isolation_level="AUTOCOMMIT")
        self._connection = self._engine.connect()
        # One engine for all ledgers: it knows each statement already.
        self._path = Path()
        self._ledgers = sa.create_engine("sqlite://", creator=lambda: sqlite3.connect(self._path), poolclass=NullPool)
        self._say(f"CREATE ROLE {self._role} LOGIN")
        self._say(f"ALTER DATABASE {self._role} OWNER TO {self._role}")
        migrate.ensure(self.url)

    def close(self) -> None:
        self._connection.close()
        self._engine.dispose()

    def empty(self) -> None:
        self.answer()
        self._say("TRUNCATE ledgers CASCADE")

    def refuse(self) -> None:
        """Nobody comes in, and who was in is thrown out."""
        self._say(f"ALTER ROLE {self._role} NOLOGIN")
        self._cut("true")

    def answer(self) -> None:
        self._say(f"ALTER ROLE {self._role} LOGIN")

    @contextlib.contextmanager
    def stuck(self) -> Iterator[None]:
        """A copy comes as far as its facts, which are written last, and no further."""
        blocking = self._engine.execution_options(isolation_level="READ COMMITTED")
        with blocking.begin() as connection:
            connection.exec_driver_sql("LOCK TABLE outbox IN SHARE MODE")
            yield

    async def cuts_what_is_stuck(self) -> None:
        await until(lambda: self._cut("wait_event_type = 'Lock'"))

    def rows(self, path: Path) -> dict[str, list[Row]]:
        """What the archive has of this ledger."""
        return _rows(self._connection, self._ledger(path)[1]["id"])

    def holds(self, path: Path, facts: int, *, known: int) -> None:
        """The archive has this ledger's first facts, each once and in order, all that they stand on, and nothing else.

        known: how many of them the ledger has noted to be here.
        """
        here, place = self._ledger(path)
        there = _rows(self._connection, place["id"])
        assert [_but_seq(row) for row in there["outbox"]] == [_but_seq(row) for row in here["outbox"][:facts]]
        noted = [row for row in here["outbox"] if row["seq"] <= place["archived_seq"]]
        assert len(noted) == known
        for table in (sightings, postings):
            ours = {row["id"]: row for row in here[table.name]}
            assert there[table.name] == [ours.get(row["id"]) for row in there[table.name]], table.name
        for key, table in _NAMED.items():
            named = {row["body"][key] for row in there["outbox"]} - {None}
            assert named <= {str(row["id"]) for row in there[table.name]}, key
        if facts == len(here["outbox"]):
            for table in _TABLES:
                assert there[table.name] == here[table.name], table.name

    def _ledger(self, path: Path) -> tuple[dict[str, list[Row]], Row]:
        """Its rows, past all of our own reading, and the one that is the ledger's own."""
        self._path = path
        with self._ledgers.connect() as connection:
            (place,) = connection.execute(sa.select(ledgers))
            return _rows(connection, place.id), dict(place._mapping)

    def _cut(self, condition: str) -> int:
        cut = f"SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE usename = :role AND {condition}"
        return len(self._connection.execute(sa.text(cut), {"role": self._role}).all())

    def _say(self, statement: str) -> None:
        self._connection.exec_driver_sql(statement)


def _rows(connection: sa.Connection, ledger_id: UUID) -> dict[str, list[Row]]:
    found = {}
    of_ledger = sa.select(surgeries.c.id).where(surgeries.c.ledger_id == ledger_id)
    for table in (*_TABLES, outbox):
        is_ours = table.c.id.in_(of_ledger) if table is surgeries else table.c.run_id.in_(of_ledger)
        order = table.c.seq if table is outbox else next(iter(table.primary_key))
        rows = connection.execute(sa.select(table).where(is_ours).order_by(order))
        found[table.name] = [dict(row._mapping) for row in rows]
    return found


def _but_seq(fact: Row) -> Row:
    """The archive counts its facts itself."""
    return {key: value for key, value in fact.items() if key != "seq"}
