"""Alembic's history on both databases: up, down, with rows in it, and never half way."""

import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import pytest
import sqlalchemy as sa
from alembic import command

from daemon.storage import migrate
from daemon.storage.migrate import Database, SchemaUnknown
from daemon.storage.schema import metadata
from tests.waiting import DEADLINE_S, until_beside

ROOT = Path(__file__).parents[3]
RUN, LEFT = uuid4(), uuid4()


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Database:
    if request.param == "sqlite":
        return tmp_path / "ledger.db"
    found = request.getfixturevalue("archive_url")
    assert isinstance(found, sa.URL)
    return found


def test_from_nothing_to_head_and_back(database: Database) -> None:
    command.upgrade(migrate._config(database), "head")
    assert migrate.current(database) == migrate.head()
    assert migrate.differences(database) == []

    command.downgrade(migrate._config(database), "base")

    assert tables(database) == {"alembic_version"}


def test_the_first_schema_with_rows_becomes_the_newest_and_keeps_them(database: Database) -> None:
    config = migrate._config(database)
    command.upgrade(config, "0001")
    with begun(database) as connection:
        fill(connection)

    command.upgrade(config, "head")

    with begun(database) as connection:
        assert connection.exec_driver_sql("SELECT seq, kind FROM outbox ORDER BY seq").all() == [
            (1, "booked"),
            (2, "merged"),
            (3, "booked"),
        ]
        ids = connection.exec_driver_sql("SELECT id FROM outbox").scalars().all()
        assert len(set(ids)) == 3
        owners = connection.exec_driver_sql("SELECT DISTINCT ledger_id FROM surgeries").scalars().all()
        assert owners == connection.exec_driver_sql("SELECT id FROM ledgers").scalars().all()
        assert count(connection, "surgeries") == 2
        assert count(connection, "postings") == 1
    assert migrate.differences(database) == []

    command.downgrade(config, "0001")

    with begun(database) as connection:
        assert (count(connection, "outbox"), count(connection, "surgeries"), count(connection, "postings")) == (3, 2, 1)


