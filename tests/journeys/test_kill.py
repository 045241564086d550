"""Killed at drawn moments, again and again: what was acknowledged is there once, and no question is lost.

20 rounds in the normal suite. `bash scripts/test -m soak -s tests/journeys/test_kill.py` runs 200, and 10 rounds of the
whole program on RTSP cameras.
"""

import csv
import io
import json
import multiprocessing
import random
import shutil
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest

from daemon.domain.facts import Fact
from daemon.services import read
from daemon.storage.consumption_log import ConsumptionLog
from daemon.storage.database import Unit, open_engine
from inference.truth import Truth, load_truth
from tests.journeys import killed
from tests.journeys.nurse import MOMENTS, Nurse
from tests.journeys.program import ASSETS, Program
from tests.servers.rtsp import RtspCamera
from tests.waiting import DEADLINE_S

SEED = 20260421
PROCESSES = multiprocessing.get_context("forkserver")


@pytest.mark.parametrize(
    "rounds", [20, pytest.param(200, marks=[pytest.mark.soak, pytest.mark.timeout(1800)])], ids="{} rounds".format
)
async def test_nothing_acknowledged_is_lost_or_doubled_by_kills(tmp_path: Path, rounds: int) -> None:
    PROCESSES.set_forkserver_preload(["tests.journeys.killed"])
    dice = random.Random(SEED)
    cut_off = acknowledged = 0
    for number in range(rounds):
        moment = list(killed.MOMENTS)[number % len(killed.MOMENTS)]
        fate = killed.Fate(moment, dice.randint(1, killed.MOMENTS[moment]))
        assert _lived(tmp_path, None, fate) == -signal.SIGKILL, f"round {number}: it ended by itself"
        acknowledged, unanswered = _check(tmp_path, number)
        cut_off += unanswered
        assert unanswered > 0 or moment not in killed.OF_A_REQUEST, f"round {number}: {fate} was in no request"
    assert _lived(tmp_path, 1, killed.Fate("never", 1)) == 0
    acknowledged, unanswered = _check(tmp_path, rounds)
    assert unanswered == 0
    assert await _logs_equal_the_ledger(tmp_path) == len(killed.SURGERIES)
    with closing(sqlite3.connect(tmp_path / "ledger.db")) as ledger:
        merged, kinds = (
            ledger.execute("SELECT count(*) FROM sightings WHERE reason = 'seen_before_restart'").fetchone()[0],
            dict(ledger.execute("SELECT kind, count(*) FROM outbox GROUP BY kind ORDER BY kind").fetchall()),
        )
    print(
        f"seed {SEED}, {rounds} kills: {acknowledged} postings acknowledged, 0 lost, 0 doubled; {cut_off} requests cut "
        f"off, {merged} of them committed sightings that were seen again; facts: {kinds}"
    )


