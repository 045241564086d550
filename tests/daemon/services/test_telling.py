"""After a start the logs of runs that have ended agree with the ledger, too."""

from collections.abc import AsyncIterator
from datetime import UTC
from pathlib import Path

import pytest

from daemon.domain.facts import Fact
from daemon.domain.ledger import Correction
from daemon.domain.surgery import Surgery, SurgeryState
from daemon.feed import Feed
from daemon.health import Health
from daemon.services.correct import Add, Corrections
from daemon.services.observe import observe
from daemon.services.telling import Telling
from daemon.storage import migrate
from daemon.storage.consumption_log import ConsumptionLog
from daemon.storage.database import Unit, open_engine
from tests.daemon.rows import CANDIDATES, at, saved, seen, surgery
from tests.daemon.services.test_correct import CATALOGUE
from tests.daemon.services.test_settle import RULES

ENDED = {"state": SurgeryState.ENDED, "ended_at": at(9)}


class Desk:
    """A unit whose facts are told, and the log they are told to."""

    def __init__(self, folder: Path) -> None:
        self.engine = open_engine(folder / "ledger.db")
        self.health = Health()
        self.pages = ConsumptionLog(folder / "log", UTC)
        self.telling = Telling(self.pages, Feed[Fact](), self.health)
        self.unit = Unit(self.engine, self.telling)
        self.telling.read_from(self.unit)

    async def ended(self) -> Surgery:
        run = await saved(self.unit, surgery())
        await observe(self.unit, run, CANDIDATES, seen(1), RULES, at(2))
        await observe(self.unit, run, CANDIDATES, seen(60), RULES, at(61))
        return await saved(self.unit, surgery(id=run.id, **ENDED))


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    migrate.ensure(tmp_path / "ledger.db")
    desk = Desk(tmp_path)
    yield desk
    await desk.engine.dispose()


@pytest.mark.parametrize("cut", ["the last line", "half a line", "everything"])
async def test_a_log_that_a_crash_cut_off_at_the_end_is_whole_after_the_next_start(desk: Desk, cut: str) -> None:
    run = await desk.ended()
    paths = desk.pages.paths(run)
    whole = [path.read_bytes() for path in paths]
    for path, content in zip(paths, whole, strict=True):
        if cut == "everything":
            path.unlink()
        else:
            path.write_bytes(content[: content.rindex(b"\n", 0, -1) + 1] if cut == "the last line" else content[:-5])
    desk.pages.close(run.id)
    await desk.telling.catch_up()
    assert [path.read_bytes() for path in paths] == whole
    assert len(list(paths[0].parent.glob("*.damaged-*"))) == (2 if cut == "half a line" else 0)
    assert not desk.pages.is_open(run.id)


async def test_a_correction_after_the_end_is_logged_and_the_run_is_not_kept_in_memory(desk: Desk) -> None:
    run = await desk.ended()
    desk.pages.close(run.id)
    by = Correction(doctor_id="D1001", reason="补记")
    await Corrections(desk.unit, CATALOGUE, ()).correct(run.surgery_id, Add(word="纱布"), by, at(90))
    assert desk.pages.paths(run)[0].read_text(encoding="utf-8").splitlines()[-1].split("\t")[14] == "补记"
    assert not desk.pages.is_open(run.id)


async def test_a_log_folder_that_cannot_be_written_is_reported_and_keeps_no_daemon_from_starting(
    desk: Desk, tmp_path: Path
) -> None:
    run = await desk.ended()
    for path in desk.pages.paths(run):
        path.unlink()
    (tmp_path / "log").rmdir()
    (tmp_path / "log").write_text("a file", encoding="utf-8")
    desk.pages.close(run.id)
    await desk.telling.catch_up()
    log = desk.health.components["log"]
    assert log is not None
    assert not log.ok
