"""`orwatch retina analyze`: a real model, here or on a real server, and what a person sees."""

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests import oct as scans
from tests.cli.conftest import Done
from tests.servers.kserve import GrpcServer, Rack

Call = Callable[..., Done]


@pytest.fixture
def local(tmp_path: Path) -> Path:
    scans.model(tmp_path / "oct.onnx", gives=("scores", "maps"), height=31, width=47)
    config = tmp_path / "orwatch.toml"
    config.write_text('[imaging.retina]\nmodel_path = "oct.onnx"\nlabels = ["dark", "bright"]\n', encoding="utf-8")
    return config


def test_an_image_and_a_volume_are_analyzed_and_written(call: Call, local: Path, tmp_path: Path) -> None:
    image = scans.picture(tmp_path / "a.png", np.full((31, 47), 200, np.uint8))
    volume = scans.volume(tmp_path / "v.dcm", np.stack([np.full((31, 47), value, np.uint8) for value in (20, 220)]))

    done = call("retina", "analyze", image, volume, "--out", tmp_path / "out", "-c", local)

    assert done.code == 0, done.err
    first, second = json.loads(done.out)
    assert (first["filename"], first["findings"][0]["label"]) == ("a.png", "bright")
    assert [zone["slice_idx"] for zone in second["zones"]] == [0, 1]
    assert json.loads((tmp_path / "out/v/result.json").read_text())["zones"] == second["zones"]
    mask = cv2.imread(str(tmp_path / "out/v" / second["zones"][1]["mask"]), cv2.IMREAD_UNCHANGED)
    assert (mask == 2).all()
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a", "v"]


def test_one_image_gives_one_result_and_writes_nothing_unasked(call: Call, local: Path, tmp_path: Path) -> None:
    image = scans.picture(tmp_path / "a.png", np.full((31, 47), 200, np.uint8))
    before = sorted(tmp_path.iterdir())

    done = call("retina", "analyze", image, "-p", '{"low_confidence_p": 0.5}', "-c", local)

    assert [each["label"] for each in json.loads(done.out)["findings"]] == ["bright"]
    assert sorted(tmp_path.iterdir()) == before


def test_what_cannot_be_used_is_told_and_the_others_are_done(call: Call, local: Path, tmp_path: Path) -> None:
    image = scans.picture(tmp_path / "a.png", np.full((31, 47), 200, np.uint8))
    broken = tmp_path / "b.png"
    broken.write_bytes(b"")

    done = call("retina", "analyze", broken, image, "--out", tmp_path / "out", "-c", local)

    assert done.code == 1
    assert "b.png 是空文件" in done.err
    assert [each["filename"] for each in json.loads(done.out)] == ["a.png"]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a"]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["-p", '{"mm_crop_zone": 99}'], "Inference-Parameters.mm_crop_zone"),
        (["-p", "{"], "不是有效的 JSON"),
        (["--out", "."], "里已有 taken"),
    ],
    ids=["out of range", "no JSON", "taken"],
)
def test_a_wrong_command_line_is_told_before_anything_is_asked(
    call: Call, local: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken").mkdir()
    image = scans.picture(tmp_path / "taken.png", np.full((31, 47), 200, np.uint8))

    done = call("retina", "analyze", image, *options, "-c", local)

    assert done.code == 2
    assert told in done.err
    assert done.out == ""


def test_a_server_that_is_away_is_told_in_one_line(call: Call, tmp_path: Path) -> None:
    image = scans.picture(tmp_path / "a.png", np.full((31, 47), 200, np.uint8))
    with GrpcServer(Rack({"oct": scans.model(tmp_path / "oct.onnx")})) as server:
        config = tmp_path / "orwatch.toml"
        config.write_text(
            f'[imaging.retina]\nserver_url = "{server.url}"\nmodel_name = "oct"\nlabels = ["dark", "bright"]\n',
            encoding="utf-8",
        )
        assert call("retina", "analyze", image, "-c", config).code == 0

    done = call("retina", "analyze", image, "-c", config)

    assert done.code == 1
    assert "无法连接" in done.err
    assert "Traceback" not in done.err


def test_unconfigured_it_names_the_keys(call: Call, tmp_path: Path) -> None:
    image = scans.picture(tmp_path / "a.png", np.full((31, 47), 200, np.uint8))
    config = tmp_path / "orwatch.toml"
    config.write_text("", encoding="utf-8")

    done = call("retina", "analyze", image, "-c", config)

    assert done.code == 2
    assert "imaging.retina.server_url" in done.err
