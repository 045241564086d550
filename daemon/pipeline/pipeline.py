"""All cameras of all surgeries in front of one classifier.

capture threads -> repeats -> batcher (bounded, drops counted) -> classifier thread
-> hand-over (bounded, drops counted) -> event loop -> the surgery's windows
-> observations, which are awaited and never dropped.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from uuid import UUID

from daemon import log as logs
from daemon.bridge import Handover, in_thread
from daemon.domain.catalogue import Candidates
from daemon.domain.surgery import Surgery
from daemon.health import Health
from daemon.metrics import Metrics
from daemon.pipeline.capture import Capture, reason
from daemon.pipeline.evidence import Evidence
from daemon.pipeline.notes import Note, Notes
from daemon.pipeline.repeats import Repeats
from daemon.pipeline.sight import Figures, SightRules
from daemon.pipeline.stuck import Stuck
from daemon.pipeline.watch import Observe, Shows, Watch
from daemon.services.cameras import CamerasFailed
from daemon.supervise import Backoff
from inference.batcher import Batcher, Prediction
from inference.sightings import Rules
from streams.frame import Frame
from streams.source import SourceConfig

log = logging.getLogger(__name__)

_TICK_S = 0.5
_STOPS_WITHIN_S = 5.0
_PREDICTIONS_MAX = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Open:
    """The cameras of one surgery while they run."""

    surgery: Surgery
    captures: dict[str, Capture]
    tasks: list[asyncio.Task[None]]


class Pipeline:
    def __init__(
        self,
        sources: Mapping[str, SourceConfig],
        *,
        batcher_on: Callable[[Callable[[Prediction], None]], Batcher],
        labels: tuple[str, ...],
        rules: Rules,
        observe: Observe,
        shows: Shows,
        note: Note,
        health: Health,
        metrics: Metrics,
        sight: SightRules,
        evidence: Evidence | None = None,
        backoff: Backoff | None = None,
    ) -> None:
        self._sources = sources
        self._labels = labels
        self._rules = rules
        self._observe = observe
        self._shows = shows
        self._notes = Notes(note)
        self._health = health
        self._metrics = metrics
        self._sight = sight
        self._stuck = Stuck(health, silent_max_s=sight.blind_alarm_s)
        self._evidence = evidence
        self._backoff = backoff or Backoff()
        self._open: dict[UUID, Open] = {}
        self._watches: dict[UUID, Watch] = {}
        self._watch_of: dict[str, Watch] = {}
        self._capture_of: dict[str, Capture] = {}
        self._busy_since_mono_s: float | None = None
        self._predictions: Handover[Prediction] = Handover(_PREDICTIONS_MAX)
        self._turn = asyncio.Lock()
        self.repeats = Repeats(self._classify, self._predictions.put)
        self.batcher = batcher_on(self.repeats.prediction)

    async def run(self) -> None:
        """Classify and route until cancelled. A crash of either side is raised here."""
        async with asyncio.TaskGroup() as group:
            group.create_task(in_thread("classify", self.batcher.run, stop_within_s=_STOPS_WITHIN_S))
            group.create_task(self._route())
            # Beside the routing: while a decision waits for the ledger, nobody sees either.
            group.create_task(self._look())
            group.create_task(self._notes.run())

    @property
    def captures(self) -> dict[str, Capture]:
        return dict(self._capture_of)

    @property
    def predictions_dropped(self) -> int:
        return self._predictions.dropped

    def unknown(self, cameras: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(camera for camera in cameras if camera not in self._sources)

    def is_open(self, run_id: UUID) -> bool:
        return run_id in self._open

    async def open(self, surgery: Surgery, *, timeout_s: float) -> None:
        opened = self._start(surgery)
        waiting = [asyncio.create_task(_settled(capture)) for capture in opened.captures.values()]
        try:
            async with asyncio.timeout(timeout_s):
                for settled in asyncio.as_completed(waiting):
                    if not await settled:
                        break
        except TimeoutError:
            pass
        except asyncio.CancelledError:
            await self.close(surgery.id)
            raise
        finally:
            for task in waiting:
                task.cancel()
        down = [capture for capture in opened.captures.values() if not capture.first_sample.is_set()]
        if down:
            final = [capture for capture in down if capture.failed_finally.is_set()]
            failed = CamerasFailed(
                {capture.camera: reason(capture, timeout_s) for capture in final or down}, is_final=bool(final)
            )
            await self.close(surgery.id)
            raise failed

    async def open_again(self, surgery: Surgery) -> None:
        """The cameras that the site still has; one that is gone from the configuration is reported, not fatal."""
        gone = self.unknown(surgery.cameras)
        for camera in gone:
            self._health.set(f"camera:{camera}", ok=False, why="not in the configuration any more")
            log.error("camera %s of running surgery %s is not configured any more", camera, surgery.surgery_id)
        self._start(surgery)

    def watch(self, surgery: Surgery, candidates: Candidates, *, resumed: bool) -> None:
        watch = Watch(
            surgery,
            candidates,
            labels=self._labels,
            rules=self._rules,
            observe=self._observe,
            shows=self._shows,
            resumed=resumed,
        )
        self._watches[surgery.id] = watch
        for camera in surgery.cameras:
            self._watch_of[camera] = watch

    async def close(self, run_id: UUID) -> None:
        watch = self._watches.pop(run_id, None)
        if watch is not None:
            async with self._turn:
                for camera in watch.surgery.cameras:
                    self._watch_of.pop(camera, None)
                await watch.finish(datetime.now(UTC))
            await self._notes.written()
            self._notes.forget(run_id)
        opened = self._open.pop(run_id, None)
        if opened is not None:
            await _end(opened.tasks)
            for camera in opened.captures:
                self._capture_of.pop(camera, None)
                self.repeats.forget(camera)
                if self._evidence is not None:
                    self._evidence.closed(camera)

    async def stop(self) -> None:
        """The process ends: cameras go, sightings stay undecided, surgeries stay running."""
        self._watches.clear()
        self._watch_of.clear()
        self._capture_of.clear()
        opened, self._open = self._open, {}
        await _end([task for run in opened.values() for task in run.tasks])
        if self._evidence is not None:
            await self._evidence.stop()

    def _start(self, surgery: Surgery) -> Open:
        captures = {
            camera: Capture(
                self._sources[camera],
                on_frame=self.repeats.frame,
                on_gap=self._gap,
                health=self._health,
                backoff=self._backoff,
                sight=self._sight,
                ring=partial(self._evidence.opened, camera) if self._evidence is not None else None,
            )
            for camera in surgery.cameras
            if camera in self._sources
        }
        tasks = [
            asyncio.create_task(_with_context(capture, surgery.surgery_id), name=f"camera:{camera}")
            for camera, capture in captures.items()
        ]
        opened = Open(surgery=surgery, captures=captures, tasks=tasks)
        self._open[surgery.id] = opened
        self._capture_of |= captures
        return opened

    def _classify(self, frame: Frame) -> None:
        self.batcher.put(frame)

    def _note(self, camera: str) -> None:
        """What a surgery that has begun is to know of its camera."""
        watch, capture = self._watch_of.get(camera), self._capture_of.get(camera)
        if watch is not None and capture is not None:
            self._notes.look(watch.surgery, camera, capture.fault, datetime.now(UTC))

    def _gap(self, camera: str) -> None:
        self._note(camera)
        if self._evidence is not None:
            self._evidence.interrupted(camera)
        if watch := self._watch_of.get(camera):
            watch.gap(camera)

    async def _route(self) -> None:
        ticked_mono_s = time.monotonic()
        while True:
            try:
                async with asyncio.timeout(_TICK_S):
                    prediction = await self._predictions.get()
            except TimeoutError:
                pass
            else:
                self._busy_since_mono_s = time.monotonic()
                await self._settle(prediction)
            if time.monotonic() - ticked_mono_s >= _TICK_S:
                ticked_mono_s = self._busy_since_mono_s = time.monotonic()
                async with self._turn:
                    for watch in list(self._watches.values()):
                        await watch.tick(time.monotonic())
            self._busy_since_mono_s = None

    async def _look(self) -> None:
        """Whether the cameras see, the classifier answers and every thread ends, a few times a second."""
        while True:
            drops = self.batcher.drops_by_camera
            now_mono_s = time.monotonic()
            silent_s = now_mono_s - self.batcher.last_progress_mono_s
            since = self._busy_since_mono_s
            for camera, capture in self._capture_of.items():
                capture.look(
                    Figures(
                        too_old=drops.get((camera, "too_old"), 0),
                        no_room=drops.get((camera, "queue_full"), 0),
                        failed=drops.get((camera, "failed"), 0) + drops.get((camera, "closed"), 0),
                        model_silent_s=silent_s,
                        tally_waits_s=now_mono_s - since if since is not None else 0.0,
                    )
                )
            self._stuck.look(silent_s, now_mono_s)
            for camera in self._capture_of:
                self._note(camera)
            await asyncio.sleep(_TICK_S)

    async def _settle(self, prediction: Prediction) -> None:
        self._metrics.result_age.labels(prediction.camera).observe(prediction.done_mono_s - prediction.captured_mono_s)
        capture = self._capture_of.get(prediction.camera)
        # A frame of the surgery that had this camera before was still on its way.
        if capture is None or prediction.captured_mono_s < capture.began_mono_s:
            return
        # `close` takes the same turn, so that a surgery's last decisions come after all its predictions.
        async with self._turn:
            if watch := self._watch_of.get(prediction.camera):
                await watch.push(prediction)
        capture.saw(prediction.captured_mono_s)


async def _with_context(capture: Capture, surgery_id: str) -> None:
    logs.bind(surgery=surgery_id)
    await capture.run()


async def _settled(capture: Capture) -> bool:
    """True at the first sample that is classified, False once it is clear that none will come."""
    first = asyncio.create_task(capture.first_sample.wait())
    final = asyncio.create_task(capture.failed_finally.wait())
    try:
        await asyncio.wait([first, final], return_when=asyncio.FIRST_COMPLETED)
        return capture.first_sample.is_set()
    finally:
        first.cancel()
        final.cancel()


async def _end(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    for outcome in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(outcome, Exception):
            log.error("a camera did not stop cleanly: %s", outcome)
