"""`POST /imaging/pathology/analyses`: a slide becomes a job; and the preview of the slide of a job."""

from pathlib import Path

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field

from daemon.api.context import now
from daemon.api.errors import answers
from daemon.bridge import off_loop
from daemon.domain import errors
from daemon.domain.imaging import Job, JobKind
from daemon.imaging.http.clients import Client, JobId
from daemon.imaging.http.creating import CREATING, Applied, checked, create, files_of, flat, json_of
from daemon.imaging.http.drafts import creation
from daemon.imaging.http.jobs import PRIVATE, gives
from daemon.imaging.http.schemas import JobResponse
from daemon.imaging.http.uploads import Form, receive
from daemon.imaging.jobs.asking import Asked, Received, refusing
from daemon.imaging.jobs.folder import inside, safe_name
from daemon.imaging.jobs.jobs import Imaging

UPLOAD = "/imaging/pathology/analyses"


class AnalysisRequest(BaseModel):
    """One slide. 机构与来源缺省时用配置中的值。"""

    model_config = ConfigDict(extra="forbid")
    disease: int = Field(description="6 通用组织切片，14 消化道活检AI，或配置中的其它类型")
    path: str | None = Field(None, min_length=1, max_length=1000, description="服务器上的切片，相对于 slides_dir")
    organization: str | None = Field(None, min_length=1, max_length=64)
    source: int | None = Field(None, ge=0)
    is_run: bool = Field(True, description="是否立即运行分析")


def routes(imaging: Imaging, *, file_bytes_max: int, slides_dir: Path | None) -> APIRouter:
    """slides_dir: where slides lie that a client may name; None: there are none."""
    router = APIRouter(tags=["imaging"])

    @router.post(
        UPLOAD,
        status_code=202,
        summary="提交病理切片分析",
        responses=CREATING,
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
    async def analyse_slide(applied: Applied) -> JobResponse:
        """上传切片（multipart 字段 `slide`），或给出服务器上允许目录内的路径（JSON 字段 `path`）；立即返回任务。"""
        request = applied.request
        async with creation(imaging, JobKind.PATHOLOGY, request, applied.client) as draft:
            if request.headers.get("content-type", "").startswith("application/json"):
                wanted = checked(AnalysisRequest, await json_of(request))
                form = Form()
            else:
                folder = imaging.folder.make(draft.job_id)
                form = await receive(request, folder, files_max=1, file_bytes_max=file_bytes_max)
                wanted = checked(AnalysisRequest, flat(form))
            slides = files_of(form, "slide")
            if bool(slides) == (wanted.path is not None):
                raise errors.ImagingInputInvalid(
                    "slide（上传的切片）与 path（服务器路径）须给出且只给出一个。", field="slide"
                )
            if wanted.path is not None:
                slides = [await _at_the_site(slides_dir, wanted.path)]
            asked = Asked(
                job_id=draft.job_id,
                kind=JobKind.PATHOLOGY,
                inputs=wanted.model_dump(exclude={"path"}),
                received=slides,
                request_key=applied.key,
            )
            return await create(imaging, draft, asked, applied)

    @router.get(
        "/imaging/jobs/{job_id}/slide.dzi",
        summary="切片预览（DeepZoom）",
        response_class=Response,
        responses={
            **answers(errors.ImagingJobNotFound, errors.ImagingFileNotFound, errors.ImagingInputInvalid),
            **gives("DeepZoom 描述", "application/xml"),
        },
    )
    async def slide(job_id: JobId, client: Client) -> Response:
        from imaging.pathology.slides import dzi

        async with imaging.opened(job_id, 1, client, "preview", now()) as (job, _, path):
            _check_slide(job)
            with refusing():
                return Response(await off_loop(dzi, path), media_type="application/xml", headers=PRIVATE)

    @router.get(
        "/imaging/jobs/{job_id}/slide_files/{level}/{column}_{row}.jpeg",
        summary="切片预览的瓦片",
        response_class=Response,
        responses={
            **answers(errors.ImagingJobNotFound, errors.ImagingFileNotFound, errors.ImagingInputInvalid),
            **gives("瓦片", "image/jpeg"),
        },
    )
    async def tile(job_id: JobId, level: int, column: int, row: int, _client: Client) -> Response:
        from imaging.pathology.slides import tile as slide_tile

        # The look at the descriptor before it is the access; hundreds of tiles are not hundreds of accesses.
        job, _, path = await imaging.found(job_id, 1)
        _check_slide(job)
        with refusing():
            jpeg = await off_loop(slide_tile, path, level, column, row)
        return Response(jpeg, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=3600"})

    return router


async def _at_the_site(slides_dir: Path | None, path: str) -> Received:
    """A slide that lies there already. Raises ImagingPathForbidden."""
    found = inside(slides_dir, path, "path")
    size = (await off_loop(found.stat)).st_size
    return Received(name=safe_name(found.name), path=found, media_type="application/octet-stream", size=size)


def _check_slide(job: Job) -> None:
    """Raises ImagingFileNotFound."""
    if job.kind is not JobKind.PATHOLOGY:
        raise errors.ImagingFileNotFound("此任务没有切片。", job_id=str(job.id), file=1)
