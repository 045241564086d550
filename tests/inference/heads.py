"""Real ONNX classifiers that differ in how they begin and how they end."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

NAMES = ("纱布", "缝线", "止血钳", "背景", "手", "刀片", "导管", "敷料", "托盘")


def node(op: str, **attributes: Any) -> tuple[str, dict[str, Any], tuple[np.ndarray, ...]]:
    """One step; `also` holds further inputs, which become constants."""
    also = tuple(np.asarray(value) for value in attributes.pop("also", ()))
    return op, attributes, also


SOFTMAX = node("Softmax", axis=1)


def save(
    path: Path,
    *ends: tuple[str, dict[str, Any], tuple[np.ndarray, ...]],
    begins: Iterable[tuple[str, dict[str, Any], tuple[np.ndarray, ...]]] = (),
    labels: int = 9,
    gain: float = 30.0,
    weights: np.ndarray | None = None,
    output: int = TensorProto.FLOAT,
    shape: tuple[Any, ...] | None = None,
    names: Iterable[str] | None = None,
    metadata: Mapping[str, str] | None = None,
    batch: Any = "batch",
    ir: int = 9,
    opset: int = 17,
    domains: Mapping[str, int] | None = None,
) -> Path:
    """begins, the mean of each colour, weights (3, labels) `gain` times the colour itself, ends."""
    if weights is None:
        weights = np.eye(3, labels, dtype=np.float32) * gain
    constants = [numpy_helper.from_array(weights.astype(np.float32), "weights")]
    nodes: list[NodeProto] = []
    value = "images"
    steps = [*begins, node("GlobalAveragePool"), node("Flatten", axis=1), ("MatMul", {}, ("weights",)), *ends]
    for number, (op, attributes, also) in enumerate(steps):
        inputs = [value]
        for place, constant in enumerate(also):
            if isinstance(constant, str):
                inputs.append(constant)
            else:
                inputs.append(f"constant{number}_{place}")
                constants.append(numpy_helper.from_array(constant, inputs[-1]))
        value = "scores" if number == len(steps) - 1 else f"value{number}"
        nodes.append(helper.make_node(op, inputs, [value], **attributes))
    graph = helper.make_graph(
        nodes,
        "head",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [batch, 3, 8, 8])],
        [helper.make_tensor_value_info("scores", output, shape or [batch, labels])],
        constants,
    )
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(*each) for each in (domains or {}).items())]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=ir)
    named = NAMES[:labels] if names is None else tuple(names)
    helper.set_model_props(model, {"names": repr(dict(enumerate(named))), **(metadata or {})})
    onnx.save(model, path)
    return path
