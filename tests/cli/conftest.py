"""Commands run in this process by their real entry point; clips and the model are made once."""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner

from daemon.cli.root import orwatch
from tests.daemon.scenes import AMBER, BLACK, RED, colour_model, film

RULES = """
[inference]
sample_fps = 10
window_s = 0.5
absence_s = 0.4
gap_max_s = 0.4
decide_s = 0.6
background = ["背景"]
"""


@dataclass(frozen=True, slots=True)
class Done:
    """What a command left behind."""

    code: int
    out: str
    err: str


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return colour_model(tmp_path_factory.mktemp("model") / "colours.onnx")


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two cameras of one surgery: both see the gauze, one of them something doubtful later."""
    folder = tmp_path_factory.mktemp("clips")
    film(folder / "left.mp4", [(1, BLACK), (2, RED), (9, BLACK)])
    film(folder / "right.mp4", [(1.4, BLACK), (2, RED), (2, BLACK), (2, AMBER), (2, BLACK)])
    return folder


@pytest.fixture
def config(tmp_path: Path, model: Path) -> Callable[..., Path]:
    """config(more) -> a TOML in tmp_path with the model, rules for short clips, and more."""

    def write(more: str = "", *, model_path: Path | str = model, rules: str = RULES) -> Path:
        path = tmp_path / "orwatch.toml"
        path.write_text(f'[model]\npath = "{model_path}"\n{rules}{more}', encoding="utf-8")
        return path

    return write


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[..., Done]]:
    """call("check", "-c", path) -> what came of it; an error that the command did not foresee fails the test."""
    for name in ("ORWATCH_CONFIG", "ORWATCH_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level

    def run(*arguments: object) -> Done:
        result = CliRunner().invoke(orwatch, [str(each) for each in arguments], prog_name="orwatch")
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert "Traceback" not in result.stdout + result.stderr
        return Done(result.exit_code, result.stdout, result.stderr)

    yield run
    root.handlers[:], root.level = handlers, level
