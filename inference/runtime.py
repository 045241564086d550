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
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from inference.errors import DeviceUnavailable, ModelBroken, RuntimeConflict, RuntimeMissing

log = logging.getLogger(__name__)

Device = Literal["auto", "cpu", "cuda"]

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
_DISTRIBUTIONS = ("onnxruntime", "onnxruntime-gpu")
_SEVERITY_ERROR = 3  # ONNX Runtime writes warnings about every unfused node to stderr below this


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
    """An InferenceSession on the device asked for. Raises ModelBroken, DeviceUnavailable."""
    ort = onnxruntime()
    if device != "cpu" and CUDA in ort.get_available_providers():
        session = _try_cuda(ort, path, threads, must=device == "cuda")
        if session is not None:
            return session
    elif device == "cuda":
        raise DeviceUnavailable(
            f'device "cuda" was asked for, but this ONNX Runtime {ort.__version__} offers {_listed(ort)}'
        )
    return _open(ort, path, [CPU], threads)


def _try_cuda(ort: ModuleType, path: Path, threads: int, *, must: bool) -> Any:
    with contextlib.redirect_stdout(
        io.StringIO()
    ) as printed:  # preload_dlls() prints what it misses and raises nothing
        ort.preload_dlls()
    if printed.getvalue():
        log.info("CUDA libraries: %s", " ".join(printed.getvalue().split()))
    try:
        session = _open(ort, path, [CUDA, CPU], threads)
    except ModelBroken as cause:
        if must:
            raise DeviceUnavailable(f"{path}: CUDA did not start: {cause.__cause__}") from cause
        log.warning("CUDA did not start, using the CPU: %s", cause.__cause__)
        return None
    used = session.get_providers()[0]
    if used != CUDA:
        if must:
            raise DeviceUnavailable(f"{path}: expected {CUDA}, got {used}")
        log.warning("this ONNX Runtime has CUDA, but it did not start: the model runs on %s", used)
    return session


def _open(ort: ModuleType, path: Path, providers: list[str], threads: int) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # A spinning thread waits for the next picture at 100 % of a core that the decoders need.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = _SEVERITY_ERROR
    try:
        return ort.InferenceSession(str(path), options, providers=providers, enable_fallback=0)
    except failures(ort) as cause:
        raise ModelBroken(f"{path}: ONNX Runtime cannot load it: {_first_line(cause)}") from cause


def _installed() -> list[str]:
    found = []
    for name in _DISTRIBUTIONS:
        with contextlib.suppress(metadata.PackageNotFoundError):
            metadata.version(name)
            found.append(name)
    return found


def _listed(ort: ModuleType) -> str:
    return ", ".join(ort.get_available_providers())


def _first_line(cause: BaseException) -> str:
    return (str(cause).splitlines() or [type(cause).__name__])[0][:300]
