"""A settled sighting as the tally keeps it, and when two of them are one consumption."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from daemon.domain.facts import Score


class Outcome(StrEnum):
    BOOKED = "booked"
    ASKED = "asked"
    IGNORED = "ignored"
    MERGED = "merged"


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What the cameras conclude of one sighting, before the tally is looked at.

    outcome: BOOKED, ASKED or IGNORED. options: of a question, best first. since_resume: it was in view already when
    the watching began again after an interruption. evidence_at: the frame that shows it best.
    """

    camera: str
    label: str
    started_at: datetime
    peak: float
    top: tuple[Score, ...]
    outcome: Outcome
    options: tuple[Score, ...] = ()
    reason: str = ""
    since_resume: bool = False
    evidence_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SettledSighting:
    """A sighting with what became of it. merged_into: the sighting whose consumption this one shows again."""

    id: UUID
    run_id: UUID
    camera: str
    label: str
    started_at: datetime
    decided_at: datetime
    peak: float
    top: tuple[Score, ...]
    outcome: Outcome
    reason: str = ""
    merged_into: UUID | None = None


def same_consumption(
    *, camera: str, label: str, started_at: datetime, earlier: Iterable[SettledSighting], within: timedelta
) -> SettledSighting | None:
    """The booked or asked sighting of another camera that shows the same item at the same time, the nearest first.

    Each sighting stands for one consumption, so a partner that already took one in from this camera is left alone:
    two gauzes laid down one after the other before two cameras are two.
    """
    rows = list(earlier)
    taken = {row.merged_into for row in rows if row.camera == camera and row.merged_into is not None}
    partners = [
        row
        for row in rows
        if row.outcome in (Outcome.BOOKED, Outcome.ASKED)
        and row.camera != camera
        and row.label == label
        and row.id not in taken
        and abs(row.started_at - started_at) <= within
    ]
    return min(partners, key=lambda row: abs(row.started_at - started_at), default=None)
