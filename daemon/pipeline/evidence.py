"""Pictures and clips of what was booked or asked, out of the cameras' rings; nothing here delays a booking.

The picture is taken when the sighting is settled, the clip when its end has been filmed: at once if the surgery ends
or the camera is lost. What the ring held at the settling is kept until then, so that a reconnect loses no moment.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol
from uuid import UUID

from daemon.bridge import off_loop
from daemon.domain.objects import ObjectKind
from daemon.domain.surgery import Surgery
from streams.ring import NotFilmed, Reel, Ring

log = logging.getLogger(__name__)

# More sightings in so few seconds are no evidence but an alarm; their clips would only fill the memory.
_TAKING_MAX = 64
_STOP_WITHIN_S = 8.0
# The last packets of a clip are a little younger than their pictures.
_SETTLE_S = 0.5


class Keeper(Protocol):
    async def keep(self, surgery: Surgery, sighting_id: UUID, kind: ObjectKind, content: bytes) -> None: ...

    async def lost(self, surgery: Surgery, sighting_id: UUID, kind: ObjectKind, why: str) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidenceRules:
    before: timedelta
    after: timedelta
    ring_s: float
    ring_bytes: int


@dataclass(slots=True)
class _Camera:
    ring: Ring
    gone: asyncio.Event


class Evidence:
    """Event loop only; rings are filled in capture threads."""

    def __init__(self, keeper: Keeper, rules: EvidenceRules) -> None:
        self._keeper = keeper
        self._rules = rules
        self._cameras: dict[str, _Camera] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        # One at a time: a picture costs a decoder its group, and the threads are shared.
        self._working = asyncio.Semaphore(1)

    def opened(self, camera: str) -> Ring:
        ring = Ring(seconds=self._rules.ring_s, bytes_max=self._rules.ring_bytes)
        self._cameras[camera] = _Camera(ring, asyncio.Event())
        return ring

    def interrupted(self, camera: str) -> None:
        """The camera is lost: what waits for more takes what there is."""
        if found := self._cameras.get(camera):
            found.gone.set()
            found.gone = asyncio.Event()

    def closed(self, camera: str) -> None:
        if found := self._cameras.pop(camera, None):
            found.gone.set()

    @property
    def ring_bytes(self) -> dict[str, int]:
        return {camera: found.ring.held_bytes for camera, found in self._cameras.items()}

    def take(self, surgery: Surgery, camera: str, sighting_id: UUID, moment: datetime) -> None:
        """Picture and clip of a settled sighting, in their own time."""
        if len(self._tasks) < _TAKING_MAX:
            work = self._taken(surgery, camera, sighting_id, moment)
        else:
            work = self._lost(surgery, sighting_id, "too many sightings at once")
        task = asyncio.create_task(work, name=f"evidence:{camera}")
        self._tasks.add(task)
        task.add_done_callback(self._done)

    async def stop(self) -> None:
        """The process ends: clips end now."""
        for camera in list(self._cameras):
            self.closed(camera)
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=_STOP_WITHIN_S)
            for task in late:
                task.cancel()
            if late:
                log.warning("%d pictures or clips were not finished at the stop", len(late))

    async def _taken(self, surgery: Surgery, camera: str, sighting_id: UUID, moment: datetime) -> None:
        found = self._cameras.get(camera)
        first = _reel(found)
        if found is None or first is None:
            await self._lost(surgery, sighting_id, "the camera's ring is empty")
            return
        gone = found.gone
        await self._make(surgery, sighting_id, ObjectKind.PICTURE, lambda: first.picture(moment))
        ends = moment + self._rules.after
        left_s = (ends - datetime.now(UTC)).total_seconds() + _SETTLE_S
        try:
            async with asyncio.timeout(max(0.0, left_s)):
                await gone.wait()
        except TimeoutError:
            pass
        last = _reel(found)
        reel = last if last is not None and last.has(moment) else first
        await self._make(surgery, sighting_id, ObjectKind.CLIP, lambda: reel.clip(moment - self._rules.before, ends))

    async def _make(self, surgery: Surgery, sighting_id: UUID, kind: ObjectKind, make: Callable[[], bytes]) -> None:
        try:
            async with self._working:
                content = await off_loop(make)
        except NotFilmed as error:
            await self._keeper.lost(surgery, sighting_id, kind, str(error))
        else:
            await self._keeper.keep(surgery, sighting_id, kind, content)

    async def _lost(self, surgery: Surgery, sighting_id: UUID, why: str) -> None:
        for kind in (ObjectKind.PICTURE, ObjectKind.CLIP):
            await self._keeper.lost(surgery, sighting_id, kind, why)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.error("evidence could not be taken", exc_info=error)


def _reel(camera: _Camera | None) -> Reel | None:
    if camera is None:
        return None
    try:
        return camera.ring.reel()
    except NotFilmed:
        return None
