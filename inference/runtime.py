"""ONNX Runtime: one distribution of it, quiet, on the device that was asked for, and the truth about which one that is.

onnxruntime-gpu falls back to the CPU without an error, and lists CUDA as available on machines without a GPU. So CUDA
is requested only where it is listed, ONNX Runtime's own fallback is switched off, and afterwards
`session.get_providers()` is the only truth. TensorRT is never requested: its library comes with no extra of ours.

Since 1.29 its wheels report their use to their maker over HTTPS. Nothing leaves an operating room unasked, so that is
switched off in the environment before the library is loaded.
"""

import contextlib
import io
import logging
import os
import re
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from inference.errors import (
    DeviceUnavailable,
    ModelBroken,
    ModelError,
    ModelTooNew,
    ModelUnsupported,
    RuntimeConflict,
    RuntimeMissing,
)
from inference.onnxfile import OnnxFile, read_onnx

log = logging.getLogger(__name__)

Device = Literal["auto", "cpu", "cuda"]

MAKE_PROBABILITIES = frozenset({"Softmax", "Sigmoid", "HardSigmoid", "QLinearSoftmax", "QLinearSigmoid"})
CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
_DISTRIBUTIONS = ("onnxruntime", "onnxruntime-gpu")
_SEVERITY_ERROR = 3  # ONNX Runtime writes warnings about every unfused node to stderr below this

_DEFAULT = "ai.onnx"  # the domain that ONNX files leave unsaid
_WORDS_MAX = 600
_NAMED = 8  # operators that a message names
_PREFIX = re.compile(
    r"^\[ONNXRuntimeError\] : \d+ : \w+ : |Load model from .+? failed:|/onnxruntime_src/\S+ .*?\)(?= [A-Z])"
)
_IR = re.compile(r"max supported IR version: (\d+)")
_OPSET = re.compile(r"support for domain (\S+) is till opset (\d+)")
_MISSING = re.compile(
    r"No Op registered for \S+ with domain_version of \d+|\S+ is not a registered function/op"
    r"|Could not find an implementation for .+"
)


def onnxruntime() -> ModuleType:
    """The one installed ONNX Runtime, imported on first use. Raises RuntimeMissing, RuntimeConflict."""
    check_distributions(_installed())
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    try:
        import onnxruntime as ort
    except ImportError as cause:
        raise RuntimeMissing(f"onnxruntime cannot be imported: {cause}") from cause
    if not hasattr(ort, "InferenceSession"):
        # Uninstalling one of two distributions takes the shared files along and leaves a folder that still imports.
        raise RuntimeMissing(f"only remains of onnxruntime are left in {', '.join(ort.__path__)}")
    ort.set_default_logger_severity(_SEVERITY_ERROR)
    return ort  # type: ignore[no-any-return,unused-ignore]


def check_distributions(installed: Iterable[str]) -> None:
    """Refuse two distributions that own one folder: whichever came last wins, and removing one breaks the other."""
    found = sorted(set(installed) & set(_DISTRIBUTIONS))
    if len(found) > 1:
        raise RuntimeConflict(f"{' and '.join(found)} are both installed; expected exactly one of them")


def failures(ort: ModuleType) -> tuple[type[Exception], ...]:
    """What ONNX Runtime raises: it has no base class of its own, so they are collected from its native module."""
    native = vars(ort.capi.onnxruntime_pybind11_state)
    own = [kind for kind in native.values() if isinstance(kind, type) and issubclass(kind, Exception)]
    return (*own, RuntimeError)


def open_session(path: Path, *, device: Device, threads: int) -> Any:
    """An InferenceSession on the device asked for.

    Raises ModelNotOnnx, ModelBroken, ModelIncomplete, ModelTooNew, ModelUnsupported, DeviceUnavailable.
    """
    ort = onnxruntime()
    file = read_onnx(path)
    if device != "cpu" and CUDA in ort.get_available_providers():
        session = _try_cuda(ort, path, file, threads, must=device == "cuda")
        if session is not None:
            return session
    elif device == "cuda":
        raise DeviceUnavailable(
            f'device "cuda" was asked for, but this ONNX Runtime {ort.__version__} offers {_listed(ort)}'
        )
    return _open(ort, path, file, [CPU], threads)


def probabilities_by(path: Path, output: str) -> str:
    """The last operator of this output, if it makes probabilities; empty where none is seen. Raises as open_session."""
    file = read_onnx(path)
    last = file.last(output) if file else None
    return last.op if last and last.op in MAKE_PROBABILITIES else ""


