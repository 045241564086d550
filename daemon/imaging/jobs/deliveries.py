"""Tells webhooks how imaging jobs ended: signed, in order within a line, again and again for hours, never after a yes.

What is owed is a row that was made with the job, so a restart owes it still. An attempt whose yes was not seen, or
not committed before the power went, is made again under the same delivery id, by which a receiver knows it.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

from prometheus_client.core import Metric

from daemon.bridge import uninterrupted
from daemon.domain.delivery import Delivery, DeliveryState
from daemon.domain.imaging import Job
from daemon.health import Health
from daemon.imaging.jobs.rounds import in_rounds
from daemon.imaging.jobs.steps import Notice
from daemon.metrics import counter, gauge
from daemon.services.insist import insist
from daemon.storage.database import Tx, Unit
from daemon.supervise import Backoff, attempted
from imaging.errors import ImagingError
from imaging.webhook import Webhook

log = logging.getLogger(__name__)

# Lines that are worked on at a time.
_AT_ONCE = 8
_BACKOFF = Backoff(initial_s=2.0, max_s=300.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryRules:
    """retry_for: from when the job had ended."""

    retry_for: timedelta


class Deliveries:
    def __init__(self, unit: Unit, webhook: Webhook, health: Health, rules: DeliveryRules) -> None:
        self._unit = unit
        self._webhook = webhook
        self._health = health
        self._rules = rules
        self._at_work: dict[str, asyncio.Task[None]] = {}
        self._changed = asyncio.Event()
        self._owed, self._oldest_at = 0, datetime.now(UTC)
        self.ended: Counter[DeliveryState] = Counter()
        self.failed = 0

    def wake(self) -> None:
        """A job has ended."""
        self._changed.set()

    def check(self, url: str | None) -> str:
        """The URL as it will be called. Raises InputInvalid, InputForbidden, NotConfigured."""
        return self._webhook.check(url)

    async def close(self) -> None:
        await self._webhook.close()

    async def run(self) -> None:
        """Until cancelled; what is owed stays owed."""
        await in_rounds("webhooks", self._start_due, self._changed, self._at_work)

    async def _start_due(self) -> float | None:
        """Send what is due; returns how long until the next one is. Raises LedgerUnavailable."""
        wait_s: float | None = None
        while len(self._at_work) < _AT_ONCE:
            async with self._unit.read() as tx:
                delivery = await tx.deliveries.next_due(list(self._at_work))
            if delivery is None:
                break
            now = datetime.now(UTC)
            if not delivery.is_due(now):
                wait_s = (delivery.next_at - now).total_seconds()
                break
            task = asyncio.create_task(self._attempt(delivery), name=f"webhook:{delivery.id}")
            self._at_work[delivery.line] = task
            task.add_done_callback(self._ended(delivery))
        async with self._unit.read() as tx:
            self._owed, since = await tx.deliveries.owed()
        self._oldest_at = since or datetime.now(UTC)
        return wait_s

    def _ended(self, delivery: Delivery) -> Callable[[asyncio.Task[None]], None]:
        def ended(task: asyncio.Task[None]) -> None:
            self._at_work.pop(delivery.line, None)
            self._changed.set()
            if not task.cancelled() and (error := task.exception()) is not None:
                log.error("webhook of job %s stopped: %s", delivery.job_id, error)

        return ended

    async def _attempt(self, delivery: Delivery) -> None:
        assert delivery.body is not None
        now = datetime.now(UTC)
        sent = self._webhook.send(
            delivery.url,
            delivery.body.encode(),
            delivery_id=str(delivery.id),
            attempt=delivery.attempts + 1,
            at=now,
        )
        why = ""
        try:
            if (bug := await attempted(sent, expected=ImagingError)) is not None:
                log.error("webhook of job %s failed", delivery.job_id, exc_info=bug)
                why = "服务内部错误。"
        except ImagingError as error:
            why = error.message
        # A yes must not be lost to a stop between its coming and its commit.
        await uninterrupted(self._note(delivery, why))

    async def _note(self, delivery: Delivery, why: str) -> None:
        """why: it failed; "" where it did not."""
        now = datetime.now(UTC)
        after = self._failed(delivery, why, now) if why else delivery.delivered(now)
        if not why:
            self._health.set(_component(delivery), ok=True)
        if await self._save(after) and after.ended_at is not None:
            self.ended[after.state] += 1

    def _failed(self, delivery: Delivery, message: str, now: datetime) -> Delivery:
        self.failed += 1
        assert delivery.ready_at is not None
        if now - delivery.ready_at >= self._rules.retry_for:
            log.error("webhook of job %s: given up after %d attempts: %s", delivery.job_id, delivery.attempts, message)
            return delivery.given_up(now, message)
        wait_s = _BACKOFF.wait_s(delivery.attempts + 1)
        if self._health.set(_component(delivery), ok=False, why=message):
            log.warning("webhook of job %s: %s Again in %.0f s, and so on for hours.", delivery.job_id, message, wait_s)
        return delivery.postponed(timedelta(seconds=wait_s), now, message)

    async def _save(self, delivery: Delivery) -> bool:
        """However long the ledger is away."""
        is_ours = False

        async def attempt() -> None:
            nonlocal is_ours
            async with self._unit.begin() as tx:
                is_ours = await tx.deliveries.save(delivery)

        await insist("webhooks", attempt)
        return is_ours

    def readings(self) -> Iterator[Metric]:
        ended: list[tuple[list[str], float]] = [([state.value], count) for state, count in self.ended.items()]
        yield counter("orwatch_webhooks", "Webhook deliveries that ended, by how", ["state"], ended)
        failed: list[tuple[list[str], float]] = [([], self.failed)]
        yield counter("orwatch_webhook_failures", "Attempts at a webhook that failed", [], failed)
        owed: list[tuple[list[str], float]] = [([], self._owed)]
        yield gauge("orwatch_webhooks_owed", "Webhook deliveries that are ready and not delivered", [], owed)
        age = (datetime.now(UTC) - self._oldest_at).total_seconds() if self._owed else 0.0
        yield gauge("orwatch_webhook_age_seconds", "Age of the oldest of them", [], [([], max(0.0, age))])


async def save_job(tx: Tx, job: Job, notice: Notice | None) -> None:
    """The job as it is now; its end is told in the same breath to whoever is owed it, in the words of `notice`."""
    await tx.imaging.save(job)
    if notice is not None and job.ended_at is not None and await tx.deliveries.waiting(job.id):
        await tx.deliveries.ready(job.id, notice(job), job.ended_at)


def _component(delivery: Delivery) -> str:
    """A receiver that is away says nothing of the others."""
    return f"webhook:{urlsplit(delivery.url).hostname}"
