"""What a surgery must know of its cameras, on its way to the ledger: that one does not see, and that it does again.

In order and in its own time: while the ledger is away, looking goes on and what is to be said waits.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from datetime import datetime
from uuid import UUID

from daemon.domain.surgery import Surgery

# (surgery, camera, why it does not see or "", since when)
Note = Callable[[Surgery, str, str, datetime], Awaitable[None]]

# A camera that comes and goes all the time is noted for as long as there is room; then its last state is.
_WAITING_MAX = 1024


class Notes:
    """Event loop only."""

    def __init__(self, note: Note) -> None:
        self._note = note
        self._blind: set[tuple[UUID, str]] = set()
        self._waiting: deque[tuple[Surgery, str, str, datetime]] = deque()
        self._writing = asyncio.Lock()
        self._more = asyncio.Event()

    def look(self, surgery: Surgery, camera: str, fault: str, now: datetime) -> None:
        """fault: empty where it sees, or where that is not known yet."""
        key = (surgery.id, camera)
        if bool(fault) == (key in self._blind) or len(self._waiting) >= _WAITING_MAX:
            return
        if fault:
            self._blind.add(key)
        else:
            self._blind.remove(key)
        self._waiting.append((surgery, camera, fault, now))
        self._more.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._more.wait()
            self._more.clear()
            await self.written()

    async def written(self) -> None:
        """Returns once all is in the ledger that was there to be said."""
        async with self._writing:
            while self._waiting:
                await self._note(*self._waiting[0])
                self._waiting.popleft()

    def forget(self, run_id: UUID) -> None:
        """The surgery has ended."""
        self._blind = {key for key in self._blind if key[0] != run_id}
