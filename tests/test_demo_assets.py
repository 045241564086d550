"""The recordings, the model, the catalogue and the truth that ship with the demo fit together."""

import ast
import csv
import itertools
import json
from pathlib import Path
from typing import Any

import av
import numpy as np
import onnx
import pytest
import yaml

ASSETS = Path(__file__).parents[1] / "daemon" / "demo_assets"
RECORDINGS = ("or-cam-01.mp4", "or-cam-02.mp4")


@pytest.fixture(scope="module")
def metadata() -> dict[str, str]:
    model = onnx.load(ASSETS / "consumables.onnx")
    return {entry.key: entry.value for entry in model.metadata_props}


@pytest.fixture(scope="module")
def labels(metadata: dict[str, str]) -> list[str]:
    names = ast.literal_eval(metadata["names"])
    return [names[index] for index in range(len(names))]


@pytest.fixture(scope="module")
def truth() -> dict[str, Any]:
    return dict(yaml.safe_load((ASSETS / "truth.yaml").read_text(encoding="utf-8")))


@pytest.mark.parametrize(
    ("name", "limit_mb"),
    [
        ("consumables.onnx", 4),
        ("or-cam-01.mp4", 8),
        ("or-cam-02.mp4", 8),
        ("truth.yaml", 0.02),
        ("catalogue.csv", 0.02),
    ],
)
def test_every_file_ships_and_stays_small(name: str, limit_mb: float) -> None:
    assert 0 < (ASSETS / name).stat().st_size <= limit_mb * 1e6


def test_the_model_says_what_it_is_as_an_ultralytics_export_does(metadata: dict[str, str], labels: list[str]) -> None:
    assert metadata["task"] == "classify"
    assert json.loads(metadata["imgsz"]) == [224, 224]
    assert int(metadata["stride"]) >= 1
    assert 8 <= len(labels) <= 9
    assert len(set(labels)) == len(labels)
    assert json.loads(metadata["background"]) == ["背景"]
    assert set(json.loads(metadata["background"])) < set(labels)


def test_the_model_gives_probabilities_for_any_batch(labels: list[str]) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(ASSETS / "consumables.onnx", providers=["CPUExecutionProvider"])
    (only,) = session.get_inputs()
    assert only.shape[1:] == [3, 224, 224]
    for batch in (1, 3):
        (scores,) = session.run(None, {only.name: np.full((batch, 3, 224, 224), 0.4, np.float32)})
        assert scores.shape == (batch, len(labels))
        assert np.allclose(scores.sum(1), 1, atol=1e-4)
        assert scores.min() >= 0


@pytest.mark.parametrize("name", RECORDINGS)
def test_a_recording_is_what_an_ip_camera_sends(name: str) -> None:
    with av.open(ASSETS / name) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264"
        assert (stream.width, stream.height) == (1280, 720)
        assert stream.average_rate == 25
        packets = [packet for packet in container.demux(stream) if packet.size]
    times = [packet.pts for packet in packets if packet.pts is not None]
    assert len(times) == len(packets)
    assert times == sorted(times), "B-frames"
    assert 60 <= len(packets) / 25 <= 75
    assert [index for index, packet in enumerate(packets) if packet.is_keyframe] == list(range(0, len(packets), 25))


@pytest.mark.parametrize("name", RECORDINGS)
def test_the_truth_lies_within_its_recording(name: str, truth: dict[str, Any], labels: list[str]) -> None:
    recording = truth["recordings"][name]
    with av.open(ASSETS / name) as container:
        stream = container.streams.video[0]
        assert stream.duration is not None
        assert stream.time_base is not None
        length_s = float(stream.duration * stream.time_base)
    assert f"{recording['camera']}.mp4" == name
    assert len(recording["items"]) >= 7
    before_s = 0.0
    for item in recording["items"]:
        assert item["label"] in labels
        assert item["label"] != "背景"
        assert item["expect"] in ("book", "ask")
        assert before_s < item["from_s"] < item["to_s"] <= length_s
        assert item["to_s"] - item["from_s"] >= 3.5
        before_s = item["to_s"]
    for other in recording["distractors"]:
        assert 0 <= other["from_s"] < other["to_s"] <= length_s


def test_the_recordings_hold_the_moments_the_demo_is_about(truth: dict[str, Any]) -> None:
    one, two = (truth["recordings"][name]["items"] for name in RECORDINGS)
    asked = [item for item in one + two if item["expect"] == "ask"]
    assert len(asked) == 1
    again = [(a, b) for a, b in itertools.pairwise(one) if a["label"] == b["label"]]
    assert len(again) == 1, "one piece leaves and comes back"
    assert again[0][1]["from_s"] - again[0][0]["to_s"] > 2.0
    (fusion,) = truth["fusions"]
    first, second = (fusion["cameras"][camera]["from_s"] for camera in ("or-cam-01", "or-cam-02"))
    assert abs(first - second) <= 5.0
    for items, start in ((one, first), (two, second)):
        assert [item["from_s"] for item in items if item["label"] == fusion["label"]] == [start]


def test_nothing_but_the_fusion_is_seen_by_both_cameras_at_once(truth: dict[str, Any]) -> None:
    one, two = (truth["recordings"][name]["items"] for name in RECORDINGS)
    close = [(a, b) for a in one for b in two if a["label"] == b["label"] and abs(a["from_s"] - b["from_s"]) <= 10]
    assert [a["label"] for a, _ in close] == [fusion["label"] for fusion in truth["fusions"]]


def test_the_catalogue_names_every_consumable_of_the_model(labels: list[str]) -> None:
    with (ASSETS / "catalogue.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["code", "name", "aliases", "specification", "udi_di"]
    assert {row["name"] for row in rows} == set(labels) - {"背景"}
    codes = [code for row in rows for code in row["code"].split("/")]
    assert len(set(codes)) == len(codes)
    assert any("/" in row["code"] for row in rows)
    names = [alias for row in rows for alias in (row["name"], *row["aliases"].split("|"))]
    assert len(set(names)) == len(names), "an alias that means two products"
