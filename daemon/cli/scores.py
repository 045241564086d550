"""An evaluation as tables for people and as a dict for JSON."""

import math
from collections.abc import Sequence
from typing import Any

from rich import box
from rich.markup import escape
from rich.table import Table

from daemon.cli.options import console
from inference.decisions import Ask
from inference.evaluation import EPOCH, Curve, CurvePoint, Evaluation, Verdict

RIGHT = ("right", "asked_right")
_FIGURES = (
    ("items that were there", "items"),
    ("precision of what was booked", "precision"),
    ("recall, booked", "recall_booked"),
    ("recall, booked or asked", "recall"),
    ("booked", "booked"),
    ("false bookings", "false_bookings"),
    ("double bookings", "double_bookings"),
    ("questions", "questions"),
    ("  that offer the right answer", "questions_right"),
    ("booked though they should be asked", "booked_not_asked"),
    ("missed", "missed"),
)


def show(result: Evaluation, curve: Curve, naive: Evaluation | None) -> None:
    out = console()
    out.print(_figures(result, naive))
    out.print(_counts(result, naive))
    out.print(_confusion(result))
    if faults := _faults(result):
        out.print(faults)
    ignored = ", ".join(f"{count} {reason}" for reason, count in sorted(result.ignored.items())) or "none"
    out.print(f"sightings ignored: {ignored}\n")
    out.print(_sweep("auto_confirm", curve.auto_confirm, curve.rules.auto_confirm))
    out.print(_sweep("ask_above", curve.ask_above, curve.rules.ask_above))


def as_dict(result: Evaluation, curve: Curve, naive: Evaluation | None) -> dict[str, Any]:
    """naive: only where it was measured. A rate that divides by nothing is null."""
    content = {
        "rules": {"auto_confirm": curve.rules.auto_confirm, "ask_above": curve.rules.ask_above},
        **_measured(result),
        "verdicts": [_verdict(verdict) for verdict in result.verdicts],
        "missed": [
            {"recording": each.recording, "label": each.item.label, "from_s": each.item.from_s, "became": each.became}
            for each in result.outcomes
            if each.became == "(missed)"
        ],
        "curve": {"auto_confirm": _points(curve.auto_confirm), "ask_above": _points(curve.ask_above)},
    }
    return content if naive is None else {**content, "naive": _measured(naive)}


def _measured(result: Evaluation) -> dict[str, Any]:
    return {
        "figures": {name: _number(getattr(result, name)) for _, name in _FIGURES},
        "counts": [
            {"label": each.label, "true": each.true, "booked": each.booked, "asked": each.asked}
            | {"error_booked": each.error_booked, "error_settled": each.error_settled}
            for each in result.counts
        ],
        "confusion": [
            {"true": true, "became": became, "count": count} for (true, became), count in result.confusion.items()
        ],
        "ignored": dict(result.ignored),
    }


def _verdict(verdict: Verdict) -> dict[str, Any]:
    sighting = verdict.decision.sighting
    return {
        "recording": verdict.recording,
        "decision": "ask" if isinstance(verdict.decision, Ask) else "book",
        "label": sighting.label,
        "from_s": (sighting.started_at - EPOCH).total_seconds(),
        "peak": sighting.peak,
        "judged": verdict.judged,
        "item": verdict.item.label if verdict.item else None,
    }


def _points(points: Sequence[CurvePoint]) -> list[dict[str, Any]]:
    names = ("precision", "recall_booked", "recall", "false_bookings", "double_bookings", "questions", "missed")
    return [
        {"threshold": point.threshold, **{name: _number(getattr(point.evaluation, name)) for name in names}}
        for point in points
    ]


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value


def _text(value: float) -> str:
    if isinstance(value, int):
        return str(value)
    return "-" if math.isnan(value) else f"{value:.3f}"


def _figures(result: Evaluation, naive: Evaluation | None) -> Table:
    table = Table("", "rules", *(["naive"] if naive else []), box=box.SIMPLE_HEAD, title="Measured")
    for column in table.columns[1:]:
        column.justify = "right"
    for words, name in _FIGURES:
        row = [_text(getattr(each, name)) for each in (result, naive) if each is not None]
        table.add_row(words, *row)
    return table


def _counts(result: Evaluation, naive: Evaluation | None) -> Table:
    headings = ["item", "there", "booked", "asked", "error", "error once answered"]
    table = Table(*headings, *(["naive error"] if naive else []), box=box.SIMPLE_HEAD, title="Count error per item")
    for column in table.columns[1:]:
        column.justify = "right"
    other = {each.label: each.error_booked for each in naive.counts} if naive else {}
    mine = {each.label: each for each in result.counts}
    for label in sorted(mine.keys() | other.keys()):
        each = mine.get(label)
        row = [each.true, each.booked, each.asked] if each else [0, 0, 0]
        errors = [each.error_booked, each.error_settled] if each else [0, 0]
        errors += [other.get(label, 0)] if naive else []
        table.add_row(escape(label), *map(str, row), *(f"{error:+d}" if error else "0" for error in errors))
    return table


def _confusion(result: Evaluation) -> Table:
    columns = sorted({became for _, became in result.confusion}, key=lambda name: (name.startswith("("), name))
    table = Table("there was", *map(escape, columns), box=box.SIMPLE_HEAD, title="What it became")
    for column in table.columns[1:]:
        column.justify = "right"
    for row in sorted({true for true, _ in result.confusion}, key=lambda name: (name.startswith("("), name)):
        cells = [result.confusion.get((row, column), 0) for column in columns]
        table.add_row(escape(row), *(str(count) if count else "" for count in cells))
    return table


def _faults(result: Evaluation) -> Table | None:
    """Every booking and question that was not right, and every item missed; None if there is none."""
    table = Table("recording", "at s", "fault", "label", "peak", "there was", box=box.SIMPLE_HEAD, title="Not right")
    for verdict in result.verdicts:
        if verdict.judged not in RIGHT:
            sighting = verdict.decision.sighting
            table.add_row(
                escape(verdict.recording),
                f"{(sighting.started_at - EPOCH).total_seconds():.1f}",
                f"[red]{verdict.judged}[/]",
                escape(sighting.label),
                f"{sighting.peak:.2f}",
                escape(verdict.item.label) if verdict.item else "(nothing)",
            )
    for each in result.outcomes:
        if each.became == "(missed)":
            name, item = escape(each.recording), each.item
            table.add_row(name, f"{item.from_s:.1f}", "[red]missed[/]", "", "", escape(item.label))
    return table if table.row_count else None


def _sweep(name: str, points: Sequence[CurvePoint], now: float) -> Table:
    headings = ("precision", "recall booked", "recall", "false", "double", "questions", "missed")
    table = Table(name, *headings, box=box.SIMPLE_HEAD, title=f"{name} swept")
    for column in table.columns:
        column.justify = "right"
    for point in points:
        each = point.evaluation
        table.add_row(
            f"{point.threshold:g}",
            *map(_text, (each.precision, each.recall_booked, each.recall)),
            *map(_text, (each.false_bookings, each.double_bookings, each.questions, each.missed)),
            style="bold" if point.threshold == now else None,
        )
    return table
