"""What the test cameras see and the test model knows: colours. Black is nothing, red is gauze, amber is doubtful."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.streams.clips import encode

LABELS = ("背景", "纱布", "缝线", "止血钳")
FPS = 10
BLACK, RED, GREEN, BLUE = (0, 0, 0), (235, 0, 0), (0, 235, 0), (0, 0, 235)
# 0.6 gauze, 0.3 suture: not enough to book, enough to ask.
AMBER = (120, 100, 0)
SIDE = 48
# A strip at the edge that flickers: a picture without detail or motion would be reported as covered or frozen.
FLICKER = (36, 44, 52)

Scene = Sequence[tuple[float, tuple[int, int, int]]]

SCENES: dict[str, Scene] = {
    "nothing": [(4, BLACK)],
    "gauze": [(0.5, RED), (30, BLACK)],
    "doubtful": [(1.0, AMBER), (30, BLACK)],
    "gauze_stays": [(4, RED)],
    "doubtful_stays": [(4, AMBER)],
    "gauzes": [(1.0, RED), (1.2, BLACK)],
}


def film(path: Path, scene: Scene) -> Path:
    """A clip of colours, seconds each."""

    def frames() -> Iterator[npt.NDArray[np.uint8]]:
        for seconds, colour in scene:
            for index in range(round(seconds * FPS)):
                pixels = np.full((SIDE, SIDE, 3), colour, np.uint8)
                pixels[:, : SIDE // 4] = FLICKER[index % len(FLICKER)]
                yield pixels

    return encode(path, frames(), fps=FPS, group=FPS)


def colour_model(path: Path) -> Path:
    """A real ONNX: softmax over (a constant for the background, ten times the mean of red, green and blue)."""
    weights = np.zeros((3, 4), np.float32)
    weights[0, 1] = weights[1, 2] = weights[2, 3] = 10.0
    graph = helper.make_graph(
        [
            helper.make_node("GlobalAveragePool", ["images"], ["means"]),
            helper.make_node("Flatten", ["means"], ["flat"], axis=1),
            helper.make_node("Gemm", ["flat", "weights", "bias"], ["logits"]),
            helper.make_node("Softmax", ["logits"], ["output0"]),
        ],
        "colours",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 3, 8, 8])],
        [helper.make_tensor_value_info("output0", TensorProto.FLOAT, ["batch", 4])],
        [
            numpy_helper.from_array(weights, "weights"),
            numpy_helper.from_array(np.array([2, 0, 0, 0], np.float32), "bias"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    names = "{" + ", ".join(f"{index}: '{label}'" for index, label in enumerate(LABELS)) + "}"
    helper.set_model_props(model, {"task": "classify", "imgsz": "[8, 8]", "names": names, "batch": "1"})
    onnx.save(model, path)
    return path
