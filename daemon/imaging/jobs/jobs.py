"""What clients do with imaging jobs: create, look, cancel, try again. Every access leaves a row of who and what."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
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
    Refused,
)
from daemon.domain.imaging import FileState, Job, JobFile, JobKind, JobState
from daemon.feed import Feed
from daemon.imaging.jobs.asking import Asked, Webhook, in_their_names, is_same, kept_file, refusing
from daemon.imaging.jobs.deliveries import Deliveries
from daemon.imaging.jobs.folder import MADE, JobFolder
from daemon.imaging.jobs.keeping import JobFiles
from daemon.imaging.jobs.running import JobRunner
from daemon.imaging.jobs.steps import Gateway, step_named
from daemon.metrics import counter, gauge
from daemon.storage.database import Tx, Unit
from daemon.storage.imaging import Access

log = logging.getLogger(__name__)

_KEYS = {
    JobKind.PATHOLOGY: "base_url",
    JobKind.FUNDUS: "base_url",
    JobKind.RETINA: "server_url 与 model_name，或 model_path",
}


def not_configured(kind: JobKind) -> ImagingNotConfigured:
    return ImagingNotConfigured(f"影像后台 {kind.value} 未配置：请在 [imaging.{kind.value}] 中设置 {_KEYS[kind]}。")


@dataclass(frozen=True, slots=True, kw_only=True)
class Who:
    """name: of the key; "-" where none is asked for."""

    name: str
    address: str


class Imaging:
    def __init__(
        self,
        unit: Unit,
        gateways: Mapping[JobKind, Gateway],
        runner: JobRunner,
        files: JobFiles,
        folder: JobFolder,
        feed: Feed[Job],
        deliveries: Deliveries,
        *,
        queue_max: int,
    ) -> None:
        self._unit = unit
        self._gateways = gateways
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
        for gateway in self._gateways.values():
            await gateway.close()
        await self._deliveries.close()

    def check_webhook(self, url: str | None) -> str:
        """The URL as it will be called. Raises the refusals of one that may not be."""
        with refusing():
            return self._deliveries.check(url)

    async def check_room(self, kind: JobKind, more: int) -> None:
        """Before anything is received. Raises ImagingNotConfigured, ImagingQueueFull, ImagingStorageFull."""
        if kind not in self._gateways:
            raise not_configured(kind)
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
                await tx.imaging.audit(_access(who, "create", known.id, "repeated", now))
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
        gateway = self._gateways[asked.kind]
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
        await tx.imaging.audit(_access(who, "create", job.id, "ok", now))

    def _begin(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            log.info("imaging job %s (%s) is queued", job.id, job.kind.value)
            self.feed.publish(job)
        self._runner.wake()
        self._files.wake()

    async def get(self, job_id: UUID, who: Who, action: str, now: datetime) -> tuple[Job, list[JobFile]]:
        """Raises ImagingJobNotFound."""
        async with self._audited(who, action, job_id, now), self._unit.read() as tx:
            job = await tx.imaging.get(job_id)
            if job is None:
                raise ImagingJobNotFound("没有这个影像任务。", job_id=str(job_id))
            return self._runner.seen_now(job), await tx.imaging.files(job_id)

    async def peek(self, job_id: UUID) -> Job:
        """For whom has been let in already. Raises ImagingJobNotFound."""
        return self._runner.seen_now(await self._known(job_id))

    async def listed(
        self, who: Who, now: datetime, *, kind: JobKind | None, state: JobState | None, before: UUID | None, limit: int
    ) -> list[Job]:
        async with self._audited(who, "list", None, now), self._unit.read() as tx:
            jobs = await tx.imaging.listed(kind=kind, state=state, before=before, limit=limit)
            return [self._runner.seen_now(job) for job in jobs]

    async def cancel(self, job_id: UUID, who: Who, now: datetime) -> Job:
        """Raises ImagingJobNotFound, ImagingJobEnded."""
        async with self._audited(who, "cancel", job_id, now):
            job = await self._known(job_id)
            was_over = job.has_ended
            if not was_over:
                job = await self._runner.cancel(job)
            if was_over or job.state is not JobState.CANCELLED:
                raise ImagingJobEnded(f"影像任务已结束（{job.state.value}），不能取消。", job_id=str(job_id))
            return job

    async def retry(self, job_id: UUID, who: Who, now: datetime) -> Job:
        """Raises ImagingJobNotFound, ImagingJobNotFailed."""
        async with self._audited(who, "retry", job_id, now):
            await self._known(job_id)
            async with self._unit.begin() as tx:
                job = await tx.imaging.get(job_id)
                assert job is not None
                if job.state is not JobState.FAILED:
                    raise ImagingJobNotFailed(f"只有失败的任务可以重试（现为 {job.state.value}）。", job_id=str(job_id))
                gateway = self._gateways.get(job.kind)
                can_ask = gateway is not None and step_named(gateway, job.step)[0].recall is not None
                job = job.retried(now, "已请求重试，排队中", is_in_doubt=job.is_begun and can_ask)
                await tx.imaging.save(job)
                await tx.deliveries.again(job.id, now)
        self.feed.publish(job)
        self._runner.wake()
        return job

    async def deliveries(self, job_id: UUID, who: Who, now: datetime) -> list[Delivery]:
        """Raises ImagingJobNotFound."""
        await self.get(job_id, who, "deliveries", now)
        async with self._unit.read() as tx:
            return await tx.deliveries.of(job_id)

    async def accesses(self, job_id: UUID, who: Who, now: datetime) -> list[Access]:
        """Raises ImagingJobNotFound."""
        await self.get(job_id, who, "audit", now)
        async with self._unit.read() as tx:
            return await tx.imaging.accesses(job_id)

    async def file(
        self, job_id: UUID, number: int, who: Who | None, action: str, now: datetime
    ) -> tuple[Job, JobFile, Path]:
        """A file of the job that is still here. who: None for a further look, which leaves no row.

        Raises ImagingJobNotFound, ImagingFileNotFound.
        """
        if who is not None:
            job, files = await self.get(job_id, who, action, now)
        else:
            job = await self._known(job_id)
            async with self._unit.read() as tx:
                files = await tx.imaging.files(job_id)
        file = next((each for each in files if each.number == number), None)
        path = self.folder.of(job_id) / file.path if file is not None else None
        if file is None or path is None or file.state is FileState.EXPIRED or not path.is_file():
            raise ImagingFileNotFound("没有这个文件，或已按保留期限删除。", job_id=str(job_id), file=number)
        return job, file, path

    async def made(self, job_id: UUID, names: Sequence[str], who: Who, action: str, now: datetime) -> Path:
        """The first of these files that a step made and that is still here.

        Raises ImagingJobNotFound, ImagingFileNotFound.
        """
        await self.get(job_id, who, action, now)
        for name in names:
            path = self.folder.of(job_id) / MADE / name
            if await off_loop(path.is_file):
                return path
        raise ImagingFileNotFound("没有这个文件，或已按保留期限删除。", job_id=str(job_id), file=names[0])

    async def refused(self, who: Who, action: str, code: str, now: datetime) -> None:
        """A creation that came to nothing."""
        async with self._unit.begin() as tx:
            await tx.imaging.audit(_access(who, action, None, code, now))

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

    async def _known(self, job_id: UUID) -> Job:
        async with self._unit.read() as tx:
            job = await tx.imaging.get(job_id)
        if job is None:
            raise ImagingJobNotFound("没有这个影像任务。", job_id=str(job_id))
        return job

    @asynccontextmanager
    async def _audited(self, who: Who, action: str, job_id: UUID | None, now: datetime) -> AsyncIterator[None]:
        outcome = "ok"
        try:
            yield
        except Refused as error:
            outcome = type(error).__name__
            raise
        finally:
            async with self._unit.begin() as tx:
                await tx.imaging.audit(_access(who, action, job_id, outcome, now))


def _access(who: Who, action: str, job_id: UUID | None, outcome: str, now: datetime) -> Access:
    return Access(at=now, caller=who.name, address=who.address, action=action, job_id=job_id, outcome=outcome)
