"""Start, end and resume a surgery.

A start reserves its cameras in the ledger before anything connects, under a lock, so that two starts can never race
for one camera. It then connects outside the lock. A second start of the same surgery joins the first one's attempt.
"""

import asyncio
import logging
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import uuid4

from daemon.domain.catalogue import Candidates, Catalogue, resolve_candidates
from daemon.domain.confirmation import ConfirmationState
from daemon.domain.errors import (
    CameraAlreadyInUse,
    RecordingCannotStart,
    RecordingNotStopped,
    SurgeryAlreadyRunning,
)
from daemon.domain.facts import FactKind
from daemon.domain.surgery import Surgery, SurgeryState
from daemon.services.archive import Archiver
from daemon.services.cameras import Cameras, CamerasFailed
from daemon.services.facts import of_the_surgery, unresolved
from daemon.storage.archive import ArchiveUnavailable
from daemon.storage.database import Unit
from daemon.storage.migrate import DatabaseUnreachable, SchemaUnknown

log = logging.getLogger(__name__)

STARTED = "摄像头录制已开始，手术已启动。"
ALREADY_STARTED = "手术已在进行中，摄像头录制正常。"
# A client waits for minutes of cameras anyway; an archive that takes longer is as good as away.
_FLUSH_WITHIN_S = 10.0
ENDED = "摄像头录制已停止，手术已结束。"


@dataclass(frozen=True, slots=True, kw_only=True)
class StartRules:
    resume_window: timedelta
    timeout_s: float
    attempts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """What the model can tell apart."""

    names: tuple[str, ...]
    background: frozenset[str]

    @property
    def seen(self) -> tuple[str, ...]:
        """Those that stand for something to be tallied."""
        return tuple(name for name in self.names if name not in self.background)


