"""What clients do with imaging jobs: create, look, cancel, try again. Every access leaves a row of who and what."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from uuid import UUID

from prometheus_client.core import Metric

from daemon.bridge import off_loop
from daemon.domain.delivery import Delivery
from daemon.domain.errors import (
    IdempotencyKeyReused,
    ImagingFileNotFound,
    ImagingJobEnded,
    ImagingJobNotFailed,
    ImagingJobNotFound,
    ImagingNotConfigured,
    ImagingQueueFull,
    ImagingResultNotReady,
    Refused,
)
from daemon.domain.imaging import FileState, Job, JobFile, JobKind, JobState
from daemon.feed import Feed
from daemon.imaging.jobs.accesses import Who, access_of, noted
from daemon.imaging.jobs.asking import Asked, Webhook, in_their_names, is_same, kept_file, refusing
from daemon.imaging.jobs.deliveries import Deliveries
from daemon.imaging.jobs.folder import MADE, JobFolder
from daemon.imaging.jobs.keeping import JobFiles
from daemon.imaging.jobs.running import JobRunner
from daemon.imaging.jobs.steps import JobBackEnd, step_named
from daemon.metrics import counter, gauge
from daemon.storage.database import Tx, Unit
from daemon.storage.imaging import Access

log = logging.getLogger(__name__)


class Imaging:
    def __init__(
        self,
        unit: Unit,
        back_ends: Sequence[JobBackEnd],
        runner: JobRunner,
        files: JobFiles,
        folder: JobFolder,
        feed: Feed[Job],
        deliveries: Deliveries,
        *,
        queue_max: int,
    ) -> None:
        self._unit = unit
        self._back_ends = {each.kind: each for each in back_ends}
        self._runner = runner
        self._files = files
        self._queue_max = queue_max
        self._deliveries = deliveries
        self.folder = folder
        self.feed = feed

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._runner.run())
            group.create_task(self._files.run())
            group.create_task(self._deliveries.run())

    async def recover(self) -> None:
        """After a start, before the control plane listens. Raises LedgerUnavailable."""
        await self._files.recover()

    async def close(self) -> None:
        for each in self._back_ends.values():
            if each.gateway is not None:
                await each.gateway.close()
        await self._deliveries.close()

    def not_configured(self, kind: JobKind) -> ImagingNotConfigured:
        missing = self._back_ends[kind].missing
        return ImagingNotConfigured(f"影像后台 {kind.value} 未配置：请在 [imaging.{kind.value}] 中设置 {missing}。")

    def check_webhook(self, url: str | None) -> str:
        """The URL as it will be called. Raises the refusals of one that may not be."""
        with refusing():
            return self._deliveries.check(url)

    async def check_room(self, kind: JobKind, more: int) -> None:
        """Before anything is received. Raises ImagingNotConfigured, ImagingQueueFull, ImagingStorageFull."""
        if self._back_ends[kind].gateway is None:
            raise self.not_configured(kind)
        async with self._unit.read() as tx:
            self._check_queue(await tx.imaging.unfinished(), 1)
        await off_loop(self.folder.check_room, more)

    def _check_queue(self, unfinished: int, more: int) -> None:
        if unfinished + more > self._queue_max:
            raise ImagingQueueFull(
                f"未结束的影像任务有 {unfinished} 个，再加 {more} 个将超过上限 {self._queue_max}，请稍后重试。"
            )

    async def create(self, asked: Asked, who: Who, now: datetime) -> tuple[Job, bool]:
        """The job, and whether it is new. A request sent again with the same key gets the job that it made.

        Raises IdempotencyKeyReused where the same key came with something else, and what the gateway does not accept
        as ImagingInputInvalid and its kinds. The files of a job that is not made are for the caller to delete.
        """
        job, files = await self._queued(asked, who, now)
        async with self._unit.begin() as tx:
            if (key := job.request_key) is not None and (known := await tx.imaging.by_request_key(key)) is not None:
                if not is_same(known, await tx.imaging.files(known.id), job, files):
                    raise IdempotencyKeyReused("同一个 Idempotency-Key 已用于另一个影像任务。")
                await tx.imaging.audit(access_of(who, "create", now, job_id=known.id, outcome="repeated"))
                return known, False
            await self._add(tx, job, files, asked.webhook, who, now)
        self._begin([job])
        return job, True

    async def create_all(self, asked: Sequence[Asked], who: Who, now: datetime) -> list[Job]:
        """All of them, in this order, or none. Raises ImagingQueueFull, and what the gateway does not accept."""
        # By their times they are worked on in this order, too.
        queued = [
            await self._queued(each, who, now + timedelta(microseconds=place)) for place, each in enumerate(asked)
        ]
        async with self._unit.begin() as tx:
            self._check_queue(await tx.imaging.unfinished(), len(asked))
            for (job, files), each in zip(queued, asked, strict=True):
                await self._add(tx, job, files, each.webhook, who, now)
        jobs = [job for job, _ in queued]
        self._begin(jobs)
        return jobs

    async def _queued(self, asked: Asked, who: Who, now: datetime) -> tuple[Job, list[JobFile]]:
        """What the gateway accepts. Raises ImagingInputInvalid and its kinds."""
        back_end = self._back_ends[asked.kind]
        if (gateway := back_end.gateway) is None:
            raise self.not_configured(asked.kind)
        assert asked.webhook is None or back_end.notice is not None, "who is promised a notice is sent one"
        places = [(each.name, self.folder.of(asked.job_id) / each.path) for each in asked.received]
        with refusing(), in_their_names(places):
            inputs = await gateway.accept(asked.inputs, places)
        files = [
            kept_file(asked.job_id, asked.kind, number, each) for number, each in enumerate(asked.received, start=1)
        ]
        job = Job(
            id=asked.job_id,
            kind=asked.kind,
            state=JobState.QUEUED,
            step=asked.step or gateway.steps[0].name,
            message="排队中",
            inputs=inputs,
            created_by=who.name,
            request_key=asked.request_key,
            created_at=now,
            changed_at=now,
            step_at=now,
            next_at=now,
        )
        return job, files

    async def _add(
        self, tx: Tx, job: Job, files: Sequence[JobFile], webhook: Webhook | None, who: Who, now: datetime
    ) -> None:
        await tx.imaging.add(job, files)
        if webhook is not None:
            await tx.deliveries.add(job.id, webhook.line or str(job.id), webhook.url, now)
        await tx.imaging.audit(access_of(who, "create", now, job_id=job.id))

    def _begin(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            log.info("imaging job %s (%s) is queued", job.id, job.kind.value)
            self.feed.publish(job)
        self._runner.wake()
        self._files.wake()

    async def get(self, job_id: UUID, who: Who, action: str, now: datetime) -> tuple[Job, list[JobFile]]:
        """Raises ImagingJobNotFound."""
        async with self._audited(who, action, job_id, now), self._unit.read() as tx:
            job = await _known(tx, job_id)
            return self._runner.seen_now(job), await tx.imaging.files(job_id)

    async def report(self, job_id: UUID, who: Who, now: datetime) -> str:
        """Markdown. Raises ImagingJobNotFound, ImagingResultNotReady."""
        async with self._audited(who, "report", job_id, now):
            job = await self.peek(job_id)
            if job.result is None or "report" not in job.result:
                raise ImagingResultNotReady(f"任务还没有报告（{job.state.value}）。", job_id=str(job_id))
            return str(job.result["report"])

    async def peek(self, job_id: UUID) -> Job:
        """For whom has been let in already. Raises ImagingJobNotFound."""
        async with self._unit.read() as tx:
            return self._runner.seen_now(await _known(tx, job_id))

    async def listed(
        self, who: Who, now: datetime, *, kind: JobKind | None, state: JobState | None, before: UUID | None, limit: int
    ) -> list[Job]:
        async with self._audited(who, "list", None, now), self._unit.read() as tx:
            jobs = await tx.imaging.listed(kind=kind, state=state, before=before, limit=limit)
            return [self._runner.seen_now(job) for job in jobs]

    async def cancel(self, job_id: UUID, who: Who, now: datetime) -> Job:
        """Raises ImagingJobNotFound, ImagingJobEnded."""
        async with self._audited(who, "cancel", job_id, now):
            job = await self.peek(job_id)
            was_over = job.has_ended
            if not was_over:
                job = await self._runner.cancel(job)
            if was_over or job.state is not JobState.CANCELLED:
                raise ImagingJobEnded(f"影像任务已结束（{job.state.value}），不能取消。", job_id=str(job_id))
            return job

    async def retry(self, job_id: UUID, who: Who, now: datetime) -> Job:
        """Raises ImagingJobNotFound, ImagingJobNotFailed."""
        async with self._audited(who, "retry", job_id, now), self._unit.begin() as tx:
            job = await _known(tx, job_id)
            if job.state is not JobState.FAILED:
                raise ImagingJobNotFailed(f"只有失败的任务可以重试（现为 {job.state.value}）。", job_id=str(job_id))
            gateway = self._back_ends[job.kind].gateway
            can_ask = gateway is not None and step_named(gateway, job.step)[0].recall is not None
            job = job.retried(now, "已请求重试，排队中", is_in_doubt=job.is_begun and can_ask)
            await tx.imaging.save(job)
            await tx.deliveries.again(job.id, now)
        self.feed.publish(job)
        self._runner.wake()
        return job

    async def deliveries(self, job_id: UUID, who: Who, now: datetime) -> list[Delivery]:
        """Raises ImagingJobNotFound."""
        async with self._audited(who, "deliveries", job_id, now), self._unit.read() as tx:
            await _known(tx, job_id)
            return await tx.deliveries.of(job_id)

    async def accesses(self, job_id: UUID, who: Who, now: datetime) -> list[Access]:
        """This one is the last of them. Raises ImagingJobNotFound."""
        async with self._audited(who, "audit", job_id, now) as this, self._unit.read() as tx:
            await _known(tx, job_id)
            return [*await tx.imaging.accesses(job_id), this]

    @asynccontextmanager
    async def opened(
        self, job_id: UUID, number: int, who: Who, action: str, now: datetime
    ) -> AsyncIterator[tuple[Job, JobFile, Path]]:
        """A file of the job that is still here; what becomes of it inside is what becomes of the access.

        Raises ImagingJobNotFound, ImagingFileNotFound.
        """
        async with self._audited(who, action, job_id, now):
            yield await self.found(job_id, number)

    async def found(self, job_id: UUID, number: int) -> tuple[Job, JobFile, Path]:
        """The same for a further look, which leaves no row."""
        async with self._unit.read() as tx:
            job, files = await _known(tx, job_id), await tx.imaging.files(job_id)
        file = next((each for each in files if each.number == number), None)
        path = self.folder.of(job_id) / file.path if file is not None else None
        if file is None or path is None or file.state is FileState.EXPIRED or not await off_loop(path.is_file):
            raise ImagingFileNotFound("没有这个文件，或已按保留期限删除。", job_id=str(job_id), file=number)
        return job, file, path

    async def made(self, job_id: UUID, names: Sequence[str], who: Who, action: str, now: datetime) -> Path:
        """The first of these files that a step made and that is still here.

        Raises ImagingJobNotFound, ImagingFileNotFound.
        """
        async with self._audited(who, action, job_id, now):
            await self.peek(job_id)
            for name in names:
                path = self.folder.of(job_id) / MADE / name
                if await off_loop(path.is_file):
                    return path
            raise ImagingFileNotFound("没有这个文件，或已按保留期限删除。", job_id=str(job_id), file=names[0])

    def creating(
        self, who: Who, now: datetime, *, refusals: tuple[type[Exception], ...] = (Refused,)
    ) -> AbstractAsyncContextManager[Access]:
        """Around what is to make jobs: each that is made brings its row; what comes to nothing leaves one here."""
        return noted(self._unit, who, "create", now, refusals=refusals, is_ok_told=True)

    def readings(self) -> Iterator[Metric]:
        ended: list[tuple[list[str], float]] = [
            ([kind.value, state.value], count) for (kind, state), count in self._runner.ended.items()
        ]
        yield counter("orwatch_imaging_jobs", "Imaging jobs that ended, by how", ["kind", "state"], ended)
        repeated: list[tuple[list[str], float]] = [([kind], count) for kind, count in self._runner.repeated.items()]
        yield counter("orwatch_imaging_retries", "Steps of imaging jobs that were tried again", ["kind"], repeated)
        working: list[tuple[list[str], float]] = [([], self._runner.working)]
        yield gauge("orwatch_imaging_working", "Imaging jobs that are worked on now", [], working)
        yield from self._deliveries.readings()

    def _audited(
        self, who: Who, action: str, job_id: UUID | None, now: datetime
    ) -> AbstractAsyncContextManager[Access]:
        return noted(self._unit, who, action, now, job_id=job_id)


async def _known(tx: Tx, job_id: UUID) -> Job:
    """Raises ImagingJobNotFound."""
    job = await tx.imaging.get(job_id)
    if job is None:
        raise ImagingJobNotFound("没有这个影像任务。", job_id=str(job_id))
    return job
