"""One queue of frames from all cameras in front of one model, and the loop that empties it.

Newest wins: the tally needs what is in front of the cameras now, so a late frame is worth less than none. The queue is
bounded; when it is full a frame of the same camera makes room (so that a fast camera starves only itself), else one of
the camera that has most waiting. The loop takes whatever waits, up to `batch_max`, and never waits to fill a batch. A
frame's age is looked at last, directly before it goes to the model. Every frame that is not classified is counted
by camera and cause; none is dropped silently. Scores that are not finite are no judgement: that frame has failed.

    put (any thread) -> waiting -> [too_old?] -> classify -> on_prediction (the thread of run)

The queue opens with the batcher, closes when `run` ends (stop or an error) and opens again with the next `run`.
"""

import logging
import math
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol, get_args

import numpy as np
import numpy.typing as npt

from inference.model import Model

log = logging.getLogger(__name__)

Cause = Literal["queue_full", "too_old", "closed", "failed"]
CAUSES: tuple[Cause, ...] = get_args(Cause)

_IDLE_S = 0.1  # how often an idle loop looks at `stop` and says that it is alive
_AGES_KEPT = 1024


class Snapshot(Protocol):
    """What the batcher needs of a frame; `streams.Frame` fits."""

    @property
    def camera(self) -> str: ...
    @property
    def rgb(self) -> npt.NDArray[np.uint8]: ...
    @property
    def captured_at(self) -> datetime: ...
    @property
    def captured_mono_s(self) -> float: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """The scores of one frame."""

    camera: str
    scores: npt.NDArray[np.float32]  # (labels,), probabilities
    captured_at: datetime
    captured_mono_s: float
    done_mono_s: float


