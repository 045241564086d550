"""Questions: the seed's routes 5 and 6, and the answer by touch."""

import base64
from typing import Annotated

from fastapi import APIRouter, Depends, File, Form, Path, UploadFile

from daemon.api import schemas
from daemon.api.context import Context, Injected, SurgeryId, check_surgery, needs, now
from daemon.api.errors import answers
from daemon.api.keys import Caller, Right
from daemon.domain import errors
from daemon.domain.ledger import Source
from daemon.services.answers import Recorded
from daemon.services.questions import Pending
from daemon.services.settle import Choice, settle

router = APIRouter(prefix="/client/surgeries/{surgery_id}/pending-confirmation", tags=["client"])

Answerer = Annotated[Caller | None, Depends(needs(Right.ANSWER))]
Reader = Annotated[Caller | None, Depends(needs(Right.READ))]
ConfirmationId = Annotated[str, Path(min_length=1, max_length=128)]
DoctorId = Annotated[str | None, Form(min_length=1, max_length=64, pattern=r"\S", description="答复人；缺省为系统标识")]


@router.get(
    "",
    summary="拉取待确认耗材",
    responses=answers(errors.NoPendingConfirmation, errors.TtsTextEmpty, errors.VoiceNotConfigured, errors.TtsFailed),
)
async def head(surgery_id: SurgeryId, caller: Reader, parts: Injected) -> schemas.SurgeryPendingConfirmationResponse:
    """队首的一条待确认。无法播报时返回 503 或 422，`detail` 中带话术文本与候选项，可在触屏上答复。"""
    await check_surgery(caller, surgery_id, parts)
    return pending_response(parts, surgery_id, await parts.questions.pending(surgery_id))


def pending_response(parts: Context, surgery_id: str, head: Pending) -> schemas.SurgeryPendingConfirmationResponse:
    question = head.question
    return schemas.SurgeryPendingConfirmationResponse(
        surgery_id=surgery_id,
        confirmation_id=str(question.id),
        prompt_text=question.prompt_text,
        prompt_audio_mp3_base64=base64.b64encode(head.spoken.mp3).decode("ascii"),
        options=schemas.options(question),
        model_top1_label=question.model_top1_label,
        model_top1_confidence=question.model_top1_confidence,
        created_at=parts.local(question.created_at),
    )


@router.post(
    "/{confirmation_id}/resolve",
    summary="提交待确认结果（医生语音）",
    responses=answers(
        errors.ConfirmationNotFound,
        errors.ConfirmationAlreadyResolved,
        errors.VoiceAudioInvalid,
        errors.VoiceAudioEmpty,
        errors.VoiceAudioTooLarge,
        errors.VoiceAudioTooLong,
        errors.VoiceAudioClipped,
        errors.VoiceNoSpeech,
        errors.VoiceAsrFailed,
        errors.VoiceAnswerUnclear,
        errors.VoiceAnswerUnsure,
        errors.VoiceAnswerCancelled,
        errors.VoiceNotConfigured,
        errors.AsrFailed,
        errors.AnswerNotKept,
    ),
)
async def resolve(
    surgery_id: SurgeryId,
    confirmation_id: ConfirmationId,
    audio: Annotated[UploadFile, File(description="单个 .wav 文件，建议 16 kHz 单声道 PCM")],
    caller: Answerer,
    parts: Injected,
    doctor_id: DoctorId = None,
) -> schemas.SurgeryResolveResponse:
    """录音先保存，再识别，再入账或关闭。422 `VOICE_*` 时待确认项不变，`retry_remaining` 是剩余的语音重试次数。"""
    await check_surgery(caller, surgery_id, parts)
    resolved = await parts.answers.resolve(
        surgery_id,
        confirmation_id,
        Recorded(filename=audio.filename or "", content=await audio.read()),
        (doctor_id or parts.settings.surgery.doctor_id).strip(),
        now,
    )
    settled = resolved.settled
    return schemas.SurgeryResolveResponse(
        surgery_id=surgery_id,
        confirmation_id=confirmation_id,
        message=settled.message,
        resolved_label=settled.chosen.label if settled.chosen else None,
        rejected=settled.chosen is None,
        asr_text=resolved.heard.text,
        asr_provider=resolved.heard.provider,
        audio_object_key=resolved.audio_key,
    )


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
    parts: Injected,
) -> schemas.SurgeryResolveResponse:
    """与语音答复等效；谁先答复以谁为准，之后的答复得到 409。"""
    await check_surgery(caller, surgery_id, parts)
    answer = Choice(
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
        asr_provider=None,
        audio_object_key=None,
    )