def test_what_the_history_makes_and_what_the_models_make_refuse_the_same(
    database: Database, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    command.upgrade(migrate._config(database), "head")
    other: Database
    if isinstance(database, Path):
        other = tmp_path / "models.db"
    else:
        other = sa.make_url(request.getfixturevalue("postgres").database(f"models_{uuid4().hex[:12]}"))
    with begun(other) as connection:
        metadata.create_all(connection)

    with begun(database) as migrated, begun(other) as modelled:
        assert rules(migrated) == rules(modelled)
        assert any("active" in rule for rule in rules(migrated))


def test_a_history_that_breaks_half_way_leaves_everything_as_it_was(database: Database) -> None:
    config = migrate._config(database)
    command.upgrade(config, "0001")
    with begun(database) as connection:
        fill(connection)
        # What the end of the next migration wants to make is there already, so it breaks there.
        connection.exec_driver_sql("CREATE TABLE objects (stray INTEGER)")
        before = rules(connection)

    with pytest.raises(sa.exc.DBAPIError):
        command.upgrade(config, "head")

    assert migrate.current(database) == "0001"
    with begun(database) as connection:
        assert rules(connection) == before
        assert count(connection, "outbox") == 3
        connection.exec_driver_sql("DROP TABLE objects")
    migrate.upgrade(database)
    assert migrate.current(database) == migrate.head()


def test_an_archive_gets_no_row_for_itself(archive_url: sa.URL) -> None:
    migrate.ensure(archive_url)

    with begun(archive_url) as connection:
        assert count(connection, "ledgers") == 0


def test_an_archive_of_a_later_program_is_refused_without_its_password(archive_url: sa.URL) -> None:
    migrate.ensure(archive_url)
    with begun(archive_url) as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")

    with pytest.raises(SchemaUnknown, match="9999 is unknown to this orwatch") as refused:
        migrate.ensure(archive_url)

    assert "orwatch db upgrade" in refused.value.hint
    assert "secret-of-the-test" not in str(refused.value)


def test_servers_that_upgrade_one_archive_at_once_do_not_collide(archive_url: sa.URL) -> None:
    url = archive_url.render_as_string(hide_password=False)
    program = f"from daemon.storage import migrate; migrate.upgrade(migrate.archive_at({url!r}))"
    started = [sys.executable, "-c", program]
    waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"  # noqa: E501
    with begun(archive_url) as connection:
        # The one of migrations/env.py, as another server holds it in the middle of an upgrade.
        connection.exec_driver_sql("SELECT pg_advisory_xact_lock(7306087)")
        servers = [subprocess.Popen(started, cwd=ROOT, stderr=subprocess.PIPE, text=True) for _ in range(3)]
        until_beside(servers[0], lambda: connection.exec_driver_sql(waiting).scalar_one() == 3)
    told = [server.communicate(timeout=DEADLINE_S)[1] for server in servers]

    assert [server.returncode for server in servers] == [0, 0, 0], told
    assert migrate.differences(archive_url) == []


def fill(connection: sa.Connection) -> None:
    """Two runs; a booked sighting with its posting, one merged into it, and three facts."""
    uuid, moment = (str, "2026-01-01 00:00:00")
    if connection.dialect.name == "sqlite":
        uuid = lambda value: value.hex  # noqa: E731
    first, second, posted = uuid4(), uuid4(), uuid4()
    for run, surgery_id, state in ((RUN, "100001", "running"), (LEFT, "100002", "ended")):
        connection.exec_driver_sql(
            "INSERT INTO surgeries (id, surgery_id, state, cameras, candidates, started_at) "
            f"VALUES ('{uuid(run)}', '{surgery_id}', '{state}', '[]', '[]', '{moment}')"
        )
    for sighting, outcome, into in ((first, "booked", "NULL"), (second, "merged", f"'{uuid(first)}'")):
        connection.exec_driver_sql(
            "INSERT INTO sightings (id, run_id, camera, label, started_at, decided_at, peak, top, outcome, reason, "
            f"merged_into) VALUES ('{uuid(sighting)}', '{uuid(RUN)}', 'a', 'gauze', '{moment}', '{moment}', 0.9, '[]', "
            f"'{outcome}', '', {into})"
        )
    connection.exec_driver_sql(
        "INSERT INTO postings (id, run_id, kind, item_id, item_name, qty, doctor_id, source, timestamp, posted_at, "
        f"sighting_id) VALUES ('{uuid(posted)}', '{uuid(RUN)}', 'consumption', 'x', 'x', 1, 'd', 'vision', '{moment}', "
        f"'{moment}', '{uuid(first)}')"
    )
    for kind in ("booked", "merged", "booked"):
        connection.exec_driver_sql(
            f"INSERT INTO outbox (run_id, kind, at, body) VALUES ('{uuid(RUN)}', '{kind}', '{moment}', '{{}}')"
        )


def count(connection: sa.Connection, table: str) -> int:
    return int(connection.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar_one())


def tables(database: Database) -> set[str]:
    with begun(database) as connection:
        return set(sa.inspect(connection).get_table_names()) - {"sqlite_sequence"}


def rules(connection: sa.Connection) -> set[str]:
    """Every table, check and index as the database itself writes them."""
    if connection.dialect.name == "sqlite":
        found = connection.exec_driver_sql("SELECT name, sql FROM sqlite_master WHERE type = 'index'").all()
        checks = {
            f"{name}.{check['name']}: {flat(check['sqltext'])}"
            for name in sa.inspect(connection).get_table_names()
            for check in sa.inspect(connection).get_check_constraints(name)
        }
        return checks | {flat(f"{name}: {sql}") for name, sql in found if sql}
    definitions = connection.exec_driver_sql(
        "SELECT conrelid::regclass || '.' || conname || ': ' || pg_get_constraintdef(oid) FROM pg_constraint "
        "WHERE connamespace = 'public'::regnamespace AND conrelid::regclass::text <> 'alembic_version' "
        "UNION SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' AND tablename <> 'alembic_version'"
    )
    return set(definitions.scalars())


def flat(sql: str) -> str:
    return " ".join(sql.replace('"', "").split())


class begun:  # noqa: N801  reads as a phrase: `with begun(database) as connection:`
    def __init__(self, database: Database) -> None:
        self._engine = sa.create_engine(migrate._url(database))

    def __enter__(self) -> sa.Connection:
        self._connection = self._engine.connect()
        self._connection.begin()
        return self._connection

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._connection.commit()
        self._connection.close()
        self._engine.dispose()
