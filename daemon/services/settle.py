"""Answer a question once: a yes replaces the placeholder by a consumption, a no ends it."""

import logging
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID, uuid4

from daemon.domain.confirmation import Confirmation, ConfirmationState, Heard, Option
from daemon.domain.errors import ChoiceNotAnOption, ConfirmationAlreadyResolved, ConfirmationNotFound
from daemon.domain.facts import FactKind
from daemon.domain.ledger import Posting, PostingKind, Source
from daemon.domain.objects import ObjectState, evidence_key
from daemon.domain.sighting import SettledSighting
from daemon.domain.surgery import Surgery, SurgeryState
from daemon.services.facts import posted
from daemon.storage.database import Tx, Unit

log = logging.getLogger(__name__)

CONFIRMED = "已确认并记账：{}。"
REJECTED = "已否认全部候选，不记消耗。"


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """word: the option's label, item name or item id; None: none of them. doctor_id: who answers. heard: by voice.

    reason, request_key: of an answer that comes as a correction.
    """

    word: str | None
    doctor_id: str
    source: Source
    heard: Heard | None = None
    reason: str | None = None
    request_key: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    confirmation: Confirmation
    chosen: Option | None
    posting: Posting
    message: str


async def pending(tx: Tx, surgery_id: str, confirmation_id: str) -> tuple[Surgery, Confirmation]:
    """The open question of that id in the active run. Raises ConfirmationNotFound or ConfirmationAlreadyResolved."""
    run = await tx.surgeries.latest(surgery_id)
    question = None
    if run is not None and run.state is SurgeryState.RUNNING and (key := _uuid(confirmation_id)) is not None:
        question = await tx.confirmations.get(run.id, key)
    if run is None or question is None:
        raise ConfirmationNotFound("待确认项不存在，或手术未在进行中。", surgery_id=surgery_id)
    if question.state is not ConfirmationState.PENDING:
        raise ConfirmationAlreadyResolved(
            "该待确认项已处理过。", surgery_id=surgery_id, confirmation_id=confirmation_id
        )
    return run, question


async def settle(unit: Unit, surgery_id: str, confirmation_id: str, answer: Choice, now: datetime) -> Settled:
    """Settle one question; whoever comes first wins, everyone later gets ConfirmationAlreadyResolved."""
    async with unit.begin() as tx:
        run, question = await pending(tx, surgery_id, confirmation_id)
        settled = await settle_open(tx, run, question, answer, now)
    log.info("question %s %s by %s", settled.confirmation.id, settled.confirmation.state, answer.source)
    return settled


async def settle_open(tx: Tx, run: Surgery, question: Confirmation, answer: Choice, now: datetime) -> Settled:
    """Settle a question that is known to be open. Raises ChoiceNotAnOption."""
    chosen = None
    if answer.word is not None:
        chosen = question.option(answer.word)
        if chosen is None:
            labels = "、".join(option.label for option in question.options)
            raise ChoiceNotAnOption(
                f"label「{answer.word}」不在该待确认项的候选中，可选：{labels}。",
                surgery_id=run.surgery_id,
                confirmation_id=str(question.id),
            )
    settled = question.settled(chosen, answer.doctor_id, now, answer.heard)
    sighting = await tx.sightings.get(question.sighting_id)
    key = evidence_key(run.surgery_id, run.id, sighting.id)
    is_kept = await tx.objects.in_state(ObjectState.WAITING, [key]) | await tx.objects.in_state(
        ObjectState.STORED, [key]
    )
    posting = _posting(run, settled, chosen, sighting, answer, now)
    await tx.confirmations.save(settled)
    await tx.ledger.post(posting)
    kind = FactKind.CONFIRMED if chosen else FactKind.REJECTED
    await tx.emit(posted(kind, run, posting, sighting, evidence=key if is_kept else ""))
    message = CONFIRMED.format(chosen.item.item_name) if chosen else REJECTED
    return Settled(confirmation=settled, chosen=chosen, posting=posting, message=message)


def _posting(
    run: Surgery,
    question: Confirmation,
    chosen: Option | None,
    sighting: SettledSighting,
    answer: Choice,
    now: datetime,
) -> Posting:
    """Either way the placeholder ends here; the constraint on `voids` lets that happen once."""
    return Posting(
        id=uuid4(),
        run_id=run.id,
        kind=PostingKind.CONSUMPTION if chosen else PostingKind.VOID,
        item=chosen.item if chosen else question.options[0].item,
        qty=1,
        doctor_id=answer.doctor_id,
        source=answer.source,
        timestamp=sighting.started_at,
        posted_at=now,
        sighting_id=question.sighting_id,
        confirmation_id=question.id,
        voids=question.placeholder_id,
        reason=answer.reason,
        request_key=answer.request_key,
    )


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
