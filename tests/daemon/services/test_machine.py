"""Whatever happens in whatever order, crashes included: the ledger says what a simple model of it says.

A crash leaves what the disk holds at that moment: the files are copied and the daemon goes on with the copy. One in
mid-transaction copies them between the first row and the commit; one before the log copies the log first.
"""

import asyncio
import shutil
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Coroutine
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from daemon.domain.catalogue import Catalogue, Product
from daemon.domain.errors import (
    ConfirmationAlreadyResolved,
    ConfirmationNotFound,
    IdempotencyKeyReused,
    PostingAlreadyVoided,
    PostingNotFound,
    PostingNotVoidable,
    ResultNotReady,
)
from daemon.domain.facts import Fact, FactKind, Score
from daemon.domain.ledger import Correction, Source
from daemon.domain.sighting import Observation, Outcome
from daemon.feed import Feed
from daemon.health import Health
from daemon.services import read
from daemon.services.correct import Add, Corrected, Corrections, Void
from daemon.services.observe import observe
from daemon.services.settle import Answer, settle
from daemon.services.surgeries import Labels, StartRules, Surgeries
from daemon.services.telling import Telling
from daemon.storage import migrate
from daemon.storage.consumption_log import ConsumptionLog
from daemon.storage.database import Unit, open_engine
from tests.daemon.rows import CANDIDATES, GAUZE, SUTURE, at
from tests.daemon.services.test_settle import RULES
from tests.journeys.killed import Still

SURGERY = "100001"
ITEM_OF = {"gauze": GAUZE, "suture": SUTURE}
CATALOGUE = Catalogue(
    Product(name=item.item_name, code=item.item_id, aliases=(label,)) for label, item in ITEM_OF.items()
)
EXAMPLES, STEPS = 5, 50
CALM = 3  # steps between crashes, so that there is something to lose
PICK = st.integers(0, 1_000_000)
LABELS = st.sampled_from(sorted(ITEM_OF))
OUTCOMES = st.sampled_from([Outcome.BOOKED, Outcome.BOOKED, Outcome.ASKED, Outcome.IGNORED])


@dataclass
class Shown:
    """A sighting that counts, as the model keeps it."""

    camera: str
    label: str
    second: int
    taken: set[str] = field(default_factory=set)


@dataclass
class Run:
    """The model of one run: what counts, what is asked, what was ended by what."""

    counts: dict[UUID, str] = field(default_factory=dict)
    asked: dict[UUID, UUID] = field(default_factory=dict)
    answered: list[UUID] = field(default_factory=list)
    voids: dict[UUID, UUID] = field(default_factory=dict)
    shown: list[Shown] = field(default_factory=list)
    requests: dict[str, tuple[Add | Void, Corrected]] = field(default_factory=dict)
    facts: list[FactKind] = field(default_factory=list)


