"""No test depends on the speed of the machine: it waits for what comes about, and its deadlines are for what hangs."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

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
            is_deaf = ast.unparse(node.func) == "threading.Event().wait"
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
    ["time.sleep(1)", "await asyncio.sleep(0.1)", "from time import sleep", "threading.Event().wait(0.1)"],
)
def test_a_pause_would_be_found(line: str) -> None:
    assert list(pauses(line.replace("await ", ""))) == [1]
