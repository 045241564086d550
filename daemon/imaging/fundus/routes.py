"""`POST /imaging/fundus/studies`: pictures of the fundus become a job."""

from datetime import date
from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from daemon.domain import errors
from daemon.domain.imaging import JobKind
from daemon.imaging.http.creating import CREATING, Applied, checked, create, files_of, flat
from daemon.imaging.http.drafts import creation
from daemon.imaging.http.schemas import JobResponse
from daemon.imaging.http.uploads import receive
from daemon.imaging.jobs.asking import Asked
from daemon.imaging.jobs.jobs import Imaging

UPLOAD = "/imaging/fundus/studies"
_STUDY_FILES_MAX = 20


class StudyRequest(BaseModel):
    """The fields besides `images`."""

    model_config = ConfigDict(extra="forbid")
    ai_type: Literal["12", "0", "1", "2"] = Field(
        "12", description="12 超广角；45 度：0 青光眼+多病种，1 青光眼，2 多病种"
    )
    eyes: list[Literal["left", "right", "unknown"]] = Field([], max_length=20)
    camera: Literal["auto", "optos", "zeiss"] = "auto"
    need_report: bool = Field(True, description="是否生成 PDF 报告")
    patient_id: str | None = Field(None, min_length=1, max_length=64)
    patient_name: str | None = Field(None, min_length=1, max_length=64)
    patient_gender: Literal["unknown", "male", "female", "other"] | None = None
    patient_birthday: date | None = None


def routes(imaging: Imaging, *, file_bytes_max: int) -> APIRouter:
    router = APIRouter(tags=["imaging"])

    @router.post(
        UPLOAD,
        status_code=202,
        summary="提交眼底图像分析",
        responses=CREATING,
        openapi_extra={
            "requestBody": {"content": {"multipart/form-data": {"schema": StudyRequest.model_json_schema()}}}
        },
    )
    async def analyse_fundus(applied: Applied) -> JobResponse:
        """1 至 20 张图像（multipart 字段 `images`，JPEG、PNG 或 DICOM）；眼别由文件名推断，或由 `eyes` 逐张指定。"""
        async with creation(imaging, JobKind.FUNDUS, applied.request, applied.client) as draft:
            folder = imaging.folder.make(draft.job_id)
            form = await receive(applied.request, folder, files_max=_STUDY_FILES_MAX, file_bytes_max=file_bytes_max)
            wanted = checked(StudyRequest, flat(form, lists=("eyes",)))
            images = files_of(form, "images")
            if not images:
                raise errors.ImagingInputInvalid("images：至少需要一张图像。", field="images")
            if wanted.eyes and len(wanted.eyes) != len(images):
                raise errors.ImagingInputInvalid(
                    f"eyes：应与图像一一对应，收到 {len(wanted.eyes)} 个眼别、{len(images)} 张图像。", field="eyes"
                )
            asked = Asked(
                job_id=draft.job_id,
                kind=JobKind.FUNDUS,
                inputs=wanted.model_dump(mode="json"),
                received=images,
                request_key=applied.key,
            )
            return await create(imaging, draft, asked, applied)

    return router
