"""Prints what came of an analysis: every sighting with its decision and reason, the tally, the open questions."""

from datetime import datetime, timedelta

import typer
from rich import box
from rich.markup import escape
from rich.table import Table

from daemon.cli.options import console
from daemon.cli.tallying import Tallied
from daemon.domain.catalogue import Candidates
from daemon.domain.confirmation import ConfirmationState
from daemon.domain.facts import Fact, FactKind

STYLES = {
    FactKind.BOOKED: "green",
    FactKind.CONFIRMED: "green",
    FactKind.ASKED: "bold yellow",
    FactKind.UNRESOLVED: "yellow",
    FactKind.REJECTED: "dim",
    FactKind.IGNORED: "dim",
    FactKind.MERGED: "cyan",
    FactKind.VOIDED: "bold red",
    FactKind.OBJECT_STORED: "dim",
    FactKind.OBJECT_LOST: "yellow",
    FactKind.OBJECT_EXPIRED: "dim",
    FactKind.CAMERA_BLIND: "bold red",
    FactKind.CAMERA_SEES: "green",
}
_SIGHTINGS = (FactKind.BOOKED, FactKind.ASKED, FactKind.IGNORED, FactKind.MERGED)

REASONS = {
    "not_candidate": "sure, but no candidate of this surgery",
    "too_unsure": "below ask_above",
    "no_candidate_option": "unsure, and no candidate among the top labels",
    "too_brief": "gone before its frames agreed (window_frames_min, open_share)",
    "seen_before_restart": "in view already before the interruption",
}


def reason_text(reason: str) -> str:
    if reason.startswith("same_as:"):
        return f"the same consumption as on {reason.removeprefix('same_as:')}"
    return REASONS.get(reason, reason)


def show_unusable(candidates: Candidates) -> None:
    """Warnings about candidates that can never be booked."""
    if candidates.unknown:
        typer.echo(f"warning: in no catalogue and no label of the model: {', '.join(candidates.unknown)}", err=True)
    if candidates.unseen:
        typer.echo(f"warning: the model has no label for: {', '.join(candidates.unseen)}", err=True)


def show_tally(tallied: Tallied, started_at: datetime) -> None:
    out = console()
    sightings = [fact for fact in tallied.facts if fact.kind in _SIGHTINGS]
    sightings.sort(key=lambda fact: fact.timestamp or fact.at)
    options = {
        question.id: " / ".join(option.item.item_name for option in question.options)
        for question in tallied.overview.questions
    }
    table = Table("from", "camera", "decision", "item", "top labels", "why", box=box.SIMPLE_HEAD, title="Sightings")
    for fact in sightings:
        table.add_row(
            clock((fact.timestamp or fact.at) - started_at),
            escape(fact.camera),
            f"[{STYLES[fact.kind]}]{fact.kind.value}[/]",
            escape(item_text(fact)),
            escape("  ".join(f"{score.label} {score.score:.2f}" for score in fact.top)),
            escape(f"options: {options[fact.confirmation_id]}" if fact.confirmation_id else reason_text(fact.reason)),
        )
    out.print(table if sightings else "No sighting: nothing that the model knows stayed in view.")
    totals = Table("item_id", "name", "quantity", box=box.SIMPLE_HEAD, title="Tally")
    totals.columns[2].justify = "right"
    for total in tallied.overview.booked:
        totals.add_row(escape(total.item.item_id), escape(total.item.item_name), str(total.quantity))
    if tallied.overview.booked:
        out.print(totals)
    unanswered = [each for each in tallied.overview.questions if each.state is ConfirmationState.UNRESOLVED]
    counts = {kind: sum(fact.kind is kind for fact in sightings) for kind in _SIGHTINGS}
    out.print(
        f"{len(sightings)} sightings: " + ", ".join(f"{count} {kind.value}" for kind, count in counts.items()) + "."
    )
    if unanswered:
        out.print(f"[yellow]{len(unanswered)} question(s) that a nurse would have to answer; not in the tally.[/]")


def item_text(fact: Fact) -> str:
    if fact.item is None:
        return ""
    known = fact.item.item_id != fact.item.item_name
    return f"{fact.item.item_name} ({fact.item.item_id})" if known else fact.item.item_name


def clock(since: timedelta) -> str:
    """min:s into the recordings."""
    seconds = since.total_seconds()
    return f"{int(seconds // 60)}:{seconds % 60:04.1f}"
