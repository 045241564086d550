"""What is killed: two surgeries on one ledger, each with a client that notes down what it is about to ask for, asks,
and notes down the answer. After a kill the client asks again for what was not answered, as a HIS or a camera would:
an item is still in view, a button is pressed again. The notes are lines of JSON, each written at once.

It kills itself with SIGKILL at the place that the test has drawn: no clock says where that is.
"""

import asyncio
import json
import os
import random
import signal
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from daemon.domain.catalogue import Candidates, Catalogue, Item, Product
from daemon.domain.errors import ConfirmationAlreadyResolved, NoPendingConfirmation
from daemon.domain.facts import Fact, Score
from daemon.domain.ledger import Correction, PostingKind, Source, voiders
from daemon.domain.sighting import Observation, Outcome
from daemon.domain.surgery import Surgery
from daemon.feed import Feed
from daemon.health import Health
from daemon.services import read
from daemon.services.correct import Add, Corrections, Void
from daemon.services.observe import observe, shows
from daemon.services.settle import Choice, settle
from daemon.services.surgeries import Labels, StartRules, Surgeries
from daemon.services.telling import Telling
from daemon.storage import migrate
from daemon.storage.consumption_log import ConsumptionLog
from daemon.storage.database import Unit, open_engine
from tests import rules

SURGERIES = ("100001", "100002")
T0 = datetime(2026, 4, 21, 2, 30, tzinfo=UTC)
# Enough of them that an item is never the next one of its camera again.
ITEMS = [Item(item_id=f"HC{n:03}", item_name=f"耗材{n:03}") for n in range(50)]
CATALOGUE = Catalogue(Product(name=item.item_name, code=item.item_id) for item in ITEMS)
CANDIDATES = Candidates(by_label={item.item_name: item for item in ITEMS})
RULES = rules.observing(evidence=False)
Intent = dict[str, Any]
# Where a life may end, and how often at most it comes there. A statement or a commit is about to be executed, be it of
# the start; a request is noted down by its client, is committed, is written to the log, is about to be answered.
MOMENTS = {"statement": 120, "commit": 20, "asked": 20, "committed": 16, "logged": 16, "answered": 20}
OF_A_REQUEST = ("asked", "committed", "logged", "answered")


@dataclass
class Fate:
    """The life ends when it comes to the moment for the count-th time."""

    moment: str
    count: int

    def comes_to(self, moment: str) -> None:
        if moment == self.moment:
            self.count -= 1
            if self.count == 0:
                os.kill(os.getpid(), signal.SIGKILL)


def label_of(step: int) -> str:
    return ITEMS[step % len(ITEMS)].item_name


def shown_at(step: int) -> datetime:
    return T0 + timedelta(seconds=20 * step)


class Still:
    """Cameras that connect at once; what they show comes from the client."""

    def __init__(self) -> None:
        self._open: set[UUID] = set()

    def unknown(self, cameras: tuple[str, ...]) -> tuple[str, ...]:
        return ()

    def is_open(self, run_id: UUID) -> bool:
        return run_id in self._open

    async def open(self, surgery: Surgery, *, timeout_s: float) -> None:
        self._open.add(surgery.id)

    def watch(self, surgery: Surgery, candidates: Candidates, *, resumed: bool) -> None: ...

    async def close(self, run_id: UUID) -> None:
        self._open.discard(run_id)

    async def open_again(self, surgery: Surgery) -> None:
        self._open.add(surgery.id)


class Notes:
    """The client's own: what is written stays, whatever becomes of the process."""

    def __init__(self, path: Path) -> None:
        self.lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def write(self, line: Intent) -> None:
        os.write(self._file, (json.dumps(line) + "\n").encode())
        self.lines.append(line)


