"""Retrying, once for the whole program: attempt, wait a growing and jittered while, attempt again."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")

# Beyond every max_s, and no overflow.
_DOUBLINGS_MAX = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """Seconds. The end of an attempt that worked for healthy_s is followed by an immediate attempt."""

    initial_s: float = 0.25
    max_s: float = 15.0
    healthy_s: float = 5.0

    def wait_s(self, attempts: int) -> float:
        """How long to wait after so many failed attempts, 1 or more.

        It doubles from initial_s up to max_s. Half of it at least, all of it at most, at random: what failed together
        does not come back together.
        """
        whole_s = min(self.max_s, self.initial_s * 2.0 ** min(attempts - 1, _DOUBLINGS_MAX))
        return whole_s * random.uniform(0.5, 1.0)  # noqa: S311  no secret


async def keep_running(
    attempt: Callable[[], Awaitable[None]],
    *,
    on_failure: Callable[[Exception, float], None],
    backoff: Backoff,
    on: type[Exception] = Exception,
    works_since: Callable[[], float | None] = lambda: None,
) -> None:
    """Attempt until an attempt returns. A cancel ends it, whatever becomes of the attempt.

    on_failure(error, wait_s) is called in the loop before each wait. A bug counts as a failure too: it must not take
    the neighbours with it, unless `on` is narrower. works_since: monotonic seconds since when the last attempt did what
    it is for, None where it never did. That it took long is no success: a camera that is given up after 10 s was once
    tried again at once, for ever.
    """
    failures = 0
    while True:
        try:
            return await attempt()
        except on as error:
            since = works_since()
            was_healthy = since is not None and time.monotonic() - since >= backoff.healthy_s
            failures = 0 if was_healthy else failures + 1
            wait_s = backoff.wait_s(failures) if failures else 0.0
            on_failure(error, wait_s)
        await asyncio.sleep(wait_s)


async def attempted(attempt: Awaitable[T], *, expected: type[Exception]) -> T | Exception:
    """What it returns, or a bug in it as a value, so that one job's bug is that job's end only.

    What is expected to go wrong is raised.
    """
    try:
        return await attempt
    except expected:
        raise
    except Exception as error:  # noqa: BLE001  this is where
        return error
