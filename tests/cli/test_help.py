"""Every command explains itself, and at once."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Done
from tests.waiting import DEADLINE_S

COMMANDS = [
    (),
    ("run",),
    ("check",),
    ("demo",),
    ("analyze",),
    ("evaluate",),
    ("watch",),
    ("report",),
    ("cameras",),
    ("cameras", "list"),
    ("cameras", "probe"),
    ("db",),
    ("db", "upgrade"),
    ("db", "current"),
    ("pathology",),
    *(("pathology", each) for each in ("login", "credentials", "upload", "register", "create", "result", "run")),
    ("fundus",),
    ("fundus", "analyze"),
    ("fundus", "result"),
    ("retina",),
    ("retina", "analyze"),
    ("ultrasound",),
    *(("ultrasound", each) for each in ("predict", "batch", "score")),
]
HEAVY = (
    "av",
    "cv2",
    "onnxruntime",
    "sqlalchemy",
    "fastapi",
    "uvicorn",
    "pydantic_settings",
    "httpx",
    "numpy",
    "openslide",
    "qcloud_cos",
)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_explains_itself(call: Callable[..., Done], command: tuple[str, ...]) -> None:
    done = call(*command, "--help")

    assert done.code == 0
    assert "Usage: orwatch" in done.out
    assert done.err == ""


def test_help_loads_nothing_heavy() -> None:
    script = (
        "import sys\nfrom daemon.cli.root import orwatch\n"
        "try:\n    orwatch(['--help'], prog_name='orwatch')\n"
        f"finally:\n    print('loaded:', [name for name in {HEAVY!r} if name in sys.modules])"
    )

    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=False,
        timeout=DEADLINE_S,
        cwd=Path(__file__).parents[2],
    )

    assert done.returncode == 0, done.stderr
    assert "loaded: []" in done.stdout


def test_the_version_is_the_installed_one(call: Callable[..., Done]) -> None:
    from daemon import __version__

    assert call("--version").out == f"orwatch {__version__}\n"
