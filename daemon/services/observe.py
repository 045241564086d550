"""From an observation of the cameras to a posting, a question, or a counted reason for neither."""

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID, uuid4

from daemon.domain.catalogue import Candidates, Item
from daemon.domain.confirmation import Confirmation, ConfirmationState, Option, prompt
from daemon.domain.facts import Fact, FactKind
from daemon.domain.ledger import Posting, PostingKind, Source
from daemon.domain.objects import evidence_key
from daemon.domain.sighting import Observation, Outcome, SettledSighting, same_consumption
from daemon.domain.surgery import Surgery
from daemon.storage.database import Tx, Unit

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ObserveRules:
    """fusion: how far apart two cameras may see the same consumption begin. doctor_id: of automatic postings.

    evidence: a picture is kept of what is booked or asked; its key stands in the fact before the picture does.
    """

    fusion: timedelta
    doctor_id: str
    evidence: bool


async def observe(
    unit: Unit,
    surgery: Surgery,
    candidates: Candidates,
    seen: Observation,
    rules: ObserveRules,
    now: datetime,
    *,
    sighting_id: UUID | None = None,
) -> Outcome:
    """Settle one sighting of a running surgery; what it says is durable when this returns.

    sighting_id: that the caller has chosen for it.
    """
    async with unit.begin() as tx:
        first = await _counted_already(tx, surgery.id, seen, rules.fusion)
        outcome = Outcome.MERGED if first else seen.outcome
        sighting = SettledSighting(
            id=sighting_id or uuid4(),
            run_id=surgery.id,
            camera=seen.camera,
            label=seen.label,
            started_at=seen.started_at,
            decided_at=now,
            peak=seen.peak,
            top=seen.top,
            outcome=outcome,
            reason=_merge_reason(seen, first) if first else seen.reason,
            merged_into=first.id if first else None,
        )
        await tx.sightings.add(sighting)
        if outcome is not Outcome.IGNORED:
            await tx.sightings.comes_into_view(sighting)
        evidence = evidence_key(surgery.surgery_id, surgery.id, sighting.id) if rules.evidence else ""
        match outcome:
            case Outcome.BOOKED:
                await _book(tx, surgery, sighting, candidates.by_label[seen.label], rules.doctor_id, now, evidence)
            case Outcome.ASKED:
                await _ask(tx, surgery, sighting, seen, candidates, rules.doctor_id, now, evidence)
            case Outcome.IGNORED | Outcome.MERGED:
                item = candidates.by_label.get(seen.label, Item(item_id=seen.label, item_name=seen.label))
                kind = FactKind.MERGED if outcome is Outcome.MERGED else FactKind.IGNORED
                await tx.emit(_fact(kind, surgery, sighting, item, now))
    log.info("%s on %s: %s, peak %.2f %s", seen.label, seen.camera, outcome, seen.peak, sighting.reason)
    return outcome


async def shows(unit: Unit, surgery: Surgery, camera: str, labels: frozenset[str]) -> None:
    """What is before the camera now: whatever else comes into its view after this is another one."""
    async with unit.begin() as tx:
        await tx.sightings.leave_view(surgery.id, camera, labels)


async def _counted_already(tx: Tx, run_id: UUID, seen: Observation, fusion: timedelta) -> SettledSighting | None:
    """The sighting whose consumption this one only shows once more."""
    if seen.outcome is Outcome.IGNORED:
        return None
    if seen.since_resume:
        before = await tx.sightings.in_view(run_id, seen.camera, seen.label)
        if before is not None:
            return before
    around = await tx.sightings.around(run_id, seen.label, seen.started_at - fusion, seen.started_at + fusion)
    return same_consumption(
        camera=seen.camera, label=seen.label, started_at=seen.started_at, earlier=around, within=fusion
    )


def _merge_reason(seen: Observation, first: SettledSighting) -> str:
    return "seen_before_restart" if first.camera == seen.camera else f"same_as:{first.camera}"


async def _book(
    tx: Tx, surgery: Surgery, sighting: SettledSighting, item: Item, doctor_id: str, now: datetime, evidence: str
) -> None:
    posting = _posting(PostingKind.CONSUMPTION, surgery, sighting, item, doctor_id, now)
    await tx.ledger.post(posting)
    await tx.emit(
        _fact(
            FactKind.BOOKED,
            surgery,
            sighting,
            item,
            now,
            qty=posting.qty,
            doctor_id=doctor_id,
            posting_id=posting.id,
            evidence=evidence,
        )
    )


async def _ask(
    tx: Tx,
    surgery: Surgery,
    sighting: SettledSighting,
    seen: Observation,
    candidates: Candidates,
    doctor_id: str,
    now: datetime,
    evidence: str,
) -> None:
    # Two labels of one product are one answer: asked about both, nobody could say which.
    by_item: dict[str, Option] = {}
    for each in seen.options:
        item = candidates.by_label[each.label]
        by_item.setdefault(item.item_id, Option(label=each.label, confidence=each.score, item=item))
    options = tuple(by_item.values())
    placeholder = _posting(PostingKind.PLACEHOLDER, surgery, sighting, options[0].item, doctor_id, now)
    question = Confirmation(
        id=uuid4(),
        run_id=surgery.id,
        sighting_id=sighting.id,
        placeholder_id=placeholder.id,
        state=ConfirmationState.PENDING,
        prompt_text=prompt(options),
        options=options,
        model_top1_label=seen.top[0].label,
        model_top1_confidence=seen.top[0].score,
        created_at=now,
    )
    await tx.ledger.post(placeholder)
    await tx.confirmations.add(question)
    await tx.emit(
        _fact(
            FactKind.ASKED,
            surgery,
            sighting,
            options[0].item,
            now,
            posting_id=placeholder.id,
            confirmation_id=question.id,
            evidence=evidence,
        )
    )


def _posting(
    kind: PostingKind, surgery: Surgery, sighting: SettledSighting, item: Item, doctor_id: str, now: datetime
) -> Posting:
    return Posting(
        id=uuid4(),
        run_id=surgery.id,
        kind=kind,
        item=item,
        qty=1,
        doctor_id=doctor_id,
        source=Source.VISION,
        timestamp=sighting.started_at,
        posted_at=now,
        sighting_id=sighting.id,
    )


def _fact(
    kind: FactKind,
    surgery: Surgery,
    sighting: SettledSighting,
    item: Item,
    now: datetime,
    *,
    qty: int = 0,
    doctor_id: str = "",
    posting_id: UUID | None = None,
    confirmation_id: UUID | None = None,
    evidence: str = "",
) -> Fact:
    return Fact(
        kind=kind,
        run_id=surgery.id,
        surgery_id=surgery.surgery_id,
        at=now,
        timestamp=sighting.started_at,
        camera=sighting.camera,
        item=item,
        qty=qty,
        doctor_id=doctor_id,
        top=sighting.top,
        reason=sighting.reason,
        posting_id=posting_id,
        confirmation_id=confirmation_id,
        sighting_id=sighting.id,
        evidence=evidence,
    )
