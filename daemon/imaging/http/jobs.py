"""`/imaging/jobs`: how each job stands, what it gave, and what was received for it."""

from typing import Annotated, Any
from urllib.parse import urlsplit
from uuid import UUID

from fastapi import APIRouter, Query, Response
from fastapi.responses import FileResponse, PlainTextResponse

from daemon.api.context import Injected, now
from daemon.api.errors import answers
from daemon.domain import errors
from daemon.domain.delivery import DeliveryState
from daemon.domain.imaging import JobKind, JobState
from daemon.imaging.http.clients import Auditor, Client, JobId
from daemon.imaging.http.schemas import (
    AccessInfo,
    AccessList,
    DeliveryInfo,
    DeliveryList,
    JobList,
    JobResponse,
    job_response,
)
from daemon.imaging.jobs.jobs import Imaging

PRIVATE = {"Cache-Control": "private, no-store", "X-Content-Type-Options": "nosniff"}


def gives(description: str, *media_types: str) -> dict[int | str, dict[str, Any]]:
    """What a route answers that is no JSON of ours."""
    return {200: {"description": description, "content": {media_type: {} for media_type in media_types}}}


def routes(imaging: Imaging) -> APIRouter:
    """Those for jobs of every kind."""
    router = APIRouter(prefix="/imaging", tags=["imaging"])

    @router.get("/jobs", summary="影像任务列表", responses=answers())
    async def listed(
        client: Client,
        parts: Injected,
        kind: JobKind | None = None,
        state: JobState | None = None,
        before: Annotated[UUID | None, Query(description="上一页最后一个任务的编号")] = None,
        limit: Annotated[int, Query(ge=1, le=200)] = 50,
    ) -> JobList:
        """最新的在前；结果不在列表中，请逐个查询。"""
        jobs = await imaging.listed(client, now(), kind=kind, state=state, before=before, limit=limit)
        return JobList(jobs=[job_response(job, None, parts.local, with_result=False) for job in jobs])

    @router.get("/jobs/{job_id}", summary="影像任务", responses=answers(errors.ImagingJobNotFound))
    async def read(job_id: JobId, client: Client, parts: Injected) -> JobResponse:
        """状态、当前步骤与进度；完成后含结果。"""
        job, files = await imaging.get(job_id, client, "read", now())
        return job_response(job, files, parts.local)

    @router.post(
        "/jobs/{job_id}/cancel",
        summary="取消影像任务",
        responses=answers(errors.ImagingJobNotFound, errors.ImagingJobEnded),
    )
    async def cancel(job_id: JobId, client: Client, parts: Injected) -> JobResponse:
        """停止后续步骤；已提交到后台的内容不会撤回。"""
        return job_response(await imaging.cancel(job_id, client, now()), None, parts.local)

    @router.post(
        "/jobs/{job_id}/retry",
        summary="重试失败的影像任务",
        responses=answers(errors.ImagingJobNotFound, errors.ImagingJobNotFailed),
    )
    async def retry(job_id: JobId, client: Client, parts: Injected) -> JobResponse:
        """从失败的步骤继续。对 `OUTCOME_UNKNOWN`，请先在后台核对：重试会再次执行该步骤。"""
        return job_response(await imaging.retry(job_id, client, now()), None, parts.local)

    @router.get("/jobs/{job_id}/accesses", summary="访问记录", responses=answers(errors.ImagingJobNotFound))
    async def accesses(job_id: JobId, client: Auditor, parts: Injected) -> AccessList:
        """谁在何时、从哪里、做了什么；这次查询也会记下。"""
        rows = await imaging.accesses(job_id, client, now())
        return AccessList(
            accesses=[
                AccessInfo(
                    at=parts.local(row.at),
                    caller=row.caller,
                    address=row.address,
                    action=row.action,
                    outcome=row.outcome,
                )
                for row in rows
            ]
        )

    @router.get("/jobs/{job_id}/deliveries", summary="webhook 送达情况", responses=answers(errors.ImagingJobNotFound))
    async def deliveries(job_id: JobId, client: Client, parts: Injected) -> DeliveryList:
        """结果是否已送达、试了几次、下次何时；地址本身不显示，只显示主机。"""
        rows = await imaging.deliveries(job_id, client, now())
        return DeliveryList(
            deliveries=[
                DeliveryInfo(
                    id=row.id,
                    host=urlsplit(row.url).netloc,
                    state=row.state,
                    attempts=row.attempts,
                    error=row.error,
                    created_at=parts.local(row.created_at),
                    next_at=parts.local(row.next_at) if row.state is DeliveryState.READY else None,
                    ended_at=parts.local(row.ended_at) if row.ended_at else None,
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
            **gives("Markdown 报告", "text/markdown"),
        },
    )
    async def report(job_id: JobId, client: Client) -> PlainTextResponse:
        markdown = await imaging.report(job_id, client, now())
        return PlainTextResponse(markdown, media_type="text/markdown; charset=utf-8")

    @router.get(
        "/jobs/{job_id}/files/{number}",
        summary="任务收到的文件",
        response_class=Response,
        responses={
            **answers(errors.ImagingJobNotFound, errors.ImagingFileNotFound),
            **gives("文件", "application/octet-stream"),
        },
    )
    async def file(job_id: JobId, number: int, client: Client) -> FileResponse:
        async with imaging.opened(job_id, number, client, "file", now()) as (_, found, path):
            # As a download: what was uploaded must not run as a page of ours.
            return FileResponse(path, media_type="application/octet-stream", filename=found.name, headers=PRIVATE)

    @router.get(
        "/jobs/{job_id}/answer.json",
        summary="后台的原始应答",
        response_class=Response,
        responses={
            **answers(errors.ImagingJobNotFound, errors.ImagingFileNotFound),
            **gives("后台的应答，未作改动", "application/json"),
        },
    )
    async def answer(job_id: JobId, client: Client) -> FileResponse:
        path = await imaging.made(job_id, ("answer.json",), client, "answer", now())
        return FileResponse(path, media_type="application/json", headers=PRIVATE)

    @router.get(
        "/jobs/{job_id}/overlays/{number}",
        summary="标注叠加图",
        response_class=Response,
        responses={
            **answers(errors.ImagingJobNotFound, errors.ImagingFileNotFound),
            **gives("图片", "image/jpeg", "image/png"),
        },
    )
    async def overlay(job_id: JobId, number: int, client: Client) -> FileResponse:
        """后台给出的分割与检测结果，画在原图上。"""
        names = (f"overlay_{number:02d}.jpg", f"overlay_{number:02d}.png")
        path = await imaging.made(job_id, names, client, "overlay", now())
        return FileResponse(path, media_type="image/png" if path.suffix == ".png" else "image/jpeg", headers=PRIVATE)

    @router.get(
        "/jobs/{job_id}/masks/{number}",
        summary="视网膜分割图",
        response_class=Response,
        responses={
            **answers(errors.ImagingJobNotFound, errors.ImagingFileNotFound),
            **gives("标签图：0 为背景，k 为第 k 个标签", "image/png"),
        },
    )
    async def mask(job_id: JobId, number: int, client: Client) -> FileResponse:
        """结果中 `mask` 所指的图，大小与该区域相同。"""
        path = await imaging.made(job_id, (f"mask_{number:04d}.png",), client, "mask", now())
        return FileResponse(path, media_type="image/png", headers=PRIVATE)

    return router
