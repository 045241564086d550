"""Where threads and the event loop meet; the only file of the daemon that makes threads.

Blocking work runs in a thread named for it and is given a stop event. What it finds crosses to the loop through a
Handover: bounded, oldest dropped first and counted.
"""

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Generic, ParamSpec, TypeVar

log = logging.getLogger(__name__)

T = TypeVar("T")
P = ParamSpec("P")


class ThreadLeft(RuntimeError):
    """A thread did not end within its deadline after it was told to stop."""


async def in_thread(name: str, work: Callable[[threading.Event], T], *, stop_within_s: float = 15.0) -> T:
    """Run `work(stop)` in a thread of its own and return what it returns, or raise what it raises.

    Cancelling sets `stop` and waits for the thread; one that does not end within stop_within_s raises ThreadLeft.
    """
    loop = asyncio.get_running_loop()
    stop = threading.Event()
    done: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if done.done():
            return
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(result)  # type: ignore[arg-type]

    def body() -> None:
        result: T | None = None
        failure: BaseException | None = None
        try:
            result = work(stop)
        except BaseException as error:  # noqa: BLE001  it is raised again in the task that awaits it
            failure = error
        try:
            loop.call_soon_threadsafe(settle, result, failure)
        except RuntimeError:
            log.warning("thread %s ended after the event loop did", name)

    thread = threading.Thread(target=body, name=name, daemon=True)
    thread.start()
    try:
        return await asyncio.shield(done)
    except asyncio.CancelledError:
        stop.set()
        _, pending = await asyncio.wait([done], timeout=stop_within_s)
        if pending:
            raise ThreadLeft(f"thread {name} did not stop within {stop_within_s:g} s") from None
        if not done.cancelled():
            done.exception()
        raise
    finally:
        stop.set()


async def off_loop(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run short blocking work (a file, a parse) in the loop's worker threads."""
    return await asyncio.to_thread(work, *args, **kwargs)


async def uninterrupted(work: Coroutine[Any, Any, T]) -> T:
    """Run to the end even if we are cancelled meanwhile; the cancellation is raised after it. For short work only."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise


class Closed(Exception):
    """The hand-over was closed and is empty."""


class Handover(Generic[T]):
    """A bounded queue from any thread into the event loop. A full one drops its oldest item and counts it."""

    def __init__(self, size: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._items: deque[T] = deque()
        self._size = size
        self._lock = threading.Lock()
        self._ready = asyncio.Event()
        self._closed = False
        self.dropped = 0

    def put(self, item: T) -> None:
        """Any thread; never blocks."""
        with self._lock:
            if self._closed:
                self.dropped += 1
                return
            if len(self._items) >= self._size:
                self._items.popleft()
                self.dropped += 1
            self._items.append(item)
        self._wake()

    async def get(self) -> T:
        """The oldest item. Raises Closed once the hand-over is closed and empty."""
        while True:
            with self._lock:
                if self._items:
                    return self._items.popleft()
                if self._closed:
                    raise Closed
                self._ready.clear()
            await self._ready.wait()

    def close(self) -> None:
        with self._lock:
            self._closed = True
        self._wake()

    def _wake(self) -> None:
        try:
            self._loop.call_soon_threadsafe(self._ready.set)
        except RuntimeError:
            log.debug("hand-over woken after the event loop closed")
