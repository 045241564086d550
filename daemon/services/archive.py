"""Copies what is committed to the archive, as soon as it is committed, for as long as it takes.

Nothing here is waited for by a verb, but for one: a surgery_id that starts anew first flushes the history under it.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from prometheus_client.core import Metric

from daemon.bridge import off_loop
from daemon.domain.facts import Fact
from daemon.health import Health
from daemon.metrics import counter, gauge
from daemon.storage.archive import Archive, ArchiveUnavailable
from daemon.storage.database import LedgerUnavailable, Unit
from daemon.storage.migrate import SchemaUnknown
from daemon.supervise import Backoff, keep_running

log = logging.getLogger(__name__)

_BACKOFF = Backoff(initial_s=0.25, max_s=10.0)
# An archive that goes away while nothing happens is seen within this.
_LOOK_S = 5.0
COMPONENT = "archive"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lag:
    """facts: committed here and not known to be in the archive. seconds: for how long the first of them has waited."""

    facts: int
    seconds: float


class Archiver:
    def __init__(self, unit: Unit, archive: Archive, ensure: Callable[[], None], health: Health) -> None:
        """ensure: blocking; raises SchemaUnknown if the schema of the archive is not ours to write to."""
        self._unit = unit
        self._archive = archive
        self._ensure = ensure
        self._health = health
        self._committed = asyncio.Event()
        self._copying = asyncio.Lock()
        self._is_ensured = False
        self._seq = 0
        self._noted = 0
        self._newest = 0
        self._waiting_since: datetime | None = None
        self._answers_since_mono_s: float | None = None
        self.last_success_at: datetime | None = None
        self.last_error = ""
        self.failures = 0

    def wake(self, facts: list[Fact]) -> None:
        """Told of every commit, in order."""
        self._newest = facts[-1].seq
        if self._waiting_since is None:
            self._waiting_since = facts[0].at
        self._committed.set()

    def lag(self, now: datetime) -> Lag:
        facts = max(0, self._newest - self._seq)
        since = self._waiting_since if facts else None
        return Lag(facts=facts, seconds=max(0.0, (now - since).total_seconds()) if since else 0.0)

    async def run(self) -> None:
        """Until cancelled."""
        with suppress(LedgerUnavailable):
            await self._look_up()
        self._health.set(COMPONENT, ok=False, why="not connected yet")
        await keep_running(
            self._follow, on_failure=self._failed, backoff=_BACKOFF, works_since=lambda: self._answers_since_mono_s
        )

    async def check(self) -> None:
        """Raises ArchiveUnavailable when the archive is known to be away, or does not answer at once."""
        known = self._health.components.get(COMPONENT)
        if known is None or not known.ok:
            raise ArchiveUnavailable(self.last_error or "not connected yet")
        await self._archive.check()

    async def flush(self, surgery_id: str, *, within_s: float) -> None:
        """Returns once all history under this id is in the archive. Raises ArchiveUnavailable, SchemaUnknown."""
        async with self._unit.read() as tx:
            wanted, noted = await tx.history.last_of(surgery_id), (await tx.history.ledger())["archived_seq"]
        if wanted <= max(self._seq, noted):
            return
        try:
            async with asyncio.timeout(within_s):
                while wanted > self._seq:
                    await self._copy()
        except TimeoutError as error:
            raise ArchiveUnavailable(f"not done within {within_s:g} s") from error

    async def _follow(self) -> None:
        self._answers_since_mono_s = None
        while True:
            self._committed.clear()
            while await self._copy():
                pass
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_S):
                    await self._committed.wait()
                    continue
            await self._archive.check()

    async def _copy(self) -> bool:
        """One batch. Returns whether more are waiting."""
        async with self._copying:
            if not self._is_ensured:
                await off_loop(self._ensure)
                self._is_ensured = True
            now = datetime.now(UTC)
            copied = await self._archive.copy(self._unit, now)
            self._seq = copied.seq
            # Also where nothing was copied now: the last note can have been lost.
            if copied.seq != self._noted:
                async with self._unit.begin() as tx:
                    await tx.history.note(copied.seq, now)
                self._noted = copied.seq
            if copied.more or self._seq < self._newest:
                await self._look_up(known=copied.seq)
            else:
                self._waiting_since = None
        self.last_success_at, self.last_error = now, ""
        self._answers_since_mono_s = self._answers_since_mono_s or time.monotonic()
        if self._health.set(COMPONENT, ok=True):
            log.info("archive: connected, %d facts are waiting", self.lag(now).facts)
        return copied.more

    async def _look_up(self, known: int | None = None) -> None:
        """Where we stand, as far as the ledger knows."""
        async with self._unit.read() as tx:
            self._noted = (await tx.history.ledger())["archived_seq"]
            self._seq = self._noted if known is None else known
            self._newest = max(self._newest, await tx.history.newest())
            _, self._waiting_since = await tx.history.waiting(self._seq)

    def _failed(self, error: Exception, wait_s: float) -> None:
        self.failures += 1
        self.last_error = str(error) or type(error).__name__
        # What answers after an outage may be another database: it is looked at anew.
        self._is_ensured = False
        lag = self.lag(datetime.now(UTC))
        hint = getattr(error, "hint", "")
        why = f"{self.last_error}; {lag.facts} facts wait, for {lag.seconds:.0f} s"
        if self._health.set(COMPONENT, ok=False, why=f"{why}. {hint}" if isinstance(error, SchemaUnknown) else why):
            log.error("archive: %s. %s Trying again in %.1f s", why, hint, wait_s)


def archive_readings(archiver: Archiver) -> Iterator[Metric]:
    lag = archiver.lag(datetime.now(UTC))
    yield gauge("orwatch_archive_facts_waiting", "Facts not known to be in the archive", [], [([], float(lag.facts))])
    yield gauge("orwatch_archive_lag_seconds", "Since when the first of them waits", [], [([], lag.seconds)])
    yield counter("orwatch_archive_failures", "Failed attempts to archive", [], [([], float(archiver.failures))])
    if (at := archiver.last_success_at) is not None:
        yield gauge("orwatch_archive_last_success_timestamp_seconds", "Unix time", [], [([], at.timestamp())])
