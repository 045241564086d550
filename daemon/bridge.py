"""Where threads and the event loop meet; the only file of the daemon that makes threads.

Blocking work runs in a thread named for it and is given a stop event. What it finds crosses to the loop through a
Handover: bounded, oldest dropped first and counted.
"""

import asyncio
import contextvars
import logging
import os
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, ParamSpec, TypeVar

log = logging.getLogger(__name__)

T = TypeVar("T")
P = ParamSpec("P")


@dataclass(frozen=True, slots=True, eq=False)
class Left:
    """A thread that was told to stop and did not: given up, nobody waits for it any more."""

    name: str
    since_mono_s: float


# The loop adds, a thread that ends after all removes its own; under the lock.
_left: set[Left] = set()
_lock = threading.Lock()


def left() -> list[Left]:
    """The threads that were given up and still have not ended, oldest first. Any thread."""
    with _lock:
        return sorted(_left, key=lambda each: each.since_mono_s)


async def in_thread(name: str, work: Callable[[threading.Event], T], *, stop_within_s: float = 15.0) -> T:
    """Run `work(stop)` in a thread of its own and return what it returns, or raise what it raises.

    Cancelling sets `stop` and waits for the thread, stop_within_s at most: a library that never comes back holds up
    nothing. Such a thread is given up, logged, and among `left()` until it ends; what it finds then is dropped.
    """
    running = _Running(name, work)
    threading.Thread(target=running.body, name=name, daemon=True).start()
    try:
        return await asyncio.shield(running.done)
    except asyncio.CancelledError:
        # Whatever comes of the thread, a cancel stays a cancel: raised as a failure it was once taken for one, and the
        # camera of a surgery that had ended was connected again.
        running.stop.set()
        try:
            await asyncio.wait([running.done], timeout=stop_within_s)
        finally:
            running.give_up()
        raise
    finally:
        running.stop.set()


class _Running(Generic[T]):
    """One piece of work, in its thread (`body`) and for the task that awaits it."""

    def __init__(self, name: str, work: Callable[[threading.Event], T]) -> None:
        self._loop = asyncio.get_running_loop()
        self._name = name
        self._work = work
        self._has_ended = False
        self._given_up: Left | None = None
        self.stop = threading.Event()
        self.done: asyncio.Future[T] = self._loop.create_future()

    def body(self) -> None:
        result: T | None = None
        failure: BaseException | None = None
        try:
            result = self._work(self.stop)
        except BaseException as error:  # noqa: BLE001  it is raised again in the task that awaits it
            failure = error
        with _lock:
            self._has_ended, given_up = True, self._given_up
            if given_up is not None:
                _left.discard(given_up)
        if given_up is not None:
            late_s = time.monotonic() - given_up.since_mono_s
            log.info("thread %s has ended at last, %.0f s after it was given up", self._name, late_s)
            return
        try:
            self._loop.call_soon_threadsafe(self._settle, result, failure)
        except RuntimeError:
            log.warning("thread %s ended after the event loop did", self._name)

    def give_up(self) -> None:
        """Nobody waits any longer, whether it has ended or not."""
        with _lock:
            if not self._has_ended:
                self._given_up = Left(self._name, time.monotonic())
                _left.add(self._given_up)
        if self._given_up is not None:
            log.error("thread %s does not stop and is given up", self._name)
        if not self.done.cancel() and not self.done.cancelled():
            self.done.exception()

    def _settle(self, result: T | None, error: BaseException | None) -> None:
        if self.done.done():
            return
        if error is not None:
            self.done.set_exception(error)
        else:
            self.done.set_result(result)  # type: ignore[arg-type]


# Not the loop's own: `asyncio.run` waits for those, without an end.
_WORKERS_MAX = 16
_workers = ThreadPoolExecutor(_WORKERS_MAX, thread_name_prefix="worker")
_working: Counter[str] = Counter()


async def off_loop(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run short blocking work (a file, a parse) in one of a few worker threads."""
    name = getattr(work, "__qualname__", type(work).__name__)
    run = partial(contextvars.copy_context().run, work, *args, **kwargs)

    def counted() -> T:
        with _lock:
            _working[name] += 1
        try:
            return run()
        finally:
            with _lock:
                _working[name] -= 1

    return await asyncio.get_running_loop().run_in_executor(_workers, counted)


def leave(error: BaseException | None, *, within_s: float = 5.0) -> None:
    """At the very end: where a thread hangs, end the process without it; else return, once the workers have ended.

    error: that ends the program, with its exit code if it is a SystemExit. The interpreter would wait for every worker
    and tear down what libraries still use: a call that does not come back would hang the one, and may crash the other.
    """
    _workers.shutdown(wait=False, cancel_futures=True)
    deadline_mono_s = time.monotonic() + within_s
    while +_working and time.monotonic() < deadline_mono_s:
        time.sleep(0.02)
    stuck = sorted([each.name for each in left()] + list(+_working))
    if not stuck:
        return
    code = 0 if error is None else 1
    if isinstance(error, SystemExit):
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    elif error is not None:
        sys.excepthook(type(error), error, error.__traceback__)
    log.error("the process ends without waiting for %s", ", ".join(stuck))
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


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
