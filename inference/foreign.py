"""Files that are set as a model and are none: of which kind they are, and what to do with them."""

import zipfile
from dataclasses import dataclass
from pathlib import Path

_HEAD = 512  # bytes in which every kind below shows itself

_TORCH_EXPORT = (
    "Export it to ONNX: `yolo export model=best.pt format=onnx` for Ultralytics, torch.onnx.export for any other; "
    "docs/model.md shows both."
)
_EXPORT = "Export the model to ONNX with the tools that it was made with, and name the .onnx instead."
_AGAIN = "Fetch the file itself (compare its size and checksum with the original)."


@dataclass(frozen=True, slots=True)
class Kind:
    """what: ends a sentence that begins with the path."""

    what: str
    mend: str


_TORCH = Kind("is a PyTorch file, not an ONNX model", _TORCH_EXPORT)
_KERAS = Kind("is a Keras file, not an ONNX model", "Export it to ONNX with tf2onnx, and name the .onnx instead.")
_TENSORFLOW = Kind("is a TensorFlow model, not an ONNX model", _KERAS.mend)
_TFLITE = Kind("is a TensorFlow Lite model, not an ONNX model", _KERAS.mend)
_TENSORRT = Kind(
    "is a TensorRT engine, not an ONNX model",
    "Name the ONNX that the engine was built from; an engine runs on one kind of GPU only.",
)
_OPENVINO = Kind("is part of an OpenVINO model, not an ONNX model", "Name the ONNX that it was made from.")
_SAFETENSORS = Kind(
    "is a safetensors file: weights without a model", "Load them into their model and export that to ONNX."
)
_COREML = Kind("is a Core ML model, not an ONNX model", _EXPORT)
_PADDLE = Kind("is a Paddle model, not an ONNX model", "Export it to ONNX with paddle2onnx.")
_NCNN = Kind("is part of an ncnn model, not an ONNX model", "Name the ONNX that it was made from.")
_PACKED = Kind("is an archive or a packed file, not an ONNX model", "Unpack it, and name the .onnx in it.")
_PAGE = Kind("is a web page, not an ONNX model: a login or an error page that was saved in its place", _AGAIN)
_POINTER = Kind(
    "is a Git LFS pointer, not the model itself", "Run `git lfs pull` where it was cloned, then copy the file again."
)
_ORT = Kind("is in ONNX Runtime's own format, not ONNX", "Name the ONNX it was made from, or name it `.ort`.")

_BY_SUFFIX = {
    **dict.fromkeys((".pt", ".pth", ".ckpt", ".torchscript"), _TORCH),
    ".safetensors": _SAFETENSORS,
    **dict.fromkeys((".h5", ".hdf5", ".keras"), _KERAS),
    ".pb": _TENSORFLOW,
    ".tflite": _TFLITE,
    **dict.fromkeys((".engine", ".plan", ".trt"), _TENSORRT),
    **dict.fromkeys((".mlmodel", ".mlpackage"), _COREML),
    **dict.fromkeys((".pdmodel", ".pdiparams"), _PADDLE),
    ".param": _NCNN,
    ".bin": _OPENVINO,
    **dict.fromkeys((".zip", ".tar", ".gz", ".tgz", ".xz", ".7z", ".rar", ".zst", ".bz2"), _PACKED),
}
# What stands at which byte.
_BY_BYTES = (
    (0, b"version https://git-lfs", _POINTER),
    (0, b"\x89HDF\r\n\x1a\n", _KERAS),
    (0, b"\x80\x02", _TORCH),  # a pickle, as PyTorch wrote before 1.6
    (0, b"ftrt", _TENSORRT),
    (0, b"ptrt", _TENSORRT),
    (4, b'{"description"', _TENSORRT),  # Ultralytics writes its metadata before the engine
    (4, b"TFL3", _TFLITE),
    (4, b"ORTM", _ORT),
    (8, b'{"', _SAFETENSORS),  # after the length of this text
    (0, b"\x1f\x8b", _PACKED),
    (0, b"7z\xbc\xaf\x27\x1c", _PACKED),
    (0, b"Rar!", _PACKED),
    (0, b"\x28\xb5\x2f\xfd", _PACKED),
    (0, b"\xfd7zXZ\x00", _PACKED),
    (0, b"BZh", _PACKED),
    (257, b"ustar", _PACKED),
    (0, b"GGUF", Kind("is a GGUF language model, not an ONNX model", _EXPORT)),
)
_ZIP = b"PK\x03\x04"


def kind_by_content(path: Path) -> Kind | None:
    """What the file is, where its first bytes are not those of an ONNX model. OSError goes through."""
    if path.is_dir():
        return _folder(path)
    with path.open("rb") as file:
        head = file.read(_HEAD)
    return _by_content(path, head) if head else Kind("is empty (0 bytes)", _AGAIN)


def kind_by_name(path: Path) -> Kind | None:
    """What the file is by its name, for one that cannot be read as an ONNX model."""
    return _BY_SUFFIX.get(path.suffix.lower())


def _by_content(path: Path, head: bytes) -> Kind | None:
    for at, start, kind in _BY_BYTES:
        if head[at:].startswith(start):
            return kind
    return _zip(path) if head.startswith(_ZIP) else _text(head)


def _text(head: bytes) -> Kind | None:
    """Text of any sort. What it says is not repeated: it may be a key."""
    if b"\x00" in head or any(byte < 9 for byte in head):
        return None
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if start.startswith((b"<!doctype html", b"<html", b"<head")):
        return _PAGE
    if start.startswith(b"<"):
        return _OPENVINO if b"<net" in start else Kind("is an XML file, not an ONNX model", _AGAIN)
    try:
        head[:-3].decode("utf-8")
    except UnicodeDecodeError:
        return None
    return Kind("is a text file, not an ONNX model", _AGAIN)


def _zip(path: Path) -> Kind:
    """A zip of PyTorch holds NAME/data.pkl, one of Keras model.weights.h5; a cut off one names nothing."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except zipfile.BadZipFile:
        return kind_by_name(path) or _PACKED
    if any(name.endswith(("data.pkl", "constants.pkl")) for name in names):
        return _TORCH
    return _KERAS if "model.weights.h5" in names else _PACKED


def _folder(path: Path) -> Kind:
    if (path / "saved_model.pb").is_file():
        return Kind("is a TensorFlow SavedModel folder, not an ONNX model", _KERAS.mend)
    if kind := kind_by_name(path):
        return kind
    inside = sorted(each.name for each in path.glob("*.onnx"))[:3]
    found = f"is a folder; it holds {', '.join(inside)}" if inside else "is a folder, and holds no .onnx"
    return Kind(found, "Name the .onnx file itself.")
