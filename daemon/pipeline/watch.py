"""One surgery's eyes: the windows of its cameras, from predictions to observations."""

from collections.abc import Awaitable, Callable, Iterable
from datetime import datetime, timedelta

from daemon.domain.catalogue import Candidates
from daemon.domain.facts import Score
from daemon.domain.sighting import Observation, Outcome
from daemon.domain.surgery import Surgery
from inference.batcher import Prediction
from inference.decisions import Ask, Book, Decision, Ignore, Watcher
from inference.sightings import Rules, Sighting
from inference.sightings import Score as ModelScore

Observe = Callable[[Surgery, Candidates, Observation], Awaitable[None]]
Shows = Callable[[Surgery, str, frozenset[str]], Awaitable[None]]


class Watch:
    """Event loop only; scores come in, never pixels. Observations are awaited one by one: none is dropped."""

    def __init__(
        self,
        surgery: Surgery,
        candidates: Candidates,
        *,
        labels: tuple[str, ...],
        rules: Rules,
        observe: Observe,
        shows: Shows,
        resumed: bool,
    ) -> None:
        self.surgery = surgery
        self._candidates = candidates
        self._observe = observe
        self._shows = shows
        # Cameras out of whose view something went that was counted.
        self._left: set[str] = set()
        self._counted: set[tuple[str, str]] = set()
        self._watchers = {
            camera: Watcher(camera, labels, rules, candidates.labels, on_closed=self._closed)
            for camera in surgery.cameras
        }
        # What opens within one window of a camera's first frame after a restart was in view before it.
        self._resumed = resumed
        self._in_view = timedelta(seconds=rules.window_s)
        self._first_at: dict[str, datetime] = {}
        self._seen_at: dict[str, tuple[datetime, float]] = {}
        # Until all that was in view before it must have opened again, or is gone.
        self._returning = set(surgery.cameras) if resumed else set()

    async def push(self, prediction: Prediction) -> None:
        first_at = self._first_at.setdefault(prediction.camera, prediction.captured_at)
        if prediction.camera in self._returning and prediction.captured_at - first_at > 2 * self._in_view:
            self._returning.remove(prediction.camera)
            self._left.add(prediction.camera)
        self._seen_at[prediction.camera] = prediction.captured_at, prediction.captured_mono_s
        watcher = self._watchers[prediction.camera]
        await self._tell(watcher.push(prediction.scores.tolist(), prediction.captured_at))

    async def tick(self, now_mono_s: float) -> None:
        """Time passed. Each camera's runs on from its last frame: a wall clock that is set meanwhile moves nothing."""
        for camera, (captured_at, captured_mono_s) in self._seen_at.items():
            now = captured_at + timedelta(seconds=now_mono_s - captured_mono_s)
            await self._tell(self._watchers[camera].tick(now))

    def gap(self, camera: str) -> None:
        self._watchers[camera].gap()

    async def finish(self, now: datetime) -> None:
        """The surgery ends: what is still open is decided now."""
        for watcher in self._watchers.values():
            await self._tell(watcher.finish(now))

    async def _tell(self, decisions: Iterable[Decision]) -> None:
        for decision in decisions:
            await self._observe(self.surgery, self._candidates, self._observation(decision))
            if not isinstance(decision, Ignore):
                self._counted.add((decision.sighting.camera, decision.sighting.label))
        while self._left:
            camera = self._left.pop()
            now = {sighting.label for sighting in self._watchers[camera].open_sightings}
            await self._shows(self.surgery, camera, frozenset(now))

    def _closed(self, sighting: Sighting) -> None:
        if (key := (sighting.camera, sighting.label)) in self._counted:
            self._counted.remove(key)
            self._left.add(sighting.camera)

    def _observation(self, decision: Decision) -> Observation:
        match decision:
            case Book():
                return self._observed(decision.sighting, Outcome.BOOKED)
            case Ask():
                return self._observed(decision.sighting, Outcome.ASKED, options=_scores(decision.options))
            case Ignore():
                return self._observed(decision.sighting, Outcome.IGNORED, reason=decision.reason)

    def _observed(
        self, sighting: Sighting, outcome: Outcome, *, options: tuple[Score, ...] = (), reason: str = ""
    ) -> Observation:
        first_at = self._first_at.get(sighting.camera, sighting.started_at)
        return Observation(
            camera=sighting.camera,
            label=sighting.label,
            started_at=sighting.started_at,
            peak=sighting.peak,
            top=_scores(sighting.top),
            outcome=outcome,
            options=options,
            reason=reason,
            since_resume=self._resumed and sighting.started_at - first_at <= self._in_view,
            evidence_at=sighting.evidence_at,
        )


def _scores(scores: Iterable[ModelScore]) -> tuple[Score, ...]:
    return tuple(Score(label=score.label, score=score.score) for score in scores)
