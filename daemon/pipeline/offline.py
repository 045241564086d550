"""Recordings in the place of cameras: the same model, rules and tally, as fast as the pictures decode.

A recording is read once into a trace: the scores of its sampled frames, a few numbers a second. The traces of one
surgery are then played in the order of time, through the same Watch and the same `observe` that serve live cameras.
Time is the recordings' own, so a ledger does not depend on how fast they were read. No frame is dropped, for age or for
a full queue: nothing here is late.
"""

import heapq
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from itertools import pairwise
from pathlib import Path
from uuid import UUID

import numpy as np

from daemon.domain.catalogue import Candidates
from daemon.domain.sighting import Observation
from daemon.domain.surgery import Surgery
from daemon.pipeline.watch import Watch
from daemon.services.observe import ObserveRules, observe, shows
from daemon.storage.database import Unit
from inference.batcher import Prediction
from inference.errors import ModelFailed
from inference.model import Model
from inference.replay import Trace
from inference.sightings import Rules
from streams.errors import StreamUnsupported
from streams.frame import Frame, Rgb
from streams.sampler import PAUSE_MAX
from streams.source import Source, SourceConfig

# How often live cameras look at the time although no frame came; see daemon/pipeline/pipeline.py.
_TICK = timedelta(seconds=0.5)
_FRAME_S = 0.1  # a picture is taken at the first frame from its moment on


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """One recording as it was read. damaged: pictures; unseen_s: of its length_s, for whatever reason."""

    trace: Trace
    length_s: float
    unseen_s: float
    damaged: int


def read_trace(
    model: Model,
    recording: SourceConfig,
    *,
    batch_max: int,
    on_progress: Callable[[float, float], None],
    stop: threading.Event,
) -> Read:
    """Decode, sample and classify one recording; blocking. Ends early, with what it has, once stop is set.

    on_progress: seconds of the recording behind us, and the share of its bytes. Raises a StreamError or ModelError.
    """
    source, path = Source(recording), Path(recording.url)
    size = max(1, path.stat().st_size) if path.is_file() else 1
    waiting: list[tuple[float, Rgb]] = []
    frames: list[tuple[float, list[float]]] = []

    def classify() -> None:
        scores = model.classify([rgb for _, rgb in waiting])
        if not (are_finite := np.isfinite(scores).all(axis=1)).all():
            at_s = waiting[int(are_finite.argmin())][0]
            raise ModelFailed(
                f"{model.path}: gives scores that are not finite for the picture at {at_s:.1f} s of {path}",
                hint="Its numbers leave their range on some pictures: export it as float32.",
            )
        frames.extend((at_s, row.tolist()) for (at_s, _), row in zip(waiting, scores, strict=True))
        waiting.clear()
        on_progress(frames[-1][0], min(1.0, source.stats.bytes / size))

    def take(frame: Frame) -> None:
        waiting.append((frame.stream_s, frame.rgb))
        if len(waiting) >= batch_max:
            classify()

    source.run(take, stop)
    if waiting:
        classify()
    if not frames and not stop.is_set():
        raise StreamUnsupported(f"{path}: no picture of it could be decoded")
    if frames:
        on_progress(source.stats.length_s, 1.0)
    return Read(
        trace=Trace(camera=recording.camera, labels=model.labels, frames=tuple(frames)),
        length_s=source.stats.length_s,
        unseen_s=_unseen_s([at_s for at_s, _ in frames], source.stats.length_s, 1.0 / recording.sample_fps),
        damaged=source.stats.damaged,
    )


def _unseen_s(seen_s: list[float], length_s: float, period_s: float) -> float:
    """What lies between two looks that are further apart than the sampler ever leaves them."""
    pauses = (after - before for before, after in pairwise([0.0, *seen_s, length_s]))
    return sum(pause - period_s for pause in pauses if pause > PAUSE_MAX * period_s + _FRAME_S)


class Recordings:
    """The cameras of one surgery, played from their traces. Fits `services.cameras.Cameras`."""

    def __init__(
        self,
        traces: Mapping[str, Trace],
        *,
        started_at: datetime,
        rules: Rules,
        unit: Unit,
        observe_rules: ObserveRules,
    ) -> None:
        """traces: by camera. started_at: aware; when the first frame of every one of them was."""
        self._traces = traces
        self._started_at = started_at
        self._rules = rules
        self._unit = unit
        self._observe_rules = observe_rules
        self._watch: Watch | None = None
        self.now = started_at

    def unknown(self, cameras: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(camera for camera in cameras if camera not in self._traces)

    def is_open(self, run_id: UUID) -> bool:
        return self._watch is not None and self._watch.surgery.id == run_id

    async def open(self, surgery: Surgery, *, timeout_s: float) -> None:
        """The traces are there already."""

    async def open_again(self, surgery: Surgery) -> None:
        """Likewise."""

    def watch(self, surgery: Surgery, candidates: Candidates, *, resumed: bool) -> None:
        labels = next(iter(self._traces.values())).labels
        self._watch = Watch(
            surgery,
            candidates,
            labels=labels,
            rules=self._rules,
            observe=self._observe,
            shows=partial(shows, self._unit),
            resumed=resumed,
        )

    async def play(self) -> None:
        """Show the surgery everything, camera beside camera, in the order of time."""
        assert self._watch is not None, "play comes after the start of the surgery"
        ticked_at = self._started_at
        for offset_s, camera, scores in heapq.merge(*map(_timed, self._traces.values()), key=lambda entry: entry[0]):
            self.now = self._started_at + timedelta(seconds=offset_s)
            await self._watch.push(
                Prediction(
                    camera=camera,
                    scores=np.asarray(scores, np.float32),
                    captured_at=self.now,
                    captured_mono_s=offset_s,
                    done_mono_s=offset_s,
                )
            )
            if self.now - ticked_at >= _TICK:
                ticked_at = self.now
                await self._watch.tick(offset_s)

    async def close(self, run_id: UUID) -> None:
        if self._watch is not None:
            await self._watch.finish(self.now)
            self._watch = None

    async def _observe(self, surgery: Surgery, candidates: Candidates, seen: Observation) -> None:
        await observe(self._unit, surgery, candidates, seen, self._observe_rules, self.now)


def _timed(trace: Trace) -> list[tuple[float, str, list[float]]]:
    return [(offset_s, trace.camera, list(scores)) for offset_s, scores in trace.frames]
