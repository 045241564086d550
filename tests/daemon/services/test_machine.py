"""Whatever happens in whatever order, crashes and outages included: the ledger says what a simple model of it says, and
the archive what the ledger says.
"""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule, run_state_machine_as_test

from daemon.domain.errors import ResultNotReady
from daemon.services import read
from daemon.storage import archive as archiving
from daemon.storage import migrate
from tests.daemon.services.far import Far
from tests.daemon.services.machine import BURSTS, CALM, ELSEWHERE, SURGERY, Burst, Ledger
from tests.daemon.services.server import Server
from tests.servers.postgres import Postgres

EXAMPLES, STEPS = 5, 50
BATCH = 7  # facts that are archived at once, so that there are many batches


class ArchivedLedger(Ledger):
    """And whatever can happen to its archive, which another server uses, too."""

    looked_at = 0, 0

    @rule()
    def archives(self) -> None:
        self._archive()

    @precondition(lambda self: not self.is_away)
    @rule()
    def archives_a_batch_and_stops_before_it_is_noted(self) -> None:
        copied = self.loop.run(self.server.archive.copy(self.server.unit, self._now()))
        count = min(BATCH, self.committed - self.archived)
        assert (copied.facts, copied.more) == (count, count == BATCH)
        self.archived += count

    @precondition(lambda self: not self.is_away and self.archived < self.committed)
    @rule()
    def is_cut_off_in_the_middle_of_a_batch(self) -> None:
        """Nothing of the batch stays."""

        async def cut() -> bool:
            _, came_to_its_end = await asyncio.gather(self.far.cuts_what_is_stuck(), self.server.archives())
            return came_to_its_end

        before = self.far.rows(self.server.path)
        with self.far.stuck():
            assert not self.loop.run(cut())
        assert self.far.rows(self.server.path) == before

    @precondition(lambda self: not self.is_away and self.calm >= CALM)
    @rule(is_away=st.booleans())
    def crashes_before_the_ledger_has_learned_what_is_archived(self, is_away: bool) -> None:
        left = self.server.left_on_disk(self._life())
        known = self.known
        self._archive()
        self.known = known
        if is_away:
            self.goes_away()
        self._crash(left)

    @precondition(lambda self: not self.is_away)
    @rule()
    def goes_away(self) -> None:
        self.far.refuse()
        self.is_away = True

    @precondition(lambda self: self.is_away)
    @rule(is_followed=st.booleans())
    def comes_back(self, is_followed: bool) -> None:
        self.far.answer()
        self.is_away = False
        if is_followed:
            self._archive()

    @rule(burst=BURSTS, is_archived=st.booleans())
    def another_server_books(self, burst: Burst, is_archived: bool) -> None:
        for label, camera, outcome, pause in burst:
            self.second += pause
            self.elsewhere.sees(ELSEWHERE, label, camera, outcome, self._now())
        if is_archived:
            assert self.loop.run(self.elsewhere.archives()) is not self.is_away
            if not self.is_away:
                self.archived_elsewhere = len(self.elsewhere.told)

    @invariant()
    def the_archive_holds_the_first_facts_of_every_ledger_and_what_they_stand_on(self) -> None:
        self.far.holds(self.server.path, self.archived, known=self.known)
        archived = self.archived, self.archived_elsewhere
        if archived != self.looked_at:  # the other's part can change only where something is archived
            self.far.holds(self.elsewhere.path, self.archived_elsewhere, known=self.archived_elsewhere)
            self.looked_at = archived

    @invariant()
    def another_server_answers_what_this_one_answers_once_it_is_over_and_archived(self) -> None:
        if self.model is None or self.archived < self.committed:
            return
        ours, theirs = self.server, self.elsewhere
        unknown = "归档数据库" if self.is_away else "未开始"
        if self.is_away or self.is_running:
            with pytest.raises(ResultNotReady, match=unknown):
                self.loop.run(read.result(theirs.unit, SURGERY, include_pending=True, archive=theirs.archive))
            return
        assert _said_by(theirs) == _said_by(ours)

    def _archive(self) -> None:
        assert self.loop.run(self.server.archives()) is not self.is_away
        if not self.is_away:
            self.archived = self.known = self.committed


def _said_by(server: Server) -> object:
    """What the surgery that is over has."""
    archive = server.archive

    async def said() -> object:
        result: object
        try:
            result = await read.result(server.unit, SURGERY, include_pending=True, archive=archive)
        except ResultNotReady as refusal:
            result = str(refusal)
        run, rows = await read.ledger(server.unit, SURGERY, archive=archive)
        _, facts = await read.facts(server.unit, SURGERY, archive=archive)
        return result, run, rows, [replace(fact, seq=0) for fact in facts]

    return server.loop.run(said())


@pytest.mark.timeout(900)  # a failure is shortened before it is shown
@pytest.mark.parametrize("steps", [600, pytest.param(2500, marks=pytest.mark.soak)])
def test_ledger_and_archive_say_what_the_model_says(
    tmp_path: Path, postgres: Postgres, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    monkeypatch.setattr(archiving, "BATCH_FACTS", BATCH)
    migrate.ensure(tmp_path / "ledger.db")
    Ledger.template, Ledger.far, Ledger.steps = tmp_path / "ledger.db", Far(postgres), 0
    rules = settings(max_examples=EXAMPLES, stateful_step_count=STEPS, suppress_health_check=list(HealthCheck))
    try:
        while Ledger.steps < steps:  # how many steps an example has is drawn, too
            run_state_machine_as_test(ArchivedLedger, settings=rules)
    finally:
        Ledger.far.close()
    print(f"{Ledger.steps} steps")
