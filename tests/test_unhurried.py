"""No test depends on the speed of the machine: it waits for what comes about, and its deadlines are for what hangs."""

import ast
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from hypothesis import HealthCheck, settings

from tests.waiting import DEADLINE_S

TESTS = Path(__file__).parent


def test_nothing_that_is_drawn_has_to_be_ready_within_a_time() -> None:
    rules = settings()

    assert rules.deadline is None
    assert HealthCheck.too_slow in rules.suppress_health_check


def pauses(source: str) -> Iterator[int]:
    """The lines that let time pass and wait for nothing."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module in ("time", "asyncio"):
            if any(name.name == "sleep" for name in node.names):
                yield node.lineno
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            is_turn = ast.unparse(node) == "asyncio.sleep(0)"  # the loop's next turn, and no time
            # An event that is made on the spot is set by nobody.
            is_deaf = re.search(r"\bEvent\(\)\.wait$|^select\.select$", ast.unparse(node.func)) is not None
            if (node.func.attr == "sleep" and not is_turn) or is_deaf:
                yield node.lineno


def test_no_test_and_no_server_of_the_tests_lets_time_pass() -> None:
    found = {
        path.relative_to(TESTS).as_posix(): lines
        for path in TESTS.rglob("*.py")
        if (lines := list(pauses(path.read_text(encoding="utf-8"))))
    }

    assert found == {}, "wait for an event with a deadline, as tests/waiting.py does"


@pytest.mark.parametrize(
    "line",
    [
        "time.sleep(1)",
        "await asyncio.sleep(0.1)",
        "from time import sleep",
        "threading.Event().wait(0.1)",
        "Event().wait(0.1)",
        "select.select([], [], [], 1)",
    ],
)
def test_a_pause_would_be_found(line: str) -> None:
    assert list(pauses(line.replace("await ", ""))) == [1]


@pytest.mark.parametrize("code", [0, 3])
def test_what_keeps_the_cores_busy_ends_with_the_tests(tmp_path: Path, code: int) -> None:
    (tmp_path / "scripts").mkdir()
    shutil.copy(TESTS.parent / "scripts" / "test-busy", tmp_path / "scripts")
    stand_in = f"""cat /proc/$PPID/task/*/children > children; echo "$@" > given; exit {code}\n"""
    (tmp_path / "scripts" / "test").write_text(stand_in, encoding="utf-8")

    done = subprocess.run(
        ["bash", str(tmp_path / "scripts" / "test-busy"), "-q", "-x"],
        env={**os.environ, "ORWATCH_TEST_BURNERS": "2"},
        capture_output=True,
        check=False,
        timeout=DEADLINE_S,
    )

    assert (done.returncode, done.stderr) == (code, b"")
    assert (tmp_path / "given").read_text() == "-q -x\n"
    pids = [int(pid) for pid in (tmp_path / "children").read_text().split()]
    assert len(pids) == 3, "two that compute, and the tests"
    left = [psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)]
    assert psutil.wait_procs(left, timeout=DEADLINE_S)[1] == []
