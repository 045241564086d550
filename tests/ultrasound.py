"""Tiny real ONNX models of ultrasound, whose answers can be worked out by hand, and pictures for them.

- segmenter: a pixel is foreground where it is brighter than a half.
- classifier: of two classes by the mean brightness; of four by which quarter of 0..1 the mean lies in.
- universal: takes all four prompts; its three outputs move with each of them, by a step that differs for every place.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

Rgb = npt.NDArray[np.uint8]

SIDE = 224
GAIN = 20.0
PROMPTS = {"position": 8, "task": 2, "nature": 2, "type": 3}
# What each place of a prompt adds: no two sums of one place each are equal.
STEPS = {
    "position": [0.01 * (index + 1) for index in range(8)],
    "task": [0.1, 0.2],
    "nature": [0.3, 0.6],
    "type": [1.0, 2.0, 3.0],
}
_COLUMNS = {"seg": ["N", 2, SIDE, SIDE], "cls_2": ["N", 2], "cls_4": ["N", 4]}


class Graph:
    """Collects nodes and constants."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, name: str, values: npt.ArrayLike, dtype: type = np.float32) -> str:
        self.constants.append(numpy_helper.from_array(np.asarray(values, dtype), name))
        return name

    def add(self, kind: str, inputs: Sequence[str], output: str, **attributes: object) -> str:
        self.nodes.append(helper.make_node(kind, list(inputs), [output], **attributes))
        return output

    def save(
        self,
        path: Path,
        inputs: Mapping[str, Sequence[int | str]],
        outputs: Mapping[str, Sequence[int | str]],
        metadata: Mapping[str, str],
    ) -> Path:
        graph = helper.make_graph(
            self.nodes,
            "toy",
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
            self.constants,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
        helper.set_model_props(model, dict(metadata))
        onnx.save(model, path)
        return path


def segmenter(
    path: Path,
    *,
    side: int | str = SIDE,
    batch: int | str = "N",
    channels: int = 2,
    metadata: Mapping[str, str] | None = None,
    image: str = "image",
    seg: str = "seg",
    ends_in: str = "Identity",
) -> Path:
    """channels: two of logits, or one. ends_in: the last node, such as Sigmoid."""
    graph = Graph()
    mean = graph.add("ReduceMean", [image], "grey", axes=[1], keepdims=1)
    bright = graph.add("Mul", [graph.add("Sub", [mean, graph.constant("half", 0.5)], "above"), _gain(graph)], "bright")
    if channels == 2:
        bright = graph.add("Concat", [graph.add("Neg", [bright], "dark"), bright], "both", axis=1)
    graph.add(ends_in, [bright], seg)
    shapes = {image: [batch, 3, side, side]}, {seg: [batch, channels, side, side]}
    return graph.save(path, *shapes, metadata or {})


def classifier(
    path: Path,
    *,
    classes: int = 2,
    batch: int | str = "N",
    metadata: Mapping[str, str] | None = None,
    output: str | None = None,
    declared: int | None = None,
    ends_in: str = "Identity",
) -> Path:
    """Logits around the middle of each class's share of 0..1. declared: what the ONNX says instead of `classes`."""
    graph = Graph()
    mean = graph.add("ReduceMean", ["image"], "mean", axes=[1, 2, 3], keepdims=0)
    column = graph.add("Unsqueeze", [mean, graph.constant("one", [1], np.int64)], "column")
    centres = graph.constant("centres", [[(index + 0.5) / classes for index in range(classes)]])
    far = graph.add("Abs", [graph.add("Sub", [column, centres], "off")], "far")
    logits = graph.add("Mul", [graph.add("Neg", [far], "near"), _gain(graph)], "logits")
    graph.add(ends_in, [logits], output or f"cls_{classes}")
    shapes = {"image": [batch, 3, SIDE, SIDE]}, {output or f"cls_{classes}": [batch, declared or classes]}
    return graph.save(path, *shapes, metadata or {})


def universal(path: Path, *, without: Sequence[str] = (), renamed: Mapping[str, str] | None = None) -> Path:
    """Every answer's logit is brightness * GAIN plus the STEPS of its prompts, against 0. without: prompts it lacks."""
    graph, names = Graph(), renamed or {}
    inputs: dict[str, Sequence[int | str]] = {names.get("image", "image"): ["N", 3, SIDE, SIDE]}
    image = next(iter(inputs))
    total = graph.constant("nothing", [[0.0]])
    for prompt in (name for name in PROMPTS if name not in without):
        name = names.get(prompt, prompt)
        inputs[name] = ["N", PROMPTS[prompt]]
        weights = graph.constant(f"{prompt}_steps", np.array(STEPS[prompt])[:, None])
        total = graph.add("Add", [total, graph.add("MatMul", [name, weights], f"{prompt}_step")], f"after_{prompt}")
    grey = graph.add("ReduceMean", [image], "grey", axes=[1], keepdims=1)
    bright = graph.add("Mul", [graph.add("Sub", [grey, graph.constant("half", 0.5)], "above"), _gain(graph)], "bright")
    lifted = graph.add("Unsqueeze", [total, graph.constant("planes", [2, 3], np.int64)], "lifted")
    front = graph.add("Add", [bright, lifted], "front")
    back = graph.add("Mul", [front, graph.constant("zero", 0.0)], "back")
    graph.add("Concat", [back, front], names.get("seg", "seg"), axis=1)
    mean = graph.add("ReduceMean", [bright], "mean", axes=[2, 3], keepdims=0)
    score = graph.add("Add", [mean, total], "score")
    none = graph.add("Mul", [score, "zero"], "none")
    graph.add("Concat", [none, score], names.get("cls_2", "cls_2"), axis=1)
    graph.add("Concat", [none, none, score, none], names.get("cls_4", "cls_4"), axis=1)
    outputs = {names.get(head, head): shape for head, shape in _COLUMNS.items()}
    return graph.save(path, inputs, outputs, {})


def prompt_sum(**chosen: int) -> float:
    """What the prompts add to a logit of the universal model."""
    return sum(STEPS[name][index] for name, index in chosen.items())


def ellipse(width: int, height: int, *, box: tuple[float, float, float, float]) -> Rgb:
    """A bright ellipse on dark ground; box: left, top, right, bottom as shares of the picture."""
    x, y = (np.arange(width) + 0.5) / width, (np.arange(height) + 0.5) / height
    left, top, right, bottom = box
    across = (x - (left + right) / 2) / ((right - left) / 2)
    down = (y - (top + bottom) / 2) / ((bottom - top) / 2)
    inside = across[None, :] ** 2 + down[:, None] ** 2 <= 1
    return np.repeat(np.where(inside, 230, 20).astype(np.uint8)[..., None], 3, axis=2)


def truth_of(rgb: Rgb) -> npt.NDArray[np.uint8]:
    """The mask that the segmenter should find."""
    return np.where(rgb[..., 0] > 127, 255, 0).astype(np.uint8)


def save(path: Path, rgb: Rgb) -> Path:
    """As PNG or JPEG, by the name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(path.suffix, rgb[..., ::-1] if rgb.ndim == 3 else rgb)[1].tobytes())
    return path


def record(task: str, dataset: str, path: str = "api_in/a.png", **changes: object) -> dict[str, object]:
    """The seed's record, with null where its own example has it."""
    return {
        "img_name": Path(path).name,
        "img_path_relative": path,
        "img_size_bytes": 118306,
        "img_dimensions": [1008, 819],
        "img_format": "png",
        "task": task,
        "dataset_name": dataset,
        "organ": "Kidney",
        "data_partition_group": "private_val",
        "mask_name": None,
        "mask_path_relative": None,
        "seg_target_info": None,
        "class_label_index": None,
        "class_label_name": None,
    } | changes


def _gain(graph: Graph) -> str:
    return graph.constant("gain", GAIN)