def _try_cuda(ort: ModuleType, path: Path, file: OnnxFile | None, threads: int, *, must: bool) -> Any:
    with contextlib.redirect_stdout(
        io.StringIO()
    ) as printed:  # preload_dlls() prints what it misses and raises nothing
        ort.preload_dlls()
    if printed.getvalue():
        log.info("CUDA libraries: %s", " ".join(printed.getvalue().split()))
    try:
        session = _open(ort, path, file, [CUDA, CPU], threads)
    except ModelError as cause:
        if must:
            _open(ort, path, file, [CPU], threads)  # what fails here, too, is the model's fault, and is said so
            raise DeviceUnavailable(f"{path}: CUDA did not start: {cause.__cause__}") from cause
        log.warning("CUDA did not start, using the CPU: %s", cause.__cause__)
        return None
    used = session.get_providers()[0]
    if used != CUDA:
        if must:
            raise DeviceUnavailable(f"{path}: expected {CUDA}, got {used}")
        log.warning("this ONNX Runtime has CUDA, but it did not start: the model runs on %s", used)
    return session


def _open(ort: ModuleType, path: Path, file: OnnxFile | None, providers: list[str], threads: int) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # A spinning thread waits for the next picture at 100 % of a core that the decoders need.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = _SEVERITY_ERROR
    try:
        return ort.InferenceSession(str(path), options, providers=providers, enable_fallback=0)
    except failures(ort) as cause:
        raise _explained(ort, path, file, _words(cause)) from cause


def _explained(ort: ModuleType, path: Path, file: OnnxFile | None, words: str) -> ModelError:
    """Why ONNX Runtime refuses a file that is whole, in the terms of whoever exported it."""
    version = f"ONNX Runtime {ort.__version__}"
    if file and (_IR.search(words) or _OPSET.search(words)):
        has = f"IR version {file.ir_version}, {_opsets(file.opsets)}"
        return ModelTooNew(
            f"{path}: is newer than this {version} reads: it has {has}; expected at most {_newest(ort, words)}"
        )
    if file and file.foreign:
        return ModelUnsupported(
            f"{path}: uses operators that {version} does not have: {', '.join(file.foreign[:_NAMED])}",
            hint="Export it without plugins (TensorRT, NMS, pre- and post-processing): one picture in, scores out.",
        )
    if missing := _MISSING.search(words):
        return ModelUnsupported(
            f"{path}: needs an operator that {version} does not have: {missing[0]}",
            hint="Export it again with another opset (17 is read by every version), or upgrade onnxruntime.",
        )
    return ModelBroken(
        f"{path}: {version} cannot load it: {words}",
        hint="Open it with the tool that exported it, and export it again with opset 17.",
    )


def _newest(ort: ModuleType, words: str) -> str:
    """What this ONNX Runtime reads at most: it says so only when it refuses, so it is given two to refuse."""
    ir, opsets = 0, {}
    for text in (_refusal(ort, _model(ir=1 << 20, opset=1)), _refusal(ort, _model(ir=3, opset=1 << 20)), words):
        if found := _IR.search(text):
            ir = int(found[1])
        if found := _OPSET.search(text):
            opsets["" if found[1] == _DEFAULT else found[1]] = int(found[2])
    return f"IR version {ir}, {_opsets(opsets)}"


def _refusal(ort: ModuleType, model: bytes) -> str:
    try:
        ort.InferenceSession(model, providers=[CPU])
    except failures(ort) as cause:
        return str(cause)
    return ""


def _model(ir: int, opset: int) -> bytes:
    """The least ONNX model that has versions: ir_version, a graph that has a name, opset_import."""
    version = b"\x10" + _varint(opset)
    return b"\x08" + _varint(ir) + b"\x3a\x03\x12\x01g" + b"\x42" + _varint(len(version)) + version


def _varint(value: int) -> bytes:
    parts = bytearray()
    while value > 127:
        parts.append(value & 127 | 128)
        value >>= 7
    return bytes([*parts, value])


def _opsets(opsets: Mapping[str, int]) -> str:
    return ", ".join(f"opset {version}" + (f" of {domain}" if domain else "") for domain, version in opsets.items())


def _installed() -> list[str]:
    found = []
    for name in _DISTRIBUTIONS:
        with contextlib.suppress(metadata.PackageNotFoundError):
            metadata.version(name)
            found.append(name)
    return found


def _listed(ort: ModuleType) -> str:
    return ", ".join(ort.get_available_providers())


def _words(cause: BaseException) -> str:
    """What ONNX Runtime says, without its source files and signatures, which come first and are long."""
    text = _PREFIX.sub("", " ".join(str(cause).split())) or type(cause).__name__
    return text if len(text) <= _WORDS_MAX else f"{text[: _WORDS_MAX // 2]} ... {text[-_WORDS_MAX // 2 :]}"
