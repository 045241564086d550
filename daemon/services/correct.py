"""Correct the ledger of a surgery by hand: add what nobody saw, void what was wrong; who and why stay with it."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from daemon.domain.catalogue import Catalogue, Item, item_called, similar_names
from daemon.domain.errors import (
    ConfirmationAlreadyResolved,
    ConfirmationNotFound,
    IdempotencyKeyReused,
    ItemUnknown,
    SurgeryNotFound,
)
from daemon.domain.facts import FactKind
from daemon.domain.ledger import Correction, Posting, PostingKind, Source
from daemon.domain.sighting import SettledSighting
from daemon.domain.surgery import Surgery
from daemon.services.facts import posted
from daemon.services.settle import CONFIRMED, REJECTED, Choice, settle_open
from daemon.storage.database import Tx, Unit

log = logging.getLogger(__name__)

_REUSED = "该 Idempotency-Key 已用于另一次内容不同的更正，请换用新的。"


@dataclass(frozen=True, slots=True, kw_only=True)
class Add:
    """word: name, alias or product code of one consumable."""

    word: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Void:
    posting_id: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class Settle:
    """The late answer to a question. word: one of its options; None: none of them."""

    confirmation_id: UUID
    word: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Corrected:
    posting: Posting
    message: str


class Corrections:
    """labels: what the model can tell apart, background aside; they name items where there is no catalogue."""

    def __init__(self, unit: Unit, catalogue: Catalogue, labels: Iterable[str]) -> None:
        self._unit = unit
        self._catalogue = catalogue
        self._labels = tuple(labels)

    async def correct(self, surgery_id: str, wanted: Add | Void | Settle, by: Correction, now: datetime) -> Corrected:
        """Post one correction to the latest run, running or ended. The same request_key again posts nothing."""
        async with self._unit.begin() as tx:
            run = await tx.surgeries.latest(surgery_id)
            if run is None:
                raise SurgeryNotFound("没有该手术号的记录。", surgery_id=surgery_id)
            earlier = await tx.ledger.by_request_key(run.id, by.request_key) if by.request_key else None
            if isinstance(wanted, Settle):
                corrected = await _settled(tx, run, wanted, by, earlier, now)
            else:
                target = self._item(wanted.word, run) if isinstance(wanted, Add) else wanted.posting_id
                if earlier is not None:
                    return _again(earlier, target, by)
                if isinstance(target, Item):
                    posting = by.adding(target, run.id, now)
                else:
                    posting = by.voiding(target, await tx.ledger.of_run(run.id), now)
                await tx.ledger.post(posting)
                kind = FactKind.VOIDED if posting.kind is PostingKind.VOID else FactKind.BOOKED
                await tx.emit(posted(kind, run, posting, await _shown(tx, posting)))
                corrected = _corrected(posting)
        posting = corrected.posting
        what = f"voids {posting.voids}" if posting.voids else "is added"
        log.info("surgery %s: correction %s %s, by %r", surgery_id, posting.id, what, posting.doctor_id)
        return corrected

    def _item(self, word: str, run: Surgery) -> Item:
        item = item_called(word, self._catalogue, self._labels, run.candidates)
        if item is None:
            near = similar_names(word, self._catalogue, self._labels)
            hint = f"是否指：{'、'.join(near)}？" if near else "请填写目录中的名称、别名或产品编码。"
            raise ItemUnknown(f"没有名为「{word}」的耗材，{hint}", similar=near)
        return item


async def _settled(
    tx: Tx, run: Surgery, wanted: Settle, by: Correction, earlier: Posting | None, now: datetime
) -> Corrected:
    question = await tx.confirmations.get(run.id, wanted.confirmation_id)
    if question is None:
        raise ConfirmationNotFound("待确认项不存在。", surgery_id=run.surgery_id)
    if earlier is not None:
        named = question.option(wanted.word) if wanted.word is not None else None
        chosen = earlier.item if earlier.kind is PostingKind.CONSUMPTION else None
        if earlier.confirmation_id != question.id or (named.item if named else None) != chosen:
            raise IdempotencyKeyReused(_REUSED)
        return _again(earlier, question.placeholder_id, by)
    if not question.is_open:
        raise ConfirmationAlreadyResolved(
            "该待确认项已处理过。", surgery_id=run.surgery_id, confirmation_id=str(question.id)
        )
    answer = Choice(
        word=wanted.word,
        doctor_id=by.doctor_id,
        source=Source.CORRECTION,
        reason=by.reason,
        request_key=by.request_key,
    )
    settled = await settle_open(tx, run, question, answer, now)
    return Corrected(posting=settled.posting, message=settled.message)


def _again(earlier: Posting, target: Item | UUID, by: Correction) -> Corrected:
    """The answer that was given before. Raises IdempotencyKeyReused where something else was asked for."""
    did: Item | UUID = earlier.item if earlier.voids is None else earlier.voids
    if (did, earlier.doctor_id, earlier.reason) != (target, by.doctor_id, by.reason):
        raise IdempotencyKeyReused(_REUSED)
    return _corrected(earlier)


def _corrected(posting: Posting) -> Corrected:
    is_void, name = posting.kind is PostingKind.VOID, posting.item.item_name
    # The answer to a question keeps its sighting; the void of a posting does not.
    if posting.confirmation_id is not None and posting.sighting_id is not None:
        message = REJECTED if is_void else CONFIRMED.format(name)
    else:
        message = f"已作废：{name}。" if is_void else f"已补记：{name}。"
    return Corrected(posting=posting, message=message)


async def _shown(tx: Tx, posting: Posting) -> SettledSighting | None:
    """A void shows what it voids as it was shown when it was booked; what is added was seen by nobody."""
    voided = await tx.ledger.get(posting.voids) if posting.voids is not None else None
    return await tx.sightings.get(voided.sighting_id) if voided and voided.sighting_id is not None else None
