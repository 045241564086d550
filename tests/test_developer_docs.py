"""What is written for whoever changes the code is true: layers, paths, and what has to be touched for an addition."""

import re
import subprocess
from functools import cache
from pathlib import Path

import pytest

from tests.test_architecture import ENGINES, MAY_IMPORT, OURS

ROOT = Path(__file__).parents[1]
ARCHITECTURE = ROOT / "docs" / "architecture.md"
CONTRIBUTING = ROOT / "CONTRIBUTING.md"
# Each addition by one that is there: what it is called in the code, and the files that are its own.
ADDED = {
    "a back end": ("fundus", r"(daemon/)?(imaging|cli)/fundus/|migrations/versions/"),
    "a recognizer": ("sherpa", r"speech/sherpa"),
    "an error code": ("EvidenceNotFound", r"daemon/services/|daemon/api/(?!errors)"),
    "a camera setting": ("hwaccel", r"streams/(?!config)"),
    "an event": ("OBJECT_EXPIRED", r"$"),
}


@cache
def text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def rows(path: Path) -> list[list[str]]:
    """The cells of all tables, their heads left out."""
    lines = [
        line.strip("| ") for line in text(path).splitlines() if line.startswith("|") and not line.startswith("|--")
    ]
    return [[cell.strip() for cell in line.split("|")] for line in lines]


def paths(cell: str) -> set[str]:
    return {
        found for found in re.findall(r"`([\w./-]+)`", cell) if "/" in found or found.endswith((".py", ".toml", ".md"))
    }


@pytest.mark.parametrize("page", [ARCHITECTURE, CONTRIBUTING], ids=lambda page: page.name)
def test_every_path_that_is_named_is_there(page: Path) -> None:
    named = {path for path in paths(text(page)) if "NAME" not in path and not path.startswith(".venv")}
    linked = {(page.parent / link).resolve() for link in re.findall(r"\]\(([^)#:]+)\)", text(page))}

    assert sorted(path for path in named if not (ROOT / path).exists()) == []
    assert [link for link in linked if not link.exists()] == []
    assert len(named) > 3


def test_the_table_of_layers_is_the_picture_that_the_imports_are_held_to() -> None:
    told = {layer: row[3] for row in rows(ARCHITECTURE) if len(row) == 4 for layer in row[0].split(", ")}
    in_words = {"everything below": MAY_IMPORT["composition"], "the standard library": set(), "nothing of ours": set()}
    assert told.pop("layer") == "imports"
    assert told.pop("engines") == "net; `imaging` the runtime of `inference`, too"

    named = {
        layer: in_words.get(cell) or {name for name in cell.split(", ") if cell not in in_words}
        for layer, cell in told.items()
    }

    meant = {layer: names | set(ENGINES) if "engines" in names else names for layer, names in named.items()}
    assert {layer: names - {"engines"} for layer, names in meant.items()} == {
        layer: set(below) for layer, below in MAY_IMPORT.items() if layer not in (*ENGINES, "migrations")
    }


@pytest.mark.parametrize("addition", ADDED)
def test_an_addition_touches_what_is_said_and_nothing_else(addition: str) -> None:
    word, own = ADDED[addition]
    [row] = [row for row in rows(ARCHITECTURE) if row[0] == addition]
    listed = subprocess.run(
        ["git", "grep", "-lwI", "-e", word, "--", *OURS, "orwatch.example.toml"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode > 1:
        pytest.skip("this is no git checkout")
    touched = {path for path in listed.stdout.splitlines() if not re.match(own, path)}

    assert touched == paths(row[2])
