"""How much memory the daemon uses while it predicts, as the seed's answers tell it."""

import logging
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)

_MIB = 2**20
_STATM = Path("/proc/self/statm")


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """In units of 2**20 bytes. memory_mb: RAM, resident. gpu_used_mb, gpu_reserved_mb: of the GPU, 0 without one.

    PyTorch tells what its tensors fill (`allocated`) from what it keeps for itself (`reserved`). ONNX Runtime's Python
    API tells neither, so both figures are what the driver says this process holds, which is the reserved one; the part
    that is in use at the moment lies below it by an amount that nobody can tell.
    """

    memory_mb: float
    gpu_used_mb: float
    gpu_reserved_mb: float


def usage(provider: str) -> Usage:
    """provider: the one that ONNX Runtime really uses, as `Ultrasound.provider` tells."""
    held = _gpu_bytes() / _MIB if provider.startswith("CUDA") else 0.0
    return Usage(memory_mb=_resident_bytes() / _MIB, gpu_used_mb=held, gpu_reserved_mb=held)


def held_by(pid: int, nvml: Any) -> int:
    """Bytes of all GPUs. nvml: the module, initialised.

    In a container the driver tells the host's process ids, which ours is none of: then, if there is a single process on
    all GPUs, that is we, for ONNX Runtime does run on one of them. Raises NVMLError.
    """
    found = []
    for index in range(nvml.nvmlDeviceGetCount()):
        found += nvml.nvmlDeviceGetComputeRunningProcesses(nvml.nvmlDeviceGetHandleByIndex(index))
    pids = {each.pid for each in found}
    wanted = pids if len(pids) == 1 else {pid}
    return sum(each.usedGpuMemory or 0 for each in found if each.pid in wanted)


def _resident_bytes() -> int:
    return int(_STATM.read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _gpu_bytes() -> int:
    """What this process holds of all GPUs, by NVML; 0 where it cannot be asked, which is said once."""
    try:
        import pynvml
    except ImportError:
        _say_once("nvidia-ml-py is not installed")
        return 0
    try:
        pynvml.nvmlInit()
        try:
            return held_by(os.getpid(), pynvml)
        finally:
            pynvml.nvmlShutdown()
    except pynvml.NVMLError as error:
        _say_once(str(error))
        return 0


@cache
def _say_once(why: str) -> None:
    log.warning("the GPU memory of ultrasound is told as 0: %s", why)
