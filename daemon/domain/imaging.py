"""A job that carries pictures to an imaging back end and brings its answer back, step by step.

What a restart needs to know is in the job: the step it is at, whether that step was begun, and what the steps before
it gave. A step that is not safe to repeat is marked as begun before anything is sent; if its end was never seen, it
is in doubt, and a doubt is settled by asking the back end or by a person, never by doing it again.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID


class JobKind(StrEnum):
    PATHOLOGY = "pathology"
    FUNDUS = "fundus"
    RETINA = "retina"


class JobState(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


_WAIT_MAX = timedelta(hours=2)
ENDED = frozenset({JobState.DONE, JobState.FAILED, JobState.CANCELLED})


class JobError(StrEnum):
    """Why a job failed, for programs."""

    NOT_CONFIGURED = "NOT_CONFIGURED"
    INPUT_INVALID = "INPUT_INVALID"
    UNREACHABLE = "VENDOR_UNREACHABLE"
    UNCLEAR = "VENDOR_UNCLEAR"
    UNAUTHORIZED = "VENDOR_UNAUTHORIZED"
    REFUSED = "VENDOR_REFUSED"
    FAILED = "ANALYSIS_FAILED"
    TIMED_OUT = "ANALYSIS_TIMED_OUT"
    OUTCOME_UNKNOWN = "OUTCOME_UNKNOWN"
    INTERNAL = "INTERNAL_ERROR"


class FileState(StrEnum):
    """waiting: only in the job's folder. stored: in the object store, too. expired: in neither."""

    WAITING = "waiting"
    STORED = "stored"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFile:
    """path: relative to the job's folder; absolute for a file of the site that a client named, which is not ours.

    key: in the object store; None for what is not ours to keep.
    """

    number: int
    name: str
    path: str
    media_type: str
    size: int
    sha256: str | None
    key: str | None
    state: FileState


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """step: the one it is at or comes to next. attempts, polls: of that step. progress: of that step, 0 to 1.

    inputs: as asked. outputs: what each step that is done gave, by its name. next_at: not before then.
    is_begun: the step was begun and its end is not known.
    """

    id: UUID
    kind: JobKind
    state: JobState
    step: str
    is_begun: bool = False
    attempts: int = 0
    polls: int = 0
    progress: float = 0.0
    message: str
    inputs: Mapping[str, Any]
    outputs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    result: Mapping[str, Any] | None = None
    error: JobError | None = None
    error_code: str = ""
    created_by: str
    request_key: str | None = None
    created_at: datetime
    changed_at: datetime
    step_at: datetime
    next_at: datetime
    ended_at: datetime | None = None

    @property
    def has_ended(self) -> bool:
        return self.state in ENDED

    def is_due(self, now: datetime) -> bool:
        """A time further off than any wait is no wait, but a clock that was set back."""
        return self.next_at <= now or self.next_at - now > _WAIT_MAX

    def begun(self, now: datetime, message: str) -> "Job":
        return replace(self, state=JobState.RUNNING, is_begun=True, message=message, changed_at=now)

    def stepped(self, output: Mapping[str, Any], next_step: str, now: datetime, message: str) -> "Job":
        """The step is done; another follows."""
        return replace(
            self,
            state=JobState.RUNNING,
            step=next_step,
            is_begun=False,
            attempts=0,
            polls=0,
            progress=0.0,
            message=message,
            outputs={**self.outputs, self.step: dict(output)},
            changed_at=now,
            step_at=now,
            next_at=now,
        )

    def done(self, output: Mapping[str, Any], result: Mapping[str, Any], now: datetime, message: str) -> "Job":
        return replace(
            self,
            state=JobState.DONE,
            is_begun=False,
            progress=1.0,
            message=message,
            outputs={**self.outputs, self.step: dict(output)},
            result=dict(result),
            changed_at=now,
            ended_at=now,
        )

    def polled(self, wait: timedelta, now: datetime, message: str) -> "Job":
        """The back end is still at work: asked again later."""
        return replace(
            self, is_begun=False, polls=self.polls + 1, message=message, changed_at=now, next_at=now + wait, attempts=0
        )

    def postponed(self, wait: timedelta, now: datetime, message: str, *, is_in_doubt: bool) -> "Job":
        """An attempt failed: tried again later. is_in_doubt: it may have been acted on."""
        return replace(
            self,
            is_begun=is_in_doubt,
            attempts=self.attempts + 1,
            message=message,
            changed_at=now,
            next_at=now + wait,
        )

    def failed(self, error: JobError, now: datetime, message: str, *, code: str = "") -> "Job":
        """code: the back end's own."""
        return replace(
            self,
            state=JobState.FAILED,
            error=error,
            error_code=code,
            message=message,
            changed_at=now,
            ended_at=now,
        )

    def cancelled(self, now: datetime, message: str) -> "Job":
        return replace(self, state=JobState.CANCELLED, message=message, changed_at=now, ended_at=now)

    def retried(self, now: datetime, message: str, *, is_in_doubt: bool) -> "Job":
        """A person wants it to go on at the step that failed; unless it is still in doubt, even if it was done."""
        return replace(
            self,
            state=JobState.QUEUED,
            is_begun=is_in_doubt,
            attempts=0,
            polls=0,
            error=None,
            error_code="",
            message=message,
            changed_at=now,
            step_at=now,
            next_at=now,
            ended_at=None,
        )


def file_key(job_id: UUID, kind: JobKind, number: int, media_type: str) -> str:
    """Where a file lies in the object store; its name, which may tell of a patient, is in the row only."""
    return f"imaging/{kind.value}/{job_id}/{number:02d}.{_SUFFIXES.get(media_type, 'bin')}"


_SUFFIXES = {
    "image/jpeg": "jpg",
    "image/png": "png",
    "application/dicom": "dcm",
    "text/markdown": "md",
    "application/json": "json",
}
