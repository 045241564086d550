"""Rows as the services write them, for tests of the tables and of the verbs."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from daemon.domain.catalogue import Candidates, Item
from daemon.domain.facts import Score
from daemon.domain.ledger import Posting, PostingKind, Source
from daemon.domain.sighting import Observation, Outcome, SettledSighting
from daemon.domain.surgery import Surgery, SurgeryState
from daemon.storage.database import Unit

T0 = datetime(2026, 4, 21, 2, 30, tzinfo=UTC)
GAUZE, SUTURE = Item(item_id="HC001", item_name="纱布"), Item(item_id="HC002", item_name="缝线")
CANDIDATES = Candidates(by_label={"gauze": GAUZE, "suture": SUTURE})


def at(second: float) -> datetime:
    return T0 + timedelta(seconds=second)


def surgery(surgery_id: str = "100001", **changes: Any) -> Surgery:
    run = Surgery(
        id=uuid4(),
        surgery_id=surgery_id,
        state=SurgeryState.RUNNING,
        cameras=("a", "b"),
        candidates=(),
        started_at=T0,
    )
    return replace(run, **changes)


async def saved(unit: Unit, run: Surgery) -> Surgery:
    async with unit.begin() as tx:
        await tx.surgeries.save(run)
    return run


def posting(run: Surgery, kind: PostingKind = PostingKind.CONSUMPTION, voids: UUID | None = None) -> Posting:
    return Posting(
        id=uuid4(),
        run_id=run.id,
        kind=kind,
        item=GAUZE,
        qty=1,
        doctor_id="orwatch",
        source=Source.VISION,
        timestamp=T0,
        posted_at=T0,
        voids=voids,
    )


def sighting(run: Surgery, camera: str = "a") -> SettledSighting:
    return SettledSighting(
        id=uuid4(),
        run_id=run.id,
        camera=camera,
        label="gauze",
        started_at=T0,
        decided_at=T0,
        peak=0.95,
        top=(Score(label="gauze", score=0.95),),
        outcome=Outcome.BOOKED,
    )


def seen(
    second: float = 0,
    *,
    camera: str = "a",
    label: str = "gauze",
    outcome: Outcome = Outcome.BOOKED,
    since_resume: bool = False,
) -> Observation:
    top = (Score(label=label, score=0.7), Score(label="suture" if label == "gauze" else "gauze", score=0.2))
    return Observation(
        camera=camera,
        label=label,
        started_at=at(second),
        peak=0.7,
        top=top,
        outcome=outcome,
        options=top if outcome is Outcome.ASKED else (),
        reason="too_unsure" if outcome is Outcome.IGNORED else "",
        since_resume=since_resume,
    )
