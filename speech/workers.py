"""A few things of one kind, each for one thread at a time: clients that are not re-entrant."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock, Semaphore
from typing import Generic, TypeVar

T = TypeVar("T")


class Workers(Generic[T]):
    """Up to `most` of them, made when they are needed."""

    def __init__(self, make: Callable[[], T], most: int) -> None:
        assert most >= 1, "a pool without workers would wait for ever"
        self._make = make
        self._free = Semaphore(most)
        self._idle: list[T] = []
        self._lock = Lock()

    @contextmanager
    def one(self, wait_s: float) -> Iterator[T]:
        """Raises TimeoutError if none becomes free in time, and whatever making one raises."""
        if not self._free.acquire(timeout=wait_s):
            raise TimeoutError(f"all were busy for {wait_s:g} s")
        try:
            with self._lock:
                worker = self._idle.pop() if self._idle else None
            worker = self._make() if worker is None else worker
            try:
                yield worker
            finally:
                with self._lock:
                    self._idle.append(worker)
        finally:
            self._free.release()
