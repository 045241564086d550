"""`/imaging`: pictures and slides to the imaging back ends, as jobs that survive everything."""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Annotated, Any, TypeVar
from uuid import UUID, uuid4

from fastapi import APIRouter, Depends, Path, Query, Request, Response, WebSocket
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, PlainTextResponse
from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException

from daemon.api.context import Context, Parts, caller_of, context, needs, now
from daemon.api.corrections import IdempotencyKey
from daemon.api.errors import Forbidden, Unauthorized, answers
from daemon.api.imaging_schemas import (
    AccessInfo,
    AccessList,
    AnalysisRequest,
    JobList,
    JobResponse,
    StudyRequest,
    job_response,
)
from daemon.api.keys import Caller, Right
from daemon.api.sockets import (
    BAD_REQUEST,
    FELL_BEHIND,
    FORBIDDEN,
    NOT_FOUND,
    TOO_MANY,
    UNAUTHORIZED,
    Refusal,
    told_until_closed,
)
from daemon.api.uploads import Form, receive
from daemon.bridge import off_loop
from daemon.domain import errors
from daemon.domain.imaging import JobKind, JobState
from daemon.feed import FellBehind
from daemon.services.imaging.folder import inside, safe_name
from daemon.services.imaging.jobs import Received, Who, refusing

router = APIRouter(prefix="/imaging", tags=["imaging"])

UPLOADS = ("/imaging/pathology/analyses", "/imaging/fundus/studies")
_STUDY_FILES_MAX = 20

M = TypeVar("M", bound=BaseModel)

JobId = Annotated[UUID, Path(description="影像任务编号")]


async def _permitted(request: Request, caller: Annotated[Caller | None, Depends(needs(Right.IMAGING))]) -> Who:
    return _who(caller, request.client.host if request.client else "local")


def _who(caller: Caller | None, address: str) -> Who:
    """Raises Forbidden: a key bound to rooms is for surgeries."""
    if caller is not None and caller.rooms is not None:
        raise Forbidden
    return Who(name=caller.name if caller else "-", address=address)


Client = Annotated[Who, Depends(_permitted)]
Auditor = Annotated[Caller | None, Depends(needs(Right.AUDIT))]


def _gives(description: str, *media_types: str) -> dict[int | str, dict[str, Any]]:
    """What a route answers that is no JSON of ours."""
    return {200: {"description": description, "content": {media_type: {} for media_type in media_types}}}


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
    request: Request, response: Response, client: Client, parts: Parts, idempotency_key: IdempotencyKey = None
) -> JobResponse:
    """上传切片（multipart 字段 `slide`），或给出服务器上允许目录内的路径（JSON 字段 `path`）；立即返回任务。"""
    async with _creation(parts, JobKind.PATHOLOGY, request, client) as draft:
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
    request: Request, response: Response, client: Client, parts: Parts, idempotency_key: IdempotencyKey = None
) -> JobResponse:
    """1 至 20 张图像（multipart 字段 `images`，JPEG、PNG 或 DICOM）；眼别由文件名推断，或由 `eyes` 逐张指定。"""
    async with _creation(parts, JobKind.FUNDUS, request, client) as draft:
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


