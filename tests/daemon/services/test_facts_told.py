"""Every kind of fact, from the verb that makes it true to the row, the event and the lines that people read.

What clients and archives were told stays as it was: `facts_told.txt` holds it byte for byte. Ids are numbered in the
order in which they come, and the times of the server's own clock are left out.
"""

import json
import re
from collections.abc import AsyncIterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa

from daemon.api.schemas import event
from daemon.domain.facts import Fact, FactKind
from daemon.domain.ledger import Correction
from daemon.domain.objects import ObjectKind, question_key
from daemon.domain.sighting import Outcome
from daemon.domain.surgery import Surgery
from daemon.health import Health
from daemon.metrics import Metrics
from daemon.services import read
from daemon.services.correct import Add, Corrections, Settle, Void
from daemon.services.objects import Objects, Retention
from daemon.services.observe import ObserveRules, observe
from daemon.services.settle import settle
from daemon.services.surgeries import Labels, StartRules, Surgeries
from daemon.services.watching import Observations
from daemon.storage import migrate
from daemon.storage.consumption_log import ConsumptionLog
from daemon.storage.database import Unit, open_engine
from daemon.storage.objects import FolderStore, Spool
from daemon.storage.schema import outbox
from tests.daemon.conftest import Told
from tests.daemon.rows import CANDIDATES, T0, at, saved, seen, surgery
from tests.daemon.services.test_correct import CATALOGUE
from tests.daemon.services.test_objects import delivering
from tests.daemon.services.test_settle import answer
from tests.journeys.killed import Still
from tests.waiting import until

GOLDEN = Path(__file__).with_name("facts_told.txt")
CHINA = timezone(timedelta(hours=8))
BY = Correction(doctor_id="D1001", reason="画面被遮挡")
RULES = ObserveRules(fusion=timedelta(seconds=5), doctor_id="orwatch", evidence=True)
FOR_A_MOMENT = Retention(age=timedelta(0), bytes_max=None, archived_only=False)


class Room:
    """One surgery, with all that acts on it."""

    def __init__(self, unit: Unit, folder: Path) -> None:
        self.unit = unit
        store, spool = FolderStore(folder / "objects"), Spool(folder / "spool", bytes_max=1 << 20)
        self.objects = Objects(unit, store, spool, Health(), FOR_A_MOMENT)
        self.cameras = Observations(unit, RULES, Health(), Metrics(), None)
        rules = StartRules(resume_window=timedelta(hours=12), timeout_s=1, attempts=1)
        labels = Labels(names=(), background=frozenset())
        self.surgeries = Surgeries(unit, Still(), CATALOGUE, labels, rules)
        self.corrections = Corrections(unit, CATALOGUE, ("gauze", "suture"))

    async def run(self) -> Surgery:
        return await read.surgery(self.unit, "100001")

    async def sees(self, second: float, outcome: Outcome, number: int, camera: str = "a") -> UUID:
        """Returns its id."""
        observed = seen(second, camera=camera, outcome=outcome)
        run, id_ = await self.run(), UUID(int=number)
        await observe(self.unit, run, CANDIDATES, observed, RULES, at(second + 3), sighting_id=id_)
        return id_

    async def question(self) -> UUID:
        """The first of those that are open."""
        return (await read.head_of_queue(self.unit, "100001")).id

    async def posting(self) -> UUID:
        """The latest that counts."""
        async with self.unit.read() as tx:
            return (await tx.ledger.of_run((await self.run()).id))[-1].id


async def told_of_a_surgery(room: Room, told: Told) -> None:
    """Each verb that makes facts true, and each kind of fact."""
    await room.surgeries.start("100001", ("a", "b"), (), at(0))
    run = await room.run()
    booked = await room.sees(1, Outcome.BOOKED, 1)
    await room.sees(2, Outcome.BOOKED, 2, camera="b")
    await room.sees(10, Outcome.IGNORED, 3)
    await room.objects.keep(run, booked, ObjectKind.PICTURE, b"picture")
    await room.objects.lost(run, booked, ObjectKind.CLIP, "the camera's ring is empty")
    first_booking = told[1][0].posting_id
    assert first_booking is not None

    yes = await room.sees(20, Outcome.ASKED, 4)
    await room.objects.keep(run, yes, ObjectKind.PICTURE, b"picture")
    asked = await room.question()
    question = await read.head_of_queue(room.unit, "100001")
    key = question_key("100001", run.id, asked)
    await room.objects.keep_sound(run, question, key, ObjectKind.QUESTION, b"sound")
    await settle(room.unit, "100001", str(asked), answer("HC002"), at(30))
    confirmed = await room.posting()
    await room.sees(40, Outcome.ASKED, 5)
    await settle(room.unit, "100001", str(await room.question()), answer(None), at(50))
    await room.surgeries.resume(at(60))
    for number in (6, 7):
        await room.sees(10 * number, Outcome.ASKED, number)
    await room.corrections.correct("100001", Settle(confirmation_id=await room.question(), word="缝线"), BY, at(80))
    await room.corrections.correct("100001", Add(word="医用胶带"), BY, at(81))
    await room.corrections.correct("100001", Void(posting_id=first_booking), BY, at(82))
    await room.corrections.correct("100001", Void(posting_id=confirmed), BY, at(83))

    async with delivering(room.objects):
        await until(lambda: sum(fact.kind is FactKind.OBJECT_STORED for facts in told for fact in facts) == 3)
    await room.surgeries.end("100001", at(90))
    await room.objects.retain(datetime.now(tz=CHINA))

    # Kinds that came later stand behind the others, so that all that was told stays as it was.
    await room.cameras.camera(run, "b", "sees 0.4 of 2 samples/s: no packets arrive", at(95))
    await room.cameras.camera(run, "b", "", at(99))


