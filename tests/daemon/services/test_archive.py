"""The archive follows the ledger: everything, in order, once, whatever breaks; and answers for what is not here."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa

from daemon.config import ConfigError, load
from daemon.domain.sighting import Outcome
from daemon.health import Health
from daemon.services.archive import Archiver
from daemon.services.observe import observe
from daemon.storage import migrate
from daemon.storage.archive import Archive, ArchiveUnavailable
from daemon.storage.database import Unit, open_engine
from daemon.storage.schema import metadata
from tests import rules
from tests.daemon.conftest import DaemonOn
from tests.daemon.rows import CANDIDATES, T0, at, saved, seen, surgery
from tests.servers.postgres import Postgres
from tests.waiting import DEADLINE_S, until

RULES = rules.observing(evidence=False)
SECRET = "secret-of-the-test"


class Followed:
    """A ledger with its archiver, as the daemon puts them together."""

    def __init__(self, path: Path, url: sa.URL) -> None:
        migrate.ensure(path)
        self.path, self.url = path, url
        self.engine = open_engine(path)
        self.unit = Unit(self.engine, self._committed)
        self.archive, self.health = Archive(url), Health()
        self.archiver = Archiver(self.unit, self.archive, partial(migrate.ensure, url), self.health)

    async def _committed(self, facts: list[Any]) -> None:
        self.archiver.wake(facts)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.archiver.run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])

    async def record(self, count: int, surgery_id: str = "100001", *, after_s: float = 0) -> UUID:
        run = await saved(self.unit, surgery(surgery_id, cameras=(surgery_id,)))
        for index in range(count):
            outcome = (Outcome.BOOKED, Outcome.ASKED, Outcome.IGNORED)[index % 3]
            second = after_s + 10 * index
            observation = seen(second, camera=surgery_id, outcome=outcome)
            await observe(self.unit, run, CANDIDATES, observation, RULES, at(second))
        return run.id

    async def caught_up(self) -> None:
        await until(lambda: self.is_ok and self.archiver.lag(T0).facts == 0)

    @property
    def is_ok(self) -> bool:
        return "archive" in self.health.components and self.health.components["archive"].ok

    def rows(self, *, of: str) -> dict[str, list[dict[str, Any]]]:
        """Every row of every table by its key, of "ledger" or "archive"."""
        engine = sa.create_engine(migrate._url(self.path if of == "ledger" else self.url))
        found = {}
        with engine.connect() as connection:
            for name, table in metadata.tables.items():
                if name in ("camera_holds", "in_view", "ledgers"):
                    continue
                key = table.c.id if "id" in table.c else next(iter(table.primary_key))
                rows = [dict(row._mapping) for row in connection.execute(sa.select(table).order_by(key))]
                found[name] = [{k: v for k, v in row.items() if k != "seq"} for row in rows]
            order = sa.select(metadata.tables["outbox"].c.id).order_by(metadata.tables["outbox"].c.seq)
            found["order"] = [{"id": fact} for fact in connection.execute(order).scalars()]
        engine.dispose()
        return found

    def same(self) -> None:
        ledger, archive = self.rows(of="ledger"), self.rows(of="archive")
        for name, rows in ledger.items():
            assert archive[name] == rows, name


@pytest.fixture
async def followed(tmp_path: Path, archive_url: sa.URL) -> AsyncIterator[Followed]:
    one = Followed(tmp_path / "ledger.db", archive_url)
    yield one
    await one.archive.close()
    await one.engine.dispose()


async def test_everything_is_copied_row_for_row_and_in_order(followed: Followed) -> None:
    await followed.record(300)
    async with followed.running():
        await followed.caught_up()
        followed.same()
        await followed.record(30, "100002", after_s=1)
        await followed.caught_up()
    followed.same()
    assert len(followed.rows(of="ledger")["outbox"]) >= 330
    assert followed.rows(of="ledger")["confirmations"]


async def test_a_killed_postgresql_in_mid_batch_loses_and_doubles_nothing(
    followed: Followed, postgres: Postgres
) -> None:
    await followed.record(450)
    async with followed.running():
        await until(lambda: followed.archiver.lag(T0).facts and followed.archiver.last_success_at is not None)
        postgres.kill()
        await followed.record(5, "100002")
        await until(lambda: followed.archiver.failures > 0)
        component = followed.health.components["archive"]
        assert not component.ok
        assert "facts wait" in component.why
        assert SECRET not in component.why
        assert followed.archiver.lag(at(1e6)).seconds > 0
        with pytest.raises(ArchiveUnavailable):
            await followed.archiver.check()
        postgres.start()
        await followed.caught_up()
        await followed.archiver.check()
    followed.same()


async def test_a_daemon_that_stops_in_mid_batch_goes_on_where_the_archive_stands(
    followed: Followed, archive_url: sa.URL
) -> None:
    await followed.record(450)
    copying = asyncio.create_task(followed.archiver.run())
    await until(lambda: followed.archiver.last_success_at is not None)
    copying.cancel()
    await asyncio.wait([copying])
    again = Followed(followed.path, archive_url)
    async with again.running():
        await again.caught_up()
    again.same()
    await again.archive.close()
    await again.engine.dispose()


async def test_a_lost_place_copies_everything_again_and_nothing_twice(followed: Followed) -> None:
    await followed.record(250)
    async with followed.running():
        await followed.caught_up()
    engine = sa.create_engine(followed.url)
    with engine.begin() as connection:
        connection.execute(sa.update(metadata.tables["ledgers"]).values(archived_seq=0))
    engine.dispose()
    async with followed.running():
        await followed.record(1, "100002")
        await followed.caught_up()
    followed.same()


async def test_two_ledgers_with_the_same_running_surgery_share_an_archive(
    followed: Followed, tmp_path: Path, archive_url: sa.URL
) -> None:
    other = Followed(tmp_path / "other.db", archive_url)
    await followed.record(6)
    await other.record(6)
    async with followed.running(), other.running():
        await followed.caught_up()
        await other.caught_up()
    ids = {row["id"] for one in (followed, other) for row in one.rows(of="ledger")["outbox"]}
    assert {row["id"] for row in followed.rows(of="archive")["outbox"]} == ids
    await other.archive.close()
    await other.engine.dispose()


async def test_a_frozen_postgresql_holds_up_no_booking(followed: Followed, postgres: Postgres) -> None:
    async with followed.running():
        await followed.record(3)
        await followed.caught_up()
        postgres.freeze()
        try:
            async with asyncio.timeout(DEADLINE_S):
                await followed.record(20, "100002")
            with pytest.raises(ArchiveUnavailable):
                await followed.archiver.flush("100002", within_s=0.2)
        finally:
            postgres.thaw()
        await followed.caught_up()
    followed.same()


async def test_an_unknown_schema_is_refused_with_the_command_that_mends_it(followed: Followed) -> None:
    migrate.ensure(followed.url)
    engine = sa.create_engine(followed.url)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0001'")
    async with followed.running():
        await followed.record(1)
        await until(lambda: followed.archiver.failures > 0)
        assert "orwatch db upgrade" in followed.health.components["archive"].why
        with engine.begin() as connection:
            connection.exec_driver_sql(f"UPDATE alembic_version SET version_num = '{migrate.head()}'")
        await followed.caught_up()
    engine.dispose()
    followed.same()


@pytest.mark.parametrize("url", ["mysql://x@h/db", "postgresql://u:hidden-word@h/db", "postgresql+psycopg://h:x/db"])
def test_another_database_is_refused_without_showing_it(url: str) -> None:
    with pytest.raises(ConfigError, match=r"database\.url: \(hidden\): expected postgresql\+psycopg://") as refused:
        load(None, {"database": {"url": url}})
    assert "hidden-word" not in str(refused.value)


# --- through the daemon ---


async def test_an_id_that_starts_anew_first_flushes_its_history(
    daemon_on: DaemonOn, archive_url: sa.URL, postgres: Postgres
) -> None:
    options = {
        "database": {"url": archive_url.render_as_string(hide_password=False)},
        "surgery": {"resume_window_h": 0},
        "cameras": {"nothing": "nothing"},
    }
    async with daemon_on(**options) as daemon:
        await daemon.started("123456", "nothing")
        archiver = daemon.parts.context.archiver
        assert archiver is not None
        await until(lambda: archiver.last_success_at is not None)
        assert (await daemon.http.get("/health")).status_code == 200
        postgres.stop()
        assert (await daemon.end("123456")).status_code == 200

        refused = await daemon.start("123456", "nothing")

        assert (refused.status_code, refused.json()["detail"]["code"]) == (503, "RECORDING_CANNOT_START")
        assert "归档" in refused.json()["detail"]["message"]
        assert (await daemon.get("123456")).json()["state"] == "ended"
        assert (await daemon.http.get("/health")).status_code == 503
        ready = (await daemon.http.get("/ready")).json()
        assert ready["archive_lag"]["facts"] > 0
        assert ready["archive_lag"]["last_error"]
        assert not ready["components"]["archive"]["ok"]
        assert "orwatch_archive_facts_waiting" in (await daemon.http.get("/metrics")).text
        # An id without history, and the camera that nothing holds.
        await daemon.started("123457", "nothing")
        assert (await daemon.end("123457")).status_code == 200
        postgres.start()

        await daemon.started("123456", "nothing")


async def test_a_second_server_answers_from_the_archive(
    daemon_on: DaemonOn, archive_url: sa.URL, postgres: Postgres, tmp_path: Path
) -> None:
    database = {"url": archive_url.render_as_string(hide_password=False)}
    paths = ("result", "ledger", "report.tsv", "report.csv", "")
    async with daemon_on(database=database, cameras={"gauze": "gauze"}) as first:
        await first.started("123456", "gauze")
        await first.heard("123456", "booked")
        assert (await first.end("123456")).status_code == 200
        archiver = first.parts.context.archiver
        assert archiver is not None
        await until(lambda: archiver.lag(T0).facts == 0)
        expected = {path: await first.get(f"123456/{path}".rstrip("/")) for path in paths}
    elsewhere = {**database, "ledger": str(tmp_path / "second.db")}
    async with daemon_on(database=elsewhere, cameras={"gauze": "gauze"}) as second:
        for path in paths:
            answer = await second.get(f"123456/{path}".rstrip("/"))
            assert (answer.status_code, answer.content) == (200, expected[path].content), path
        assert await second.heard("123456", "surgery_ended")
        assert (await second.get("999999/result")).json()["detail"]["code"] == "RESULT_NOT_READY"
        postgres.stop()
        away = await second.get("123456/result")
        assert (away.status_code, away.json()["detail"]["code"]) == (503, "RESULT_NOT_READY")
        assert "归档数据库" in away.json()["detail"]["message"]
        gone = await second.get("123456/ledger")
        assert (gone.status_code, gone.json()["detail"]["code"]) == (404, "SURGERY_NOT_FOUND")
        assert "归档数据库" in gone.json()["detail"]["message"]


async def test_the_daemon_starts_and_books_with_the_archive_away(
    daemon_on: DaemonOn, archive_url: sa.URL, postgres: Postgres
) -> None:
    postgres.stop()
    database = {"url": archive_url.render_as_string(hide_password=False)}
    async with daemon_on(database=database, cameras={"gauze": "gauze"}) as daemon:
        await daemon.started("123456", "gauze")
        await daemon.heard("123456", "booked")
        assert (await daemon.get("123456/result")).status_code == 200
        postgres.start()
        archiver = daemon.parts.context.archiver
        assert archiver is not None
        await until(lambda: archiver.last_success_at is not None and archiver.lag(T0).facts == 0)
