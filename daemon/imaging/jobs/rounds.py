"""Working through rows as they come due, whatever becomes of the ledger meanwhile."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from daemon.storage.database import LedgerUnavailable
from daemon.supervise import Backoff, keep_running

log = logging.getLogger(__name__)

_BACKOFF = Backoff(initial_s=0.2, max_s=5.0, jitter_s=0.2, healthy_s=float("inf"))


async def in_rounds(
    what: str,
    start_due: Callable[[], Awaitable[float | None]],
    changed: asyncio.Event,
    at_work: Mapping[Any, asyncio.Task[None]],
) -> None:
    """Until cancelled: start what is due, then wait until something changed or the next is due.

    what: in logs. start_due: returns how long until the next one is due, None if that is not known; may raise
    LedgerUnavailable. at_work: what it has started; cancelled at the end.
    """

    async def rounds() -> None:
        while True:
            changed.clear()
            wait_s = await start_due()
            try:
                async with asyncio.timeout(wait_s):
                    await changed.wait()
            except TimeoutError:
                continue

    try:
        await insist(what, rounds)
    finally:
        for task in at_work.values():
            task.cancel()
        await asyncio.gather(*at_work.values(), return_exceptions=True)


async def insist(what: str, attempt: Callable[[], Awaitable[None]]) -> None:
    """Again and again while the ledger is away."""

    def failed(error: Exception, wait_s: float) -> None:
        log.error("%s wait for the ledger: %s. Trying again in %.1f s", what, error, wait_s)

    await keep_running(attempt, on_failure=failed, backoff=_BACKOFF, on=LedgerUnavailable)
