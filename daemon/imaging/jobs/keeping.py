"""Files of imaging jobs on their way to the object store, and out of here again by age and by size.

A job never waits for the store: its files lie whole in its folder. There they stay for `keep` after its end, or, where
the folder holds too much, until they are stored and others need the room.
"""

import asyncio
import logging
from datetime import UTC, datetime, timedelta
from uuid import UUID

from daemon.bridge import off_loop
from daemon.domain.imaging import FileState, JobFile
from daemon.health import Health
from daemon.imaging.jobs.folder import JobFolder
from daemon.storage.database import Unit
from daemon.storage.objects import ObjectStore, StoreUnavailable
from daemon.supervise import Backoff, keep_running

log = logging.getLogger(__name__)

_BACKOFF = Backoff(initial_s=0.5, max_s=60.0)
_AT_ONCE = 20
_COMPONENT = "imaging files"


class JobFiles:
    def __init__(
        self,
        unit: Unit,
        store: ObjectStore,
        folder: JobFolder,
        health: Health,
        *,
        keep: timedelta,
        bytes_max: int,
        every_s: float = 3600.0,
    ) -> None:
        self._unit = unit
        self._store = store
        self._folder = folder
        self._health = health
        self._keep = keep
        self._bytes_max = bytes_max
        self._every_s = every_s
        self._more = asyncio.Event()
        self._more.set()

    def wake(self) -> None:
        self._more.set()

    async def recover(self) -> None:
        """After a start: what was not received whole was never promised. Raises LedgerUnavailable."""
        async with self._unit.read() as tx:
            known = await tx.imaging.ids()
        if gone := await off_loop(self._folder.sweep, known):
            log.info("imaging: %d uploads that were not received whole are deleted", len(gone))

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._store_for_ever())
            group.create_task(self._clean_for_ever())

    async def _store_for_ever(self) -> None:
        while True:
            await self._more.wait()
            self._more.clear()
            await keep_running(self._store_waiting, on_failure=self._failed, backoff=_BACKOFF, on=OSError)
            self._health.set(_COMPONENT, ok=True)

    async def _store_waiting(self) -> None:
        """Raises StoreUnavailable, LedgerUnavailable."""
        refused: StoreUnavailable | None = None
        while refused is None:
            async with self._unit.read() as tx:
                waiting = await tx.imaging.waiting_files(_AT_ONCE)
            if not waiting:
                return
            for job_id, file in waiting:
                try:
                    await self._store_one(job_id, file)
                except StoreUnavailable as error:
                    # A store that is there and does not take this one may take the next.
                    await off_loop(self._store.check)
                    refused = error
        raise refused

    async def _store_one(self, job_id: UUID, file: JobFile) -> None:
        assert file.key is not None
        state = FileState.STORED
        try:
            await off_loop(self._store.put_file, file.key, self._folder.of(job_id) / file.path, file.media_type)
        except FileNotFoundError:
            log.error("imaging job %s: %s is gone from its folder before it was stored", job_id, file.path)
            state = FileState.EXPIRED
        async with self._unit.begin() as tx:
            await tx.imaging.mark_file(job_id, file.number, state)

    async def _clean_for_ever(self) -> None:
        while True:
            try:
                await self.clean(datetime.now(UTC))
            except OSError as error:
                log.warning("imaging: cleaning waits for the next round: %s", error)
            await asyncio.sleep(self._every_s)

    async def clean(self, now: datetime) -> None:
        """Delete what is too old, here and in the store; then here, oldest first, what is too much and stored.

        Raises StoreUnavailable, LedgerUnavailable.
        """
        async with self._unit.read() as tx:
            kept = await tx.imaging.kept()
        over = [(job_id, ended_at, is_stored) for job_id, ended_at, is_stored in kept if ended_at is not None]
        for job_id, _, _ in (each for each in over if now - each[1] > self._keep):
            await self._expire(job_id)
        # What was fetched and made for a job that nothing was received for.
        here = await off_loop(self._folder.ids)
        async with self._unit.read() as tx:
            left = await tx.imaging.ended_before(here, now - self._keep)
        for job_id in left:
            await off_loop(self._folder.drop, job_id)
        held = await off_loop(self._folder.held_bytes)
        for job_id, ended_at, is_stored in over:
            if held <= self._bytes_max or now - ended_at > self._keep:
                continue
            if is_stored:
                log.info("imaging job %s: its folder makes room; its files are in the object store", job_id)
                await off_loop(self._folder.drop, job_id)
                held = await off_loop(self._folder.held_bytes)

    async def _expire(self, job_id: UUID) -> None:
        async with self._unit.read() as tx:
            files = await tx.imaging.files(job_id)
        for file in files:
            if file.key is not None and file.state is not FileState.EXPIRED:
                await off_loop(self._store.delete, file.key)
                async with self._unit.begin() as tx:
                    await tx.imaging.mark_file(job_id, file.number, FileState.EXPIRED)
        await off_loop(self._folder.drop, job_id)

    def _failed(self, error: Exception, wait_s: float) -> None:
        if self._health.set(_COMPONENT, ok=False, why=str(error)):
            log.error("imaging: files wait for the object store: %s. Jobs go on.", error)
