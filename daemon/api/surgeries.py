"""Start, end and read surgeries: the seed's routes 2 to 4, and what the console and the ops people read besides."""

from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Query, Response
from starlette.exceptions import HTTPException

from daemon.api import schemas
from daemon.api.context import Context, Injected, SurgeryId, cameras_of, check_rooms, check_surgery, needs, now
from daemon.api.errors import SurgeryClientErrorResponse, answers
from daemon.api.keys import Caller, Right
from daemon.api.ranges import ranged
from daemon.bridge import off_loop
from daemon.domain import errors
from daemon.domain.ledger import Detail, Total, voiders
from daemon.domain.objects import MEDIA_TYPES as MEDIA_TYPES_OF
from daemon.domain.objects import ObjectKind
from daemon.domain.surgery import Surgery, SurgeryState
from daemon.services import read
from daemon.storage.report_forms import MEDIA_TYPES, Form, drawn

router = APIRouter(prefix="/client/surgeries", tags=["client"])

Starter = Annotated[Caller | None, Depends(needs(Right.START_END))]
Reader = Annotated[Caller | None, Depends(needs(Right.READ))]


@router.post(
    "/start",
    summary="开始手术",
    responses=answers(errors.RecordingCannotStart, errors.CameraAlreadyInUse, errors.SurgeryAlreadyRunning),
)
async def start(request: schemas.SurgeryStartRequest, caller: Starter, parts: Injected) -> schemas.SurgeryApiResponse:
    """每个摄像头都有首帧并已识别后才返回 200。客户端超时应不小于 300 秒。"""
    at = now()
    check_rooms(caller, tuple(request.camera_ids), parts.settings)
    await check_surgery(caller, request.surgery_id, parts, starting_at=at)
    message = await parts.surgeries.start(
        request.surgery_id, tuple(request.camera_ids), tuple(request.candidate_consumables or ()), at
    )
    return schemas.SurgeryApiResponse(surgery_id=request.surgery_id, message=message)


@router.post("/end", summary="结束手术", responses=answers(errors.RecordingNotStopped))
async def end(request: schemas.SurgeryEndRequest, caller: Starter, parts: Injected) -> schemas.SurgeryApiResponse:
    """停录完成后才返回 200；对已结束的手术再次调用仍返回 200。"""
    await check_surgery(caller, request.surgery_id, parts)
    message = await parts.surgeries.end(request.surgery_id, now())
    return schemas.SurgeryApiResponse(surgery_id=request.surgery_id, message=message)


@router.get("/start", include_in_schema=False)
@router.get("/end", include_in_schema=False)
async def only_post() -> None:
    """Otherwise `start` would be taken for a surgery_id, and the answer would be about its digits."""
    raise HTTPException(405, headers={"Allow": "POST"})


@router.get("/{surgery_id}/result", summary="查询手术结果", responses=answers(errors.ResultNotReady))
async def result(
    surgery_id: SurgeryId,
    caller: Reader,
    parts: Injected,
    include_pending: Annotated[bool, Query(description="同时返回待确认的占位明细，每条明细带 status")] = False,
) -> schemas.SurgeryResultResponse:
    """至少有一条消耗明细时返回 200，否则 503 RESULT_NOT_READY。"""
    await check_surgery(caller, surgery_id, parts)
    found = await read.result(parts.unit, surgery_id, include_pending=include_pending, archive=parts.archive)
    return schemas.SurgeryResultResponse(
        surgery_id=surgery_id,
        message=found.message,
        details=[_detail(parts, row, include_pending) for row in found.details],
        summary=_summary(found.summary),
    )


@router.get("", summary="手术列表", responses=answers())
async def surgeries(
    caller: Reader,
    parts: Injected,
    state: SurgeryState | None = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    offset: Annotated[int, Query(ge=0, le=1_000_000)] = 0,
) -> schemas.SurgeryPage:
    """最近开始的在前。限定手术间的密钥只能看到本手术间的手术。"""
    allowed = cameras_of(caller, parts.settings)
    rows = await read.surgeries(parts.unit, state=state, cameras=allowed, limit=limit, offset=offset)
    return schemas.SurgeryPage(surgeries=[_row(parts, run) for run in rows], limit=limit, offset=offset)


@router.get("/{surgery_id}", summary="手术概况", responses=answers(errors.SurgeryNotFound))
async def surgery(surgery_id: SurgeryId, caller: Reader, parts: Injected) -> schemas.SurgeryOverview:
    """当前消耗汇总与全部待确认项（含已处理）。"""
    await check_surgery(caller, surgery_id, parts)
    found = await read.overview(parts.unit, surgery_id, archive=parts.archive)
    return schemas.SurgeryOverview(
        **_row(parts, found.surgery).model_dump(),
        summary=_summary(found.booked),
        questions=[schemas.question(question) for question in found.questions],
    )


