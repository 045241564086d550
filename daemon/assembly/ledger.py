"""From `[database]` to the ledger, its archive, and those who hear of each commit: the log and the feed first."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from daemon.assembly import zone_of
from daemon.bridge import off_loop
from daemon.config import Settings
from daemon.domain.facts import Fact
from daemon.feed import Feed
from daemon.health import Health
from daemon.services.archive import Archiver
from daemon.services.telling import Telling
from daemon.storage import migrate
from daemon.storage.archive import Archive
from daemon.storage.consumption_log import ConsumptionLog
from daemon.storage.database import Unit, open_engine


class Waiting(Protocol):
    """Whoever waits for certain facts; `wake` returns at once."""

    def wake(self, facts: list[Fact]) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """The ledger as the parts use it. archive, archiver: None without `database.url`."""

    unit: Unit
    pages: ConsumptionLog
    telling: Telling
    archive: Archive | None
    archiver: Archiver | None
    _waiting: list[Waiting]

    def wakes(self, *waiting: Waiting) -> None:
        """From now on they are woken by each commit, in this order, after it was told."""
        self._waiting.extend(waiting)


@asynccontextmanager
async def opened_ledger(settings: Settings, feed: Feed[Fact], health: Health) -> AsyncIterator[Ledger]:
    """The schema is brought up to date; nothing is read yet. Raises what `migrate.ensure` raises."""
    await off_loop(migrate.ensure, settings.database.ledger)
    pages = ConsumptionLog(settings.logs.folder / "consumption", zone_of(settings))
    telling = Telling(pages, feed, health)
    engine = open_engine(settings.database.ledger)
    waiting: list[Waiting] = []

    async def committed(facts: list[Fact]) -> None:
        await telling(facts)
        for each in waiting:
            each.wake(facts)

    unit = Unit(engine, committed)
    telling.read_from(unit)
    url = settings.database.url
    archive = Archive(migrate.archive_at(url.get_secret_value())) if url else None
    archiver = Archiver(unit, archive, partial(migrate.ensure, archive.url), health) if archive else None
    if archiver is not None:
        waiting.append(archiver)
    try:
        yield Ledger(unit=unit, pages=pages, telling=telling, archive=archive, archiver=archiver, _waiting=waiting)
    finally:
        if archive is not None:
            await archive.close()
        await engine.dispose()
