"""A job about to be: what is received for one that is not made leaves nothing behind."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from uuid import UUID, uuid4

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from daemon.api.context import Context, now
from daemon.bridge import off_loop
from daemon.domain import errors
from daemon.domain.imaging import JobKind
from daemon.imaging.jobs.jobs import Who


@dataclass(slots=True)
class Draft:
    """is_made: a job stands for what was received."""

    job_id: UUID
    is_made: bool = False


@asynccontextmanager
async def creation(parts: Context, kind: JobKind, request: Request, who: Who) -> AsyncIterator[Draft]:
    """A job about to be: one that is not made leaves nothing behind but a row that says so."""
    imaging, draft = parts.imaging, Draft(uuid4())
    announced = request.headers.get("content-length", "")
    try:
        await imaging.check_room(kind, int(announced) if announced.isdigit() else 0)
        yield draft
    except (errors.Refused, RequestValidationError, HTTPException) as error:
        await imaging.refused(who, "create", type(error).__name__, now())
        raise
    finally:
        if not draft.is_made:
            await off_loop(imaging.folder.drop, draft.job_id)