@pytest.mark.soak
@pytest.mark.timeout(1200)
def test_nothing_booked_or_asked_from_rtsp_cameras_is_lost_or_doubled_by_kills(
    rtsp: Callable[..., RtspCamera], program: Callable[..., Program]
) -> None:
    """The cameras go on where they were when the daemon went away: what was in view is in view again."""
    truth = load_truth(ASSETS / "truth.yaml")
    cameras = {name: rtsp(ASSETS / f"{name}.mp4") for name in ("or-cam-01", "or-cam-02")}
    # So high that the model is sure of every second item only.
    orwatch = program(
        cameras={name: camera.url for name, camera in cameras.items()}, more="[inference]\nauto_confirm = 0.998\n"
    )
    assert orwatch.begin("123456", list(cameras)).status_code == 200
    dice = random.Random(SEED)
    nurse = Nurse(orwatch)
    over_a_kill: set[str] = set()
    for number in range(10):
        enough = nurse.knows + dice.randint(1, 4)

        def has_seen_enough(enough: int = enough) -> bool:
            nurse.reads()
            if len(nurse.pending) > 2:
                nurse.answers(nurse.pending[0])
            return nurse.knows >= enough and bool(nurse.pending)

        orwatch.until(has_seen_enough)
        nurse.is_killed_while_she_answers(nurse.pending[-1], dice.choice(MOMENTS))
        orwatch.start()
        over_a_kill |= set(nurse.pending)
        nurse.reads()
        print(f"kill {number + 1}: {nurse}; all there")
    orwatch.until(lambda: orwatch.classified("or-cam-01") >= 10)
    nurse.reads()
    while nurse.pending:
        nurse.answers(nurse.pending[0])
    report = orwatch.client.get("/client/surgeries/123456/report.tsv").text
    lines = list(csv.DictReader(io.StringIO(report), delimiter="\t"))
    for status in ("待确认", "已确认"):
        of = [line["confirmation_id"] for line in lines if line["status"] == status]
        assert sorted(of) == sorted(nurse.asked), status
    rows = [line for line in lines if line["status"] in ("已记账", "待确认")]
    in_view = {
        name: Counter(_in_view(row, cameras[name], truth) for row in rows if row["camera"] == name) for name in cameras
    }
    print(report, in_view, sep="\n")
    for name, found in in_view.items():
        assert None not in found, f"{name}: {found}"
        assert set(found.values()) <= {1}, f"{name}: booked twice: {found}"
    (file,) = (orwatch.folder / "var" / "log" / "consumption").glob("123456_*.tsv")
    assert file.read_text(encoding="utf-8") == report
    print(f"{nurse}; {len(over_a_kill)} questions were open when the program was killed")
    assert len(over_a_kill) >= 3, "hardly a question was open when the program was killed"
    assert orwatch.end("123456").status_code == 200
    assert "Traceback" not in orwatch.log.read_text()


def _in_view(row: dict[str, str], camera: RtspCamera, truth: Truth) -> tuple[int, float] | None:
    """Which item of the recording, in which pass, the camera showed when this sighting began; None: none such."""
    at_mono_s = datetime.fromisoformat(row["time"]).timestamp() - time.time() + time.monotonic()
    turn, at_s = camera.shown(at_mono_s)
    recording = truth.recordings[f"{row['camera']}.mp4"]
    # A question is explained by an option: the item it is about may not be the model's first guess.
    names = {row["item_name"]} | ({row["top2"], row["top3"]} if row["status"] == "待确认" else set())
    return next(
        (
            (turn, item.from_s)
            for item in recording.items
            if item.label in names and item.from_s - 0.5 <= at_s <= item.to_s + 0.5
        ),
        None,
    )


def _lived(folder: Path, steps: int | None, fate: killed.Fate) -> int | None:
    """How the process ended."""
    process = PROCESSES.Process(target=killed.run, args=(folder, SEED, steps, fate))
    process.start()
    process.join(DEADLINE_S)
    return process.exitcode


def _check(folder: Path, number: int) -> tuple[int, int]:
    """The ledger against the clients' notes; returns postings acknowledged, and requests without an answer."""
    # A copy, as the kill left it: to look at the original would recover it before the program does.
    copy = folder / "copy"
    shutil.rmtree(copy, ignore_errors=True)
    copy.mkdir()
    for path in folder.glob("ledger.db*"):
        shutil.copy(path, copy)
    with closing(sqlite3.connect(copy / "ledger.db")) as ledger:
        assert ledger.execute("PRAGMA integrity_check").fetchall() == [("ok",)], f"round {number}"
        assert ledger.execute("PRAGMA foreign_key_check").fetchall() == []
        if not ledger.execute("SELECT 1 FROM sqlite_master WHERE name = 'surgeries'").fetchall():
            assert not list(folder.glob("*.notes")), "there was no ledger yet, and a client was let in"
            return 0, 0
        found = [_check_surgery(ledger, folder, surgery_id, number) for surgery_id in killed.SURGERIES]
    return sum(acknowledged for acknowledged, _ in found), sum(unanswered for _, unanswered in found)


