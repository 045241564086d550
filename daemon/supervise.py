"""Retrying, once for the whole program: attempt, wait a growing and jittered while, attempt again."""

import logging
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

import stamina
import stamina.instrumentation

log = logging.getLogger(__name__)

T = TypeVar("T")

# Beyond every max_s, and no overflow.
_DOUBLINGS_MAX = 64

# Each caller says in its own words what failed and when it tries again.
stamina.instrumentation.set_on_retry_hooks([])


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """Seconds. An attempt that lasted healthy_s was a success: its end is followed by an immediate attempt."""

    initial_s: float = 0.25
    max_s: float = 15.0
    jitter_s: float = 0.5
    healthy_s: float = 5.0

    def wait_s(self, attempts: int) -> float:
        """How long to wait after so many failed attempts, 1 or more, for those who count them in rows or in threads.

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
) -> None:
    """Attempt until an attempt returns.

    on_failure(error, wait_s) is called in the loop before each wait. A bug counts as a failure too: it must not take
    the neighbours with it, unless `on` is narrower.
    """
    while True:
        retries = stamina.retry_context(
            on=on,
            attempts=None,
            timeout=None,
            wait_initial=backoff.initial_s,
            wait_max=backoff.max_s,
            wait_jitter=backoff.jitter_s,
        )
        async for again in retries:
            was_healthy = False
            began_mono_s = time.monotonic()
            # The context swallows what is raised in it and raises or waits in the next round of the loop.
            with again:
                try:
                    return await attempt()
                except on as error:
                    was_healthy = time.monotonic() - began_mono_s >= backoff.healthy_s
                    on_failure(error, 0.0 if was_healthy else again.next_wait)
                    if not was_healthy:
                        raise
            if was_healthy:
                break


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