class Surgeries:
    def __init__(
        self,
        unit: Unit,
        cameras: Cameras,
        catalogue: Catalogue,
        labels: Labels,
        rules: StartRules,
        archiver: Archiver | None = None,
    ) -> None:
        self._unit = unit
        self._cameras = cameras
        self._catalogue = catalogue
        self._labels = labels
        self._rules = rules
        self._archiver = archiver
        self._lock = asyncio.Lock()
        self._starts: dict[str, tuple[frozenset[str], asyncio.Task[str]]] = {}
        self._ends: dict[str, asyncio.Task[str]] = {}

    async def start(self, surgery_id: str, cameras: tuple[str, ...], candidates: tuple[str, ...], now: datetime) -> str:
        """Returns the message for the client once a first frame of every camera was classified."""
        cameras = tuple(dict.fromkeys(cameras))
        if unknown := self._cameras.unknown(cameras):
            raise RecordingCannotStart(
                f"未配置的摄像头：{'、'.join(unknown)}，请核对 camera_ids 与服务端配置。",
                surgery_id=surgery_id,
                camera_ids=list(unknown),
            )
        await self._flush(surgery_id, now)
        while True:
            async with self._lock:
                ending = self._ends.get(surgery_id)
                if ending is None:
                    started = await self._join_or_reserve(surgery_id, cameras, candidates, now)
                    break
            # Still ending, it still runs in the ledger: the answer would be "already running", and then it ends.
            await asyncio.wait([ending])
        if isinstance(started, str):
            return started
        return await _joined(
            started, RecordingCannotStart("启动过程中收到结束请求，手术未启动。", surgery_id=surgery_id)
        )

    async def end(self, surgery_id: str, now: datetime) -> str:
        """Idempotent. Returns the message for the client once no camera of the surgery runs any more."""
        async with self._lock:
            start = self._starts.get(surgery_id)
        if start is not None:
            start[1].cancel()
            await asyncio.wait([start[1]])
        async with self._lock:
            task = self._ends.get(surgery_id)
            if task is None:
                async with self._unit.read() as tx:
                    run = await tx.surgeries.latest(surgery_id)
                if run is None and start is None:
                    raise RecordingNotStopped("该手术未开始，没有可停止的录制。", surgery_id=surgery_id)
                if run is None or run.state is not SurgeryState.RUNNING:
                    return ENDED
                task = asyncio.create_task(self._bring_down(run, now), name=f"end:{surgery_id}")
                self._ends[surgery_id] = task
                task.add_done_callback(lambda _: self._ends.pop(surgery_id, None))
        return await _joined(task, RecordingNotStopped("服务正在关闭，停录未确认。", surgery_id=surgery_id))

    async def resume(self, now: datetime) -> list[Surgery]:
        """After a restart: go on with what was running. A start that never answered is given up."""
        async with self._unit.begin() as tx:
            active = await tx.surgeries.active()
            for run in active:
                if run.state is SurgeryState.STARTING:
                    await tx.surgeries.save(_given_up(run))
                else:
                    await tx.emit(of_the_surgery(FactKind.SURGERY_RESUMED, run, now))
        running = [run for run in active if run.state is SurgeryState.RUNNING]
        for run in running:
            await self._cameras.open_again(run)
            self._cameras.watch(run, self._candidates(run), resumed=True)
            log.info("surgery %s goes on after a restart, cameras %s", run.surgery_id, ", ".join(run.cameras))
        return running

    async def stop(self) -> None:
        """The process ends, the surgeries do not: their rows stay running."""
        tasks = [task for _, task in self._starts.values()] + list(self._ends.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _flush(self, surgery_id: str, now: datetime) -> None:
        """Before an id is reused, what was recorded under it is in the archive; before anything is reserved."""
        if self._archiver is None:
            return
        async with self._unit.read() as tx:
            latest = await tx.surgeries.latest(surgery_id)
        if latest is None or latest.continues(now, self._rules.resume_window):
            return
        try:
            await self._archiver.flush(surgery_id, within_s=_FLUSH_WITHIN_S)
        except (ArchiveUnavailable, DatabaseUnreachable, SchemaUnknown) as error:
            log.error("surgery %s cannot start anew: its history is not archived: %s", surgery_id, error)
            raise RecordingCannotStart(
                "该手术号的历史记录尚未归档，归档数据库暂不可用，不能以同一手术号开始新的手术；请恢复归档数据库后重试，或使用新的手术号。",
                surgery_id=surgery_id,
            ) from error

    async def _join_or_reserve(
        self, surgery_id: str, cameras: tuple[str, ...], candidates: tuple[str, ...], now: datetime
    ) -> "asyncio.Task[str] | str":
        """The attempt to wait for, or the message where the surgery runs already. Under the lock."""
        if surgery_id in self._starts:
            wanted, task = self._starts[surgery_id]
            if wanted != frozenset(cameras):
                raise _already_running(surgery_id, tuple(wanted))
            return task
        run, previous = await self._reserve(surgery_id, cameras, candidates, now)
        if previous is not None and previous.state is SurgeryState.RUNNING:
            return ALREADY_STARTED + self._remarks(self._candidates(previous))
        task = asyncio.create_task(self._bring_up(run, previous), name=f"start:{surgery_id}")
        self._starts[surgery_id] = (frozenset(cameras), task)
        task.add_done_callback(lambda _: self._starts.pop(surgery_id, None))
        return task

    async def _reserve(
        self, surgery_id: str, cameras: tuple[str, ...], candidates: tuple[str, ...], now: datetime
    ) -> tuple[Surgery, Surgery | None]:
        """The run that starts, holding its cameras, and the run it goes on with, if it does."""
        async with self._unit.begin() as tx:
            # A start that failed while the ledger was away could not give its cameras back.
            for left in await tx.surgeries.active():
                if left.state is SurgeryState.STARTING and left.surgery_id not in self._starts:
                    await tx.surgeries.save(_given_up(left))
            latest = await tx.surgeries.latest(surgery_id)
            if latest is not None and latest.state is SurgeryState.RUNNING:
                if set(latest.cameras) != set(cameras):
                    raise _already_running(surgery_id, latest.cameras)
                if self._cameras.is_open(latest.id):
                    return latest, latest
                # An end closed the cameras, and then the ledger did not take it: the surgery goes on after a break.
                latest = replace(latest, state=SurgeryState.ENDED, ended_at=now)
                await tx.surgeries.save(latest)
            if taken := await tx.surgeries.holders(cameras):
                raise CameraAlreadyInUse(
                    "摄像头正被其他手术使用：" + "、".join(f"{camera}（手术 {by}）" for camera, by in taken.items()),
                    surgery_id=surgery_id,
                    camera_ids=list(taken),
                )
            previous = latest if latest and latest.continues(now, self._rules.resume_window) else None
            run = Surgery(
                id=previous.id if previous else uuid4(),
                surgery_id=surgery_id,
                state=SurgeryState.STARTING,
                cameras=cameras,
                candidates=candidates,
                started_at=previous.started_at if previous else now,
                # Kept while starting: a start that fails gives the run back as the ended one it was.
                ended_at=previous.ended_at if previous else None,
            )
            await tx.surgeries.save(run)
            return run, previous

    async def _bring_up(self, run: Surgery, previous: Surgery | None) -> str:
        candidates = self._candidates(run)
        is_up = False
        try:
            await self._open(run)
            running = await self._confirm(run, previous)
            is_up = True
        except CamerasFailed as error:
            raise _cannot_start(run, error) from error
        finally:
            # Cancelled, refused by a camera or by the ledger: whatever it was, nothing of it is left running.
            if not is_up:
                await asyncio.shield(self._give_up(run))
        self._cameras.watch(running, candidates, resumed=False)
        remarks = self._remarks(candidates)
        log.info("surgery %s started, cameras %s. %s", run.surgery_id, ", ".join(run.cameras), remarks)
        return STARTED + remarks

    async def _confirm(self, run: Surgery, previous: Surgery | None) -> Surgery:
        running = replace(run, state=SurgeryState.RUNNING, ended_at=None)
        async with self._unit.begin() as tx:
            await tx.surgeries.save(running)
            for open_again in await tx.confirmations.of_run(run.id, [ConfirmationState.UNRESOLVED]):
                await tx.confirmations.save(
                    replace(open_again, state=ConfirmationState.PENDING, settled_at=None, settled_by=None)
                )
            kind = FactKind.SURGERY_RESUMED if previous else FactKind.SURGERY_STARTED
            await tx.emit(of_the_surgery(kind, running, datetime.now(run.started_at.tzinfo)))
        return running

    async def _open(self, run: Surgery) -> None:
        for attempt in range(1, self._rules.attempts + 1):
            try:
                return await self._cameras.open(run, timeout_s=self._rules.timeout_s)
            except CamerasFailed as error:
                log.warning(
                    "surgery %s: attempt %d of %d to open its cameras failed: %s",
                    run.surgery_id,
                    attempt,
                    self._rules.attempts,
                    error,
                )
                if error.is_final or attempt == self._rules.attempts:
                    raise

    async def _give_up(self, run: Surgery) -> None:
        await self._cameras.close(run.id)
        async with self._unit.begin() as tx:
            await tx.surgeries.save(_given_up(run))

    async def _bring_down(self, run: Surgery, now: datetime) -> str:
        await self._cameras.close(run.id)
        async with self._unit.begin() as tx:
            still_open = await tx.confirmations.of_run(run.id, [ConfirmationState.PENDING])
            for question in still_open:
                await tx.confirmations.save(replace(question, state=ConfirmationState.UNRESOLVED, settled_at=now))
                sighting = await tx.sightings.get(question.sighting_id)
                await tx.emit(unresolved(run, question, sighting, now))
            await tx.surgeries.save(replace(run, state=SurgeryState.ENDED, ended_at=now))
            await tx.emit(of_the_surgery(FactKind.SURGERY_ENDED, run, now))
        log.info("surgery %s ended with %d questions open", run.surgery_id, len(still_open))
        return ENDED + (f"有 {len(still_open)} 条待确认未答复，未计入消耗。" if still_open else "")

    def _candidates(self, run: Surgery) -> Candidates:
        return resolve_candidates(run.candidates, self._catalogue, self._labels.names, self._labels.background)

    def _remarks(self, candidates: Candidates) -> str:
        remarks = ""
        if candidates.unknown:
            remarks += f"未识别的候选耗材：{'、'.join(candidates.unknown)}。"
        if candidates.unseen:
            remarks += f"模型无法识别的候选耗材：{'、'.join(candidates.unseen)}。"
        return remarks


async def _joined(task: "asyncio.Task[str]", cancelled: Exception) -> str:
    """Wait without owning: the caller's going away must not undo the work."""
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        if task.cancelled():
            raise cancelled from None
        raise


def _given_up(run: Surgery) -> Surgery:
    return replace(run, state=SurgeryState.ENDED if run.ended_at else SurgeryState.FAILED)


def _already_running(surgery_id: str, cameras: tuple[str, ...]) -> SurgeryAlreadyRunning:
    return SurgeryAlreadyRunning(
        f"手术已在进行中，使用的摄像头为：{'、'.join(sorted(cameras))}。如需更换摄像头，请先结束手术。",
        surgery_id=surgery_id,
        camera_ids=sorted(cameras),
    )


def _cannot_start(run: Surgery, error: CamerasFailed) -> RecordingCannotStart:
    reasons = "；".join(f"{camera}（{why}）" for camera, why in error.reasons.items())
    return RecordingCannotStart(f"摄像头未就绪：{reasons}。", surgery_id=run.surgery_id, camera_ids=list(error.reasons))
