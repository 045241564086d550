"""OCT retina: the seed's routes, at the root and under /imaging/retina. What they queue ends at a webhook."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Header, Request, Response
from pydantic import BaseModel, Field

from daemon.api.context import now
from daemon.api.errors import AlsoInErrors, answers
from daemon.domain import errors
from daemon.domain.imaging import JobKind
from daemon.imaging.http.clients import Client
from daemon.imaging.http.drafts import creation
from daemon.imaging.http.uploads import receive
from daemon.imaging.jobs.jobs import Imaging
from daemon.imaging.retina.desk import BucketHeaders, Headers, RetinaDesk, Sent

# The seed's, and ours.
PREFIXES = ("", "/imaging/retina")
UPLOADS = tuple(f"{prefix}/invocations" for prefix in PREFIXES)


class RetinaRoute(AlsoInErrors):
    @staticmethod
    def also(message: str) -> dict[str, Any]:
        return {"status": "error", "message": message}


class Invoked(BaseModel):
    """One value, or, for several files, lists in corresponding order. result_path: null where none is written."""

    filename: str | list[str]
    status: Literal["sent"] = "sent"
    result_path: str | list[str] | None = Field(description="输出桶中的路径；未要求写入时为 null")
    request_uuid: str | list[str] = Field(description="与 webhook 中的 request_uuid 对应，也是影像任务编号")


InferenceParameters = Annotated[str | None, Header(description="JSON，见文档；长度单位 mm，坐标单位像素")]
WebhookUrl = Annotated[str | None, Header(description="推理结果发往的地址，主机须在允许名单内")]
ExaminationId = Annotated[str | None, Header(description="检查编号；同一检查的结果按提交顺序送达")]
InputLocation = Annotated[str | None, Header(description="桶中的图像，或以 / 结尾的文件夹；中文可用百分号编码")]
InputBucket = Annotated[str | None, Header(description="缺省为配置中的桶")]
OutputBucket = Annotated[str | None, Header(description="缺省为配置中的桶")]
WriteToBucket = Annotated[bool, Header(alias="Write-To-GCS", description="是否把结果写入输出桶")]


def _headers(
    inference_parameters: InferenceParameters = None,
    webhook_url: WebhookUrl = None,
    examination_id: ExaminationId = None,
) -> Headers:
    return Headers(inference_parameters=inference_parameters, webhook_url=webhook_url, examination_id=examination_id)


def _bucket_headers(
    headers: Annotated[Headers, Depends(_headers)],
    input_location: InputLocation = None,
    input_bucket_name: InputBucket = None,
    output_bucket_name: OutputBucket = None,
    write_to_gcs: WriteToBucket = False,
) -> BucketHeaders:
    return BucketHeaders(
        inference_parameters=headers.inference_parameters,
        webhook_url=headers.webhook_url,
        examination_id=headers.examination_id,
        input_location=input_location,
        input_bucket_name=input_bucket_name,
        output_bucket_name=output_bucket_name,
        write_to_bucket=write_to_gcs,
    )


_Headers = Annotated[Headers, Depends(_headers)]
_BucketHeaders = Annotated[BucketHeaders, Depends(_bucket_headers)]
_INVOKING = answers(
    errors.ImagingRequestInvalid,
    errors.ImagingNotConfigured,
    errors.ImagingInputInvalid,
    errors.ImagingInputTooLarge,
    errors.ImagingInputNotFound,
    errors.ImagingPathForbidden,
    errors.ImagingBackEndAway,
    errors.ImagingQueueFull,
    errors.ImagingStorageFull,
)


def routes(imaging: Imaging, desk: RetinaDesk | None, *, prefix: str) -> APIRouter:
    """desk: None where the back end is not configured."""
    router = APIRouter(prefix=prefix, tags=["retina"], route_class=RetinaRoute)

    def configured() -> RetinaDesk:
        """Raises ImagingNotConfigured."""
        if desk is None:
            raise imaging.not_configured(JobKind.RETINA)
        return desk

    @router.get(
        "/ping",
        summary="推理服务是否可用",
        response_class=Response,
        responses={200: {"description": "可用"}, 400: {"description": "不可用或未配置"}},
    )
    async def ping() -> Response:
        """200 或 400，无内容；无需密钥。"""
        is_ready = desk is not None and await desk.is_ready()
        return Response(status_code=200 if is_ready else 400)

    @router.post(
        "/invocations",
        summary="分析上传的 OCT 图像",
        responses=_INVOKING,
        openapi_extra={
            "requestBody": {
                "required": True,
                "content": {
                    "multipart/form-data": {
                        "schema": {
                            "type": "object",
                            "required": ["image"],
                            "properties": {"image": {"type": "string", "format": "binary"}},
                        }
                    }
                },
            }
        },
    )
    async def invoke(request: Request, client: Client, headers: _Headers) -> Invoked:
        """PNG、JPEG 或 DICOM（含多帧）一份，multipart 字段 `image`；立即返回，结果发往 webhook。"""
        async with creation(imaging, JobKind.RETINA, request, client) as draft:
            at = configured()
            checked = await at.check(headers)
            folder = imaging.folder.make(draft.job_id)
            form = await receive(request, folder, files_max=1, file_bytes_max=at.image_bytes_max)
            images = form.files.get("image", [])
            if len(images) != 1 or form.fields:
                raise errors.ImagingInputInvalid("image：应有且只有一份图像，别无其它字段。", field="image")
            sent = await at.invoke(draft.job_id, images[0], checked, client, now())
            draft.is_made = True
        return _invoked([sent])

    @router.post("/bucket_invocations", summary="分析存储桶中的 OCT 图像或文件夹", responses=_INVOKING)
    async def invoke_bucket(client: Client, headers: _BucketHeaders) -> Invoked:
        """GCS，或配置所指的 S3；立即返回，结果逐个发往 webhook。"""
        async with imaging.creating(client, now()):
            at = configured()
            return _invoked(await at.invoke_bucket(at.bucket_store, headers, client, now()))

    @router.post("/bucket_invocations_azure_uae", summary="分析 Azure Blob 中的 OCT 图像或文件夹", responses=_INVOKING)
    async def invoke_azure(client: Client, headers: _BucketHeaders) -> Invoked:
        """与 `/bucket_invocations` 相同，图像与结果在 Azure Blob。"""
        async with imaging.creating(client, now()):
            at = configured()
            return _invoked(await at.invoke_bucket(at.azure_store, headers, client, now()))

    return router


def _invoked(sent: Sequence[Sent]) -> Invoked:
    names, ids = [each.filename for each in sent], [str(each.job_id) for each in sent]
    paths = [each.result_path for each in sent if each.result_path is not None]
    if len(sent) == 1:
        return Invoked(filename=names[0], result_path=paths[0] if paths else None, request_uuid=ids[0])
    return Invoked(filename=names, result_path=paths or None, request_uuid=ids)
