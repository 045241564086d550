"""What has to be written waits for the ledger, however long it is away; the log says so once."""

import asyncio
import logging
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime
from pathlib import Path
from uuid import UUID

import pytest

from daemon.domain.sighting import Outcome
from daemon.domain.surgery import Surgery
from daemon.health import Health
from daemon.metrics import Metrics
from daemon.services.insist import insist, watch_ledger
from daemon.services.watching import Observations
from daemon.storage.database import LedgerUnavailable, Unit
from tests.daemon.conftest import Told
from tests.daemon.rows import CANDIDATES, T0, saved, seen, surgery
from tests.daemon.services.test_settle import RULES
from tests.waiting import DEADLINE_S, until


class Away:
    """An attempt that the ledger takes after `times` failures."""

    def __init__(self, times: int) -> None:
        self.left = times

    async def __call__(self) -> None:
        if self.left:
            self.left -= 1
            raise LedgerUnavailable("disk I/O error")


def said(caplog: pytest.LogCaptureFixture, level: int) -> list[str]:
    return [
        record.getMessage()
        for record in caplog.records
        if record.name == "daemon.services.insist" and record.levelno == level
    ]


async def test_what_the_ledger_does_not_take_is_tried_until_it_does_and_said_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, "daemon.services.insist")
    await insist("webhooks", away := Away(2))
    assert away.left == 0
    (line,) = said(caplog, logging.ERROR)
    assert line.startswith("webhooks wait for the ledger: disk I/O error. Trying again in ")
    assert len(said(caplog, logging.DEBUG)) == 1


async def test_of_all_that_wait_one_says_it_where_there_is_a_health_to_ask(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "daemon.services.insist")
    health = Health()
    await asyncio.gather(*(insist(what, Away(1), health=health) for what in ("observations", "objects")))
    assert len(said(caplog, logging.ERROR)) == 1
    assert len(said(caplog, logging.DEBUG)) == 1
    assert said(caplog, logging.INFO) == ["the ledger is back"]
    assert (health.components["ledger"].ok, health.components["ledger"].why) == (True, "")


async def test_that_it_can_be_read_does_not_say_that_it_can_be_written_again(unit: Unit) -> None:
    health = Health()
    health.set("ledger", ok=False, why="database is locked")
    async with watched(unit, health):
        for _ in range(3):
            looked_mono_s = unit.last_progress_mono_s
            await until(lambda since=looked_mono_s: unit.last_progress_mono_s > since)
            assert not health.components["ledger"].ok
        async with unit.begin():
            pass
        await until(lambda: health.components["ledger"].ok)


async def test_what_is_not_of_the_ledger_is_raised_at_once() -> None:
    async def wrong() -> None:
        raise KeyError("bug")

    with pytest.raises(KeyError, match="bug"):
        await insist("webhooks", wrong)


@contextmanager
def without(folder: Path, table: str) -> Iterator[None]:
    """The ledger's file lacks a table: nothing that needs it can be read or written."""
    ledger = sqlite3.connect(folder / "ledger.db", isolation_level=None)
    ledger.execute(f"ALTER TABLE {table} RENAME TO away")
    try:
        yield
    finally:
        ledger.execute(f"ALTER TABLE away RENAME TO {table}")
        ledger.close()


@asynccontextmanager
async def watched(unit: Unit, health: Health) -> AsyncIterator[None]:
    watching = asyncio.create_task(watch_ledger(unit, health, look_s=0.02))
    try:
        yield
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


async def test_a_ledger_that_breaks_while_nobody_wants_anything_is_said_and_so_is_its_return(
    unit: Unit, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "daemon.services.insist")
    health = Health()
    async with watched(unit, health):
        await until(lambda: "ledger" in health.components and health.components["ledger"].ok)
        assert caplog.messages == [], "a start is no return"
        with without(tmp_path, "surgeries"):
            await until(lambda: not health.components["ledger"].ok)
        await until(lambda: health.components["ledger"].ok)
    (error,) = said(caplog, logging.ERROR)
    assert error.startswith("ledger unavailable: ")
    assert said(caplog, logging.INFO) == ["the ledger is back"]


async def test_an_observation_waits_for_the_ledger_and_is_then_booked_shown_and_counted_once(
    unit: Unit, told: Told, tmp_path: Path
) -> None:
    run, health, metrics = await saved(unit, surgery()), Health(), Metrics()
    taken: list[tuple[UUID, str, UUID, datetime]] = []

    def take(of: Surgery, camera: str, sighting_id: UUID, moment: datetime) -> None:
        taken.append((of.id, camera, sighting_id, moment))

    observations = Observations(unit, RULES, health, metrics, take)
    with without(tmp_path, "outbox"):
        waiting = asyncio.create_task(observations.observe(run, CANDIDATES, seen(0)))
        await until(lambda: "ledger" in health.components)
        assert (told, taken) == ([], [])
    async with asyncio.timeout(DEADLINE_S):
        await waiting
    ((fact,),) = told
    assert taken == [(run.id, "a", fact.sighting_id, T0)]
    assert 'orwatch_observations_total{outcome="booked",reason=""} 1.0' in metrics.exposition().decode()
    # What is not booked or asked has no picture of its own.
    await observations.observe(run, CANDIDATES, seen(60, outcome=Outcome.IGNORED))
    assert len(taken) == 1
    assert 'outcome="ignored",reason="too_unsure"} 1.0' in metrics.exposition().decode()
