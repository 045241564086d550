"""Working through rows as they come due, whatever becomes of the ledger meanwhile."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any

from daemon.services.insist import insist


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
    wait_s: float | None = None

    async def one_round() -> None:
        nonlocal wait_s
        changed.clear()
        wait_s = await start_due()

    try:
        while True:
            await insist(what, one_round)
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await changed.wait()
    finally:
        for task in at_work.values():
            task.cancel()
        await asyncio.gather(*at_work.values(), return_exceptions=True)
