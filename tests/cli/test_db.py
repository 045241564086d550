"""`orwatch db` on the ledger and on the archive."""

from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest
import sqlalchemy as sa

from tests.cli.conftest import Done
from tests.servers.postgres import Postgres, why_unavailable

SECRET = "secret-of-the-test"


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    if reason := why_unavailable():
        pytest.skip(reason)
    with Postgres() as running:
        yield running


def test_both_are_made_compared_and_found_different(
    call: Callable[..., Done], config: Callable[..., Path], server: Postgres
) -> None:
    url = server.database(f"archive_{uuid4().hex[:12]}")
    path = config(f'[database]\nledger = "ledger.db"\nurl = "{url}"\n')

    current = call("db", "current", "-c", path)
    assert current.code == 0
    assert "no ledger yet" in current.out
    assert "no archive yet" in current.out
    assert call("db", "check", "-c", path).code == 1
    upgraded = call("db", "upgrade", "-c", path)
    assert upgraded.code == 0
    assert upgraded.out.count("(none) ->") == 2
    checked = call("db", "check", "-c", path)
    assert (checked.code, checked.out.count("as expected")) == (0, 2)
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE postings DROP COLUMN reason CASCADE")
    engine.dispose()
    differing = call("db", "check", "-c", path)
    assert differing.code == 1
    assert "differs" in differing.out
    assert "reason" in differing.out
    assert SECRET not in current.out + upgraded.out + checked.out + differing.out


def test_an_archive_that_is_away_is_one_line_with_what_to_do(
    call: Callable[..., Done], config: Callable[..., Path], server: Postgres
) -> None:
    url = server.url("archive").replace(f":{server.port}/", ":1/")
    done = call("db", "current", "-c", config(f'[database]\nledger = "ledger.db"\nurl = "{url}"\n'))

    assert done.code == 1
    assert "database.url" in done.err
    assert SECRET not in done.err
    assert done.err.count("\n") == 1
