"""Decisions from stored scores: the rules run again over a recording in a moment, without pictures or a model."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from inference.decisions import Book, Decision, Watcher
from inference.sightings import Rules, Sighting, Vote

EPOCH = datetime(2000, 1, 1, tzinfo=UTC)  # stands for the first frame of every recording


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """The scores of every classified frame of one recording."""

    camera: str
    labels: tuple[str, ...]
    frames: tuple[tuple[float, Sequence[float]], ...]  # seconds from the first frame, one score per label


def replay(trace: Trace, rules: Rules, candidates: frozenset[str]) -> list[Decision]:
    """What the daemon decides on this recording. Every sighting has its end, as it was known when it closed."""
    closed: list[Sighting] = []
    watcher = Watcher(trace.camera, trace.labels, rules, candidates, on_closed=closed.append)
    decisions: list[Decision] = []
    now = EPOCH
    for offset_s, scores in trace.frames:
        now = EPOCH + timedelta(seconds=offset_s)
        decisions += watcher.push(scores, now)
    decisions += watcher.finish(now)
    ends = {(each.label, each.started_at): each.ended_at for each in closed}

    def ended(sighting: Sighting) -> Sighting:
        # A glimpse is told once it is over, and is no sighting that closes.
        return replace(sighting, ended_at=sighting.ended_at or ends[sighting.label, sighting.started_at])

    return [replace(each, sighting=ended(each.sighting)) for each in decisions]


def naive(trace: Trace, threshold: float, candidates: frozenset[str]) -> list[Book]:
    """The rule everybody writes first, for comparison: book whenever a frame passes the threshold.

    It is given one kindness: a label is booked on its rising edge, so an unbroken run of frames is one booking.
    """
    runs: list[list[Vote]] = []
    before: str | None = None
    for offset_s, scores in trace.frames:
        vote = Vote.of(trace.labels, scores, EPOCH + timedelta(seconds=offset_s))
        label = vote.label if vote.score >= threshold and vote.label in candidates else None
        if label is not None:
            if label != before:
                runs.append([])
            runs[-1].append(vote)
        before = label
    return [Book(_sighting(trace.camera, run)) for run in runs]


def _sighting(camera: str, run: list[Vote]) -> Sighting:
    best = max(run, key=lambda vote: vote.score)
    return Sighting(
        camera=camera,
        label=best.top[0].label,
        started_at=run[0].at,
        ended_at=run[-1].at,
        peak=best.score,
        top=best.top,
        evidence_at=best.at,
    )
