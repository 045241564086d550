"""From an observation of the cameras to a posting, a question, or a counted reason for neither."""

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID, uuid4

from daemon.domain.catalogue import Candidates, Item
from daemon.domain.confirmation import Confirmation, ConfirmationState, Option, prompt
from daemon.domain.facts import FactKind, Score
from daemon.domain.ledger import Posting, PostingKind, Source
from daemon.domain.objects import evidence_key
from daemon.domain.sighting import Observation, Outcome, SettledSighting, same_consumption
from daemon.domain.surgery import Surgery
from daemon.services.facts import asked, not_counted, posted
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
        settling = _Settling(tx=tx, surgery=surgery, candidates=candidates, rules=rules, sighting=sighting)
        match outcome:
            case Outcome.BOOKED:
                await settling.book()
            case Outcome.ASKED:
                await settling.ask(seen.options)
            case Outcome.IGNORED | Outcome.MERGED:
                await settling.pass_over()
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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Settling:
    """A sighting of a surgery, in the transaction that settles it."""

    tx: Tx
    surgery: Surgery
    candidates: Candidates
    rules: ObserveRules
    sighting: SettledSighting

    async def book(self) -> None:
        posting = self._posting(PostingKind.CONSUMPTION, self.candidates.by_label[self.sighting.label])
        await self.tx.ledger.post(posting)
        await self.tx.emit(posted(FactKind.BOOKED, self.surgery, posting, self.sighting, evidence=self._evidence))

    async def ask(self, scores: tuple[Score, ...]) -> None:
        options = self._options(scores)
        placeholder = self._posting(PostingKind.PLACEHOLDER, options[0].item)
        best = self.sighting.top[0]
        question = Confirmation(
            id=uuid4(),
            run_id=self.surgery.id,
            sighting_id=self.sighting.id,
            placeholder_id=placeholder.id,
            state=ConfirmationState.PENDING,
            prompt_text=prompt(options),
            options=options,
            model_top1_label=best.label,
            model_top1_confidence=best.score,
            created_at=self.sighting.decided_at,
        )
        await self.tx.ledger.post(placeholder)
        await self.tx.confirmations.add(question)
        await self.tx.emit(asked(self.surgery, question, placeholder, self.sighting, evidence=self._evidence))

    async def pass_over(self) -> None:
        label = self.sighting.label
        item = self.candidates.by_label.get(label, Item(item_id=label, item_name=label))
        await self.tx.emit(not_counted(self.surgery, self.sighting, item))

    def _options(self, scores: tuple[Score, ...]) -> tuple[Option, ...]:
        """Two labels of one product are one answer: asked about both, nobody could say which."""
        by_item: dict[str, Option] = {}
        for each in scores:
            item = self.candidates.by_label[each.label]
            by_item.setdefault(item.item_id, Option(label=each.label, confidence=each.score, item=item))
        return tuple(by_item.values())

    def _posting(self, kind: PostingKind, item: Item) -> Posting:
        return Posting(
            id=uuid4(),
            run_id=self.surgery.id,
            kind=kind,
            item=item,
            qty=1,
            doctor_id=self.rules.doctor_id,
            source=Source.VISION,
            timestamp=self.sighting.started_at,
            posted_at=self.sighting.decided_at,
            sighting_id=self.sighting.id,
        )

    @property
    def _evidence(self) -> str:
        """Key of the picture that will show it."""
        if not self.rules.evidence:
            return ""
        return evidence_key(self.surgery.surgery_id, self.surgery.id, self.sighting.id)
