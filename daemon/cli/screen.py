"""Shows a surgery: a screen that is redrawn in a terminal, one line per event anywhere else."""

import json
import shlex
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from rich import box
from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table

from daemon.api.schemas import Event, Question
from daemon.cli.client import View
from daemon.cli.options import console
from daemon.cli.sightings import STYLES, reason_text
from daemon.domain.confirmation import ConfirmationState
from daemon.domain.facts import OF_OBJECTS, FactKind

_EVENTS_SHOWN = 12
_COUNTED = (FactKind.BOOKED, FactKind.CONFIRMED)
_BY_HAND = (FactKind.CONFIRMED, FactKind.REJECTED, FactKind.VOIDED)
_OF_THE_RUN = (FactKind.SURGERY_STARTED, FactKind.SURGERY_RESUMED, FactKind.SURGERY_ENDED)


class Tally:
    """What the events of one surgery add up to."""

    def __init__(self) -> None:
        self.totals: dict[str, tuple[str, int]] = {}  # item_id -> name, quantity
        self.state = "waiting for its first event"
        self.open: dict[str, Question] = {}

    def add(self, event: Event) -> None:
        if event.type is FactKind.SURGERY_STARTED:
            self.totals.clear()  # a new run of the same number
            self.open.clear()
        if event.type in _OF_THE_RUN:
            self.state = "ended" if event.type is FactKind.SURGERY_ENDED else "running"
        if event.type in _COUNTED and event.item_id is not None:
            name, quantity = self.totals.get(event.item_id, (event.item_name or event.item_id, 0))
            self.totals[event.item_id] = (name, quantity + event.qty)
        if event.type is FactKind.VOIDED and event.item_id in self.totals:
            name, quantity = self.totals[event.item_id]
            self.totals[event.item_id] = (name, quantity - event.qty)

    def ask(self, questions: list[Question]) -> list[Question]:
        """Take over which questions are open; returns those that are new."""
        before = self.open
        self.open = {str(each.confirmation_id): each for each in questions if each.state is ConfirmationState.PENDING}
        return [question for key, question in self.open.items() if key not in before]

    @property
    def quantity(self) -> int:
        return sum(quantity for _, quantity in self.totals.values())


class Lines:
    """One line per event, for a pipe, a file or the journal."""

    def __init__(self, commands: "Commands", out: Console) -> None:
        self._commands, self._out = commands, out
        self._tally = Tally()

    def event(self, event: Event) -> None:
        self._tally.add(event)
        self._print(event_line(event, self._tally))

    def questions(self, questions: list[Question]) -> None:
        for question in self._tally.ask(questions):
            self._print(f"[bold yellow]question[/] {escape(question.prompt_text)}")
            for command in self._commands.of(question):
                self._print(f"  {escape(command)}")

    def note(self, text: str) -> None:
        self._print(f"[dim]{escape(text)}[/]")

    def _print(self, text: str) -> None:
        self._out.print(text, soft_wrap=True)


class Screen:
    """The tally, the open questions and the latest events, redrawn with each."""

    def __init__(self, surgery_id: str, commands: "Commands", live: Live) -> None:
        self._surgery_id, self._commands, self._live = surgery_id, commands, live
        self._tally = Tally()
        self._events: deque[str] = deque(maxlen=_EVENTS_SHOWN)
        self._draw()

    def event(self, event: Event) -> None:
        self._tally.add(event)
        self._events.append(event_line(event, self._tally))
        self._draw()

    def questions(self, questions: list[Question]) -> None:
        for question in self._tally.ask(questions):
            # Above the screen and unbroken: a command inside a frame cannot be copied.
            for command in self._commands.of(question):
                self._live.console.print(escape(command), soft_wrap=True)
        self._draw()

    def note(self, text: str) -> None:
        self._events.append(f"[dim]{escape(text)}[/]")
        self._draw()

    def _draw(self) -> None:
        tally = self._tally
        totals = Table("item_id", "name", "quantity", box=box.SIMPLE_HEAD, expand=True)
        totals.columns[2].justify = "right"
        for item_id, (name, quantity) in tally.totals.items():
            totals.add_row(escape(item_id), escape(name), str(quantity))
        title = f"surgery {self._surgery_id}: {tally.state}, {tally.quantity} booked"
        parts = [Panel(totals, title=title, border_style="green")]
        for question in tally.open.values():
            answer = "[dim]answer it by voice, by touch, or with a command from above[/]"
            text = f"[bold]{escape(question.prompt_text)}[/]\n{answer}"
            parts.append(Panel(text, title="question", border_style="bold yellow"))
        parts.append(Panel("\n".join(self._events) or "no event yet", title="events", border_style="dim"))
        self._live.update(Group(*parts), refresh=True)


@contextmanager
def screen(surgery_id: str, url: str, *, needs_key: bool = False) -> Iterator[View]:
    """A Screen where stdout is a terminal, Lines where it is not."""
    out, commands = console(), Commands(surgery_id, url, needs_key=needs_key)
    if not out.is_terminal:
        yield Lines(commands, out)
        return
    with Live(console=out, auto_refresh=False, vertical_overflow="visible") as live:
        yield Screen(surgery_id, commands, live)


def event_line(event: Event, tally: Tally) -> str:
    at = f"{_local(event.timestamp or event.at):%H:%M:%S}"
    if event.type in _OF_THE_RUN:
        return f"{at} [bold]{event.type.value.replace('_', ' ')}[/]"
    style = STYLES[event.type]
    top = "  ".join(f"{score.label} {score.score:.2f}" for score in event.top)
    kind = event.type.value.replace("_", " ")
    parts = [at, f"[{style}]{kind:<10}[/]", escape(event.camera or ""), escape(event.item_name or "")]
    if event.type in (*_COUNTED, FactKind.VOIDED) and event.item_id in tally.totals:
        parts.append(f"[bold]-> {tally.totals[event.item_id][1]}[/]")
    if event.type in OF_OBJECTS:
        parts.append(escape(event.evidence or ""))
    elif event.type in _BY_HAND or (event.type is FactKind.BOOKED and not event.camera):
        parts.append(f"by {escape(event.doctor_id or 'nobody named')}")
    elif top:
        parts.append(f"[dim]{escape(top)}[/]")
    if event.reason:
        parts.append(f"[dim]({escape(reason_text(event.reason))})[/]")
    return "  ".join(parts)


class Commands:
    """How to answer a question from a shell."""

    def __init__(self, surgery_id: str, url: str, *, needs_key: bool = False) -> None:
        self._queue = f"{url.rstrip('/')}/client/surgeries/{surgery_id}/pending-confirmation"
        self._headers = "-H 'Content-Type: application/json'" + (' -H "X-API-Key: $ORWATCH_API_KEY"' * needs_key)

    def of(self, question: Question) -> list[str]:
        """A curl command for each possible answer."""
        bodies = [json.dumps({"label": option.label}, ensure_ascii=False) for option in question.options]
        bodies.append(json.dumps({"rejected": True}))
        address = f"{self._queue}/{question.confirmation_id}/choose"
        return [f"curl -sS {address} {self._headers} -d {shlex.quote(body)}" for body in bodies]


def _local(at: datetime) -> datetime:
    return at.astimezone()
