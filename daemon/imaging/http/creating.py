"""`POST /imaging/...`: what the routes share by which pictures and slides become jobs that survive everything."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError

from daemon.api.context import IdempotencyKey, Injected, now
from daemon.api.errors import answers
from daemon.domain import errors
from daemon.imaging.http.clients import Client
from daemon.imaging.http.drafts import Draft
from daemon.imaging.http.schemas import JobResponse, job_response
from daemon.imaging.http.uploads import Form
from daemon.imaging.jobs.accesses import Who
from daemon.imaging.jobs.asking import Asked, Received
from daemon.imaging.jobs.jobs import Imaging

M = TypeVar("M", bound=BaseModel)

CREATING = answers(
    errors.ImagingNotConfigured,
    errors.ImagingInputInvalid,
    errors.ImagingInputTooLarge,
    errors.ImagingPathForbidden,
    errors.ImagingQueueFull,
    errors.ImagingStorageFull,
    errors.IdempotencyKeyReused,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Application:
    """A request for a job, and the answer that it will get. local: a time as the client is told it."""

    request: Request
    response: Response
    client: Who
    key: str | None
    local: Callable[[datetime], datetime]


async def _application(
    request: Request, response: Response, client: Client, parts: Injected, idempotency_key: IdempotencyKey = None
) -> Application:
    return Application(request=request, response=response, client=client, key=idempotency_key, local=parts.local)


Applied = Annotated[Application, Depends(_application)]


async def create(imaging: Imaging, draft: Draft, asked: Asked, applied: Application) -> JobResponse:
    """A new job, or, answered with 200, the one that a request with the same key made before."""
    job, draft.is_made = await imaging.create(asked, applied.client, now())
    applied.response.headers["Location"] = f"/imaging/jobs/{job.id}"
    if not draft.is_made:
        applied.response.status_code = 200
    return job_response(job, None, applied.local)


async def json_of(request: Request) -> Any:
    try:
        return json.loads(await request.body())
    except (ValueError, RecursionError):
        raise RequestValidationError([{"loc": ("body",), "msg": "不是有效的 JSON", "input": None}]) from None


def checked(model: type[M], content: Any) -> M:
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise RequestValidationError(error.errors(include_url=False)) from None


def flat(form: Form, *, lists: tuple[str, ...] = ()) -> dict[str, Any]:
    """Each field once, but for those that are lists. Raises ImagingInputInvalid."""
    for name, values in form.fields.items():
        if name not in lists and len(values) > 1:
            raise errors.ImagingInputInvalid(f"{name}：只能给出一次，收到 {len(values)} 次。", field=name)
    return {name: values if name in lists else values[0] for name, values in form.fields.items()}


def files_of(form: Form, name: str) -> list[Received]:
    """Raises ImagingInputInvalid where files came under another name."""
    if unknown := set(form.files) - {name}:
        other = sorted(unknown)[0]
        raise errors.ImagingInputInvalid(f"{other}：文件应放在字段 {name} 中。", field=other)
    return form.files.get(name, [])
