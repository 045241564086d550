"""One run of a surgery from start to end."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID


class SurgeryState(StrEnum):
    STARTING = "starting"
    RUNNING = "running"
    ENDED = "ended"
    FAILED = "failed"

    @property
    def is_active(self) -> bool:
        return self in (SurgeryState.STARTING, SurgeryState.RUNNING)


@dataclass(frozen=True, slots=True, kw_only=True)
class Surgery:
    """A run. surgery_id: 6 digits, the HIS's own; id: ours, one per run. candidates: as requested."""

    id: UUID
    surgery_id: str
    state: SurgeryState
    cameras: tuple[str, ...]
    candidates: tuple[str, ...]
    started_at: datetime
    ended_at: datetime | None = None

    def continues(self, now: datetime, window: timedelta) -> bool:
        """Whether a start at `now` goes on with this run's ledger instead of opening a new one."""
        if self.state.is_active:
            return True
        return self.state is SurgeryState.ENDED and self.ended_at is not None and now - self.ended_at <= window
