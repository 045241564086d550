"""What is owed to whoever asked for an imaging job: its end, told to their webhook, once, in the order they asked.

A delivery is made with its job and waits for the job's end, which gives it its body in the same transaction. The
deliveries of one line (an examination) go out one after the other: a later one waits for those before it.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID


class DeliveryState(StrEnum):
    """waiting: the job has not ended. ready: to be sent. delivered: the receiver said so. given_up: it never did."""

    WAITING = "waiting"
    READY = "ready"
    DELIVERED = "delivered"
    GIVEN_UP = "given_up"


OWED = frozenset({DeliveryState.WAITING, DeliveryState.READY})
_WAIT_MAX = timedelta(hours=2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """number: the order of all. line: what it waits in. url: may hold a secret of the receiver's. body: JSON, while
    ready. error: why the last attempt failed, Chinese.
    """

    number: int
    id: UUID
    job_id: UUID
    line: str
    url: str
    body: str | None
    state: DeliveryState
    attempts: int
    error: str
    created_at: datetime
    ready_at: datetime | None
    next_at: datetime
    ended_at: datetime | None

    def is_due(self, now: datetime) -> bool:
        """A time further off than any wait is no wait, but a clock that was set back."""
        return self.next_at <= now or self.next_at - now > _WAIT_MAX

    def delivered(self, now: datetime) -> "Delivery":
        return replace(
            self, state=DeliveryState.DELIVERED, attempts=self.attempts + 1, body=None, error="", ended_at=now
        )

    def postponed(self, wait: timedelta, now: datetime, error: str) -> "Delivery":
        return replace(self, attempts=self.attempts + 1, next_at=now + wait, error=error)

    def given_up(self, now: datetime, error: str) -> "Delivery":
        return replace(
            self, state=DeliveryState.GIVEN_UP, attempts=self.attempts + 1, body=None, error=error, ended_at=now
        )
