"""How pictures are prepared for one model: who says it, whether all agree, and whether the model does it, too."""

from dataclasses import dataclass
from pathlib import Path

from inference.errors import ModelMismatch
from inference.metadata import OnnxMetadata
from inference.modelfile import Located
from inference.onnxfile import OnnxFile
from inference.preprocess import Preparation
from inference.shapes import Picture, agree

_SCALED_MAX = 16.0  # no pixel that was scaled to 0..1 and normalised is beyond this
_DIVIDES_MIN = 100.0  # of 127.5, 128, 255, 256
_NUMBERS = ("scale", "mean", "std")


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """origin: from where it is known. is_said: for this very model. file: the model file that says it, or would."""

    preparation: Preparation
    origin: str
    is_said: bool
    file: Path


def prepare(located: Located, picture: Picture, metadata: OnnxMetadata, onnx: OnnxFile | None) -> Prepared:
    """Raises ModelMismatch where they contradict each other."""
    path, file = located.onnx, located.file
    height, width = metadata.imgsz or (None, None)
    if file and file.dtype not in (None, picture.dtype):
        raise ModelMismatch(f"{path}: dtype: the model file says {file.dtype}, the ONNX says {picture.dtype}")
    preparation = Preparation(
        width=agree(path, "width", ONNX=picture.width, metadata=width, model_file=file.width if file else None),
        height=agree(path, "height", ONNX=picture.height, metadata=height, model_file=file.height if file else None),
        layout=picture.layout,
        dtype=picture.dtype,
        channels=file.channels if file else "rgb",
        scale=(file and file.scale) or 1 / 255,
        mean=(file and file.mean) or (0.0, 0.0, 0.0),
        std=(file and file.std) or (1.0, 1.0, 1.0),
    )
    _check_scaled_once(located, preparation, onnx.first(picture.name) if onnx else None)
    if file is None:
        origin = "as Ultralytics trains, since its ONNX metadata has `names` and no model file stands beside it"
        return Prepared(preparation=preparation, origin=origin, is_said=True, file=located.described_in)
    unsaid = [key for key in _NUMBERS if getattr(file, key) is None and picture.dtype != "uint8"]
    origin = f"from {located.file_path}" + (f"; {', '.join(unsaid)} by default" if unsaid else "")
    is_said = len(unsaid) < len(_NUMBERS)
    return Prepared(preparation=preparation, origin=origin, is_said=is_said, file=located.described_in)


def _check_scaled_once(located: Located, preparation: Preparation, first: tuple[str, tuple[float, ...]] | None) -> None:
    """Pixels that are scaled here and by the model's own first step again are black, whatever the camera shows."""
    highest = 255 * preparation.scale / min(preparation.std)
    if first is None or preparation.dtype == "uint8" or highest > _SCALED_MAX:
        return
    op, numbers = first
    least, most = min(map(abs, numbers)), max(map(abs, numbers))
    divides = (op == "Div" and least > _DIVIDES_MIN) or (op == "Mul" and 0 < most < 1 / _DIVIDES_MIN)
    if divides or (op in ("Sub", "Add") and most > _SCALED_MAX):
        shown = ", ".join(f"{number:.4g}" for number in numbers)
        raise ModelMismatch(
            f"{located.onnx}: its first step is {op} {shown}, so it expected pixels of 0..255; "
            f"scale {preparation.scale:.4g} and std {preparation.std} give {highest:.3g} at most",
            hint=f"Say `scale: 1` in {located.described_in}, and neither mean nor std.",
        )
