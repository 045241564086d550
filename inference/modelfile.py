"""The model file: a small .yaml beside an ONNX that says what the ONNX does not (labels, size, mean and std, output).

model: consumables.onnx          # only needed when the model file's name differs from the ONNX's
labels: [gauze, suture, hand]    # or the name of a file: one label a line, or .yaml with `names`
background: [hand]
width: 224
height: 224
mean: [0.485, 0.456, 0.406]
std: [0.229, 0.224, 0.225]
output: logits                   # or probabilities
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from inference.errors import ModelFileInvalid, ModelNotFound
from inference.labels import cleaned, in_order
from inference.preprocess import Channels, Fit, Layout
from inference.yamlfile import parse_yaml, read_text, read_yaml

Pixels = Annotated[int, Field(gt=0, le=4096)]
Triple = tuple[float, float, float]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class ModelFile(BaseModel):
    """Our users write this, so an unknown key is an error."""

    model_config = ConfigDict(extra="forbid")

    output: Literal["logits", "probabilities"]
    model: str | None = None
    labels: Annotated[list[str] | str | None, BeforeValidator(in_order)] = None
    background: list[str] | None = None
    width: Pixels | None = None
    height: Pixels | None = None
    layout: Layout | None = None
    channels: Channels = "rgb"
    dtype: Literal["float32", "float16", "uint8"] | None = None
    scale: Positive | None = None
    mean: Triple | None = None
    std: tuple[Positive, Positive, Positive] | None = None
    fit: Fit = "crop"
    output_name: str | None = None

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.dtype == "uint8" and (self.scale or self.mean or self.std):
            raise ValueError("a uint8 model takes the pixels as they are: scale, mean and std do not apply")
        return self


@dataclass(frozen=True, slots=True)
class Located:
    """Which ONNX to load and the model file that describes it, if there is one."""

    onnx: Path
    file_path: Path | None
    file: ModelFile | None

    @property
    def described_in(self) -> Path:
        """The model file, also where it is still to be written."""
        return self.file_path or self.onnx.with_suffix(".yaml")


def locate(path: Path) -> Located:
    """Find the ONNX and its model file from the path of either. Raises ModelNotFound, ModelFileInvalid."""
    if path.suffix.lower() in {".yaml", ".yml"}:
        file = _read(path)
        onnx = path.parent / file.model if file.model else path.with_suffix(".onnx")
        if not onnx.is_file():
            raise ModelNotFound(f"{path}: names the model {onnx}, which does not exist", hint="Mend the key `model`.")
        return Located(onnx, path, file)
    if not path.exists():
        raise ModelNotFound(f"{path}: no such file")
    found = [each for each in (path.with_suffix(".yaml"), path.with_suffix(".yml")) if each.is_file()]
    if not found:
        return Located(path, None, None)
    if len(found) > 1:
        raise ModelFileInvalid(f"{path}: expected one model file beside it, got {found[0].name} and {found[1].name}")
    (beside,) = found
    file = _read(beside)
    if file.model and (beside.parent / file.model).resolve() != path.resolve():
        raise ModelFileInvalid(f"{beside}: stands beside {path.name} but describes {file.model!r}")
    return Located(path, beside, file)


def read_labels(file_path: Path, file: ModelFile) -> tuple[str, ...] | None:
    """The labels of a model file, from the list in it or from the file it names. Raises ModelFileInvalid."""
    if not isinstance(file.labels, str):
        return None if file.labels is None else cleaned(file.labels)
    path = file_path.parent / file.labels
    try:
        text = read_text(path, ModelFileInvalid)
    except FileNotFoundError as cause:
        raise ModelFileInvalid(f"{file_path}: labels: there is no file {path}") from cause
    if path.suffix.lower() not in {".yaml", ".yml", ".json"}:
        return cleaned(text.rstrip().splitlines())
    names = parse_yaml(path, text, ModelFileInvalid)
    if isinstance(names, dict) and "names" in names:
        names = names["names"]
    try:
        names = in_order(names)
    except ValueError as cause:
        raise ModelFileInvalid(f"{path}: {cause}") from cause
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ModelFileInvalid(f"{path}: expected a list of names, or `names:` with a list or {{0: ..., 1: ...}}")
    return cleaned(names)


def _read(path: Path) -> ModelFile:
    try:
        return read_yaml(path, ModelFile, ModelFileInvalid)
    except FileNotFoundError as cause:
        raise ModelNotFound(f"{path}: no such file") from cause
