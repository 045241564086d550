"""From cameras to the ledger: the pipeline, and what it does with what it sees."""

import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import partial
from uuid import uuid4

from daemon.assembly import background_of, batcher_of, observe_rules_of, picture_of, rules_of, source_of
from daemon.config import Settings
from daemon.domain.catalogue import Candidates
from daemon.domain.sighting import Observation, Outcome
from daemon.domain.surgery import Surgery
from daemon.health import Health
from daemon.metrics import Metrics
from daemon.pipeline.evidence import Evidence
from daemon.pipeline.pipeline import Pipeline
from daemon.pipeline.watch import Observe, Shows
from daemon.services.observe import ObserveRules, observe, shows
from daemon.storage.database import LedgerUnavailable, Unit
from daemon.supervise import Backoff, keep_running
from inference.model import Model

log = logging.getLogger(__name__)

_LEDGER_BACKOFF = Backoff(initial_s=0.2, max_s=5.0, jitter_s=0.2)


def pipeline_of(
    settings: Settings, model: Model, unit: Unit, evidence: Evidence | None, health: Health, metrics: Metrics
) -> Pipeline:
    return Pipeline(
        {name: source_of(name, camera, settings, picture_of(model)) for name, camera in settings.cameras.items()},
        batcher_on=lambda on_prediction: batcher_of(model, on_prediction, settings),
        labels=model.labels,
        rules=rules_of(settings, background_of(settings, model)),
        observe=_observing(unit, observe_rules_of(settings), health, metrics, evidence),
        shows=_showing(unit, health),
        health=health,
        metrics=metrics,
        evidence=evidence,
    )


def _observing(unit: Unit, rules: ObserveRules, health: Health, metrics: Metrics, evidence: Evidence | None) -> Observe:
    """Settle an observation, again and again while the ledger is away: a fact is never dropped."""

    async def observing(surgery: Surgery, candidates: Candidates, seen: Observation) -> None:
        async def attempt() -> None:
            sighting_id = uuid4()
            outcome = await observe(unit, surgery, candidates, seen, rules, datetime.now(UTC), sighting_id=sighting_id)
            if evidence is not None and outcome in (Outcome.BOOKED, Outcome.ASKED):
                evidence.take(surgery, seen.camera, sighting_id, seen.evidence_at or seen.started_at)
            metrics.observations.labels(outcome.value, seen.reason).inc()

        await _insist(attempt, health)

    return observing


def _showing(unit: Unit, health: Health) -> Shows:
    async def showing(surgery: Surgery, camera: str, labels: frozenset[str]) -> None:
        await _insist(partial(shows, unit, surgery, camera, labels), health)

    return showing


async def _insist(attempt: Callable[[], Awaitable[None]], health: Health) -> None:
    """Until the ledger takes it."""

    def failed(error: Exception, wait_s: float) -> None:
        if health.set("ledger", ok=False, why=str(error)):
            log.error("an observation waits for the ledger: %s. Trying again in %.1f s", error, wait_s)

    await keep_running(attempt, on_failure=failed, backoff=_LEDGER_BACKOFF, on=LedgerUnavailable)
