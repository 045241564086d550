"""What an ONNX session takes and gives, read from its declared shapes and refused clearly where it is no classifier."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from inference.errors import ModelMismatch, ModelUnsupported
from inference.preprocess import Layout

_DTYPES: dict[str, Literal["float32", "float16", "uint8"]] = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(uint8)": "uint8",
}
_FLOATS = ("tensor(float)", "tensor(float16)", "tensor(double)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """The one input. None: the ONNX leaves this dimension open."""

    name: str
    layout: Layout
    dtype: Literal["float32", "float16", "uint8"]
    batch: int | None
    width: int | None
    height: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """The one output: (batch, labels), perhaps with further dimensions of 1."""

    name: str
    labels: int | None


def read_input(path: Path, inputs: list[Any], layout: Layout | None) -> Picture:
    """The picture input. layout: from the model file, for shapes that leave it open."""
    if len(inputs) != 1:
        raise ModelUnsupported(f"{path}: expected one input (the picture), got {_named(inputs)}")
    node = inputs[0]
    shape = [size if isinstance(size, int) and size > 0 else None for size in node.shape]
    if len(shape) != 4 or node.type not in _DTYPES:
        raise ModelUnsupported(
            f"{path}: expected a picture input (batch, 3, height, width) of {', '.join(_DTYPES)}; "
            f"got {node.name} {node.shape} {node.type}"
        )
    layout = layout or ("nhwc" if shape[3] == 3 and shape[1] != 3 else "nchw")
    depth = shape[1] if layout == "nchw" else shape[3]
    if depth not in (3, None):
        raise ModelUnsupported(
            f"{path}: expected 3 colour channels, got {depth} in {node.name} {node.shape} read as {layout}",
            hint="Set `layout` in the model file if the channels stand elsewhere; grey-scale models are not supported.",
        )
    height, width = (shape[2], shape[3]) if layout == "nchw" else (shape[1], shape[2])
    return Picture(name=node.name, layout=layout, dtype=_DTYPES[node.type], batch=shape[0], width=width, height=height)


def read_output(path: Path, outputs: list[Any], wanted: str | None) -> Scores:
    """The score output. wanted: `output_name` of the model file, for models with several."""
    nodes = [node for node in outputs if node.name == wanted] if wanted else outputs
    if not nodes:
        raise ModelMismatch(f"{path}: expected an output named {wanted!r}, got {_named(outputs)}")
    if len(nodes) > 1:
        raise ModelUnsupported(
            f"{path}: expected one output (the scores), got {_named(outputs)}",
            hint="If one of them holds the class scores, name it as `output_name` in a model file; "
            "several outputs mostly mean a detector or a segmenter.",
        )
    node = nodes[0]
    expected = f"{path}: expected scores of shape (batch, labels), got {node.name} {node.shape} {node.type}"
    if len(node.shape) < 2 or any(size != 1 for size in node.shape[2:]):
        raise ModelUnsupported(
            expected,
            hint="Three or four dimensions mostly mean a detector or a segmenter: export a classification model.",
        )
    if node.type not in _FLOATS:
        raise ModelUnsupported(
            f"{expected}; expected one of {', '.join(_FLOATS)}",
            hint="Export the scores themselves, as floats: neither the number of the best label nor 8-bit scores.",
        )
    size = node.shape[1]
    return Scores(name=node.name, labels=size if isinstance(size, int) and size > 0 else None)


def agree(path: Path, what: str, **said: int | None) -> int:
    """The one number that all who know it say. Raises ModelMismatch if they differ or nobody knows it."""
    known = {who: value for who, value in said.items() if value is not None}
    if len(set(known.values())) > 1:
        raise ModelMismatch(f"{path}: {what}: " + ", ".join(f"{who} says {value}" for who, value in known.items()))
    if not known:
        raise ModelMismatch(
            f"{path}: {what} is not known: the ONNX leaves it open",
            hint=f"Say the {what} in a model file (.yaml) beside the ONNX.",
        )
    return next(iter(known.values()))


def _named(nodes: list[Any]) -> str:
    return f"{len(nodes)}: " + ", ".join(f"{node.name} {node.shape}" for node in nodes)
