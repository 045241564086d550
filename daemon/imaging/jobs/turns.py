"""One call at a time: the models share the machine with the cameras. Others wait, so many and no longer."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from daemon.domain.errors import UltrasoundBusy

_WAIT_MAX_S = 300.0


class Turns:
    def __init__(self, *, queue_max: int) -> None:
        self._queue_max = queue_max
        self._lock = asyncio.Lock()
        # At work or waiting.
        self._inside = 0

    @property
    def waiting(self) -> int:
        return max(0, self._inside - 1)

    @asynccontextmanager
    async def one(self) -> AsyncIterator[None]:
        """Raises UltrasoundBusy, at once or after waiting for too long."""
        if self._inside > self._queue_max:
            raise UltrasoundBusy(
                f"已有 {self._queue_max} 个超声分析在等待（imaging.ultrasound.queue_max），请稍后重试。"
            )
        self._inside += 1
        try:
            try:
                async with asyncio.timeout(_WAIT_MAX_S):
                    await self._lock.acquire()
            except TimeoutError:
                raise UltrasoundBusy(f"等待超过 {_WAIT_MAX_S:.0f} 秒，请稍后重试。") from None
            try:
                yield
            finally:
                self._lock.release()
        finally:
            self._inside -= 1
