"""Commands that go on for a while, as processes: watch beside a running daemon, and the demo."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.journeys.program import ASSETS, Program
from tests.servers.ports import free_port
from tests.waiting import DEADLINE_S

CAMERA = "or-cam-01"


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Program]:
    """`orwatch run` on one recording in the place of a camera."""
    with Program(tmp_path, cameras={CAMERA: str(ASSETS / f"{CAMERA}.mp4")}) as running:
        yield running


@pytest.fixture
def orwatch(tmp_path: Path) -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    """orwatch("watch", "123456") -> its process."""
    with ExitStack() as stack:

        def start(*arguments: object) -> "subprocess.Popen[str]":
            environment = {key: value for key, value in os.environ.items() if not key.startswith("ORWATCH_")}
            process = subprocess.Popen(
                [sys.executable, "-m", "daemon", *map(str, arguments)],
                cwd=tmp_path,
                env={**environment, "PYTHONPATH": str(Path(__file__).parents[2])},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            stack.enter_context(process)
            stack.callback(process.kill)
            return process

        yield start


def lines_until(process: "subprocess.Popen[str]", word: str) -> list[str]:
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if word in line:
            return lines
    pytest.fail(f"{word!r} never came: {lines}, {process.stderr and process.stderr.read()}")


def rest_of(process: "subprocess.Popen[str]") -> tuple[str, str]:
    """What is left of stdout and stderr, once it has ended; `communicate` would lose lines that were read ahead."""
    assert process.stdout is not None
    assert process.stderr is not None
    out, err = process.stdout.read(), process.stderr.read()
    process.wait(timeout=DEADLINE_S)
    return out, err


def test_watch_shows_each_event_once_across_a_restart(
    program: Program, orwatch: Callable[..., "subprocess.Popen[str]"]
) -> None:
    url = f"http://127.0.0.1:{program.port}"
    assert program.begin("123456", [CAMERA]).status_code == 200
    watching = orwatch("watch", "123456", "--url", url)
    staying = orwatch("watch", "123456", "--url", url, "--follow")
    unknown = orwatch("watch", "999999", "--url", url)
    _, refused = rest_of(unknown)
    lines = lines_until(watching, "booked")
    assert program.stop() == 0
    lines += lines_until(watching, "connection lost")
    program.start()
    lines += lines_until(watching, "connected again")
    assert program.end("123456").status_code == 200
    out, err = rest_of(watching)
    lines_until(staying, "surgery ended")
    added = {"action": "add", "item": "手术刀片", "reason": "画面被遮挡", "doctor_id": "D1001"}
    assert program.client.post("/client/surgeries/123456/corrections", json=added).status_code == 200
    lines_until(staying, "by D1001")
    afterwards, _ = rest_of(orwatch("watch", "123456", "--url", url))
    staying.send_signal(signal.SIGINT)
    _, interrupted = rest_of(staying)

    assert (watching.returncode, err) == (0, "")
    told = "".join(lines) + out
    assert [told.count(words) for words in ("surgery started", "surgery resumed", "surgery ended")] == [1, 1, 1]
    assert "医用纱布块  -> 1" in told
    assert "手术刀片  -> 1" in afterwards, "a correction after the end does not keep watch waiting"
    assert (staying.returncode, interrupted) == (130, "")
    assert unknown.returncode == 1
    assert refused.startswith("orwatch: surgery 999999")
    assert refused.count("\n") == 1


def test_the_demo_books_what_it_sees_and_ends_by_itself_or_at_ctrl_c(
    orwatch: Callable[..., "subprocess.Popen[str]"], tmp_path: Path
) -> None:
    alone = orwatch("demo", "--port", free_port(), "--seconds", 7, "--no-wait", "--data", tmp_path / "alone")
    staying = orwatch("demo", "--port", free_port(), "--seconds", 1, "--data", tmp_path / "staying")

    lines = lines_until(staying, "Ctrl-C ends the surgery")
    staying.send_signal(signal.SIGINT)
    last, staying_err = rest_of(staying)
    out, alone_err = rest_of(alone)

    assert (staying.returncode, staying_err) == (0, "")
    assert "/docs" in "".join(lines)
    assert "has ended" in last
    assert (alone.returncode, alone_err) == (0, "")
    assert "医用纱布块  -> 1" in out
    assert "查询成功" in out
    [page] = (tmp_path / "alone" / "log" / "consumption").glob("*.md")
    assert str(page) in out
    assert "| 10382-1-2 | 医用纱布块 | 1 |" in page.read_text(encoding="utf-8")
