"""Threads end when they are told to, and say what went wrong to whoever awaits them."""

import asyncio
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from daemon.bridge import Closed, Handover, in_thread, left
from daemon.supervise import Backoff, keep_running
from tests.daemon.deaf import Deaf
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


async def test_a_thread_that_does_not_stop_is_given_up_and_named_until_it_ends(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    deaf = Deaf(tmp_path / "pipe")
    task = asyncio.create_task(in_thread("deaf", deaf.work, stop_within_s=0.05))
    await until(lambda: alive("deaf"))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [each.name for each in left()] == ["deaf"]
    assert "thread deaf does not stop and is given up" in caplog.text
    await deaf.let_go()


async def test_a_cancel_is_never_tried_again_whether_the_thread_hears_it_or_not(tmp_path: Path) -> None:
    deaf, attempts = Deaf(tmp_path / "pipe"), 0

    async def attempt() -> None:
        nonlocal attempts
        attempts += 1
        await in_thread("deaf", deaf.work, stop_within_s=0.05)

    failures: list[Exception] = []
    quick = Backoff(initial_s=0.001, max_s=0.001)
    task = asyncio.create_task(
        keep_running(attempt, on_failure=lambda error, _wait_s: failures.append(error), backoff=quick)
    )
    await until(lambda: alive("deaf"))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (attempts, failures) == (1, [])
    await deaf.let_go()


@pytest.mark.parametrize("hangs", ["in_thread", "off_loop"])
def test_a_process_ends_with_its_exit_code_although_a_call_never_comes_back(tmp_path: Path, hangs: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    program = f"""
import asyncio, threading
from daemon.bridge import in_thread, leave, off_loop

began = threading.Event()

def work(_stop=None):
    began.set()
    open({str(tmp_path / "pipe")!r})

async def main():
    hangs = {{"in_thread": lambda: in_thread("deaf", work, stop_within_s=0.1), "off_loop": lambda: off_loop(work)}}
    task = asyncio.create_task(hangs["{hangs}"]())
    while not began.is_set():
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    print(task.cancelled())

asyncio.run(main())
leave(SystemExit(3), within_s=0.2)
"""
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=DEADLINE_S, check=False
    )
    assert (ended.returncode, ended.stdout) == (3, "True\n")
    assert "the process ends without waiting for" in ended.stderr


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
