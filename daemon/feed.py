"""The live feed: facts to whoever listens right now. Nothing is kept here; the outbox is the memory."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

T = TypeVar("T")


class FellBehind(Exception):
    """A subscriber did not take its facts in time; it must come back and read from the outbox."""


class Subscription(Generic[T]):
    def __init__(self, size: int) -> None:
        self._queue: asyncio.Queue[T] = asyncio.Queue(size)
        self._overrun = False

    def offer(self, item: T) -> None:
        # Room that comes after a loss must stay empty: what lies behind the gap would be taken for the next item.
        if self._overrun:
            return
        try:
            self._queue.put_nowait(item)
        except asyncio.QueueFull:
            self._overrun = True

    async def next(self) -> T:
        """Raises FellBehind once items were lost: a gap is never passed over silently."""
        if self._overrun and self._queue.empty():
            raise FellBehind
        return await self._queue.get()


class Feed(Generic[T]):
    """Publishes in the event loop only."""

    def __init__(self, subscription_size: int = 256) -> None:
        self._size = subscription_size
        self._subscriptions: set[Subscription[T]] = set()

    def publish(self, item: T) -> None:
        for subscription in self._subscriptions:
            subscription.offer(item)

    @contextmanager
    def subscribe(self) -> Iterator[Subscription[T]]:
        subscription = Subscription[T](self._size)
        self._subscriptions.add(subscription)
        try:
            yield subscription
        finally:
            self._subscriptions.discard(subscription)

    @property
    def listeners(self) -> int:
        return len(self._subscriptions)
