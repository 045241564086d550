"""Works on imaging jobs until they end. What it is at is in the job's row before it does it; a restart goes on there.

A job that waits (for its back end, or after a failure) holds no worker. A step that could leave two of something with
the back end is committed as begun before anything is sent; one that was begun and whose end nobody saw is recalled by
asking the back end, and where that cannot tell, the job ends and a person decides.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any
from uuid import UUID

from daemon.bridge import off_loop
from daemon.domain.imaging import Job, JobError, JobKind, JobState
from daemon.feed import Feed
from daemon.imaging.jobs.deliveries import save_job
from daemon.imaging.jobs.folder import JobFolder
from daemon.imaging.jobs.rounds import in_rounds
from daemon.imaging.jobs.steps import Done, Gateway, Notice, NotYet, Step, Work, step_named
from daemon.services.insist import insist
from daemon.storage.database import LedgerUnavailable, Unit
from daemon.supervise import Backoff, attempted
from imaging import errors

log = logging.getLogger(__name__)

_BACKOFF = Backoff(initial_s=2.0, max_s=300.0)
# A step that must not be done twice is given this long to end when the daemon stops.
_GRACE_S = 5.0
_TOLD_EVERY_SHARE = 0.01
_REASONS: dict[type[errors.ImagingError], JobError] = {
    errors.NotConfigured: JobError.NOT_CONFIGURED,
    errors.InputInvalid: JobError.INPUT_INVALID,
    errors.Unauthorized: JobError.UNAUTHORIZED,
    errors.Refused: JobError.REFUSED,
    errors.Failed: JobError.FAILED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRules:
    """workers: jobs at once. retry_for: how long a step is tried again, from its first attempt."""

    workers: int
    retry_for: timedelta


class JobRunner:
    def __init__(
        self,
        unit: Unit,
        gateways: Mapping[JobKind, Gateway],
        folder: JobFolder,
        feed: Feed[Job],
        rules: RunRules,
        on_end: Callable[[], None],
        notices: Mapping[JobKind, Notice] = MappingProxyType({}),
    ) -> None:
        """on_end: a job has ended, and its row says so. notices: of the kinds whose ends webhooks are told."""
        self._on_end = on_end
        self._unit = unit
        self._gateways = gateways
        self._notices = notices
        self._folder = folder
        self._feed = feed
        self._rules = rules
        self._at_work: dict[UUID, asyncio.Task[None]] = {}
        self._changed = asyncio.Event()
        self._latest: dict[UUID, Job] = {}
        # Being cancelled: nobody may begin with them again meanwhile.
        self._held: set[UUID] = set()
        self.ended: Counter[tuple[JobKind, JobState]] = Counter()
        self.repeated: Counter[JobKind] = Counter()

    @property
    def working(self) -> int:
        return len(self._at_work)

    def seen_now(self, job: Job) -> Job:
        """A job as its row has it, with the progress of a step that is under way."""
        latest = self._latest.get(job.id)
        is_newer = latest is not None and (latest.step, latest.changed_at) == (job.step, job.changed_at)
        return latest if latest is not None and is_newer else job

    def wake(self) -> None:
        """A job was added, or may go on."""
        self._changed.set()

    async def run(self) -> None:
        """Until cancelled; jobs that were running go on."""
        await in_rounds("imaging jobs", self._start_due, self._changed, self._at_work)

    async def cancel(self, job: Job) -> Job:
        """Ends it where it stands; what the back end has of it stays there. Returns the job as it ended."""
        self._held.add(job.id)
        try:
            if (task := self._at_work.get(job.id)) is not None:
                task.cancel()
                await asyncio.wait([task])
            return await self._end_cancelled(job)
        finally:
            self._held.discard(job.id)
            self._changed.set()

    async def _end_cancelled(self, job: Job) -> Job:
        async with self._unit.begin() as tx:
            now_is = await tx.imaging.get(job.id)
            assert now_is is not None
            if now_is.has_ended:
                return now_is
            ended = now_is.cancelled(datetime.now(UTC), "已取消；已提交到后台的内容不会撤回。")
            await save_job(tx, ended, self._notices.get(ended.kind))
        self._tell_end(ended)
        self._feed.publish(ended)
        return ended

    def _tell_end(self, job: Job) -> None:
        self.ended[job.kind, job.state] += 1
        self._on_end()

    async def _start_due(self) -> float | None:
        """Give free workers the jobs that are due; returns how long until the next one is. Raises LedgerUnavailable."""
        while len(self._at_work) < self._rules.workers:
            async with self._unit.read() as tx:
                job = await tx.imaging.next_due([*self._at_work, *self._held])
            if job is None:
                return None
            now = datetime.now(UTC)
            if not job.is_due(now):
                return (job.next_at - now).total_seconds()
            if job.id in self._held:
                continue
            task = asyncio.create_task(self._advance(job), name=f"imaging:{job.id}")
            self._at_work[job.id] = task
            task.add_done_callback(self._ended(job.id))
        return None

    def _ended(self, job_id: UUID) -> Callable[[asyncio.Task[None]], None]:
        def ended(task: asyncio.Task[None]) -> None:
            self._at_work.pop(job_id, None)
            self._latest.pop(job_id, None)
            self._changed.set()
            if not task.cancelled() and (error := task.exception()) is not None:
                log.error("imaging job %s stopped: %s", job_id, error)

        return ended

    async def _advance(self, job: Job) -> None:
        """Step by step, until it ends or has to wait."""
        while not job.has_ended and job.is_due(datetime.now(UTC)):
            gateway = self._gateways.get(job.kind)
            if gateway is None:
                await self._save(job.failed(JobError.NOT_CONFIGURED, datetime.now(UTC), "此影像后台未配置。"))
                return
            step, _ = step_named(gateway, job.step)
            result = await attempted(self._to_its_end(step, self._step(job, gateway)), expected=LedgerUnavailable)
            if isinstance(result, Job):
                job = result
                continue
            log.error("imaging job %s failed at %s", job.id, job.step, exc_info=result)
            await self._save(job.failed(JobError.INTERNAL, datetime.now(UTC), "服务内部错误，请联系运维。"))
            return

    async def _to_its_end(self, step: Step, attempt: Coroutine[Any, Any, Job]) -> Job:
        """Cancelled in a step that must not be done twice, it is given a while to end and to be saved first."""
        task = asyncio.create_task(attempt)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            await asyncio.wait([task], timeout=0.0 if step.is_repeatable else _GRACE_S)
            task.cancel()
            await asyncio.wait([task])
            raise

    async def _step(self, job: Job, gateway: Gateway) -> Job:
        """One attempt at the step that the job is at."""
        step, following = step_named(gateway, job.step)
        was_begun = job.is_begun
        job = await self._save(job.begun(datetime.now(UTC), f"{step.title}…"))
        async with self._unit.read() as tx:
            files = await tx.imaging.files(job.id)
        work = Work(
            job=job,
            files=tuple(files),
            paths=tuple(self._folder.of(job.id) / file.path for file in files),
            folder=self._folder.of(job.id),
            progress=self._progress_of(job, step),
        )
        try:
            await off_loop(_check_files, work)
            outcome = await self._outcome(step, work, was_begun=was_begun)
        except errors.ImagingError as error:
            return await self._after(job, gateway, step, error, was_begun=was_begun)
        if outcome is None:
            return await self._in_doubt(job, gateway, step, "服务在此步骤进行中停止")
        now = datetime.now(UTC)
        if isinstance(outcome, NotYet):
            next_state = self._polled(job, step, outcome, now)
        elif following is not None:
            next_state = job.stepped(outcome.output, following.name, now, outcome.message)
        else:
            log.info("imaging job %s (%s) is done", job.id, job.kind.value)
            next_state = job.done(outcome.output, outcome.result or {}, now, outcome.message)
        return await self._save(next_state)

    def _polled(self, job: Job, step: Step, outcome: NotYet, now: datetime) -> Job:
        if job.polls + 1 < outcome.polls_max:
            return job.polled(timedelta(seconds=outcome.wait_s), now, outcome.message)
        why = f"{step.title}：查询 {job.polls + 1} 次仍无结果。{outcome.message}"
        return job.failed(JobError.TIMED_OUT, now, why)

    async def _after(
        self, job: Job, gateway: Gateway, step: Step, error: errors.ImagingError, *, was_begun: bool
    ) -> Job:
        """What an attempt that failed leads to."""
        if isinstance(error, errors.Unreachable):
            # Nothing was sent now; what was sent before is as doubtful as it was.
            return await self._again(job, step, error, is_in_doubt=was_begun and not step.is_repeatable)
        if isinstance(error, errors.Unclear):
            if step.is_repeatable or step.recall is not None:
                return await self._again(job, step, error, is_in_doubt=not step.is_repeatable)
            return await self._in_doubt(job, gateway, step, error.message)
        return await self._failed(job, step, error)

    async def _outcome(self, step: Step, work: Work, *, was_begun: bool) -> Done | NotYet | None:
        """None: the step was begun before, and nobody can say whether it was done."""
        if step.is_repeatable:
            return await step.run(work)
        if was_begun:
            if step.recall is None:
                return None
            if (found := await step.recall(work)) is not None:
                return found
        return await step.run(work)

    def _progress_of(self, job: Job, step: Step) -> Callable[[float, str], None]:
        """Told to whoever watches now; the row learns of it when the step ends."""
        loop, last = asyncio.get_running_loop(), -1.0

        def progress(share: float, message: str) -> None:
            nonlocal last
            if share - last >= _TOLD_EVERY_SHARE or share >= 1.0 > last:
                last = share
                told = replace(job, progress=min(1.0, share), message=f"{step.title}：{message}")
                loop.call_soon_threadsafe(self._tell, told)

        return progress

    def _tell(self, job: Job) -> None:
        if job.id in self._at_work:
            self._latest[job.id] = job
        self._feed.publish(job)

    async def _again(self, job: Job, step: Step, error: errors.ImagingError, *, is_in_doubt: bool) -> Job:
        now = datetime.now(UTC)
        if now - job.step_at >= self._rules.retry_for:
            return await self._failed(job, step, error)
        wait_s = _BACKOFF.wait_s(job.attempts + 1)
        log.warning("imaging job %s: %s: %s Again in %.0f s.", job.id, step.name, error.message, wait_s)
        self.repeated[job.kind] += 1
        message = f"{step.title}：{error.message} {wait_s:.0f} 秒后重试。"
        return await self._save(job.postponed(timedelta(seconds=wait_s), now, message, is_in_doubt=is_in_doubt))

    async def _failed(self, job: Job, step: Step, error: errors.ImagingError) -> Job:
        reason = next(
            (reason for kind, reason in _REASONS.items() if isinstance(error, kind)),
            JobError.UNREACHABLE if isinstance(error, errors.Unreachable) else JobError.UNCLEAR,
        )
        log.warning("imaging job %s failed at %s: %s", job.id, step.name, error.message)
        message = f"{step.title}：{error.message}"
        return await self._save(job.failed(reason, datetime.now(UTC), message, code=error.code))

    async def _in_doubt(self, job: Job, gateway: Gateway, step: Step, why: str) -> Job:
        message = f"{step.title}：{why}，无法确定后台是否已处理，未自动重复。{gateway.hint}"
        log.warning("imaging job %s: %s is in doubt", job.id, step.name)
        return await self._save(job.failed(JobError.OUTCOME_UNKNOWN, datetime.now(UTC), message))

    async def _save(self, job: Job) -> Job:
        """Before anything is done on the strength of it, however long the ledger is away."""

        async def attempt() -> None:
            async with self._unit.begin() as tx:
                await save_job(tx, job, self._notices.get(job.kind))

        await insist("imaging jobs", attempt)
        if job.has_ended:
            self._tell_end(job)
        self._feed.publish(job)
        return job


def _check_files(work: Work) -> None:
    """Raises InputInvalid where a file of the job is gone or is not the one that was accepted."""
    for file, path in zip(work.files, work.paths, strict=True):
        if not path.is_file() or path.stat().st_size != file.size:
            raise errors.InputInvalid(f"文件 {file.name} 已不在或已改变。", field="files", value=file.name)
