"""Every access to what is of imaging leaves a row: who did what, from where, and what was seen to come of it."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from daemon.bridge import uninterrupted
from daemon.domain.errors import Refused
from daemon.storage.database import LedgerUnavailable, Unit
from daemon.storage.imaging import Access

log = logging.getLogger(__name__)

OK = "ok"
BROKE_OFF = "broke off"


@dataclass(frozen=True, slots=True, kw_only=True)
class Who:
    """name: of the key; "-" where none is asked for."""

    name: str
    address: str


@asynccontextmanager
async def noted(
    unit: Unit,
    who: Who,
    action: str,
    now: datetime,
    *,
    job_id: UUID | None = None,
    refusals: tuple[type[Exception], ...] = (Refused,),
    is_ok_told: bool = False,
) -> AsyncIterator[Access]:
    """Leave a row of what is done inside: "ok" where it was seen to end well, and only there.

    A refusal is named by its class; whatever else ends it (a bug, a client that went away, a stop) broke it off.
    is_ok_told: what ends well has left its row itself, in the transaction of what it did. Yields the row of an end
    that is well. Raises LedgerUnavailable where the row cannot be written: nothing is given without one.
    """
    access = access_of(who, action, now, job_id=job_id)
    outcome, is_cancelled = BROKE_OFF, False
    try:
        yield access
        outcome = OK
    except refusals as error:
        outcome = type(error).__name__
        raise
    except asyncio.CancelledError:
        is_cancelled = True
        raise
    finally:
        if outcome != OK or not is_ok_told:
            try:
                await uninterrupted(_left(unit, replace(access, outcome=outcome)))
            except LedgerUnavailable as error:
                # Who was cancelled must end so, whatever the ledger does: somebody waits for that.
                if not is_cancelled:
                    raise
                log.error("imaging: %s by %s broke off and left no row: %s", action, who.name, error)


def access_of(who: Who, action: str, now: datetime, *, job_id: UUID | None, outcome: str = OK) -> Access:
    return Access(at=now, caller=who.name, address=who.address, action=action, job_id=job_id, outcome=outcome)


async def _left(unit: Unit, access: Access) -> None:
    async with unit.begin() as tx:
        await tx.imaging.audit(access)
