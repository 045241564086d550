"""The live feed never passes over a gap in silence."""

import asyncio

import pytest

from daemon.feed import Feed, FellBehind
from tests.waiting import DEADLINE_S


async def test_everyone_hears_what_is_published_after_they_came() -> None:
    feed = Feed[int]()
    with feed.subscribe() as early:
        feed.publish(1)
        with feed.subscribe() as late:
            assert feed.listeners == 2
            feed.publish(2)
            assert [await early.next(), await early.next(), await late.next()] == [1, 2, 2]
    assert feed.listeners == 0


async def test_a_subscriber_who_fell_behind_gets_what_came_before_the_gap_and_then_is_told() -> None:
    feed = Feed[int](subscription_size=2)
    with feed.subscribe() as slow, feed.subscribe() as quick:
        for number in range(5):
            feed.publish(number)
            assert await quick.next() == number
        assert [await slow.next(), await slow.next()] == [0, 1]
        with pytest.raises(FellBehind):
            await slow.next()


async def test_nothing_from_behind_the_gap_is_handed_on() -> None:
    feed = Feed[int](subscription_size=2)
    with feed.subscribe() as slow:
        for number in range(3):
            feed.publish(number)
        assert await slow.next() == 0
        feed.publish(3)  # there is room again, but 2 is missing
        assert await slow.next() == 1
        with pytest.raises(FellBehind):
            await slow.next()


async def test_a_waiting_subscriber_is_woken() -> None:
    feed = Feed[str]()
    with feed.subscribe() as subscription:
        waiting = asyncio.create_task(subscription.next())
        feed.publish("now")
        async with asyncio.timeout(DEADLINE_S):
            assert await waiting == "now"
