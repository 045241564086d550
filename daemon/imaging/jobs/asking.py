"""How a client asks for an imaging job: what it gives, what was received for it, and in which words it is refused."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from daemon.domain.errors import (
    ImagingBackEndAway,
    ImagingInputInvalid,
    ImagingInputNotFound,
    ImagingInputTooLarge,
    ImagingNotConfigured,
    ImagingPathForbidden,
    ImagingRequestInvalid,
    Refused,
)
from daemon.domain.imaging import FileState, Job, JobFile, JobKind, file_key
from imaging import errors


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """A file that lies whole in the job's folder, or, with an absolute path and no digest, one of the site's own."""

    name: str
    path: Path
    media_type: str
    size: int
    sha256: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """Where the end of a job is told. line: of an examination, whose jobs are told in order; None: it waits for none.

    url: may hold a secret of the receiver's.
    """

    url: str
    line: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A job as a client asks for it.

    request_key: the same for a request that is sent again. step: where it begins; None: with the first.
    """

    job_id: UUID
    kind: JobKind
    inputs: Mapping[str, Any]
    received: Sequence[Received] = ()
    request_key: str | None = None
    step: str | None = None
    webhook: Webhook | None = None


@contextmanager
def refusing() -> Iterator[None]:
    """What a gateway does not accept, in the words of the control plane."""
    try:
        yield
    except errors.NotConfigured as error:
        raise ImagingNotConfigured(error.message) from error
    except errors.InputInvalid as error:
        kind = next((ours for theirs, ours in _REFUSALS.items() if isinstance(error, theirs)), ImagingInputInvalid)
        raise kind(error.message, field=error.field, value=error.value) from error
    except errors.ImagingError as error:
        raise ImagingBackEndAway(error.message) from error


@contextmanager
def in_their_names(files: Sequence[tuple[str, Path]]) -> Iterator[None]:
    """What is wrong with a file is told by the name that the client gave it, not by ours. files: name and place."""
    try:
        yield
    except errors.InputInvalid as error:
        message, value = error.message, error.value
        for name, path in files:
            message, value = message.replace(path.name, name), value.replace(path.name, name)
        raise type(error)(message, field=error.field, value=value) from error


_REFUSALS: dict[type[errors.InputInvalid], type[Refused]] = {
    errors.InputUnsupported: ImagingRequestInvalid,
    errors.InputTooLarge: ImagingInputTooLarge,
    errors.InputForbidden: ImagingPathForbidden,
    errors.InputMissing: ImagingInputNotFound,
}


def is_same(known: Job, known_files: Sequence[JobFile], job: Job, files: Sequence[JobFile]) -> bool:
    return (known.kind, known.inputs, [(file.name, file.size, file.sha256) for file in known_files]) == (
        job.kind,
        job.inputs,
        [(file.name, file.size, file.sha256) for file in files],
    )


def kept_file(job_id: UUID, kind: JobKind, number: int, received: Received) -> JobFile:
    is_ours = not received.path.is_absolute()
    return JobFile(
        number=number,
        name=received.name,
        path=str(received.path),
        media_type=received.media_type,
        size=received.size,
        sha256=received.sha256,
        key=file_key(job_id, kind, number, received.media_type) if is_ours else None,
        state=FileState.WAITING,
    )
