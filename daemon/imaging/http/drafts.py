"""A job about to be: what is received for one that is not made leaves nothing behind."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from uuid import UUID, uuid4

from fastapi import Request
from fastapi.exceptions import RequestValidationError

from daemon.api.context import now
from daemon.bridge import off_loop
from daemon.domain.errors import Refused
from daemon.domain.imaging import JobKind
from daemon.imaging.jobs.accesses import Who
from daemon.imaging.jobs.jobs import Imaging


@dataclass(slots=True)
class Draft:
    """is_made: a job stands for what was received."""

    job_id: UUID
    is_made: bool = False


@asynccontextmanager
async def creation(imaging: Imaging, kind: JobKind, request: Request, who: Who) -> AsyncIterator[Draft]:
    """A job about to be: one that is not made leaves nothing behind but a row that says so."""
    draft = Draft(uuid4())
    announced = request.headers.get("content-length", "")
    try:
        async with imaging.creating(who, now(), refusals=(Refused, RequestValidationError)):
            await imaging.check_room(kind, int(announced) if announced.isdigit() else 0)
            yield draft
    except asyncio.CancelledError:
        # A stop. Cancelled in its commit, the job is made and nobody saw it; what is of no job goes at the next start.
        draft.is_made = True
        raise
    finally:
        if not draft.is_made:
            await off_loop(imaging.folder.drop, draft.job_id)