class Ledger(RuleBasedStateMachine):
    """To add an archive: a rule that flushes it, and an invariant that its rows are the ledger's (see `rows`)."""

    steps = 0
    template: Path

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.Runner()
        self.scratch = tempfile.TemporaryDirectory(prefix="orwatch-machine-")
        self.lives = 0
        self.folder = self._life()
        shutil.copy(self.template, self.folder / "ledger.db")
        self.second = self.calm = 0
        self.is_running = False
        self.model: Run | None = None
        self.told: list[Fact] = []
        self._open()

    # --- what happens ---

    @initialize()
    def begin(self) -> None:
        self.start()

    @precondition(lambda self: not self.is_running)
    @rule()
    def start(self) -> None:
        self._do(self.surgeries.start(SURGERY, ("a", "b"), (), self._now()))
        if self.model is None:
            self.model = Run(facts=[FactKind.SURGERY_STARTED])
        else:
            self.model.facts.append(FactKind.SURGERY_RESUMED)
        self.is_running = True

    @precondition(lambda self: self.is_running)
    @rule()
    def end(self) -> None:
        self._do(self.surgeries.end(SURGERY, self._now()))
        assert self.model
        self.model.facts += [FactKind.UNRESOLVED] * len(self.model.asked) + [FactKind.SURGERY_ENDED]
        self.is_running = False

    @precondition(lambda self: not self.is_running)
    @rule()
    def another_day(self) -> None:
        """The next start is another run of the same number; nothing of this one may show in it."""
        self.second += 13 * 3600
        self.model = None
        self.start()

    @precondition(lambda self: self.is_running)
    @rule(burst=st.lists(st.tuples(LABELS, st.sampled_from("ab"), OUTCOMES, st.integers(1, 3)), min_size=1, max_size=4))
    def sees(self, burst: list[tuple[str, str, Outcome, int]]) -> None:
        for label, camera, outcome, pause in burst:
            self.second += pause
            self._do(self._seen(label, camera, outcome))
            self._model_sees(label, camera, outcome)

    @precondition(lambda self: self.is_running and self.model.asked)
    @rule(pick=PICK, word=st.sampled_from(["gauze", "suture", None]))
    def answers(self, pick: int, word: str | None) -> None:
        assert self.model
        question = self._pick(self.model.asked, pick)
        facts = self._do(settle(self.unit, SURGERY, str(question), _answer(word), self._now()))
        placeholder = self.model.asked.pop(question)
        self.model.answered.append(question)
        (posting,) = self._postings(facts)
        self.model.voids[placeholder] = posting
        if word is not None:
            self.model.counts[posting] = ITEM_OF[word].item_id
        self.model.facts.append(FactKind.CONFIRMED if word else FactKind.REJECTED)

    @precondition(lambda self: self.model and (self.model.answered or (not self.is_running and self.model.asked)))
    @rule(pick=PICK)
    def answers_too_late(self, pick: int) -> None:
        assert self.model
        questions = self.model.answered if self.is_running else [*self.model.answered, *self.model.asked]
        if questions:
            refusal = ConfirmationAlreadyResolved if self.is_running else ConfirmationNotFound
            with pytest.raises(refusal):
                self._do(settle(self.unit, SURGERY, str(self._pick(questions, pick)), _answer("gauze"), self._now()))

    @rule(label=LABELS, with_key=st.booleans())
    def adds(self, label: str, with_key: bool) -> None:
        self._correct(Add(word=label), with_key=with_key)

    @precondition(lambda self: self.model and self.model.counts)
    @rule(pick=PICK, with_key=st.booleans())
    def voids(self, pick: int, with_key: bool) -> None:
        assert self.model
        self._correct(Void(posting_id=self._pick(self.model.counts, pick)), with_key=with_key)

    @precondition(lambda self: self.model and (self.model.voids or self.model.asked))
    @rule(pick=PICK, what=st.sampled_from(["ended", "open", "void", "nobody's"]))
    def voids_what_cannot_be(self, pick: int, what: str) -> None:
        assert self.model
        voids = [void for void in self.model.voids.values() if void not in self.model.counts]
        voids = [void for void in voids if void not in self.model.voids]
        targets, refusal = {
            "ended": (list(self.model.voids), PostingAlreadyVoided),
            "open": (list(self.model.asked.values()), PostingNotVoidable),
            "void": (voids, PostingNotVoidable),
            "nobody's": ([UUID(int=pick)], PostingNotFound),
        }[what]
        if targets:
            with pytest.raises(refusal):
                self._do(
                    self.corrections.correct(
                        SURGERY, Void(posting_id=self._pick(targets, pick)), _by(None), self._now()
                    )
                )

    @precondition(lambda self: self.model and self.model.requests)
    @rule(pick=PICK)
    def sends_a_correction_again(self, pick: int) -> None:
        assert self.model
        key = self._pick(self.model.requests, pick)
        wanted, answered = self.model.requests[key]
        assert self.loop.run(self.corrections.correct(SURGERY, wanted, _by(key), self._now())) == answered
        with pytest.raises(IdempotencyKeyReused):
            self._do(self.corrections.correct(SURGERY, wanted, _by(key, "another reason"), self._now()))

    @precondition(lambda self: self.calm >= CALM)
    @rule()
    def crashes(self) -> None:
        self._crash(self._copies())

    @precondition(lambda self: self.is_running and self.calm >= CALM)
    @rule(label=LABELS)
    def crashes_in_mid_transaction(self, label: str) -> None:
        """None of it happened."""
        self.second += 1
        left: list[Path] = []

        async def interrupted() -> None:
            async with self.unit.begin() as tx:
                run = await tx.surgeries.latest(SURGERY)
                assert run
                await tx.ledger.post(_by("interrupted").adding(ITEM_OF[label], run.id, self._now()))
                left.append(self._copies())
                raise _PowerCut

        with pytest.raises(_PowerCut):
            self.loop.run(interrupted())
        self._crash(left[0])

    @precondition(lambda self: self.is_running and self.calm >= CALM)
    @rule(label=LABELS, outcome=st.sampled_from([Outcome.BOOKED, Outcome.ASKED]))
    def crashes_before_the_log_is_written(self, label: str, outcome: Outcome) -> None:
        """Committed, and told to nobody: it happened, and the cameras see it once more."""
        self.second += 60  # nothing of another camera is near enough to be the same
        before = self.folder / "log-before"
        shutil.copytree(self.folder / "log", before)
        self._do(self._seen(label, "a", outcome))
        left = self._copies()
        shutil.rmtree(left / "log")
        shutil.move(left / "log-before", left / "log")
        shutil.rmtree(before)
        self._model_sees(label, "a", outcome)
        self._crash(left)
        self.second += 6
        self._do(self._seen(label, "a", outcome, since_resume=True))
        assert self.model
        self.model.facts.append(FactKind.MERGED)

    # --- what holds ---

    @invariant()
    def the_result_is_the_models(self) -> None:
        if self.model is None:
            return
        type(self).steps += 1
        self.calm += 1
        try:
            result = self.loop.run(read.result(self.unit, SURGERY, include_pending=True))
        except ResultNotReady:
            assert not self.model.counts
            assert not self.model.asked
            return
        booked = {row.posting.id: row.posting.item.item_id for row in result.details if row.status == "booked"}
        pending = {row.posting.id for row in result.details if row.status == "pending"}
        assert booked == self.model.counts
        assert pending == set(self.model.asked.values())
        totals = {total.item.item_id: total.quantity for total in result.summary if total.quantity}
        assert totals == Counter(self.model.counts.values())

    @invariant()
    def every_end_is_the_only_one_and_every_open_question_has_its_placeholder(self) -> None:
        if self.model is None:
            return
        postings, questions = self.rows("postings"), self.rows("confirmations")
        ended = {UUID(row["voids"]): UUID(row["id"]) for row in postings if row["voids"]}
        assert ended == self.model.voids
        assert len(ended) == sum(row["voids"] is not None for row in postings)
        is_open = {UUID(row["id"]): row["state"] for row in questions if UUID(row["placeholder_id"]) not in ended}
        assert is_open == dict.fromkeys(self.model.asked, "pending" if self.is_running else "unresolved")
        answered = {row["id"] for row in questions if row["state"] in ("confirmed", "rejected")}
        assert {UUID(each) for each in answered} == set(self.model.answered)

    @invariant()
    def the_facts_are_in_the_order_of_their_commits_and_the_log_has_them(self) -> None:
        if self.model is None:
            return
        run, facts = self.loop.run(read.facts(self.unit, SURGERY))
        assert [fact.kind for fact in facts] == self.model.facts
        assert [fact.seq for fact in facts] == sorted(fact.seq for fact in facts)
        told = [fact.seq for fact in self.told if fact.run_id == run.id]
        assert told == [fact.seq for fact in facts][-len(told) :]
        tsv, page = self.pages.paths(run)
        assert tsv.read_text(encoding="utf-8") == self.pages.tsv(facts)
        assert page.read_text(encoding="utf-8") == self.pages.markdown(run, facts)
        assert not list(tsv.parent.glob("*.damaged-*"))

    def teardown(self) -> None:
        self.loop.run(self.engine.dispose())
        self.loop.close()
        self.scratch.cleanup()

    # --- how ---

    def rows(self, table: str) -> list[sqlite3.Row]:
        """Of the latest run, past all of our own reading."""
        with closing(sqlite3.connect(self.folder / "ledger.db")) as ledger:
            ledger.row_factory = sqlite3.Row
            latest = "SELECT id FROM surgeries ORDER BY started_at DESC LIMIT 1"
            return ledger.execute(f"SELECT * FROM {table} WHERE run_id = ({latest})").fetchall()

    def _life(self) -> Path:
        self.lives += 1
        folder = Path(self.scratch.name) / str(self.lives)
        folder.mkdir()
        return folder

    def _open(self) -> None:
        self.engine = open_engine(self.folder / "ledger.db")
        self.pages = ConsumptionLog(self.folder / "log", UTC)
        telling = Telling(self.pages, Feed[Fact](), Health())

        async def tell(facts: list[Fact]) -> None:
            await telling(facts)
            self.told += facts

        self.unit = Unit(self.engine, tell)
        telling.read_from(self.unit)
        rules = StartRules(resume_window=timedelta(hours=12), timeout_s=1, attempts=1)
        labels = Labels(names=(), background=frozenset())
        self.surgeries = Surgeries(self.unit, Still(), CATALOGUE, labels, rules)
        self.corrections = Corrections(self.unit, CATALOGUE, ())
        self.loop.run(telling.catch_up())
        self.loop.run(self.surgeries.resume(self._now()))

    def _copies(self) -> Path:
        """What the disk holds now."""
        left = self._life()
        for path in self.folder.iterdir():
            if path.is_dir():
                shutil.copytree(path, left / path.name)
            elif not path.name.endswith("-shm"):
                shutil.copy(path, left)
        return left

    def _crash(self, left: Path) -> None:
        self.loop.run(self.engine.dispose())
        self.folder, self.calm = left, 0
        self._open()
        if self.is_running:
            assert self.model
            self.model.facts.append(FactKind.SURGERY_RESUMED)

    def _do(self, verb: Coroutine[Any, Any, Any]) -> list[Fact]:
        before = len(self.told)
        self.loop.run(verb)
        return self.told[before:]

    async def _seen(self, label: str, camera: str, outcome: Outcome, *, since_resume: bool = False) -> None:
        top = tuple(Score(label=each, score=0.7 if each == label else 0.2) for each in (label, *ITEM_OF))[:3]
        options = tuple(Score(label=each, score=0.4) for each in ITEM_OF) if outcome is Outcome.ASKED else ()
        seen = Observation(
            camera=camera,
            label=label,
            started_at=self._now(),
            peak=0.7,
            top=top,
            outcome=outcome,
            options=options,
            since_resume=since_resume,
        )
        run = await read.surgery(self.unit, SURGERY)
        await observe(self.unit, run, CANDIDATES, seen, RULES, self._now())

    def _model_sees(self, label: str, camera: str, outcome: Outcome) -> None:
        """As the rules say: within 5 s, the same item before the other camera is the same consumption, once each."""
        assert self.model
        (fact,) = self.told[-1:]
        partner = next(
            (
                each
                for each in reversed(self.model.shown)
                if (each.label, each.camera != camera, camera in each.taken) == (label, True, False)
                and self.second - each.second <= 5
            ),
            None,
        )
        if outcome is Outcome.IGNORED:
            self.model.facts.append(FactKind.IGNORED)
        elif partner is not None:
            partner.taken.add(camera)
            self.model.facts.append(FactKind.MERGED)
        else:
            self.model.shown.append(Shown(camera, label, self.second))
            assert fact.posting_id
            if outcome is Outcome.BOOKED:
                self.model.counts[fact.posting_id] = ITEM_OF[label].item_id
                self.model.facts.append(FactKind.BOOKED)
            else:
                assert fact.confirmation_id
                self.model.asked[fact.confirmation_id] = fact.posting_id
                self.model.facts.append(FactKind.ASKED)

    def _correct(self, wanted: Add | Void, *, with_key: bool) -> None:
        if self.model is None:
            return
        key = f"request-{self.second}-{len(self.model.facts)}" if with_key else None
        corrected = self.loop.run(self.corrections.correct(SURGERY, wanted, _by(key), self._now()))
        if isinstance(wanted, Add):
            self.model.counts[corrected.posting.id] = ITEM_OF[wanted.word].item_id
            self.model.facts.append(FactKind.BOOKED)
        else:
            del self.model.counts[wanted.posting_id]
            self.model.voids[wanted.posting_id] = corrected.posting.id
            self.model.facts.append(FactKind.VOIDED)
        if key:
            self.model.requests[key] = (wanted, corrected)

    def _now(self) -> datetime:
        return at(self.second)

    @staticmethod
    def _pick(among: Any, number: int) -> Any:
        return list(among)[number % len(among)]

    @staticmethod
    def _postings(facts: list[Fact]) -> list[UUID]:
        return [fact.posting_id for fact in facts if fact.posting_id is not None]


class _PowerCut(Exception):
    """In the middle of a transaction."""


def _by(key: str | None, reason: str = "更正") -> Correction:
    return Correction(doctor_id="D1001", reason=reason, request_key=key)


def _answer(word: str | None) -> Answer:
    return Answer(word=word, doctor_id="D1001", source=Source.TOUCH)


@pytest.mark.timeout(600)  # a failure is shortened before it is shown
def test_the_ledger_says_what_the_model_says(tmp_path: Path) -> None:
    migrate.ensure(tmp_path / "ledger.db")
    Ledger.template, Ledger.steps = tmp_path / "ledger.db", 0
    rules = settings(
        max_examples=EXAMPLES, stateful_step_count=STEPS, deadline=None, suppress_health_check=list(HealthCheck)
    )
    while Ledger.steps < 2000:  # how many steps an example has is drawn, too
        run_state_machine_as_test(Ledger, settings=rules)
    print(f"{Ledger.steps} steps")
