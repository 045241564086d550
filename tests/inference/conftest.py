"""Real tiny ONNX classifiers: their scores follow the mean colour of the picture."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

COLOURS = ("red", "green", "blue")
ULTRALYTICS = {"task": "classify", "imgsz": "[8, 8]", "names": "{0: 'red', 1: 'green', 2: 'blue'}", "batch": "1"}

Build = Callable[..., Path]


@pytest.fixture
def colour(tmp_path: Path) -> Build:
    """Writes an ONNX that says which of red, green and blue is strongest; every argument bends it in one way."""

    def build(
        name: str = "colours.onnx",
        *,
        metadata: Mapping[str, str] | None = ULTRALYTICS,
        batch: int | str = "batch",
        size: int | str = 8,
        depth: int = 3,
        layout: str = "nchw",
        dtype: int = TensorProto.FLOAT,
        ends_in: str = "probabilities",
        gain: float = 10.0,
        output_shape: Sequence[int | str] | None = None,
        outputs: int = 1,
        inputs: int = 1,
        baked_batch: int | None = None,
    ) -> Path:
        shape = [batch, depth, size, size] if layout == "nchw" else [batch, size, size, depth]
        nodes = [helper.make_node("Cast", ["images"], ["floats"], to=TensorProto.FLOAT)]
        picture = "floats"
        if layout == "nhwc":
            nodes.append(helper.make_node("Transpose", [picture], ["planes"], perm=[0, 3, 1, 2]))
            picture = "planes"
        nodes.append(helper.make_node("GlobalAveragePool", [picture], ["means"]))
        constants = [numpy_helper.from_array(np.array([gain], np.float32), "gain")]
        if baked_batch is None:
            nodes.append(helper.make_node("Flatten", ["means"], ["flat"], axis=1))
        else:
            constants.append(numpy_helper.from_array(np.array([baked_batch, depth], np.int64), "baked"))
            nodes.append(helper.make_node("Reshape", ["means", "baked"], ["flat"]))
        nodes.append(helper.make_node("Mul", ["flat", "gain"], ["logits"]))
        last = {"probabilities": "Softmax", "logits": "Identity", "sigmoid": "Sigmoid", "nan": "Log"}[ends_in]
        nodes.append(helper.make_node(last, ["logits"], ["output0"]))
        for number in range(1, outputs):
            nodes.append(helper.make_node("Identity", ["output0"], [f"output{number}"]))
        graph = helper.make_graph(
            nodes,
            "colours",
            [helper.make_tensor_value_info(n, dtype, shape) for n in ("images", "more")[:inputs]],
            [
                helper.make_tensor_value_info(f"output{n}", TensorProto.FLOAT, output_shape or [batch, depth])
                for n in range(outputs)
            ],
            constants,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
        helper.set_model_props(model, dict(metadata or {}))
        path = tmp_path / name
        onnx.save(model, path)
        return path

    return build


@pytest.fixture
def painted() -> Callable[..., np.ndarray]:
    """A picture of one colour: painted(200, 10, 10) is red."""

    def paint(red: int, green: int, blue: int, size: int = 8) -> np.ndarray:
        return np.full((size, size, 3), (red, green, blue), np.uint8)

    return paint
