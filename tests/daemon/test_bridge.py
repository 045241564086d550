"""Threads end when they are told to, and say what went wrong to whoever awaits them."""

import asyncio
import threading

import pytest

from daemon.bridge import Closed, Handover, ThreadLeft, in_thread
from tests.waiting import DEADLINE_S, until


def alive(name: str) -> bool:
    return any(thread.name == name for thread in threading.enumerate())


async def test_work_runs_in_a_thread_of_its_name_and_its_result_comes_back() -> None:
    assert await in_thread("count", lambda _: threading.current_thread().name) == "count"
    await until(lambda: not alive("count"))


async def test_what_is_raised_in_the_thread_is_raised_in_the_task() -> None:
    def work(_: threading.Event) -> None:
        raise ZeroDivisionError("in the thread")

    with pytest.raises(ZeroDivisionError, match="in the thread"):
        await in_thread("fails", work)


async def test_a_cancel_stops_the_thread_and_waits_for_it() -> None:
    stopped = threading.Event()

    def work(stop: threading.Event) -> None:
        assert stop.wait(DEADLINE_S)
        stopped.set()

    task = asyncio.create_task(in_thread("waits", work))
    await until(lambda: alive("waits"))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert stopped.is_set()


async def test_an_error_on_the_way_out_of_a_cancel_is_swallowed_with_the_cancel() -> None:
    def work(stop: threading.Event) -> None:
        assert stop.wait(DEADLINE_S)
        raise OSError("closing failed")

    task = asyncio.create_task(in_thread("fails late", work))
    await until(lambda: alive("fails late"))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_thread_that_does_not_stop_is_named() -> None:
    let_go = threading.Event()
    task = asyncio.create_task(in_thread("deaf", lambda _: let_go.wait(DEADLINE_S), stop_within_s=0.05))
    await until(lambda: alive("deaf"))
    task.cancel()
    try:
        with pytest.raises(ThreadLeft, match="thread deaf did not stop within"):
            await task
    finally:
        let_go.set()
    await until(lambda: not alive("deaf"))


async def test_a_handover_keeps_the_newest_and_counts_what_it_drops() -> None:
    handover = Handover[int](3)
    for number in range(5):
        handover.put(number)
    assert [await handover.get() for _ in range(3)] == [2, 3, 4]
    assert handover.dropped == 2


async def test_a_handover_carries_everything_across_threads_in_order() -> None:
    handover = Handover[int](10_000)

    def work(_: threading.Event) -> None:
        for number in range(1000):
            handover.put(number)
        handover.close()

    task = asyncio.create_task(in_thread("puts", work))
    got: list[int] = []

    async def read() -> None:
        while True:
            got.append(await handover.get())

    with pytest.raises(Closed):
        await asyncio.wait_for(read(), DEADLINE_S)
    await task
    assert got == list(range(1000))
    assert handover.dropped == 0


async def test_a_closed_handover_gives_what_it_has_then_ends_and_counts_the_late() -> None:
    handover = Handover[int](3)
    handover.put(1)
    handover.close()
    handover.put(2)
    assert await handover.get() == 1
    for _ in range(2):
        with pytest.raises(Closed):
            await handover.get()
    assert handover.dropped == 1


async def test_closing_wakes_a_waiting_reader() -> None:
    handover = Handover[int](3)
    waiting = asyncio.create_task(handover.get())
    threading.Timer(0, handover.close).start()
    with pytest.raises(Closed):
        async with asyncio.timeout(DEADLINE_S):
            await waiting
