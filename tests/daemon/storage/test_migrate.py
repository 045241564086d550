"""A ledger is created or taken as it is; whatever else lies there is refused and left untouched."""

import sqlite3
from pathlib import Path

import pytest

from daemon.storage import migrate
from daemon.storage.migrate import SchemaUnknown


def test_a_ledger_is_created_with_its_folder_and_then_kept(tmp_path: Path) -> None:
    path = tmp_path / "new" / "ledger.db"
    assert migrate.current(path) is None
    assert migrate.upgrade(path) == (None, migrate.head())
    before = path.read_bytes()
    assert migrate.upgrade(path) == (migrate.head(), migrate.head())
    migrate.ensure(path)
    assert path.read_bytes() == before


def test_a_schema_from_the_future_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    migrate.ensure(path)
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    for verb in (migrate.ensure, migrate.upgrade):
        with pytest.raises(SchemaUnknown, match="9999 is unknown to this orwatch, which ends at " + migrate.head()):
            verb(path)


def test_a_file_that_is_no_database_is_refused_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    path.write_bytes(b"holiday pictures" * 100)
    for verb in (migrate.ensure, migrate.upgrade):
        with pytest.raises(SchemaUnknown, match="not a ledger database"):
            verb(path)
    assert path.read_bytes() == b"holiday pictures" * 100


def test_the_database_of_another_program_is_refused_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE bookmarks (url TEXT)")
    connection.close()
    before = path.read_bytes()
    for verb in (migrate.ensure, migrate.upgrade):
        with pytest.raises(SchemaUnknown, match="bookmarks"):
            verb(path)
    assert path.read_bytes() == before


def test_an_empty_file_becomes_a_ledger(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    path.touch()
    migrate.ensure(path)
    assert migrate.current(path) == migrate.head()
