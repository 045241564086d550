"""Brings the ledger to the schema this program knows, or refuses to touch one it does not."""

import socket
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from daemon.storage.schema import ledgers


class SchemaUnknown(RuntimeError):
    """The ledger database has a schema that this version of orwatch does not work on."""

    hint = "Run `orwatch db upgrade` with the daemon stopped; a newer schema needs a newer orwatch."


def upgrade(path: Path) -> tuple[str | None, str]:
    """Bring the ledger at `path` to the newest schema, creating it if need be. Returns (before, after)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    before = current(path)
    _known(before, path)
    command.upgrade(_config(path), "head")
    _named(path)
    return before, head()


def current(path: Path) -> str | None:
    """The revision of the ledger at `path`; None where there is no ledger yet."""
    if not path.exists():
        return None
    engine = sa.create_engine(_url(path))
    try:
        with engine.connect() as connection:
            revision = MigrationContext.configure(connection).get_current_revision()
            if revision is None and (tables := sa.inspect(connection).get_table_names()):
                raise SchemaUnknown(f"{path}: not a ledger database: it holds {', '.join(tables)}")
            return revision
    except sa.exc.DatabaseError as error:
        raise SchemaUnknown(f"{path}: not a ledger database: {error.orig}") from error
    finally:
        engine.dispose()


def head() -> str:
    revision = ScriptDirectory.from_config(_config(Path("unused"))).get_current_head()
    assert revision is not None
    return revision


def ensure(path: Path) -> None:
    """Create a ledger that is not there yet; refuse one with another schema."""
    found = current(path)
    if found is None:
        upgrade(path)
    elif found != head():
        _known(found, path)
        raise SchemaUnknown(f"{path}: schema {found}, this orwatch works on {head()}")
    else:
        _named(path)


def _named(path: Path) -> None:
    """Give a new ledger the id by which an archive tells it from others."""
    engine = sa.create_engine(_url(path))
    try:
        with engine.begin() as connection:
            if connection.execute(sa.select(ledgers.c.id)).first() is None:
                row = {"id": uuid4(), "host": socket.gethostname(), "created_at": datetime.now(UTC)}
                connection.execute(sa.insert(ledgers), row)
    finally:
        engine.dispose()


def _known(revision: str | None, path: Path) -> None:
    known = {script.revision for script in ScriptDirectory.from_config(_config(path)).walk_revisions()}
    if revision is not None and revision not in known:
        raise SchemaUnknown(f"{path}: schema {revision} is unknown to this orwatch, which ends at {head()}")


def _config(path: Path) -> Config:
    config = Config()
    config.set_main_option("script_location", "migrations:")
    config.attributes["url"] = _url(path)
    return config


def _url(path: Path) -> sa.URL:
    return sa.URL.create("sqlite", database=str(path))
