"""Brings a database to the schema this program knows, or refuses to touch one it does not.

A database is the path of a ledger, or the URL of an archive.
"""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from daemon.storage.database import reading_url
from daemon.storage.schema import ledgers, metadata

Database = Path | sa.URL


class SchemaUnknown(RuntimeError):
    """The database has a schema that this version of orwatch does not work on."""

    hint = "Run `orwatch db upgrade` with the daemon stopped; a newer schema needs a newer orwatch."


class DatabaseUnreachable(OSError):
    """The archive does not answer."""

    hint = "Is the PostgreSQL of database.url up, reachable, and its password right?"


def upgrade(database: Database) -> tuple[str | None, str]:
    """Bring the database to the newest schema, creating a ledger if need be. Returns (before, after)."""
    if isinstance(database, Path):
        database.parent.mkdir(parents=True, exist_ok=True)
    before = current(database)
    _known(before, database)
    with _answering(database):
        command.upgrade(_config(database), "head")
    if isinstance(database, Path):
        _named(database)
    return before, head()


def current(database: Database) -> str | None:
    """The revision of the database; None where there is nothing yet."""
    if isinstance(database, Path) and not database.exists():
        return None
    kind = "a ledger database" if isinstance(database, Path) else "an archive"
    try:
        with _connected(database, only_reading=True) as connection:
            revision = MigrationContext.configure(connection).get_current_revision()
            if revision is None and (tables := sa.inspect(connection).get_table_names()):
                raise SchemaUnknown(f"{shown(database)}: not {kind}: it holds {', '.join(tables)}")
            return revision
    except sa.exc.DatabaseError as error:
        raise SchemaUnknown(f"{shown(database)}: not {kind}: {_plain(error, database)}") from error


def differences(database: Database) -> list[str]:
    """What the schema of the database has, lacks or has otherwise than the models; empty where they agree."""
    with _connected(database, only_reading=True) as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        return [str(difference) for difference in compare_metadata(context, metadata)]


def head() -> str:
    revision = ScriptDirectory.from_config(_config(Path("unused"))).get_current_head()
    assert revision is not None
    return revision


def ensure(database: Database) -> None:
    """Create the schema where there is nothing yet; refuse another one."""
    found = current(database)
    if found is None:
        upgrade(database)
    elif found != head():
        _known(found, database)
        raise SchemaUnknown(f"{shown(database)}: schema {found}, this orwatch works on {head()}")
    elif isinstance(database, Path):
        _named(database)


def archive_at(url: str) -> sa.URL:
    """Printed, it hides its password."""
    return sa.make_url(url)


def shown(database: Database) -> str:
    """Fit for a log: without the password."""
    return str(database) if isinstance(database, Path) else f"archive {database.host or ''}/{database.database}"


def _named(path: Path) -> None:
    """Give a new ledger the id by which an archive tells it from others."""
    with _connected(path) as connection:
        if connection.execute(sa.select(ledgers.c.id)).first() is None:
            row = {"id": uuid4(), "host": socket.gethostname(), "created_at": datetime.now(UTC)}
            connection.execute(sa.insert(ledgers), row)
            connection.commit()


def _known(revision: str | None, database: Database) -> None:
    known = {script.revision for script in ScriptDirectory.from_config(_config(database)).walk_revisions()}
    if revision is not None and revision not in known:
        raise SchemaUnknown(f"{shown(database)}: schema {revision} is unknown to this orwatch, which ends at {head()}")


@contextmanager
def _connected(database: Database, *, only_reading: bool = False) -> Iterator[sa.Connection]:
    url = reading_url(database, "sqlite") if only_reading and isinstance(database, Path) else _url(database)
    engine = sa.create_engine(url, hide_parameters=True)
    try:
        with _answering(database), engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()


@contextmanager
def _answering(database: Database) -> Iterator[None]:
    try:
        yield
    except sa.exc.OperationalError as error:
        if isinstance(database, Path):
            raise
        raise DatabaseUnreachable(f"{shown(database)}: {_plain(error, database)}") from error


def _plain(error: sa.exc.DBAPIError, database: Database) -> str:
    """The driver's first line, without the password wherever it may have got into it."""
    text = next(iter(str(error.orig).strip().splitlines()), "")
    password = None if isinstance(database, Path) else database.password
    return text.replace(password, "***") if isinstance(password, str) else text


def _config(database: Database) -> Config:
    config = Config()
    config.set_main_option("script_location", "migrations:")
    config.attributes["url"] = _url(database)
    return config


def _url(database: Database) -> sa.URL:
    if isinstance(database, Path):
        return sa.URL.create("sqlite", database=str(database))
    bounded = {"connect_timeout": "3", "tcp_user_timeout": "10000"}
    return database.update_query_dict({**bounded, **database.query})
