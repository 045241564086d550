"""Who may have to do with imaging jobs, and how one of them is named in a path."""

from typing import Annotated
from uuid import UUID

from fastapi import Depends, Path, Request

from daemon.api.context import needs
from daemon.api.errors import Forbidden
from daemon.api.keys import Caller, Right
from daemon.imaging.jobs.accesses import Who

JobId = Annotated[UUID, Path(description="影像任务编号")]


async def _client(request: Request, caller: Annotated[Caller | None, Depends(needs(Right.IMAGING))]) -> Who:
    return who_of(caller, request.client.host if request.client else "local")


async def _auditor(request: Request, caller: Annotated[Caller | None, Depends(needs(Right.AUDIT))]) -> Who:
    return who_of(caller, request.client.host if request.client else "local")


def who_of(caller: Caller | None, address: str) -> Who:
    """Raises Forbidden: a key bound to rooms is for surgeries."""
    if caller is not None and caller.rooms is not None:
        raise Forbidden
    return Who(name=caller.name if caller else "-", address=address)


Client = Annotated[Who, Depends(_client)]
Auditor = Annotated[Who, Depends(_auditor)]