class Words:
    """What differs from run to run is numbered or left out."""

    def __init__(self) -> None:
        self._numbers: dict[str, str] = {}

    def still(self, text: str) -> str:
        text = re.sub(r"[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}", self._numbered, text)
        return re.sub(r"20(?!26-04-21)\d\d-\d\d-\d\d[T ][0-9:.]+(?:Z|[+-]\d\d:\d\d)?", "NOW", text)

    def _numbered(self, found: re.Match[str]) -> str:
        return self._numbers.setdefault(found[0].replace("-", ""), f"<id {len(self._numbers) + 1}>")


def described(words: Words, body: Any, fact: Fact, pages: ConsumptionLog, run: Surgery) -> list[str]:
    lines = [f"== {fact.seq} {fact.kind.value}", f"row   {json.dumps(body, ensure_ascii=False)}"]
    lines.append(f"event {event(fact).model_dump_json()}")
    if rows := pages.tsv([fact]).splitlines()[1:]:
        lines += [f"log   {rows[0]}", f"page  {pages.markdown(run, [fact]).splitlines()[-1]}"]
    return [words.still(line) for line in lines]


@pytest.fixture
async def room(unit: Unit, tmp_path: Path) -> Room:
    return Room(unit, tmp_path)


async def bodies(folder: Path) -> list[Any]:
    """As they lie in the table."""
    engine = open_engine(folder / "ledger.db")
    async with engine.connect() as connection:
        rows = (await connection.execute(sa.select(outbox.c.body).order_by(outbox.c.seq))).scalars().all()
    await engine.dispose()
    return list(rows)


async def test_every_kind_of_fact_is_told_as_it_always_was(room: Room, told: Told, tmp_path: Path) -> None:
    await told_of_a_surgery(room, told)
    run, facts = await read.facts(room.unit, "100001")
    assert {fact.kind for fact in facts} == set(FactKind)
    assert facts == [fact for commit in told for fact in commit], "what is read is not what was told"
    pages, words = ConsumptionLog(tmp_path, CHINA), Words()
    lines = [
        line
        for body, fact in zip(await bodies(tmp_path), facts, strict=True)
        for line in described(words, body, fact, pages, run)
    ]
    lines += ["== page", *words.still(pages.markdown(run, facts)).splitlines()]
    assert lines == GOLDEN.read_text(encoding="utf-8").splitlines()


@pytest.fixture
async def another(tmp_path: Path) -> AsyncIterator[Unit]:
    migrate.ensure(tmp_path / "another" / "ledger.db")
    engine = open_engine(tmp_path / "another" / "ledger.db")
    yield Unit(engine, Told())
    await engine.dispose()


async def test_a_fact_that_was_read_is_written_again_as_it_was(
    room: Room, told: Told, another: Unit, tmp_path: Path
) -> None:
    await told_of_a_surgery(room, told)
    run, facts = await read.facts(room.unit, "100001")
    await saved(another, surgery(id=run.id, started_at=T0))
    async with another.begin() as tx:
        for fact in facts:
            await tx.emit(fact)
    assert await bodies(tmp_path / "another") == await bodies(tmp_path)


async def test_rows_of_the_first_schema_are_read(unit: Unit, tmp_path: Path) -> None:
    run = await saved(unit, surgery())
    body = {
        "surgery_id": "100001", "timestamp": T0.isoformat(), "camera": "a", "item_id": "HC001", "item_name": "纱布",
        "qty": 1, "doctor_id": "orwatch", "top": [["gauze", 0.7]], "reason": "", "posting_id": str(UUID(int=1)),
        "confirmation_id": None, "sighting_id": str(UUID(int=2)),
    }  # fmt: skip
    engine = open_engine(tmp_path / "ledger.db")
    async with engine.connect() as connection, connection.begin():
        row = {"id": UUID(int=3), "run_id": run.id, "kind": "booked", "at": T0, "body": body}
        await connection.execute(sa.insert(outbox).values(row))
    await engine.dispose()
    async with unit.read() as tx:
        (fact,) = await tx.outbox.of_run(run.id)
    assert (fact.kind, fact.qty, fact.camera, fact.evidence, fact.voids) == (FactKind.BOOKED, 1, "a", "", None)
