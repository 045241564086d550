"""A ledger can be looked at where nothing can be written: beside a daemon that writes, and on a read-only medium."""

import os
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon.domain.ledger import Posting
from daemon.domain.sighting import Outcome
from daemon.services.observe import observe
from daemon.storage import migrate
from daemon.storage.database import LedgerUnavailable, Unit, open_engine, open_reader
from tests import rules
from tests.daemon.conftest import Told
from tests.daemon.rows import CANDIDATES, at, saved, seen, surgery

RULES = rules.observing(evidence=False)
BOOKED = 5


async def recorded(path: Path) -> None:
    """Closed as a daemon closes it: nothing of it is beside the file any more."""
    migrate.ensure(path)
    engine = open_engine(path)
    unit = Unit(engine, Told())
    run = await saved(unit, surgery())
    for index in range(BOOKED):
        await observe(unit, run, CANDIDATES, seen(10 * index, outcome=Outcome.BOOKED), RULES, at(10 * index))
    await engine.dispose()


async def rows(path: Path) -> list[Posting]:
    engine = open_reader(path)
    try:
        async with Unit(engine, Told()).read() as tx:
            run = await tx.surgeries.latest("100001")
            assert run is not None
            return await tx.ledger.of_run(run.id)
    finally:
        await engine.dispose()


@pytest.fixture
def medium(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, to be made read-only with `sealed`."""
    folder = tmp_path / "medium"
    folder.mkdir()
    if _mount("-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)):
        pytest.skip("a test of a read-only medium needs the right to mount one")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def sealed(medium: Path) -> None:
    assert _mount("-o", "remount,ro", str(medium)) == 0
    with pytest.raises(OSError, match="Read-only"):
        (medium / "new").touch()


def _mount(*arguments: str) -> int:
    if shutil.which("mount") is None:
        return 1
    return subprocess.run(["mount", *arguments], capture_output=True, check=False).returncode


async def test_a_ledger_on_a_read_only_medium_is_read_whole(medium: Path) -> None:
    await recorded(medium / "ledger.db")
    assert os.listdir(medium) == ["ledger.db"]
    sealed(medium)
    assert migrate.current(medium / "ledger.db") == migrate.head()
    assert len(await rows(medium / "ledger.db")) == BOOKED


async def test_what_only_the_journal_of_a_killed_daemon_holds_is_not_passed_over_in_silence(medium: Path) -> None:
    """Were the file taken for all there is, the latest bookings would be missing, and nobody would know."""
    path = medium / "ledger.db"
    await recorded(path)
    daemon = sqlite3.connect(path, isolation_level=None)
    daemon.execute("PRAGMA wal_autocheckpoint=0")
    daemon.execute("UPDATE surgeries SET surgery_id = '100002'")
    for ending in ("", "-wal"):
        shutil.copy(f"{path}{ending}", medium / f"left.db{ending}")
    daemon.close()
    sealed(medium)
    with pytest.raises(LedgerUnavailable):
        await rows(medium / "left.db")


async def test_nothing_can_be_written_through_a_reader(tmp_path: Path) -> None:
    await recorded(tmp_path / "ledger.db")
    before = (tmp_path / "ledger.db").read_bytes()
    engine = open_reader(tmp_path / "ledger.db")
    with pytest.raises(LedgerUnavailable, match="readonly"):
        await saved(Unit(engine, Told()), surgery("100002"))
    await engine.dispose()
    assert (tmp_path / "ledger.db").read_bytes() == before


async def test_a_reader_sees_what_a_daemon_has_committed_a_moment_ago(tmp_path: Path, unit: Unit) -> None:
    run = await saved(unit, surgery())
    for index in range(BOOKED):
        await observe(unit, run, CANDIDATES, seen(10 * index, outcome=Outcome.BOOKED), RULES, at(10 * index))
        assert len(await rows(tmp_path / "ledger.db")) == index + 1