class Batcher:
    """Frames of all cameras into one model, in batches."""

    def __init__(
        self,
        model: Model,
        on_prediction: Callable[[Prediction], None],
        *,
        queue_max: int,
        batch_max: int,
        frame_age_max_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """on_prediction: called in the thread of `run`; what it raises ends `run`. clock: that of captured_mono_s."""
        if queue_max < 1 or batch_max < 1:
            raise ValueError(f"expected room for 1 frame or more, got queue_max {queue_max}, batch_max {batch_max}")
        self._model = model
        self._on_prediction = on_prediction
        self._queue_max = queue_max
        self._batch_max = batch_max
        self._frame_age_max_s = frame_age_max_s
        self._clock = clock
        self._arrived = threading.Condition()  # guards everything below
        self._waiting: deque[Snapshot] = deque()
        self._is_open = True
        self._drops: Counter[tuple[str, Cause]] = Counter()
        self._unjudged: set[str] = set()  # cameras whose last frame had scores that are not finite
        self._classified: Counter[str] = Counter()
        self._batches = 0
        self._ages_s: deque[float] = deque(maxlen=_AGES_KEPT)
        self._oldest_classified_s = 0.0
        self._last_progress_mono_s = clock()

    def put(self, snapshot: Snapshot) -> None:
        """Queue one frame. Any thread; never blocks on the model. After `run` has ended it is counted as "closed"."""
        with self._arrived:
            if not self._is_open:
                self._drops[snapshot.camera, "closed"] += 1
                return
            if len(self._waiting) >= self._queue_max:
                self._make_room(snapshot.camera)
            self._waiting.append(snapshot)
            self._arrived.notify()

    def run(self, stop: threading.Event) -> None:
        """Classify until `stop` is set. Blocking, one thread at a time. What model and callback raise goes through."""
        with self._arrived:
            self._is_open = True
        try:
            while not stop.is_set():
                if batch := self._take():
                    self._classify(batch)
        finally:
            self._close()

    @property
    def drops(self) -> Mapping[str, int]:
        """Frames not classified, by cause; every cause is there."""
        with self._arrived:
            return {cause: sum(n for (_, why), n in self._drops.items() if why == cause) for cause in CAUSES}

    @property
    def drops_by_camera(self) -> Mapping[tuple[str, str], int]:
        """Frames not classified, by (camera, cause)."""
        with self._arrived:
            return {(camera, cause): count for (camera, cause), count in self._drops.items()}

    @property
    def classified(self) -> int:
        """Frames classified since the start."""
        with self._arrived:
            return self._classified.total()

    @property
    def classified_by_camera(self) -> Mapping[str, int]:
        """Frames classified since the start, by camera."""
        with self._arrived:
            return dict(self._classified)

    @property
    def batches(self) -> int:
        """Calls of the model since the start; classified / batches is the mean batch."""
        with self._arrived:
            return self._batches

    @property
    def waiting(self) -> int:
        """Frames in the queue now."""
        with self._arrived:
            return len(self._waiting)

    @property
    def oldest_classified_s(self) -> float:
        """The greatest age a frame had when it went to the model: never over frame_age_max_s."""
        with self._arrived:
            return self._oldest_classified_s

    @property
    def last_progress_mono_s(self) -> float:
        """When a batch was last finished, or the loop last found nothing to do. Stands still while the model hangs."""
        with self._arrived:
            return self._last_progress_mono_s

    def latency_s(self, quantile: float) -> float:
        """Age of a result, from capture to scores, over the last 1024 frames; 0.5 is the median. NaN before any."""
        with self._arrived:
            ages = sorted(self._ages_s)
        return ages[min(len(ages) - 1, int(quantile * len(ages)))] if ages else math.nan

    def _make_room(self, camera: str) -> None:
        waiting = Counter(snapshot.camera for snapshot in self._waiting)
        # most_common keeps first-seen order among equals: of two cameras alike, the one waiting longest gives.
        victim = camera if waiting[camera] else waiting.most_common(1)[0][0]
        oldest = next(index for index, snapshot in enumerate(self._waiting) if snapshot.camera == victim)
        del self._waiting[oldest]
        self._drops[victim, "queue_full"] += 1

    def _take(self) -> list[Snapshot]:
        """What waits and is fresh, at most batch_max; empty when nothing came for a moment."""
        with self._arrived:
            if not self._waiting:
                self._arrived.wait(_IDLE_S)
            batch: list[Snapshot] = []
            while self._waiting and len(batch) < self._batch_max:
                snapshot = self._waiting.popleft()
                age_s = self._clock() - snapshot.captured_mono_s
                if age_s > self._frame_age_max_s:
                    self._drops[snapshot.camera, "too_old"] += 1
                else:
                    self._oldest_classified_s = max(self._oldest_classified_s, age_s)
                    batch.append(snapshot)
            if not batch:
                self._last_progress_mono_s = self._clock()
            return batch

    def _classify(self, batch: list[Snapshot]) -> None:
        scores = None
        try:
            scores = self._model.classify([snapshot.rgb for snapshot in batch])
        finally:
            if scores is None:  # the error goes on to whoever runs this loop; the frames are counted here
                with self._arrived:
                    self._drops.update((snapshot.camera, "failed") for snapshot in batch)
        done_mono_s = self._clock()
        judged, failed = [], []
        for snapshot, row in zip(batch, scores, strict=True):
            if np.isfinite(row).all():
                judged.append((snapshot, row))
            else:
                failed.append(snapshot.camera)
        self._tell(failed, {snapshot.camera for snapshot, _ in judged})
        with self._arrived:
            self._batches += 1
            self._drops.update((camera, "failed") for camera in failed)
            self._classified.update(snapshot.camera for snapshot, _ in judged)
            self._ages_s.extend(done_mono_s - snapshot.captured_mono_s for snapshot, _ in judged)
            self._last_progress_mono_s = done_mono_s
        for snapshot, row in judged:
            self._on_prediction(
                Prediction(
                    camera=snapshot.camera,
                    scores=row,
                    captured_at=snapshot.captured_at,
                    captured_mono_s=snapshot.captured_mono_s,
                    done_mono_s=done_mono_s,
                )
            )

    def _tell(self, failed: list[str], judged: set[str]) -> None:
        """Say it once when it begins."""
        for camera in sorted(set(failed) - self._unjudged):
            log.warning("%s: the model gives scores that are not finite: its pictures are not classified", camera)
        self._unjudged = (self._unjudged | set(failed)) - (judged - set(failed))

    def _close(self) -> None:
        with self._arrived:
            self._is_open = False
            self._drops.update((snapshot.camera, "closed") for snapshot in self._waiting)
            self._waiting.clear()
