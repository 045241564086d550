"""What an ONNX file says about itself: Ultralytics writes `names`, `imgsz` and `task`; `background` is ours."""

import ast
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from inference.errors import ModelMismatch, ModelUnsupported
from inference.labels import in_order

CLASSIFY = "classify"


def _literal(value: Any) -> Any:
    """Ultralytics writes Python's repr of a dict or list, others JSON; both are literals."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        pass
    try:
        return ast.literal_eval(value)
    except (ValueError, SyntaxError, MemoryError, RecursionError) as cause:
        raise ValueError(f"neither a Python literal nor JSON: {value[:80]!r}") from cause


def _names(value: Any) -> Any:
    return in_order(_literal(value))


def _height_width(value: Any) -> Any:
    value = _literal(value)
    return [value, value] if isinstance(value, int) else value


class OnnxMetadata(BaseModel):
    """The metadata_props of an ONNX file, as far as they concern us."""

    model_config = ConfigDict(extra="ignore")

    task: str | None = None
    names: Annotated[tuple[str, ...] | None, BeforeValidator(_names)] = None
    imgsz: Annotated[tuple[int, int] | None, BeforeValidator(_height_width)] = None  # height, width
    background: Annotated[tuple[str, ...], BeforeValidator(_literal)] = ()


def read_metadata(path: Path, properties: Mapping[str, str]) -> OnnxMetadata:
    """Check the metadata of a loaded ONNX. Raises ModelMismatch (unreadable), ModelUnsupported (another task)."""
    try:
        metadata = OnnxMetadata.model_validate(dict(properties))
    except ValidationError as cause:
        first = cause.errors()[0]
        key = str(first["loc"][0])
        raise ModelMismatch(
            f"{path}: ONNX metadata {key!r}: {first['msg']}",
            hint=f"Export the model again, or put a model file (.yaml) beside it that says {key!r} correctly.",
        ) from cause
    if metadata.task not in (None, CLASSIFY):
        raise ModelUnsupported(
            f"{path}: expected task 'classify', got {metadata.task!r}",
            hint="Export a classification model (Ultralytics: a -cls model), not a detector or a segmenter.",
        )
    return metadata
