"""Questions: the seed's routes 5 and 6, and the answer by touch.

There is no speech provider yet, so a question that stands in the queue answers 503 with its text and options in the
detail, and a voice answer 503 after everything that can be checked without hearing it was checked.
"""

from typing import Annotated

from fastapi import APIRouter, Depends, File, Path, UploadFile

from daemon.api import schemas
from daemon.api.context import Parts, SurgeryId, check_surgery, needs, now
from daemon.api.errors import answers
from daemon.api.keys import Caller, Right
from daemon.domain import errors
from daemon.domain.ledger import Source
from daemon.services import read
from daemon.services.settle import Answer, pending, settle

router = APIRouter(prefix="/client/surgeries/{surgery_id}/pending-confirmation", tags=["client"])

Answerer = Annotated[Caller | None, Depends(needs(Right.ANSWER))]
Reader = Annotated[Caller | None, Depends(needs(Right.READ))]
ConfirmationId = Annotated[str, Path(min_length=1, max_length=128)]

_NO_VOICE = "语音服务未配置，请在触屏上确认。"


@router.get(
    "",
    summary="拉取待确认耗材",
    response_model=schemas.SurgeryPendingConfirmationResponse,
    responses=answers(errors.NoPendingConfirmation, errors.VoiceNotConfigured),
)
async def head(surgery_id: SurgeryId, caller: Reader, parts: Parts) -> None:
    """队首的一条待确认。语音服务未配置时返回 503 BAIDU_NOT_CONFIGURED，detail 中带话术文本与候选项。"""
    await check_surgery(caller, surgery_id, parts)
    question = await read.head_of_queue(parts.unit, surgery_id)
    raise errors.VoiceNotConfigured(
        _NO_VOICE,
        surgery_id=surgery_id,
        confirmation_id=str(question.id),
        prompt_text=question.prompt_text,
        options=[option.model_dump() for option in schemas.options(question)],
    )


@router.post(
    "/{confirmation_id}/resolve",
    summary="提交待确认结果（医生语音）",
    response_model=schemas.SurgeryResolveResponse,
    responses=answers(
        errors.ConfirmationNotFound,
        errors.ConfirmationAlreadyResolved,
        errors.VoiceAudioInvalid,
        errors.VoiceNotConfigured,
    ),
)
async def resolve(
    surgery_id: SurgeryId,
    confirmation_id: ConfirmationId,
    audio: Annotated[UploadFile, File(description="单个 .wav 文件，建议 16 kHz 单声道 PCM")],
    caller: Answerer,
    parts: Parts,
) -> None:
    """语音服务未配置时返回 503 BAIDU_NOT_CONFIGURED，待确认项保持不变。"""
    await check_surgery(caller, surgery_id, parts)
    async with parts.unit.read() as tx:
        await pending(tx, surgery_id, confirmation_id)
    if not (audio.filename or "").lower().endswith(".wav"):
        raise errors.VoiceAudioInvalid(
            f"audio 必须是 .wav 文件，收到文件名「{audio.filename}」。", surgery_id=surgery_id
        )
    if not audio.size:
        raise errors.VoiceAudioInvalid("audio 是空文件。", surgery_id=surgery_id)
    raise errors.VoiceNotConfigured(_NO_VOICE, surgery_id=surgery_id, confirmation_id=confirmation_id)


@router.post(
    "/{confirmation_id}/choose",
    summary="提交待确认结果（触屏）",
    responses=answers(errors.ConfirmationNotFound, errors.ConfirmationAlreadyResolved, errors.ChoiceNotAnOption),
)
async def choose(
    surgery_id: SurgeryId,
    confirmation_id: ConfirmationId,
    request: schemas.ChooseRequest,
    caller: Answerer,
    parts: Parts,
) -> schemas.SurgeryResolveResponse:
    """与语音答复等效；谁先答复以谁为准，之后的答复得到 409。"""
    await check_surgery(caller, surgery_id, parts)
    answer = Answer(
        word=request.label,
        doctor_id=request.doctor_id or parts.settings.surgery.doctor_id,
        source=Source.TOUCH,
    )
    settled = await settle(parts.unit, surgery_id, confirmation_id, answer, now())
    return schemas.SurgeryResolveResponse(
        surgery_id=surgery_id,
        confirmation_id=confirmation_id,
        message=settled.message,
        resolved_label=settled.chosen.label if settled.chosen else None,
        rejected=settled.chosen is None,
        asr_text=None,
        audio_object_key=None,
    )
