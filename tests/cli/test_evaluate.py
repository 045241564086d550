"""What `orwatch evaluate` measures, prints and enforces."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Done

Call = Callable[..., Done]
Config = Callable[..., Path]

TRUTH = """
recordings:
  left.mp4:
    camera: left
    items: [{label: 纱布, from_s: 1, to_s: 3}]
  right.mp4:
    camera: right
    items:
      - {label: 纱布, from_s: 1.4, to_s: 3.4}
      - {label: 缝线, from_s: 5.4, to_s: 7.4, expect: ask}
"""


@pytest.fixture
def truth(clips: Path) -> Path:
    path = clips / "truth.yaml"
    path.write_text(TRUTH, encoding="utf-8")
    return path


def test_the_figures_of_a_small_truth(call: Call, config: Config, truth: Path) -> None:
    done = call("evaluate", "--truth", truth, "-c", config(), "--json", "--naive")

    assert done.code == 0, done
    told = json.loads(done.out)
    figures = told["figures"]
    assert (figures["precision"], figures["recall"], figures["recall_booked"]) == (1.0, 1.0, 1.0)
    assert (figures["items"], figures["booked"], figures["questions"]) == (3, 2, 1)
    assert told["verdicts"][2]["judged"] == "asked_right"
    assert {"true": "缝线", "became": "(asked)", "count": 1} in told["confusion"]
    assert {point["threshold"] for point in told["curve"]["auto_confirm"]} >= {0.5, 0.9}
    assert told["naive"]["figures"]["recall"] == pytest.approx(2 / 3)


def test_the_tables_and_the_picture(call: Call, config: Config, truth: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")

    done = call("evaluate", "--truth", truth, "-c", config(), "--naive", "--chart", tmp_path / "chart.png")

    assert done.code == 0, done
    for words in ("precision of what was booked", "Count error per item", "What it became", "auto_confirm swept"):
        assert words in done.out
    assert (tmp_path / "chart.png").read_bytes().startswith(b"\x89PNG")


def test_a_bound_that_is_not_met_fails(call: Call, config: Config, truth: Path) -> None:
    truth.write_text(TRUTH.replace("from_s: 1, to_s: 3}", "from_s: 8, to_s: 9}"), encoding="utf-8")
    bounds = ("--require-precision", "0.9", "--require-recall", "0.95")

    done = call("evaluate", "--truth", truth, "-c", config(), *bounds)

    assert done.code == 1
    assert done.err.startswith("orwatch: precision 0.500 is below 0.9; recall 0.667 is below 0.95.")
    assert "missed" in done.out


def test_bounds_that_are_met(call: Call, config: Config, truth: Path) -> None:
    bounds = ("--require-precision", "1", "--require-recall", "1")

    assert call("evaluate", "--truth", truth, "-c", config(), *bounds).code == 0


def test_other_recordings_under_the_same_names(call: Call, config: Config, truth: Path, tmp_path: Path) -> None:
    assert "left.mp4" in call("evaluate", "--truth", truth, "-c", config(), "--recordings", tmp_path).err
    for name, source in (("left.mp4", "right.mp4"), ("right.mp4", "left.mp4")):
        (tmp_path / name).write_bytes((truth.parent / source).read_bytes())

    done = call("evaluate", "--truth", truth, "-c", config(), "--recordings", tmp_path, "--json")

    assert json.loads(done.out)["figures"]["missed"] == 1
