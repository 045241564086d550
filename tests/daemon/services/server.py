"""A daemon without cameras and network, over a folder of its own. It crashes by going on with a copy of its folder.

Its archiver runs only while it is asked to, so that what is on the disk at any moment is known.
"""

import asyncio
import shutil
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from daemon.domain.catalogue import Catalogue, Product
from daemon.domain.facts import Fact, Score
from daemon.domain.sighting import Observation, Outcome
from daemon.feed import Feed
from daemon.health import Health
from daemon.services import read
from daemon.services.archive import COMPONENT, Archiver
from daemon.services.correct import Corrections
from daemon.services.observe import observe
from daemon.services.surgeries import Labels, StartRules, Surgeries
from daemon.services.telling import Telling
from daemon.storage import migrate
from daemon.storage.archive import Archive
from daemon.storage.consumption_log import ConsumptionLog
from daemon.storage.database import Unit, open_engine
from tests.daemon.rows import CANDIDATES
from tests.daemon.services.model import ITEM_OF
from tests.daemon.services.test_settle import RULES
from tests.journeys.killed import Still
from tests.waiting import until

CATALOGUE = Catalogue(
    Product(name=item.item_name, code=item.item_id, aliases=(label,)) for label, item in ITEM_OF.items()
)


class Server:
    def __init__(self, loop: asyncio.Runner, folder: Path, archive: sa.URL, now: datetime, told: list[Fact]) -> None:
        """told: what is told to listeners is added to it. Runs that were running go on."""
        self.loop, self.folder, self.told = loop, folder, told
        self.path = folder / "ledger.db"
        self.pages = ConsumptionLog(folder / "log", UTC)
        self._engine = open_engine(self.path)
        self._health = Health()
        telling = Telling(self.pages, Feed[Fact](), self._health)

        async def tell(facts: list[Fact]) -> None:
            self.archiver.wake(facts)
            await telling(facts)
            self.told += facts

        self.unit = Unit(self._engine, tell)
        telling.read_from(self.unit)
        self.archive = Archive(archive)
        self.archiver = Archiver(self.unit, self.archive, partial(migrate.ensure, archive), self._health)
        rules = StartRules(resume_window=timedelta(hours=12), timeout_s=1, attempts=1)
        labels = Labels(names=(), background=frozenset())
        self.surgeries = Surgeries(self.unit, Still(), CATALOGUE, labels, rules, self.archiver)
        self.corrections = Corrections(self.unit, CATALOGUE, ())
        loop.run(telling.catch_up())
        loop.run(self.surgeries.resume(now))

    def do(self, verb: Coroutine[Any, Any, Any]) -> list[Fact]:
        """Returns what it told."""
        before = len(self.told)
        self.loop.run(verb)
        return self.told[before:]

    def sees(
        self, surgery_id: str, label: str, camera: str, outcome: Outcome, now: datetime, *, since_resume: bool = False
    ) -> Fact:
        top = tuple(Score(label=each, score=0.7 if each == label else 0.2) for each in (label, *ITEM_OF))[:3]
        seen = Observation(
            camera=camera,
            label=label,
            started_at=now,
            peak=0.7,
            top=top,
            outcome=outcome,
            options=tuple(Score(label=each, score=0.4) for each in ITEM_OF) if outcome is Outcome.ASKED else (),
            since_resume=since_resume,
        )
        run = self.loop.run(read.surgery(self.unit, surgery_id))
        (fact,) = self.do(observe(self.unit, run, CANDIDATES, seen, RULES, now))
        return fact

    async def archives(self) -> bool:
        """The archiver runs until it has nothing more to do, or has failed. Returns whether it came to an end."""
        failures, success_at = self.archiver.failures, self.archiver.last_success_at
        following = asyncio.create_task(self.archiver.run())
        try:
            await until(
                lambda: (
                    self.archiver.failures > failures
                    or (self.archiver.last_success_at != success_at and self._has_caught_up())
                )
            )
            async with self.unit.begin():
                pass  # its last note is written
        finally:
            following.cancel()
            await asyncio.wait([following])
        return self.archiver.failures == failures

    def _has_caught_up(self) -> bool:
        return self._health.components[COMPONENT].ok and self.archiver.lag(datetime.now(UTC)).facts == 0

    def left_on_disk(self, folder: Path) -> Path:
        """A copy, made now."""
        folder.mkdir()
        for path in self.folder.iterdir():
            if path.is_dir():
                shutil.copytree(path, folder / path.name)
            elif not path.name.endswith("-shm"):
                shutil.copy(path, folder)
        return folder

    def close(self) -> None:
        self.loop.run(self.archive.close())
        self.loop.run(self._engine.dispose())
