"""`POST /client/surgeries/{id}/corrections`: the ledger corrected by hand, with who and why."""

from typing import Annotated

from fastapi import APIRouter, Depends

from daemon.api import schemas
from daemon.api.context import IdempotencyKey, Injected, SurgeryId, check_surgery, needs, now
from daemon.api.errors import answers
from daemon.api.keys import Caller, Right
from daemon.domain import errors
from daemon.domain.ledger import Correction
from daemon.services.correct import Add, Settle, Void

router = APIRouter(prefix="/client/surgeries/{surgery_id}/corrections", tags=["client"])

Corrector = Annotated[Caller | None, Depends(needs(Right.CORRECT))]


@router.post(
    "",
    summary="更正账本",
    responses=answers(
        errors.SurgeryNotFound,
        errors.ConfirmationNotFound,
        errors.ConfirmationAlreadyResolved,
        errors.ChoiceNotAnOption,
        errors.PostingNotFound,
        errors.PostingNotVoidable,
        errors.PostingAlreadyVoided,
        errors.IdempotencyKeyReused,
        errors.ItemUnknown,
    ),
)
async def correct(
    surgery_id: SurgeryId,
    request: schemas.CorrectionRequest,
    caller: Corrector,
    parts: Injected,
    idempotency_key: IdempotencyKey = None,
) -> schemas.CorrectionResponse:
    """补记没有识别到的消耗、作废记错的，或答复结束时仍未答复的待确认项。进行中与已结束的手术都可以；只追加记账行。"""
    await check_surgery(caller, surgery_id, parts)
    wanted: Add | Void | Settle
    if request.item is not None:
        wanted = Add(word=request.item)
    elif request.posting_id is not None:
        wanted = Void(posting_id=request.posting_id)
    else:
        assert request.confirmation_id is not None
        wanted = Settle(confirmation_id=request.confirmation_id, word=request.label)
    by = Correction(doctor_id=request.doctor_id, reason=request.reason, request_key=idempotency_key)
    corrected = await parts.corrections.correct(surgery_id, wanted, by, now())
    row = corrected.posting
    return schemas.CorrectionResponse(
        surgery_id=surgery_id,
        message=corrected.message,
        posting_id=row.id,
        item_id=row.item.item_id,
        item_name=row.item.item_name,
        qty=row.qty,
        voids=row.voids,
    )