@router.get("/jobs", summary="影像任务列表", responses=answers())
async def listed(
    client: Client,
    parts: Parts,
    kind: JobKind | None = None,
    state: JobState | None = None,
    before: Annotated[UUID | None, Query(description="上一页最后一个任务的编号")] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> JobList:
    """最新的在前；结果不在列表中，请逐个查询。"""
    jobs = await parts.imaging.listed(client, now(), kind=kind, state=state, before=before, limit=limit)
    return JobList(jobs=[job_response(job, None, parts.local, with_result=False) for job in jobs])


@router.get("/jobs/{job_id}", summary="影像任务", responses=answers(errors.ImagingJobNotFound))
async def read(job_id: JobId, client: Client, parts: Parts) -> JobResponse:
    """状态、当前步骤与进度；完成后含结果。"""
    job, files = await parts.imaging.get(job_id, client, "read", now())
    return job_response(job, files, parts.local)


@router.post(
    "/jobs/{job_id}/cancel",
    summary="取消影像任务",
    responses=answers(errors.ImagingJobNotFound, errors.ImagingJobEnded),
)
async def cancel(job_id: JobId, client: Client, parts: Parts) -> JobResponse:
    """停止后续步骤；已提交到后台的内容不会撤回。"""
    return job_response(await parts.imaging.cancel(job_id, client, now()), None, parts.local)


@router.post(
    "/jobs/{job_id}/retry",
    summary="重试失败的影像任务",
    responses=answers(errors.ImagingJobNotFound, errors.ImagingJobNotFailed),
)
async def retry(job_id: JobId, client: Client, parts: Parts) -> JobResponse:
    """从失败的步骤继续。对 `OUTCOME_UNKNOWN`，请先在后台核对：重试会再次执行该步骤。"""
    return job_response(await parts.imaging.retry(job_id, client, now()), None, parts.local)


@router.get("/jobs/{job_id}/accesses", summary="访问记录", responses=answers(errors.ImagingJobNotFound))
async def accesses(job_id: JobId, caller: Auditor, request: Request, parts: Parts) -> AccessList:
    """谁在何时、从哪里、做了什么；这次查询也会记下。"""
    client = _who(caller, request.client.host if request.client else "local")
    rows = await parts.imaging.accesses(job_id, client, now())
    return AccessList(
        accesses=[
            AccessInfo(
                at=parts.local(row.at), caller=row.caller, address=row.address, action=row.action, outcome=row.outcome
            )
            for row in rows
        ]
    )


@router.get(
    "/jobs/{job_id}/report.md",
    summary="Markdown 报告",
    response_class=Response,
    responses={
        **answers(errors.ImagingJobNotFound, errors.ImagingResultNotReady),
        **_gives("Markdown 报告", "text/markdown"),
    },
)
async def report(job_id: JobId, client: Client, parts: Parts) -> PlainTextResponse:
    job, _ = await parts.imaging.get(job_id, client, "report", now())
    if job.result is None or "report" not in job.result:
        raise errors.ImagingResultNotReady(f"任务还没有报告（{job.state.value}）。", job_id=str(job_id))
    return PlainTextResponse(str(job.result["report"]), media_type="text/markdown; charset=utf-8")


@router.get(
    "/jobs/{job_id}/files/{number}",
    summary="任务收到的文件",
    response_class=Response,
    responses={
        **answers(errors.ImagingJobNotFound, errors.ImagingFileNotFound),
        **_gives("文件", "application/octet-stream"),
    },
)
async def file(job_id: JobId, number: int, client: Client, parts: Parts) -> FileResponse:
    _, found, path = await parts.imaging.file(job_id, number, client, "file", now())
    # As a download: what was uploaded must not run as a page of ours.
    return FileResponse(path, media_type="application/octet-stream", filename=found.name, headers=_PRIVATE)


@router.get(
    "/jobs/{job_id}/answer.json",
    summary="后台的原始应答",
    response_class=Response,
    responses={
        **answers(errors.ImagingJobNotFound, errors.ImagingFileNotFound),
        **_gives("后台的应答，未作改动", "application/json"),
    },
)
async def answer(job_id: JobId, client: Client, parts: Parts) -> FileResponse:
    path = await parts.imaging.made(job_id, ("answer.json",), client, "answer", now())
    return FileResponse(path, media_type="application/json", headers=_PRIVATE)


@router.get(
    "/jobs/{job_id}/overlays/{number}",
    summary="标注叠加图",
    response_class=Response,
    responses={
        **answers(errors.ImagingJobNotFound, errors.ImagingFileNotFound),
        **_gives("图片", "image/jpeg", "image/png"),
    },
)
async def overlay(job_id: JobId, number: int, client: Client, parts: Parts) -> FileResponse:
    """后台给出的分割与检测结果，画在原图上。"""
    names = (f"overlay_{number:02d}.jpg", f"overlay_{number:02d}.png")
    path = await parts.imaging.made(job_id, names, client, "overlay", now())
    return FileResponse(path, media_type="image/png" if path.suffix == ".png" else "image/jpeg", headers=_PRIVATE)


_PRIVATE = {"Cache-Control": "private, no-store", "X-Content-Type-Options": "nosniff"}


@router.get(
    "/jobs/{job_id}/slide.dzi",
    summary="切片预览（DeepZoom）",
    response_class=Response,
    responses={
        **answers(errors.ImagingJobNotFound, errors.ImagingFileNotFound, errors.ImagingInputInvalid),
        **_gives("DeepZoom 描述", "application/xml"),
    },
)
async def slide(job_id: JobId, client: Client, parts: Parts) -> Response:
    from inference.imaging.slides import dzi

    path = await _slide(job_id, client, parts, "preview")
    with refusing():
        return Response(await off_loop(dzi, path), media_type="application/xml", headers=_PRIVATE)


@router.get(
    "/jobs/{job_id}/slide_files/{level}/{column}_{row}.jpeg",
    summary="切片预览的瓦片",
    response_class=Response,
    responses={
        **answers(errors.ImagingJobNotFound, errors.ImagingFileNotFound, errors.ImagingInputInvalid),
        **_gives("瓦片", "image/jpeg"),
    },
)
async def tile(job_id: JobId, level: int, column: int, row: int, _client: Client, parts: Parts) -> Response:
    from inference.imaging.slides import tile as slide_tile

    # The look at the descriptor before it is the access; hundreds of tiles are not hundreds of accesses.
    path = await _slide(job_id, None, parts, "tile")
    with refusing():
        jpeg = await off_loop(slide_tile, path, level, column, row)
    return Response(jpeg, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=3600"})


async def _slide(job_id: UUID, client: Who | None, parts: Context, action: str) -> FilePath:
    job, _, path = await parts.imaging.file(job_id, 1, client, action, now())
    if job.kind is not JobKind.PATHOLOGY:
        raise errors.ImagingFileNotFound("此任务没有切片。", job_id=str(job_id), file=1)
    return path


@router.websocket("/jobs/{job_id}/events")
async def events(socket: WebSocket, job_id: str) -> None:
    """The job as it is, then whenever it changes; closed with 1000 when it has ended."""
    parts = context(socket)
    await socket.accept()
    try:
        client, known = _watching(socket, parts, job_id)
        await parts.imaging.get(known, client, "watch", now())
    except errors.ImagingJobNotFound as error:
        await socket.close(NOT_FOUND, error.message)
        return
    except Refusal as refusal:
        await socket.close(refusal.code, refusal.reason)
        return
    await told_until_closed(socket, _tell(socket, parts, client, known))


def _watching(socket: WebSocket, parts: Context, job_id: str) -> tuple[Who, UUID]:
    """Raises Refusal."""
    try:
        known = UUID(job_id)
    except ValueError:
        raise Refusal(BAD_REQUEST, "job_id 须为 UUID") from None
    if parts.imaging.feed.listeners >= parts.settings.server.event_clients_max:
        raise Refusal(TOO_MANY, "事件连接数已达上限")
    try:
        caller = caller_of(socket, parts)
        if caller is not None and not caller.may(Right.IMAGING):
            raise Forbidden
        return _who(caller, socket.client.host if socket.client else "local"), known
    except Unauthorized:
        raise Refusal(UNAUTHORIZED, "缺少有效的 API 密钥") from None
    except Forbidden:
        raise Refusal(FORBIDDEN, "该 API 密钥无权查看影像任务") from None


async def _tell(socket: WebSocket, parts: Context, client: Who, job_id: UUID) -> None:
    with parts.imaging.feed.subscribe() as subscription:
        # Subscribed before the row is read: what changes in between comes twice, and nothing is missed.
        job = await parts.imaging.peek(job_id)
        while True:
            await socket.send_text(job_response(job, None, parts.local).model_dump_json())
            if job.has_ended:
                await socket.close(1000)
                return
            try:
                while (job := await subscription.next()).id != job_id:
                    pass
            except FellBehind:
                await socket.close(FELL_BEHIND, "接收过慢，请重新连接")
                return


@dataclass(slots=True)
class _Draft:
    """is_made: a job stands for what was received."""

    job_id: UUID
    is_made: bool = False


@asynccontextmanager
async def _creation(parts: Context, kind: JobKind, request: Request, client: Who) -> AsyncIterator[_Draft]:
    """A job about to be: one that is not made leaves nothing behind but a row that says so."""
    imaging, draft = parts.imaging, _Draft(uuid4())
    announced = request.headers.get("content-length", "")
    try:
        await imaging.check_room(kind, int(announced) if announced.isdigit() else 0)
        yield draft
    except (errors.Refused, RequestValidationError, HTTPException) as error:
        await imaging.refused(client, "create", type(error).__name__, now())
        raise
    finally:
        if not draft.is_made:
            await off_loop(imaging.folder.drop, draft.job_id)


async def _create(
    draft: _Draft,
    kind: JobKind,
    inputs: Mapping[str, Any],
    received: Sequence[Received],
    client: Who,
    parts: Context,
    response: Response,
    request_key: str | None,
) -> JobResponse:
    job, draft.is_made = await parts.imaging.create(
        draft.job_id, kind, inputs, received, client, now(), request_key=request_key
    )
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
