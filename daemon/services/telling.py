"""After a commit: the log line first, then everyone who listens. Nobody hears of a fact that could still be lost."""

import logging
from typing import Protocol

from daemon.bridge import off_loop
from daemon.domain.facts import Fact, FactKind
from daemon.feed import Feed
from daemon.health import Health
from daemon.storage.consumption_log import ConsumptionLog
from daemon.storage.database import Unit

log = logging.getLogger(__name__)


class Waiting(Protocol):
    """Whoever waits for certain facts."""

    def wake(self, facts: list[Fact]) -> None:
        """Returns at once; raises nothing."""


class Telling:
    """Called in commit order. A log that cannot be written is mended from the ledger at the next fact that can."""

    def __init__(self, pages: ConsumptionLog, feed: Feed[Fact], health: Health) -> None:
        self._pages = pages
        self._feed = feed
        self._health = health
        self._unit: Unit | None = None
        self._waiting: list[Waiting] = []

    def wakes(self, *waiting: Waiting) -> None:
        """From now on they are woken by each commit, in this order, once it is told."""
        self._waiting += waiting

    def read_from(self, unit: Unit) -> None:
        """The unit calls us and we read through it; the composition ties the knot."""
        self._unit = unit

    async def __call__(self, facts: list[Fact]) -> None:
        try:
            await self._write(facts)
            if self._health.set("log", ok=True):
                log.info("consumption log is being written")
        except OSError as error:
            for run_id in {fact.run_id for fact in facts}:
                self._pages.close(run_id)
            self._failed(error)
        for fact in facts:
            self._feed.publish(fact)
        for each in self._waiting:
            each.wake(facts)

    async def _write(self, facts: list[Fact]) -> None:
        assert self._unit is not None
        for run_id in {fact.run_id for fact in facts}:
            of_run = [fact for fact in facts if fact.run_id == run_id]
            resumed = any(fact.kind is FactKind.SURGERY_RESUMED for fact in of_run)
            if self._pages.is_open(run_id) and not resumed:
                await off_loop(self._pages.append, run_id, of_run)
            else:
                async with self._unit.read() as tx:
                    surgery = await tx.surgeries.get(run_id)
                    everything = await tx.outbox.of_run(run_id)
                await off_loop(self._pages.open, surgery, everything)
                if not surgery.state.is_active:
                    self._pages.close(run_id)  # a correction after the end
            if any(fact.kind is FactKind.SURGERY_ENDED for fact in of_run):
                self._pages.close(run_id)

    async def catch_up(self) -> None:
        """After a start: files of runs that ended just before the crash lack what nobody will append any more."""
        assert self._unit is not None
        try:
            async with self._unit.read() as tx:
                runs = [await tx.surgeries.get(run_id) for run_id in await tx.outbox.recent_runs()]
            for surgery in runs:
                if not surgery.state.is_active:  # those that are go on with a fact of their own
                    async with self._unit.read() as tx:
                        facts = await tx.outbox.of_run(surgery.id)
                    await off_loop(self._pages.open, surgery, facts)
                    self._pages.close(surgery.id)
        except OSError as error:
            self._failed(error)

    def _failed(self, error: OSError) -> None:
        if self._health.set("log", ok=False, why=str(error)):
            log.error("consumption log cannot be written: %s. The ledger holds; free the disk", error)
