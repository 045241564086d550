"""Ultrasound: the seed's own paths at the root, and the same under `/imaging/ultrasound`.

Both write a path with and without a slash at its end. Errors say `error`, as the seed does, beside our `detail`.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Body, Query, Request, Response
from fastapi.responses import FileResponse, JSONResponse
from pydantic import Discriminator, Tag

from daemon.api.context import now
from daemon.api.errors import AlsoInErrors, answers
from daemon.domain import errors
from daemon.imaging.http.clients import Client
from daemon.imaging.http.uploads import receive
from daemon.imaging.ultrasound.desk import READABLE, Shelf, UltrasoundDesk
from daemon.imaging.ultrasound.schemas import Answer, Parts, SampledRecord, UploadedPicture, parts_of
from imaging.ultrasound.record import Record
from imaging.ultrasound.terms import Task


class _Route(AlsoInErrors):
    @staticmethod
    def also(message: str) -> dict[str, Any]:
        return {"error": message}


UPLOADS = frozenset(f"{path}{slash}" for path in ("/upload", "/imaging/ultrasound/upload") for slash in ("", "/"))
PREDICTIONS = frozenset(
    f"{path}{slash}" for path in ("/segment", "/segment2", "/imaging/ultrasound/predict") for slash in ("", "/")
)
# The longest record that passes is shorter.
RECORD_BYTES_MAX = 32 * 1024
# Around the picture in a form.
FORM_BYTES_MAX = 256 * 1024

_PRIVATE = {
    "Cache-Control": "private, no-store",
    "X-Content-Type-Options": "nosniff",
    # A picture is looked at; whatever else it may hold does nothing.
    "Content-Security-Policy": "default-src 'none'; sandbox",
}

_Records = Annotated[
    Annotated[Record, Tag("record")] | Annotated[list[Record], Tag("records")],
    Discriminator(lambda sent: "records" if isinstance(sent, list) else "record"),
    Body(description="一条记录，或一次多条（数组）；答复的形状与请求相同"),
]
_Task = Annotated[str, Query(description="segmentation 或 classification", json_schema_extra={"enum": [*Task]})]
_TAKING = (errors.ImagingInputInvalid, errors.ImagingInputTooLarge, errors.ImagingStorageFull)
_SAMPLING = (errors.ImagingRequestInvalid, errors.ImagingInputNotFound, errors.ImagingNotConfigured)
_JUDGING = (
    *_SAMPLING,
    *_TAKING,
    errors.ImagingPathForbidden,
    errors.UltrasoundBusy,
    errors.UltrasoundFailed,
)
_READING = (errors.ImagingPathForbidden, errors.ImagingInputNotFound, errors.ImagingNotConfigured)
_FORM = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {"file": {"type": "string", "format": "binary"}},
                }
            }
        },
    }
}

# What is on it, and where it is read.
_SHELVES = {
    Shelf.UPLOADS: ("上传的超声图像", "/staticapi_in/{path:path}", "/imaging/ultrasound/uploads/{path:path}"),
    Shelf.ANSWERS: ("超声掩膜与结果", "/staticapi_out/{path:path}", "/imaging/ultrasound/answers/{path:path}"),
    Shelf.DATA: ("超声数据集的图像", "/staticdata/{path:path}", "/imaging/ultrasound/data/{path:path}"),
}
_FILE: dict[int | str, dict[str, Any]] = {
    200: {"description": "文件", "content": {media_type: {} for media_type in READABLE.values()}}
}


def routes(desk: UltrasoundDesk, *, file_bytes_max: int) -> APIRouter:
    router = APIRouter(tags=["ultrasound"], route_class=_Route)

    async def upload(request: Request, client: Client) -> UploadedPicture:
        """multipart 字段 `file`：完整的 PNG 或 JPEG（按内容判断）；同名不覆盖。答复的各项放进下一个请求的记录。"""
        announced = request.headers.get("content-length", "")

        async def received(folder: Path) -> tuple[Path, str]:
            form = await receive(request, folder, files_max=1, file_bytes_max=file_bytes_max)
            if set(form.files) != {"file"}:
                given = "、".join(sorted({*form.files, *form.fields})) or "没有任何字段"
                raise errors.ImagingInputInvalid(f"file：应为上传的图像文件，收到 {given[:80]}。", field="file")
            [file] = form.files["file"]
            return folder / file.path, file.name

        taken = await desk.upload(received, int(announced) if announced.isdigit() else 0, client, now())
        return UploadedPicture.model_validate(taken)

    async def sample(
        client: Client,
        task: _Task,
        dataset_name: Annotated[str, Query(max_length=100, examples=["KidneyUS"])],
    ) -> SampledRecord:
        """该任务、该数据集中随机一张图像的记录，可原样用于分析。"""
        found = await desk.sample(task, dataset_name, client, now())
        return SampledRecord.model_validate(found)

    async def predict(records: _Records, client: Client) -> JSONResponse:
        """`task` 决定做分类还是分割。多条记录要么都有结果，要么都没有。"""
        asked = records if isinstance(records, list) else [records]
        found = await desk.predict(asked, client, now())
        return JSONResponse(found if isinstance(records, list) else found[0])

    async def overview(_client: Client) -> Parts:
        """任务、数据集、中文名称、器官、类别标签，以及有没有模型。"""
        return parts_of(desk.can(), desk.why_not)

    for path in ("/upload", "/imaging/ultrasound/upload"):
        _add(router, path, "POST", upload, "上传超声图像", responses=answers(*_TAKING), openapi_extra=_FORM)
    for path in ("/random_sample/", "/imaging/ultrasound/random_sample"):
        said = answers(*_SAMPLING, errors.ImagingStorageFull)
        _add(router, path, "GET", sample, "随机一张超声图像", responses=said)
    for path in ("/segment2/", "/segment/", "/imaging/ultrasound/predict"):
        said = {**answers(*_JUDGING), 200: {"model": Answer | list[Answer], "description": "结果"}}
        _add(router, path, "POST", predict, "超声分类与分割", response_model=None, responses=said)
    _add(router, "/imaging/ultrasound/parts", "GET", overview, "超声任务与数据集", responses=answers())
    for shelf, (about, *paths) in _SHELVES.items():
        for path in paths:
            router.add_api_route(
                path,
                _reading(desk, shelf),
                methods=["GET"],
                summary=about,
                response_class=Response,
                responses={**answers(*_READING), **_FILE},
            )
    return router


def _reading(desk: UltrasoundDesk, shelf: Shelf) -> Callable[..., Any]:
    async def read(path: str, client: Client) -> FileResponse:
        found, media_type = await desk.find(shelf, path, client, now())
        return FileResponse(found, media_type=media_type, headers=_PRIVATE)

    return read


def _add(router: APIRouter, path: str, verb: str, endpoint: Callable[..., Any], summary: str, **more: Any) -> None:
    router.add_api_route(path, endpoint, methods=[verb], summary=summary, **more)
    other = path.removesuffix("/") if path.endswith("/") else f"{path}/"
    router.add_api_route(other, endpoint, methods=[verb], include_in_schema=False, **more)
