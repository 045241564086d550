"""A machine that does to a ledger whatever can be done to one, in any order, and what a simple model of it says.

A crash leaves what the disk holds at that moment: the files are copied and the daemon goes on with the copy. One in
mid-transaction copies them between the first row and the commit; one before the log copies the log first.
"""

import asyncio
import shutil
import sqlite3
import tempfile
from collections import Counter
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from daemon.domain.errors import (
    ConfirmationAlreadyResolved,
    ConfirmationNotFound,
    IdempotencyKeyReused,
    PostingAlreadyVoided,
    PostingNotFound,
    PostingNotVoidable,
    RecordingCannotStart,
    ResultNotReady,
)
from daemon.domain.facts import Fact, FactKind
from daemon.domain.ledger import Correction, Source
from daemon.domain.sighting import Outcome
from daemon.services import read
from daemon.services.correct import Add, Void
from daemon.services.settle import Choice, settle
from tests.daemon.rows import at
from tests.daemon.services.far import Far
from tests.daemon.services.model import ITEM_OF, Run
from tests.daemon.services.server import Server

SURGERY, ELSEWHERE = "100001", "200001"
DAY_S = 13 * 3600
CALM = 3  # steps between crashes, so that there is something to lose
PICK = st.integers(0, 1_000_000)
LABELS = st.sampled_from(sorted(ITEM_OF))
OUTCOMES = st.sampled_from([Outcome.BOOKED, Outcome.BOOKED, Outcome.ASKED, Outcome.IGNORED])
Burst = list[tuple[str, str, Outcome, int]]
BURSTS = st.lists(st.tuples(LABELS, st.sampled_from("ab"), OUTCOMES, st.integers(1, 3)), min_size=1, max_size=4)


