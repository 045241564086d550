"""A classifier of the size of yolo11n-cls whose scores also say which frame they are of.

The shared footage carries a frame counter (11 grey blocks, see tests/streams/counter.py). A few pooled pixels and two
small matrices read it inside the ONNX, so every contender, whatever its code, gives back with each result the frame
that was classified; nothing measures in its pixel path. Half of the probability goes to the bits of the counter, as
background labels: no sighting opens, as in nearly every window of a real surgery.

The weights are random. Time depends on the shapes only: about 0.2 G multiply-adds at 224x224, convolutions of
yolo11n-cls's widths, SiLU, a 1280-wide head.
"""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import yaml
from onnx import TensorProto, helper, numpy_helper

from bench.results import BIT_LABELS, BITS, ITEMS, SIZE
from tests.streams.counter import FRAME_HEIGHT, TOP

BLOCK_HEIGHT = 48
GAIN = 40.0

# (channels in, channels out, kernel, stride), one convolution after the other
LAYERS = (
    *[(3, 16, 3, 2), (16, 32, 3, 2), (32, 32, 3, 1), (32, 64, 1, 1)],
    *[(64, 64, 3, 2), (64, 64, 3, 1), (64, 128, 1, 1)],
    *[(128, 128, 3, 2), (128, 64, 1, 1), (64, 64, 3, 1), (64, 128, 1, 1)],
    *[(128, 256, 3, 2), (256, 128, 1, 1), (128, 128, 3, 1), (128, 256, 1, 1), (256, 1280, 1, 1)],
)


def build(folder: Path) -> Path:
    """Write classifier.onnx and its model file (stretch, RGB 0..1, probabilities); return the ONNX."""
    nodes: list[onnx.NodeProto] = []
    weights: list[onnx.TensorProto] = []

    def constant(name: str, values: npt.ArrayLike, dtype: type = np.float32) -> str:
        weights.append(numpy_helper.from_array(np.asarray(values, dtype), name))
        return name

    def add(kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    rng = np.random.default_rng(0)
    x = "images"
    for index, (cin, cout, kernel, stride) in enumerate(LAYERS):
        scale = (2.0 / (cin * kernel * kernel)) ** 0.5
        weight = constant(f"w{index}", rng.normal(0, scale, (cout, cin, kernel, kernel)))
        bias = constant(f"b{index}", np.zeros(cout))
        pads = [kernel // 2] * 4
        x = add("Conv", [x, weight, bias], f"conv{index}", kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=pads)
        x = add("Mul", [x, add("Sigmoid", [x], f"gate{index}")], f"silu{index}")
    x = add("Flatten", [add("GlobalAveragePool", [x], "pooled")], "features")
    head = constant("head", rng.normal(0, 0.01, (1280, len(ITEMS))))
    items = add("Mul", [add("Softmax", [add("MatMul", [x, head], "logits")], "items"), constant("half", 0.5)], "half_1")

    middle = [constant("from", [SIZE // 2 - 2], np.int64), constant("to", [SIZE // 2 + 2], np.int64)]
    strip = add("Slice", ["images", *middle, constant("axis", [3], np.int64)], "strip")
    rows = add("ReduceMean", [strip, constant("over", [1, 3], np.int64)], "rows", keepdims=0)  # (pictures, 224)
    levels = add("MatMul", [rows, constant("blocks", _block_rows())], "levels")  # (pictures, 11)
    above = add("MatMul", [levels, constant("compare", _above_middle())], "above")  # (pictures, 18): on, off, ...
    bits = add("Sigmoid", [add("Mul", [above, constant("gain", GAIN)], "steep")], "bits")
    add("Concat", [items, add("Mul", [bits, constant("share", 0.5 / BITS)], "half_2")], "scores", axis=1)

    labels = [*ITEMS, *BIT_LABELS]
    graph = helper.make_graph(
        nodes,
        "bench",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 3, SIZE, SIZE])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", len(labels)])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    path = folder / "classifier.onnx"
    onnx.save(model, str(path))
    file = {"output": "probabilities", "labels": labels, "background": list(BIT_LABELS), "fit": "stretch"}
    path.with_suffix(".yaml").write_text(yaml.safe_dump(file), encoding="utf-8")
    return path


def multiply_adds() -> int:
    """How many multiplications and additions one picture takes."""
    total, side = 0, SIZE
    for cin, cout, kernel, stride in LAYERS:
        side //= stride
        total += side * side * kernel * kernel * cin * cout
    return total


def _block_rows() -> npt.NDArray[np.float32]:
    """Picks the mean of three rows in the middle of each of the 11 blocks."""
    picks = np.zeros((SIZE, 2 + BITS), np.float32)
    for block in range(2 + BITS):
        row = round((TOP + BLOCK_HEIGHT * (block + 0.5)) * SIZE / FRAME_HEIGHT)
        picks[row - 1 : row + 2, block] = 1 / 3
    return picks


def _above_middle() -> npt.NDArray[np.float32]:
    """Each bit's block against the middle of the white and the black one, and the opposite."""
    compare = np.zeros((2 + BITS, 2 * BITS), np.float32)
    for bit in range(BITS):
        compare[:2, 2 * bit] = -0.5
        compare[2 + bit, 2 * bit] = 1.0
        compare[:, 2 * bit + 1] = -compare[:, 2 * bit]
    return compare
