"""Retries wait longer and longer, a healthy attempt starts over, and what is not ours to retry is raised."""

import asyncio
from collections.abc import Callable

import pytest

from daemon.supervise import Backoff, keep_running
from tests.waiting import DEADLINE_S

QUICK = Backoff(initial_s=0.001, max_s=0.008, healthy_s=1000)


class Story:
    """Attempts that each do the next thing of a list, and the waits between them."""

    def __init__(self, *steps: Exception | None) -> None:
        self._steps = list(steps)
        self.attempts = 0
        self.waits: list[float] = []
        self.errors: list[Exception] = []

    async def attempt(self) -> None:
        self.attempts += 1
        if step := self._steps.pop(0):
            raise step

    def failed(self, error: Exception, wait_s: float) -> None:
        self.errors.append(error)
        self.waits.append(wait_s)


async def test_an_attempt_that_returns_is_the_end() -> None:
    story = Story(None)
    await keep_running(story.attempt, on_failure=story.failed, backoff=QUICK)
    assert (story.attempts, story.waits) == (1, [])


async def test_waits_grow_to_their_limit() -> None:
    story = Story(*[OSError(str(n)) for n in range(6)], None)
    await keep_running(story.attempt, on_failure=story.failed, backoff=QUICK)
    wholes = [0.001, 0.002, 0.004, 0.008, 0.008, 0.008]
    assert all(whole / 2 <= wait <= whole for wait, whole in zip(story.waits, wholes, strict=True)), story.waits
    assert [str(error) for error in story.errors] == list("012345")


async def test_after_a_healthy_attempt_the_next_is_immediate_and_the_waits_start_over() -> None:
    failing = Story(*[OSError()] * 4, None)
    worked = iter([0.0, None, 0.0, None])
    always_healthy = Backoff(initial_s=0.001, max_s=0.008, healthy_s=0.0)
    await keep_running(
        failing.attempt, on_failure=failing.failed, backoff=always_healthy, works_since=lambda: next(worked)
    )
    first, second, third, fourth = failing.waits
    assert (first, third) == (0.0, 0.0)
    assert 0.0005 <= second <= 0.001
    assert 0.0005 <= fourth <= 0.001


async def test_an_attempt_that_only_took_long_was_no_success() -> None:
    failing = Story(*[OSError()] * 3, None)
    at_once = Backoff(initial_s=0.001, max_s=0.008, healthy_s=0.0)
    await keep_running(failing.attempt, on_failure=failing.failed, backoff=at_once)
    assert min(failing.waits) > 0.0


async def test_a_bug_is_a_failure_like_any_other_unless_told_otherwise() -> None:
    story = Story(AssertionError("bug"), None)
    await keep_running(story.attempt, on_failure=story.failed, backoff=QUICK)
    assert story.attempts == 2
    narrow = Story(AssertionError("bug"), None)
    with pytest.raises(AssertionError, match="bug"):
        await keep_running(narrow.attempt, on_failure=narrow.failed, backoff=QUICK, on=OSError)
    assert (narrow.attempts, narrow.waits) == (1, [])


def test_the_waits_of_whoever_counts_the_attempts_grow_to_their_limit_too() -> None:
    backoff = Backoff(initial_s=2.0, max_s=300.0)
    wholes = {1: 2.0, 2: 4.0, 3: 8.0, 8: 256.0, 9: 300.0, 1000: 300.0, 10**6: 300.0}
    for attempts, whole_s in wholes.items():
        waits = [backoff.wait_s(attempts) for _ in range(200)]
        assert whole_s / 2 <= min(waits) < max(waits) <= whole_s, attempts
        assert len(set(waits)) > 100, "what failed together would come back together"
        # Some of 200 draws are in the first tenth and some in the last, but for one time in a thousand million.
        assert min(waits) < 0.55 * whole_s
        assert max(waits) > 0.95 * whole_s


def cancelling(task: Callable[[], "asyncio.Task[None]"]) -> Callable[[Exception, float], None]:
    def failed(_error: Exception, _wait_s: float) -> None:
        task().cancel()

    return failed


async def test_a_cancel_ends_the_wait() -> None:
    story = Story(OSError(), None)
    long = Backoff(initial_s=1000, max_s=1000)
    task = asyncio.create_task(keep_running(story.attempt, on_failure=cancelling(lambda: task), backoff=long))
    with pytest.raises(asyncio.CancelledError):
        async with asyncio.timeout(DEADLINE_S):
            await task
    assert story.attempts == 1
