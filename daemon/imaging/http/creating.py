"""`POST /imaging/...`: pictures and slides to the imaging back ends, as jobs that survive everything."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from fastapi import APIRouter, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError

from daemon.api.context import Context, Injected, now
from daemon.api.corrections import IdempotencyKey
from daemon.api.errors import answers
from daemon.bridge import off_loop
from daemon.domain import errors
from daemon.domain.imaging import JobKind
from daemon.imaging.http.clients import Client
from daemon.imaging.http.drafts import Draft, creation
from daemon.imaging.http.schemas import AnalysisRequest, JobResponse, StudyRequest, job_response
from daemon.imaging.http.uploads import Form, receive
from daemon.imaging.jobs.asking import Asked, Received
from daemon.imaging.jobs.folder import inside, safe_name
from daemon.imaging.jobs.jobs import Who

router = APIRouter(prefix="/imaging", tags=["imaging"])

UPLOADS = ("/imaging/pathology/analyses", "/imaging/fundus/studies")
_STUDY_FILES_MAX = 20

M = TypeVar("M", bound=BaseModel)

_CREATING = answers(
    errors.ImagingNotConfigured,
    errors.ImagingInputInvalid,
    errors.ImagingInputTooLarge,
    errors.ImagingPathForbidden,
    errors.ImagingQueueFull,
    errors.ImagingStorageFull,
    errors.IdempotencyKeyReused,
)


@router.post(
    "/pathology/analyses",
    status_code=202,
    summary="提交病理切片分析",
    responses=_CREATING,
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": AnalysisRequest.model_json_schema()},
                "multipart/form-data": {"schema": {"type": "object", "required": ["slide", "disease"]}},
            },
        }
    },
)
async def analyse_slide(
    request: Request, response: Response, client: Client, parts: Injected, idempotency_key: IdempotencyKey = None
) -> JobResponse:
    """上传切片（multipart 字段 `slide`），或给出服务器上允许目录内的路径（JSON 字段 `path`）；立即返回任务。"""
    async with creation(parts, JobKind.PATHOLOGY, request, client) as draft:
        if request.headers.get("content-type", "").startswith("application/json"):
            wanted = _checked(AnalysisRequest, await _json(request))
            form = Form()
        else:
            limit = parts.settings.imaging.upload_max_mib * 2**20
            form = await receive(request, parts.imaging.folder.make(draft.job_id), files_max=1, file_bytes_max=limit)
            wanted = _checked(AnalysisRequest, _flat(form))
        slides = _files(form, "slide")
        if bool(slides) == (wanted.path is not None):
            raise errors.ImagingInputInvalid(
                "slide（上传的切片）与 path（服务器路径）须给出且只给出一个。", field="slide"
            )
        if wanted.path is not None:
            found = inside(parts.settings.imaging.pathology.slides_dir, wanted.path, "path")
            size = (await off_loop(found.stat)).st_size
            slides = [
                Received(name=safe_name(found.name), path=found, media_type="application/octet-stream", size=size)
            ]
        inputs = wanted.model_dump(exclude={"path"})
        return await _create(draft, JobKind.PATHOLOGY, inputs, slides, client, parts, response, idempotency_key)


@router.post(
    "/fundus/studies",
    status_code=202,
    summary="提交眼底图像分析",
    responses=_CREATING,
    openapi_extra={"requestBody": {"content": {"multipart/form-data": {"schema": StudyRequest.model_json_schema()}}}},
)
async def analyse_fundus(
    request: Request, response: Response, client: Client, parts: Injected, idempotency_key: IdempotencyKey = None
) -> JobResponse:
    """1 至 20 张图像（multipart 字段 `images`，JPEG、PNG 或 DICOM）；眼别由文件名推断，或由 `eyes` 逐张指定。"""
    async with creation(parts, JobKind.FUNDUS, request, client) as draft:
        limit = parts.settings.imaging.upload_max_mib * 2**20
        form = await receive(
            request, parts.imaging.folder.make(draft.job_id), files_max=_STUDY_FILES_MAX, file_bytes_max=limit
        )
        wanted = _checked(StudyRequest, _flat(form, lists=("eyes",)))
        images = _files(form, "images")
        if not images:
            raise errors.ImagingInputInvalid("images：至少需要一张图像。", field="images")
        if wanted.eyes and len(wanted.eyes) != len(images):
            raise errors.ImagingInputInvalid(
                f"eyes：应与图像一一对应，收到 {len(wanted.eyes)} 个眼别、{len(images)} 张图像。", field="eyes"
            )
        inputs = wanted.model_dump(mode="json")
        return await _create(draft, JobKind.FUNDUS, inputs, images, client, parts, response, idempotency_key)


async def _create(
    draft: Draft,
    kind: JobKind,
    inputs: Mapping[str, Any],
    received: Sequence[Received],
    client: Who,
    parts: Context,
    response: Response,
    request_key: str | None,
) -> JobResponse:
    asked = Asked(job_id=draft.job_id, kind=kind, inputs=inputs, received=received, request_key=request_key)
    job, draft.is_made = await parts.imaging.create(asked, client, now())
    response.headers["Location"] = f"/imaging/jobs/{job.id}"
    if not draft.is_made:
        response.status_code = 200
    return job_response(job, None, parts.local)


async def _json(request: Request) -> Any:
    try:
        return json.loads(await request.body())
    except (ValueError, RecursionError):
        raise RequestValidationError([{"loc": ("body",), "msg": "不是有效的 JSON", "input": None}]) from None


def _checked(model: type[M], content: Any) -> M:
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise RequestValidationError(error.errors(include_url=False)) from None


def _flat(form: Form, *, lists: tuple[str, ...] = ()) -> dict[str, Any]:
    """Each field once, but for those that are lists. Raises ImagingInputInvalid."""
    for name, values in form.fields.items():
        if name not in lists and len(values) > 1:
            raise errors.ImagingInputInvalid(f"{name}：只能给出一次，收到 {len(values)} 次。", field=name)
    return {name: values if name in lists else values[0] for name, values in form.fields.items()}


def _files(form: Form, name: str) -> list[Received]:
    """Raises ImagingInputInvalid where files came under another name."""
    if unknown := set(form.files) - {name}:
        other = sorted(unknown)[0]
        raise errors.ImagingInputInvalid(f"{other}：文件应放在字段 {name} 中。", field=other)
    return form.files.get(name, [])