def _check_surgery(ledger: sqlite3.Connection, folder: Path, surgery_id: str, number: int) -> tuple[int, int]:
    notes = folder / f"{surgery_id}.notes"
    lines = [json.loads(line) for line in notes.read_text().splitlines()] if notes.exists() else []
    tried = {line["step"]: line["try"] for line in lines if "try" in line}
    done = {line["step"]: line for line in lines if "done" in line}
    where = f"round {number}, surgery {surgery_id}"
    runs = ledger.execute(
        "SELECT id, state FROM surgeries WHERE surgery_id = ? AND state <> 'failed'", [surgery_id]
    ).fetchall()
    if not runs:
        assert not done, where
        return 0, len(tried)
    assert len(runs) == 1, where
    run_id, state = runs[0]
    postings = {
        UUID(row[0]): row[1:]
        for row in ledger.execute(
            "SELECT id, kind, item_id, sighting_id, voids, request_key FROM postings WHERE run_id = ?", [run_id]
        )
    }
    voided = Counter(UUID(row[3]) for row in postings.values() if row[3])
    assert not [each for each, times in voided.items() if times > 1], where
    acknowledged = [UUID(posting) for line in done.values() for posting in line["postings"]]
    assert set(acknowledged) <= set(postings), f"{where}: lost {set(acknowledged) - set(postings)}"
    assert len(set(acknowledged)) == len(acknowledged), where

    keys = Counter(row[4] for row in postings.values() if row[4])
    wanted_keys = {f"step-{step}" for step, intent in tried.items() if intent["verb"] in ("add", "void")}
    answered_keys = {f"step-{step}" for step, line in done.items() if line["done"]["verb"] in ("add", "void")}
    assert answered_keys <= set(keys) <= wanted_keys, where
    assert set(keys.values()) <= {1}, where

    sightings = ledger.execute(
        "SELECT id, label, started_at, outcome FROM sightings WHERE run_id = ? AND outcome IN ('booked', 'asked')",
        [run_id],
    ).fetchall()
    of_step = Counter(_step(label, started_at) for _, label, started_at, _ in sightings)
    assert set(of_step.values()) <= {1}, f"{where}: booked twice: {of_step.most_common(3)}"
    shows = {step for step, i in tried.items() if i["verb"] == "observe" and i["outcome"] != "ignored"}
    assert {step for step in shows if step in done} <= set(of_step) <= shows, where
    by_sighting = Counter((row[2], row[0]) for row in postings.values() if row[2])
    assert set(by_sighting.values()) <= {1}, where

    questions = {
        UUID(row[0]): row[1:]
        for row in ledger.execute("SELECT id, state, placeholder_id FROM confirmations WHERE run_id = ?", [run_id])
    }
    assert len(questions) == sum(outcome == "asked" for *_, outcome in sightings), where
    answers = {UUID(i["confirmation"]): step for step, i in tried.items() if i["verb"] == "answer"}
    for question, (is_now, placeholder) in questions.items():
        is_open = is_now in ("pending", "unresolved")
        assert is_open == (UUID(placeholder) not in voided), f"{where}: question {question} is {is_now}"
        if question not in answers:
            assert is_open, f"{where}: question {question} was answered by nobody"
        elif answers[question] in done:
            assert not is_open, f"{where}: the answer to {question} is lost"
    if state == "running":
        assert not [each for each, (is_now, _) in questions.items() if is_now == "unresolved"], where
    return len(acknowledged), len(tried) - len(done)


def _step(label: str, started_at: str) -> int:
    since = datetime.fromisoformat(started_at).replace(tzinfo=UTC) - killed.T0
    step = since // timedelta(seconds=20)
    assert killed.label_of(step) == label
    return step


async def _logs_equal_the_ledger(folder: Path) -> int:
    async def nobody(_facts: list[Fact]) -> None: ...

    engine = open_engine(folder / "ledger.db")
    unit, pages = Unit(engine, nobody), ConsumptionLog(folder / "log", UTC)
    for surgery_id in killed.SURGERIES:
        run, facts = await read.facts(unit, surgery_id)
        assert [fact.seq for fact in facts] == sorted(fact.seq for fact in facts)
        tsv, page = pages.paths(run)
        assert tsv.read_text(encoding="utf-8") == pages.tsv(facts)
        assert page.read_text(encoding="utf-8") == pages.markdown(run, facts)
    await engine.dispose()
    assert not list((folder / "log").glob("*.part"))
    return sum(1 for path in (folder / "log").glob("*.tsv"))