class Client:
    """One surgery. Each step is drawn from the seed and its number, so that it is the same after a kill."""

    def __init__(self, surgery_id: str, notes: Notes, seed: int, unit: Unit, surgeries: Surgeries, fate: Fate) -> None:
        self.surgery_id = surgery_id
        self.asks = False
        self.told: list[Fact] = []
        self._notes, self._seed, self._unit, self._surgeries, self._fate = notes, seed, unit, surgeries, fate
        self._corrections = Corrections(unit, CATALOGUE, ())

    async def run(self, steps: int | None) -> None:
        """Finish what was cut off, then go on for `steps` more, or until killed."""
        begun = [line for line in self._notes.lines if "try" in line]
        done = {line["step"] for line in self._notes.lines if "done" in line}
        if begun and begun[-1]["step"] not in done:
            await self._do(begun[-1]["step"], begun[-1]["try"], again=True)
        first = begun[-1]["step"] + 1 if begun else 0
        for step in range(first, first + steps) if steps is not None else iter(range(first, 1_000_000)):
            intent = await self._intent(step)
            self._notes.write({"step": step, "try": intent})
            await self._do(step, intent, again=False)

    async def _intent(self, step: int) -> Intent:
        dice = random.Random(f"{self._seed}/{self.surgery_id}/{step}")
        if step == 0:
            return {"verb": "start"}
        verb = dice.choices(["observe", "answer", "add", "void", "pause"], [55, 20, 10, 10, 5])[0]
        if verb == "observe":
            outcomes = [Outcome.BOOKED, Outcome.ASKED, Outcome.IGNORED]
            return {"verb": verb, "outcome": dice.choices(outcomes, [65, 25, 10])[0].value}
        if verb == "answer":
            try:
                question = await read.head_of_queue(self._unit, self.surgery_id)
            except NoPendingConfirmation:
                return {"verb": "nothing"}
            word = dice.choice([None, *[option.label for option in question.options]])
            return {"verb": verb, "confirmation": str(question.id), "word": word}
        if verb == "add":
            return {"verb": verb, "item": dice.choice(ITEMS).item_id}
        if verb == "void":
            _, rows = await read.ledger(self._unit, self.surgery_id)
            ended = voiders(rows)
            alive = [row for row in rows if row.kind is PostingKind.CONSUMPTION and row.id not in ended]
            return {"verb": verb, "posting": str(dice.choice(alive).id)} if alive else {"verb": "nothing"}
        return {"verb": verb}

    async def _do(self, step: int, intent: Intent, *, again: bool) -> None:
        self.told.clear()
        self.asks = True
        self._fate.comes_to("asked")
        now = datetime.now(UTC)
        by = Correction(doctor_id="D1001", reason="更正", request_key=f"step-{step}")
        match intent["verb"]:
            case "start":
                await self._surgeries.start(self.surgery_id, (f"cam-{self.surgery_id}",), (), now)
            case "pause":
                await self._surgeries.end(self.surgery_id, now)
                await self._surgeries.start(self.surgery_id, (f"cam-{self.surgery_id}",), (), now)
            case "observe":
                run = await read.surgery(self._unit, self.surgery_id)
                # What was before the camera in an earlier step has left it.
                await shows(self._unit, run, f"cam-{self.surgery_id}", frozenset({label_of(step)}))
                await observe(self._unit, run, CANDIDATES, self._seen(step, intent, again), RULES, now)
            case "answer":
                answer = Choice(word=intent["word"], doctor_id="D1001", source=Source.TOUCH)
                try:
                    await settle(self._unit, self.surgery_id, intent["confirmation"], answer, now)
                except ConfirmationAlreadyResolved:
                    assert again, "nobody else answers"
            case "add":
                await self._corrections.correct(self.surgery_id, Add(word=intent["item"]), by, now)
            case "void":
                await self._corrections.correct(self.surgery_id, Void(posting_id=UUID(intent["posting"])), by, now)
        self._fate.comes_to("answered")
        postings = [str(fact.posting_id) for fact in self.told if fact.posting_id]
        questions = [str(fact.confirmation_id) for fact in self.told if fact.confirmation_id]
        self._notes.write({"step": step, "done": intent, "postings": postings, "questions": questions})
        self.asks = False

    def _seen(self, step: int, intent: Intent, again: bool) -> Observation:
        """Seen again after a kill, an item was first seen when the cameras came back."""
        top = (Score(label=label_of(step), score=0.7), Score(label=label_of(step + 1), score=0.2))
        outcome = Outcome(intent["outcome"])
        return Observation(
            camera=f"cam-{self.surgery_id}",
            label=label_of(step),
            started_at=shown_at(step) + timedelta(seconds=7 if again else 0),
            peak=0.7,
            top=top,
            outcome=outcome,
            options=top if outcome is Outcome.ASKED else (),
            reason="too_unsure" if outcome is Outcome.IGNORED else "",
            since_resume=again,
        )


def run(folder: Path, seed: int, steps: int | None, fate: Fate) -> None:
    """The process: steps None runs until killed."""
    # All engines are listened to: the history of the schema is gone through on one of its own.
    sa.event.listen(sa.Engine, "before_cursor_execute", lambda *_: fate.comes_to("statement"))
    sa.event.listen(sa.Engine, "commit", lambda *_: fate.comes_to("commit"))
    asyncio.run(_run(folder, seed, steps, fate))


async def _run(folder: Path, seed: int, steps: int | None, fate: Fate) -> None:
    ledger = folder / "ledger.db"
    migrate.ensure(ledger)
    engine = open_engine(ledger)
    telling = Telling(ConsumptionLog(folder / "log", UTC), Feed[Fact](), Health())
    clients: dict[str, Client] = {}

    async def tell(facts: list[Fact]) -> None:
        is_of_a_request = any(clients[fact.surgery_id].asks for fact in facts)
        if is_of_a_request:
            fate.comes_to("committed")
        await telling(facts)
        if is_of_a_request:
            fate.comes_to("logged")
        for fact in facts:
            clients[fact.surgery_id].told.append(fact)

    unit = Unit(engine, tell)
    telling.read_from(unit)
    rules = StartRules(resume_window=timedelta(hours=12), timeout_s=1, attempts=1)
    surgeries = Surgeries(unit, Still(), CATALOGUE, Labels(names=(), background=frozenset()), rules)
    for surgery_id in SURGERIES:
        notes = Notes(folder / f"{surgery_id}.notes")
        clients[surgery_id] = Client(surgery_id, notes, seed, unit, surgeries, fate)
    await telling.catch_up()
    await surgeries.resume(datetime.now(UTC))
    async with asyncio.TaskGroup() as group:
        for client in clients.values():
            group.create_task(client.run(steps))
    await engine.dispose()
