"""What imaging clients get."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import BaseModel

from daemon.domain.delivery import DeliveryState
from daemon.domain.imaging import FileState, Job, JobError, JobFile, JobKind, JobState


class JobFileInfo(BaseModel):
    number: int
    name: str
    media_type: str
    size: int
    state: FileState


class JobFailure(BaseModel):
    """vendor_code: the back end's own, if it gave one."""

    code: JobError
    vendor_code: str
    message: str


class JobResponse(BaseModel):
    """progress: of the step, 0 to 1. message: Chinese, where it stands."""

    id: UUID
    kind: JobKind
    state: JobState
    step: str
    progress: float
    message: str
    attempts: int
    polls: int
    inputs: dict[str, Any]
    files: list[JobFileInfo] | None
    result: dict[str, Any] | None
    error: JobFailure | None
    created_by: str
    created_at: datetime
    changed_at: datetime
    next_at: datetime
    ended_at: datetime | None


class JobList(BaseModel):
    jobs: list[JobResponse]


class AccessInfo(BaseModel):
    """outcome: ok, or why it was refused."""

    at: datetime
    caller: str
    address: str
    action: str
    outcome: str


class AccessList(BaseModel):
    accesses: list[AccessInfo]


class DeliveryInfo(BaseModel):
    """id: as in X-Orwatch-Delivery. error: why the last attempt failed."""

    id: UUID
    host: str
    state: DeliveryState
    attempts: int
    error: str
    created_at: datetime
    next_at: datetime | None
    ended_at: datetime | None


class DeliveryList(BaseModel):
    deliveries: list[DeliveryInfo]


def job_response(
    job: Job, files: Sequence[JobFile] | None, local: Callable[[datetime], datetime], *, with_result: bool = True
) -> JobResponse:
    failure = JobFailure(code=job.error, vendor_code=job.error_code, message=job.message) if job.error else None
    return JobResponse(
        id=job.id,
        kind=job.kind,
        state=job.state,
        step=job.step,
        progress=job.progress,
        message=job.message,
        attempts=job.attempts,
        polls=job.polls,
        inputs=dict(job.inputs),
        files=[
            JobFileInfo(
                number=file.number, name=file.name, media_type=file.media_type, size=file.size, state=file.state
            )
            for file in files
        ]
        if files is not None
        else None,
        result=dict(job.result) if with_result and job.result is not None else None,
        error=failure,
        created_by=job.created_by,
        created_at=local(job.created_at),
        changed_at=local(job.changed_at),
        next_at=local(job.next_at),
        ended_at=local(job.ended_at) if job.ended_at else None,
    )