@router.get("/{surgery_id}/ledger", summary="完整账本", responses=answers(errors.SurgeryNotFound))
async def ledger(surgery_id: SurgeryId, caller: Reader, parts: Injected) -> schemas.SurgeryLedger:
    """最近一台的全部记账行，含占位、作废与更正，按记账先后排列；`voided_by` 是使该行不再计数的行。"""
    await check_surgery(caller, surgery_id, parts)
    _, postings = await read.ledger(parts.unit, surgery_id, archive=parts.archive)
    voided_by = voiders(postings)
    rows = [
        schemas.LedgerRow(
            posting_id=row.id,
            kind=row.kind,
            item_id=row.item.item_id,
            item_name=row.item.item_name,
            qty=row.qty,
            doctor_id=row.doctor_id,
            source=row.source,
            timestamp=parts.local(row.timestamp),
            posted_at=parts.local(row.posted_at),
            sighting_id=row.sighting_id,
            confirmation_id=row.confirmation_id,
            voids=row.voids,
            voided_by=voided_by.get(row.id),
            reason=row.reason,
        )
        for row in postings
    ]
    return schemas.SurgeryLedger(surgery_id=surgery_id, postings=rows)


@router.get(
    "/{surgery_id}/report.{form}",
    summary="消耗记录",
    # Not PlainTextResponse: OpenAPI would then call the errors text/plain too.
    response_class=Response,
    responses={
        **answers(errors.SurgeryNotFound),
        200: {
            "content": {media_type.partition(";")[0]: {} for media_type in MEDIA_TYPES.values()},
            "description": "TSV、Markdown、CSV 或 XLSX",
        },
    },
)
async def report(surgery_id: SurgeryId, form: Form, caller: Reader, parts: Injected) -> Response:
    """由账本生成；`tsv` 与 `md` 和消耗日志文件内容一致，`csv` 与 `xlsx` 可用 Excel 打开。"""
    await check_surgery(caller, surgery_id, parts)
    run, facts = await read.facts(parts.unit, surgery_id, archive=parts.archive)
    content = await off_loop(drawn, form, run, facts, parts.pages)
    named = {"Content-Disposition": f'attachment; filename="{surgery_id}.{form}"'}
    is_file = form in (Form.CSV, Form.XLSX)
    return Response(content, media_type=MEDIA_TYPES[form], headers=named if is_file else None)


@router.get(
    "/{surgery_id}/evidence/{sighting_id}.{ending}",
    summary="证据图片与片段",
    response_class=Response,
    responses={
        **answers(errors.SurgeryNotFound, errors.EvidenceNotFound, errors.ObjectStoreUnavailable),
        200: {"content": {"image/jpeg": {}, "video/mp4": {}}, "description": "JPEG 图片或 MP4 片段"},
        206: {"content": {"image/jpeg": {}, "video/mp4": {}}, "description": "其中的一段"},
        416: {"model": SurgeryClientErrorResponse, "description": "RANGE_NOT_SATISFIABLE"},
    },
)
async def evidence(
    surgery_id: SurgeryId,
    sighting_id: UUID,
    ending: Literal["jpg", "mp4"],
    caller: Reader,
    parts: Injected,
    byte_range: Annotated[str | None, Header(alias="Range")] = None,
) -> Response:
    """最近一台中一次识别的图片或片段；刚记账时片段可能还没有拍完。支持 `Range`（单段），便于播放器拖动。"""
    await check_surgery(caller, surgery_id, parts)
    kind = ObjectKind.PICTURE if ending == "jpg" else ObjectKind.CLIP
    content = await parts.objects.evidence(parts.unit, surgery_id, sighting_id, kind)
    return ranged(content, byte_range, MEDIA_TYPES_OF[kind])


def _detail(parts: Context, row: Detail, with_status: bool) -> schemas.ResultDetail:
    posting = row.posting
    fields = {
        "item_id": posting.item.item_id,
        "item_name": posting.item.item_name,
        "qty": posting.qty,
        "doctor_id": posting.doctor_id,
        "timestamp": parts.local(posting.timestamp),
    }
    if with_status:
        return schemas.ResultDetailWithStatus.model_validate({**fields, "status": row.status.value})
    return schemas.ResultDetail.model_validate(fields)


def _summary(totals: list[Total]) -> list[schemas.ResultSummary]:
    return [
        schemas.ResultSummary(item_id=total.item.item_id, item_name=total.item.item_name, total_quantity=total.quantity)
        for total in totals
    ]


def _row(parts: Context, run: Surgery) -> schemas.SurgeryRow:
    room = parts.settings.room_of(frozenset(run.cameras))
    return schemas.SurgeryRow(
        surgery_id=run.surgery_id,
        state=run.state,
        room=room,
        voice_terminal=parts.settings.rooms[room].voice_terminal if room else None,
        cameras=list(run.cameras),
        candidates=list(run.candidates),
        started_at=parts.local(run.started_at),
        ended_at=parts.local(run.ended_at) if run.ended_at else None,
    )
