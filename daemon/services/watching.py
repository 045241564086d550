"""What live cameras conclude, on its way to the ledger: while that is away it waits, and what is settled is counted."""

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from uuid import UUID, uuid4

from daemon.domain.catalogue import Candidates
from daemon.domain.sighting import Observation, Outcome
from daemon.domain.surgery import Surgery
from daemon.health import Health
from daemon.metrics import Metrics
from daemon.services.facts import of_camera
from daemon.services.insist import insist
from daemon.services.observe import ObserveRules, observe, shows
from daemon.storage.database import Unit

# The picture and the clip of a sighting of this camera, around this moment; in their own time.
TakeEvidence = Callable[[Surgery, str, UUID, datetime], None]


class Observations:
    """take_evidence: None where none is kept."""

    def __init__(
        self, unit: Unit, rules: ObserveRules, health: Health, metrics: Metrics, take_evidence: TakeEvidence | None
    ) -> None:
        self._unit = unit
        self._rules = rules
        self._health = health
        self._metrics = metrics
        self._take_evidence = take_evidence

    async def observe(self, surgery: Surgery, candidates: Candidates, seen: Observation) -> None:
        """Returns once it is settled, however long the ledger is away."""

        async def attempt() -> None:
            sighting_id = uuid4()
            outcome = await observe(
                self._unit, surgery, candidates, seen, self._rules, datetime.now(UTC), sighting_id=sighting_id
            )
            if self._take_evidence is not None and outcome in (Outcome.BOOKED, Outcome.ASKED):
                self._take_evidence(surgery, seen.camera, sighting_id, seen.evidence_at or seen.started_at)
            self._metrics.observations.labels(outcome.value, seen.reason).inc()

        await insist("observations", attempt, health=self._health)

    async def shows(self, surgery: Surgery, camera: str, labels: frozenset[str]) -> None:
        """What is before the camera now, as `services.observe.shows`; noted, however long the ledger is away."""
        await insist("observations", partial(shows, self._unit, surgery, camera, labels), health=self._health)

    async def camera(self, surgery: Surgery, camera: str, why: str, at: datetime) -> None:
        """A camera of it does not see, or with an empty why sees again; noted, however long the ledger is away."""

        async def attempt() -> None:
            async with self._unit.begin() as tx:
                await tx.emit(of_camera(surgery, camera, why, at))

        await insist("camera faults", attempt, health=self._health)
