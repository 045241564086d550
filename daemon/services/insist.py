"""Insisting on the ledger: a fact is never dropped because the ledger is away; what has to be written waits for it."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from daemon.health import Health
from daemon.storage.database import LedgerUnavailable, Unit
from daemon.supervise import Backoff, keep_running

log = logging.getLogger(__name__)

_COMPONENT = "ledger"
_BACKOFF = Backoff(initial_s=0.2, max_s=5.0)


async def insist(what: str, attempt: Callable[[], Awaitable[None]], *, health: Health | None = None) -> None:
    """Attempt until the ledger takes it.

    what: that waits, in the log, in the plural. The log says it once: where there is a health to ask, when the ledger
    breaks; where there is none, at the first failure.
    """
    is_said = False

    def failed(error: Exception, wait_s: float) -> None:
        nonlocal is_said
        is_new = health.set(_COMPONENT, ok=False, why=str(error)) if health is not None else not is_said
        is_said = True
        level = logging.ERROR if is_new else logging.DEBUG
        log.log(level, "%s wait for the ledger: %s. Trying again in %.1f s", what, error, wait_s)

    await keep_running(attempt, on_failure=failed, backoff=_BACKOFF, on=LedgerUnavailable)
    if is_said and health is not None and health.set(_COMPONENT, ok=True):
        log.info("the ledger is back")


async def watch_ledger(unit: Unit, health: Health, *, look_s: float = 5.0) -> None:
    """Until cancelled: say how the ledger is, also while nobody wants anything of it."""
    # Since when it is known that something could not be written; reading says nothing of that, only a commit does.
    refused_mono_s: float | None = None
    is_ours = False
    while True:
        was = health.components.get(_COMPONENT)
        try:
            await unit.check()
        except LedgerUnavailable as error:
            if health.set(_COMPONENT, ok=False, why=str(error)):
                is_ours = True
                log.error("ledger unavailable: %s. %s", error, error.hint)
        else:
            if was is not None and not was.ok and not is_ours:
                refused_mono_s = refused_mono_s or time.monotonic()
            else:
                refused_mono_s = None
            if refused_mono_s is None or unit.last_commit_mono_s > refused_mono_s:
                is_ours, refused_mono_s = False, None
                if health.set(_COMPONENT, ok=True) and was is not None:
                    log.info("the ledger is back")
        await asyncio.sleep(look_s)
