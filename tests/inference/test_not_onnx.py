"""What else is set as a model is named with what to do about it; a model that is too new says both versions."""

import io
import json
import os
import re
import struct
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from inference.errors import ModelBroken, ModelError, ModelIncomplete, ModelNotOnnx, ModelTooNew, ModelUnsupported
from inference.onnxfile import read_onnx
from inference.runtime import onnxruntime
from tests import rules
from tests.inference.heads import NAMES, SOFTMAX, node, save


def zipped(*names: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name in names:
            archive.writestr(name, b"\x80\x02}q\x00.")
    return out.getvalue()


HEADER = json.dumps({"weight": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
ENGINE = json.dumps({"description": "Ultralytics model", "task": "classify"}).encode()
KINDS = [
    ("best.pt", zipped("best/data.pkl", "best/version"), "PyTorch file", "yolo export model=best.pt format=onnx"),
    ("best.onnx", zipped("best/data.pkl", "best/version"), "PyTorch file", "torch.onnx.export"),
    ("scripted.pt", zipped("m/code/__torch__.py", "m/constants.pkl"), "PyTorch file", "yolo export"),
    ("old.pth", b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.", "PyTorch file", "yolo export"),
    ("cut.ckpt", zipped("m/data.pkl")[:60], "PyTorch file", "yolo export"),
    ("m.safetensors", struct.pack("<Q", len(HEADER)) + HEADER + bytes(4), "safetensors file", "export that to ONNX"),
    ("m.h5", b"\x89HDF\r\n\x1a\n" + bytes(99), "Keras file", "tf2onnx"),
    ("m.keras", zipped("config.json", "model.weights.h5"), "Keras file", "tf2onnx"),
    ("frozen.pb", b"\x0a\x09\x0a\x01x\x12\x04Node", "TensorFlow model", "tf2onnx"),
    ("m.tflite", b"\x1c\0\0\0TFL3" + bytes(99), "TensorFlow Lite", "tf2onnx"),
    ("m.ortx.onnx", b"\x1c\0\0\0ORTM" + bytes(99), "ONNX Runtime's own format", ".ort"),
    ("m.engine", b"ftrt" + bytes(99), "TensorRT engine", "was built from"),
    ("m.onnx", struct.pack("<i", len(ENGINE)) + ENGINE + bytes(99), "TensorRT engine", "was built from"),
    ("m.plan", b"\x01\x02\x07\xff" + bytes(99), "TensorRT engine", "was built from"),
    ("m.xml", b'<?xml version="1.0"?>\n<net name="m" version="11">', "OpenVINO", "was made from"),
    ("m.mlmodel", b"\x08\x04\x12\x02ab", "Core ML", "Export the model to ONNX"),
    ("m.pdmodel", b"\x0a\x02ab", "Paddle", "paddle2onnx"),
    ("m.zip", zipped("consumables.onnx"), "archive", "Unpack it"),
    ("m.onnx.gz", b"\x1f\x8b\x08" + bytes(99), "archive", "Unpack it"),
    ("m.onnx", b"\n<!DOCTYPE html>\n<html><title>Sign in</title>", "web page", "Fetch the file itself"),
    ("m.onnx", b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "XML file", "Fetch the file itself"),
    ("m.onnx", b'{"error": "token secret-123 expired"}', "text file", "Fetch the file itself"),
    ("m.onnx", "模型在哪里".encode(), "text file", "Fetch the file itself"),
    ("m.onnx", b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "Git LFS pointer", "git lfs pull"),
    ("m.onnx", b"", "is empty (0 bytes)", "Fetch the file itself"),
]


@pytest.mark.parametrize(("name", "content", "what", "mend"), KINDS, ids=[f"{k[0]} {k[2]}" for k in KINDS])
def test_a_file_of_another_kind_is_named(tmp_path: Path, name: str, content: bytes, what: str, mend: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)

    with pytest.raises(
        ModelNotOnnx, match=f"{re.escape(str(path))}: is .*{re.escape(what.removeprefix('is '))}"
    ) as caught:
        rules.model(path)

    assert mend in caught.value.hint
    assert "secret" not in str(caught.value), "what a text says is not repeated"


def test_a_folder_is_named_for_what_it_holds(tmp_path: Path) -> None:
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "saved_model.pb").write_bytes(b"\x08\x01")
    with pytest.raises(ModelNotOnnx, match="is a TensorFlow SavedModel folder"):
        rules.model(tmp_path / "saved")
    (tmp_path / "best.mlpackage").mkdir()
    with pytest.raises(ModelNotOnnx, match="is a Core ML model"):
        rules.model(tmp_path / "best.mlpackage")
    with pytest.raises(ModelNotOnnx, match=r"is a folder, and holds no \.onnx"):
        rules.model(tmp_path)
    save(tmp_path / "m.onnx", SOFTMAX)
    with pytest.raises(ModelNotOnnx, match=r"is a folder; it holds m\.onnx"):
        rules.model(tmp_path)


def test_an_onnx_of_any_name_is_taken(tmp_path: Path) -> None:
    for name in ("m.pb", "m.bin", "m", "weights.pt"):
        assert rules.model(save(tmp_path / name, SOFTMAX)).labels == NAMES


def test_a_file_in_the_format_of_onnx_runtime_is_taken_by_its_name(tmp_path: Path) -> None:
    path = save(tmp_path / "m.onnx", SOFTMAX)
    ort = onnxruntime()
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "m.ort")
    ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    assert rules.model(tmp_path / "m.ort").labels == NAMES
    (tmp_path / "m.yaml").write_text("output: logits\n")
    with pytest.raises(ModelError, match="probabilities already"):
        rules.model(tmp_path / "m.ort")


@pytest.mark.parametrize("share", [0.02, 0.3, 0.7, 0.999])
def test_a_file_that_is_cut_off_says_how_much_is_missing(tmp_path: Path, share: float) -> None:
    path = save(tmp_path / "m.onnx", SOFTMAX)
    size = path.stat().st_size
    os.truncate(path, int(size * share))

    with pytest.raises(ModelBroken, match=rf"is cut off: it has {int(size * share)} bytes, of at least \d+") as caught:
        rules.model(path)
    assert "compare its size and checksum" in caught.value.hint


def test_damage_is_refused_or_read_and_never_more_than_that(tmp_path: Path) -> None:
    path = save(tmp_path / "m.onnx", SOFTMAX)
    whole = path.read_bytes()
    random = np.random.default_rng(0)
    refused = 0
    for _ in range(500):
        damaged = bytearray(whole)
        for at in random.integers(0, len(whole), 4):
            damaged[at] = random.integers(0, 256)
        path.write_bytes(damaged)
        try:
            read_onnx(path)
        except ModelError:
            refused += 1
    assert 100 < refused < 500


# --- too new ---


@pytest.mark.parametrize(
    ("bend", "has"),
    [
        ({"ir": 99}, "IR version 99, opset 17"),
        ({"opset": 40}, "IR version 9, opset 40"),
        ({"ir": 99, "opset": 40}, "IR version 99, opset 40"),
        ({"domains": {"ai.onnx.ml": 99}}, "IR version 9, opset 17, opset 99 of ai.onnx.ml"),
    ],
)
def test_a_model_that_is_too_new_says_both_versions(tmp_path: Path, bend: dict, has: str) -> None:
    path = save(tmp_path / "m.onnx", SOFTMAX, **bend)

    with pytest.raises(ModelTooNew) as caught:
        rules.model(path)

    message = str(caught.value)
    assert str(path) in message
    assert f"this ONNX Runtime {onnxruntime().__version__} reads" in message
    assert f"it has {has}; expected at most IR version " in message
    limits = re.search(r"at most IR version (\d+), opset (\d+)", message)
    assert limits
    assert 9 <= int(limits[1]) < 99
    assert 17 <= int(limits[2]) < 40
    assert ("of ai.onnx.ml" in message.partition("at most")[2]) == ("ai.onnx.ml" in has)
    assert "older opset" in caught.value.hint
    assert "upgrade onnxruntime" in caught.value.hint


def test_what_it_says_to_read_at_most_it_reads(tmp_path: Path) -> None:
    with pytest.raises(ModelTooNew) as caught:
        rules.model(save(tmp_path / "new.onnx", SOFTMAX, ir=99))
    ir, opset = map(int, re.search(r"at most IR version (\d+), opset (\d+)", str(caught.value)).groups())

    assert rules.model(save(tmp_path / "newest.onnx", SOFTMAX, ir=ir, opset=opset)).labels == NAMES
    for bend in ({"ir": ir + 1}, {"opset": opset + 1}):
        with pytest.raises(ModelTooNew):
            rules.model(save(tmp_path / "newer.onnx", SOFTMAX, **bend))


# --- operators of others ---


@pytest.mark.parametrize("domain", ["TRT", "ultralytics", "ai.onnx.contrib"])
def test_an_operator_of_a_plugin_is_named(tmp_path: Path, domain: str) -> None:
    path = save(tmp_path / "m.onnx", node("EfficientNMS", domain=domain), domains={domain: 1})

    with pytest.raises(ModelUnsupported, match=rf"does not have: {domain}:EfficientNMS$") as caught:
        rules.model(path)
    assert "without plugins" in caught.value.hint


def test_an_operator_that_its_opset_does_not_have_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelUnsupported, match="No Op registered for Gelu with domain_version of 17"):
        rules.model(save(tmp_path / "m.onnx", node("Gelu"), SOFTMAX))


def test_an_operator_of_microsoft_is_no_plugin(tmp_path: Path) -> None:
    ends = [node("Gelu", domain="com.microsoft"), SOFTMAX]
    assert rules.model(save(tmp_path / "m.onnx", *ends, domains={"com.microsoft": 1})).labels == NAMES


def test_a_function_that_the_file_defines_is_no_plugin(tmp_path: Path) -> None:
    path = save(tmp_path / "m.onnx", node("Twice", domain="mine"), SOFTMAX, domains={"mine": 1})
    model = onnx.load(path)
    body = [helper.make_node("Add", ["x", "x"], ["y"])]
    model.functions.append(helper.make_function("mine", "Twice", ["x"], ["y"], body, [helper.make_opsetid("", 17)]))
    onnx.save(model, path)

    assert read_onnx(path).foreign == ()
    assert rules.model(path).labels == NAMES


def test_what_onnx_runtime_says_is_not_cut_before_its_point(tmp_path: Path) -> None:
    path = save(tmp_path / "m.onnx", node("Concat", axis=1, also=[np.ones((1, 2), np.float32)]), node("Relu"), SOFTMAX)
    model = onnx.load(path)
    model.graph.node[-1].input[0] = "nothing gives this"
    onnx.save(model, path)

    with pytest.raises(ModelBroken, match="nothing gives this") as caught:
        rules.model(path)
    assert "/onnxruntime_src/" not in str(caught.value)
    assert "copying" not in caught.value.hint


# --- data beside the file ---


def external(folder: Path, location: str = "m.onnx.data") -> Path:
    path = save(folder / "m.onnx", SOFTMAX)
    model = onnx.load(path)
    onnx.save(model, path, save_as_external_data=True, location="m.onnx.data", size_threshold=0)
    model = onnx.load(path, load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = location
    path.write_bytes(model.SerializeToString())
    return path


def test_weights_in_a_file_beside_it_are_looked_for(tmp_path: Path) -> None:
    path = external(tmp_path)
    data = tmp_path / "m.onnx.data"
    assert rules.model(path).labels == NAMES

    whole = data.read_bytes()
    data.write_bytes(whole[:-1])
    with pytest.raises(
        ModelIncomplete, match=rf"m\.onnx\.data: is cut off: it has {len(whole) - 1} bytes.*{len(whole)}"
    ):
        rules.model(path)

    data.unlink()
    with pytest.raises(ModelIncomplete, match=r"weights stand in m\.onnx\.data, which is not beside it") as caught:
        rules.model(path)
    assert isinstance(caught.value, FileNotFoundError)
    assert "Copy all files" in caught.value.hint


@pytest.mark.parametrize("location", ["../m.data", "/etc/passwd", "a/../../m.data", "..\\m.data"])
def test_weights_are_read_from_nowhere_else(tmp_path: Path, location: str) -> None:
    path = external(tmp_path, location)

    with pytest.raises(ModelIncomplete, match="which is not in its own folder"):
        rules.model(path)


def test_what_the_file_says_is_read_as_onnx_reads_it() -> None:
    demo = Path(__file__).parents[2] / "daemon" / "demo_assets" / "consumables.onnx"
    found, model = read_onnx(demo), onnx.load(demo)

    assert found.ir_version == model.ir_version
    assert found.opsets == {each.domain: each.version for each in model.opset_import}
    assert [(each.op, each.inputs, each.outputs) for each in found.nodes] == [
        (each.op_type, tuple(each.input), tuple(each.output)) for each in model.graph.node
    ]
    assert found.last(model.graph.output[0].name).op == "Softmax"
    assert model.graph.input[0].type.tensor_type.elem_type == TensorProto.FLOAT