class Ledger(RuleBasedStateMachine):
    steps = 0
    template: Path
    far: Far

    def __init__(self) -> None:
        super().__init__()
        self.far.empty()
        self.loop = asyncio.Runner()
        self.scratch = tempfile.TemporaryDirectory(prefix="orwatch-machine-")
        self.lives = self.second = self.calm = 0
        self.is_running, self.is_away = False, False
        self.model: Run | None = None
        # How many facts of this ledger are committed, in the archive, and noted in the ledger to be there.
        self.before = self.archived = self.known = 0
        self.told: list[Fact] = []
        self.server = self._new(self._life(), self.told)
        self.elsewhere = self._new(Path(self.scratch.name) / "elsewhere", [])
        self.archived_elsewhere = 0
        self.elsewhere.do(self.elsewhere.surgeries.start(ELSEWHERE, ("a",), (), self._now()))

    # --- what happens ---

    @initialize()
    def begin(self) -> None:
        self.start()

    @precondition(lambda self: not self.is_running)
    @rule()
    def start(self) -> None:
        self.server.do(self.server.surgeries.start(SURGERY, ("a", "b"), (), self._now()))
        if self.model is None:
            self.model = Run(facts=[FactKind.SURGERY_STARTED])
        else:
            self.model.facts.append(FactKind.SURGERY_RESUMED)
        self.is_running = True

    @precondition(lambda self: self.is_running)
    @rule()
    def end(self) -> None:
        self.server.do(self.server.surgeries.end(SURGERY, self._now()))
        assert self.model
        self.model.ends()
        self.is_running = False

    @precondition(lambda self: not self.is_running)
    @rule()
    def another_day(self) -> None:
        """The next start is another run of the same number; nothing of this one may show in it.

        All of this one is in the archive then: where it is not and cannot be, there is no start.
        """
        self.second += DAY_S
        if self.is_away and self.known < self.committed:
            with pytest.raises(RecordingCannotStart):
                self.server.do(self.server.surgeries.start(SURGERY, ("a", "b"), (), self._now()))
            self.second -= DAY_S
        else:
            self.before = self.archived = self.known = self.committed
            self.model = None
            self.start()

    @precondition(lambda self: self.is_running)
    @rule(burst=BURSTS)
    def sees(self, burst: Burst) -> None:
        assert self.model
        for label, camera, outcome, pause in burst:
            self.second += pause
            told = self.server.sees(SURGERY, label, camera, outcome, self._now())
            self.model.sees(label, camera, outcome, self.second, told)

    @precondition(lambda self: self.is_running and self.model.asked)
    @rule(pick=PICK, word=st.sampled_from(["gauze", "suture", None]))
    def answers(self, pick: int, word: str | None) -> None:
        assert self.model
        question = self._pick(self.model.asked, pick)
        facts = self.server.do(settle(self.server.unit, SURGERY, str(question), _answer(word), self._now()))
        (posting,) = [fact.posting_id for fact in facts if fact.posting_id is not None]
        self.model.answers(question, word, posting)

    @precondition(lambda self: self.model and (self.model.answered or (not self.is_running and self.model.asked)))
    @rule(pick=PICK)
    def answers_too_late(self, pick: int) -> None:
        assert self.model
        questions = self.model.answered if self.is_running else [*self.model.answered, *self.model.asked]
        if questions:
            refusal = ConfirmationAlreadyResolved if self.is_running else ConfirmationNotFound
            question = str(self._pick(questions, pick))
            with pytest.raises(refusal):
                self.server.do(settle(self.server.unit, SURGERY, question, _answer("gauze"), self._now()))

    @rule(label=LABELS, with_key=st.booleans())
    def adds(self, label: str, with_key: bool) -> None:
        self._correct(Add(word=label), with_key=with_key)

    @precondition(lambda self: self.model and self.model.counts)
    @rule(pick=PICK, with_key=st.booleans())
    def voids(self, pick: int, with_key: bool) -> None:
        assert self.model
        self._correct(Void(posting_id=self._pick(self.model.counts, pick)), with_key=with_key)

    @precondition(lambda self: self.model and (self.model.voids or self.model.asked))
    @rule(
        pick=PICK,
        what=st.sampled_from(
            [
                ("ended", PostingAlreadyVoided),
                ("open", PostingNotVoidable),
                ("void", PostingNotVoidable),
                ("nobody's", PostingNotFound),
            ]
        ),
    )
    def voids_what_cannot_be(self, pick: int, what: tuple[str, type[Exception]]) -> None:
        assert self.model
        kind, refusal = what
        if targets := self.model.not_voidable(kind, pick):
            wanted = Void(posting_id=self._pick(targets, pick))
            with pytest.raises(refusal):
                self.server.do(self.server.corrections.correct(SURGERY, wanted, _by(None), self._now()))

    @precondition(lambda self: self.model and self.model.requests)
    @rule(pick=PICK)
    def sends_a_correction_again(self, pick: int) -> None:
        assert self.model
        key = self._pick(self.model.requests, pick)
        wanted, answered = self.model.requests[key]
        corrections = self.server.corrections
        assert self.loop.run(corrections.correct(SURGERY, wanted, _by(key), self._now())) == answered
        with pytest.raises(IdempotencyKeyReused):
            self.server.do(corrections.correct(SURGERY, wanted, _by(key, "another reason"), self._now()))

    @precondition(lambda self: self.calm >= CALM)
    @rule()
    def crashes(self) -> None:
        self._crash(self.server.left_on_disk(self._life()))

    @precondition(lambda self: self.is_running and self.calm >= CALM)
    @rule(label=LABELS)
    def crashes_in_mid_transaction(self, label: str) -> None:
        """None of it happened."""
        self.second += 1
        left: list[Path] = []

        async def interrupted() -> None:
            async with self.server.unit.begin() as tx:
                run = await tx.surgeries.latest(SURGERY)
                assert run
                await tx.ledger.post(_by("interrupted").adding(ITEM_OF[label], run.id, self._now()))
                left.append(self.server.left_on_disk(self._life()))
                raise _PowerCut

        with pytest.raises(_PowerCut):
            self.loop.run(interrupted())
        self._crash(left[0])

    @precondition(lambda self: self.is_running and self.calm >= CALM)
    @rule(label=LABELS, outcome=st.sampled_from([Outcome.BOOKED, Outcome.ASKED]))
    def crashes_before_the_log_is_written(self, label: str, outcome: Outcome) -> None:
        """Committed, and told to nobody: it happened, and the cameras see it once more."""
        assert self.model
        self.second += 60  # nothing of another camera is near enough to be the same
        log, before = self.server.folder / "log", Path(self.scratch.name) / "log-before"
        shutil.copytree(log, before)
        told = self.server.sees(SURGERY, label, "a", outcome, self._now())
        left = self.server.left_on_disk(self._life())
        shutil.rmtree(left / "log")
        shutil.move(before, left / "log")
        self.model.sees(label, "a", outcome, self.second, told)
        self._crash(left)
        self.second += 6
        self.server.sees(SURGERY, label, "a", outcome, self._now(), since_resume=True)
        self.model.facts.append(FactKind.MERGED)

    # --- what holds ---

    @invariant()
    def the_result_is_the_models(self) -> None:
        if self.model is None:
            return
        Ledger.steps += 1
        self.calm += 1
        try:
            result = self.loop.run(read.result(self.server.unit, SURGERY, include_pending=True))
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
        run, facts = self.loop.run(read.facts(self.server.unit, SURGERY))
        assert [fact.kind for fact in facts] == self.model.facts
        assert [fact.seq for fact in facts] == sorted(fact.seq for fact in facts)
        told = [fact.seq for fact in self.told if fact.run_id == run.id]
        assert told == [fact.seq for fact in facts][-len(told) :]
        tsv, page = self.server.pages.paths(run)
        assert tsv.read_text(encoding="utf-8") == self.server.pages.tsv(facts)
        assert page.read_text(encoding="utf-8") == self.server.pages.markdown(run, facts)
        assert not list(tsv.parent.glob("*.damaged-*"))

    def teardown(self) -> None:
        self.server.close()
        self.elsewhere.close()
        self.loop.close()
        self.scratch.cleanup()

    # --- how ---

    @property
    def committed(self) -> int:
        """All facts of this ledger."""
        return self.before + (len(self.model.facts) if self.model else 0)

    def rows(self, table: str) -> list[sqlite3.Row]:
        """What the tables hold of the latest run, past all of our own reading."""
        with closing(sqlite3.connect(self.server.path)) as ledger:
            ledger.row_factory = sqlite3.Row
            latest = "SELECT id FROM surgeries ORDER BY started_at DESC LIMIT 1"
            return ledger.execute(f"SELECT * FROM {table} WHERE run_id = ({latest})").fetchall()

    def _new(self, folder: Path, told: list[Fact]) -> Server:
        """On a ledger of its own."""
        folder.mkdir()
        shutil.copy(self.template, folder / "ledger.db")
        with closing(sqlite3.connect(folder / "ledger.db")) as ledger:
            ledger.execute("UPDATE ledgers SET id = ?", (uuid4().hex,))
            ledger.commit()
        return Server(self.loop, folder, self.far.url, self._now(), told)

    def _life(self) -> Path:
        self.lives += 1
        return Path(self.scratch.name) / str(self.lives)

    def _crash(self, left: Path) -> None:
        self.server.close()
        self.calm = 0
        self.server = Server(self.loop, left, self.far.url, self._now(), self.told)
        if self.is_running:
            assert self.model
            self.model.facts.append(FactKind.SURGERY_RESUMED)

    def _correct(self, wanted: Add | Void, *, with_key: bool) -> None:
        if self.model is None:
            return
        key = f"request-{self.second}-{len(self.model.facts)}" if with_key else None
        corrected = self.loop.run(self.server.corrections.correct(SURGERY, wanted, _by(key), self._now()))
        self.model.corrects(wanted, corrected, key)

    def _now(self) -> datetime:
        return at(self.second)

    @staticmethod
    def _pick(among: Any, number: int) -> Any:
        return list(among)[number % len(among)]


class _PowerCut(Exception):
    """In the middle of a transaction."""


def _by(key: str | None, reason: str = "更正") -> Correction:
    return Correction(doctor_id="D1001", reason=reason, request_key=key)


def _answer(word: str | None) -> Choice:
    return Choice(word=word, doctor_id="D1001", source=Source.TOUCH)
