"""The first frame of a DICOM file as RGB of 8 bits, whatever it is stored as.

The decoder of compressed frames, GDCM, ends the whole process over a corrupt one (a C++ exception that nobody catches).
So they are decoded in a process of their own, which is this file run as a program; it imports nothing of ours.
"""

import os
import resource
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

# The reader inflates such a file whole and without a bound.
_DEFLATED = ("1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.8.1")
_TOLD = 120
_DECODE_S = 60.0
_UNUSABLE = 3
_MEMORY_MAX = 6 * 2**30
# Of the environment, for the other process: what Python and its libraries need, and none of our credentials.
_KEPT = ("PATH", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "SYSTEMROOT", "TMPDIR", "LANG")


class DicomUnusable(Exception):
    """The file cannot be read as a picture."""


class Dicom:
    """One file, read but not decoded. Blocking; every method raises DicomUnusable."""

    def __init__(self, path: Path) -> None:
        import pydicom
        from pydicom.filereader import read_file_meta_info

        self._path = path
        with _translated():
            if str(read_file_meta_info(path).get("TransferSyntaxUID", "")) in _DEFLATED:
                raise DicomUnusable("不支持 Deflated 传输语法")
            self._dataset = pydicom.dcmread(path)
            self.width = int(self._dataset.get("Columns") or 0)
            self.height = int(self._dataset.get("Rows") or 0)
            if "PixelData" not in self._dataset:
                raise DicomUnusable("没有像素数据")

    def compressed_frame(self) -> bytes:
        """The first frame as it is stored; b"" where it is not compressed."""
        from pydicom.encaps import get_frame

        with _translated():
            if not self._dataset.file_meta.TransferSyntaxUID.is_encapsulated:
                return b""
            frames = int(self._dataset.get("NumberOfFrames") or 1)
            return bytes(get_frame(self._dataset.PixelData, 0, number_of_frames=frames))

    def rgb(self) -> npt.NDArray[np.uint8]:
        """What a viewer would show, (height, width, 3). At most a minute."""
        with _translated():
            is_compressed = self._dataset.file_meta.TransferSyntaxUID.is_encapsulated
        return _decoded_apart(self._path, (self.height, self.width, 3)) if is_compressed else self.rgb_here()

    def rgb_here(self) -> npt.NDArray[np.uint8]:
        """The same in this process, which a corrupt compressed frame may end."""
        from pydicom.pixels.processing import apply_color_lut, apply_modality_lut
        from pydicom.pixels.utils import pixel_array

        with _translated():
            # Other colour spaces are turned to RGB by the decoder.
            pixels = pixel_array(self._dataset, index=0)
            kind = str(self._dataset.PhotometricInterpretation)
            if kind == "PALETTE COLOR":
                bits = int(self._dataset.RedPaletteColorLookupTableDescriptor[2])
                return _eight_bits(apply_color_lut(pixels, self._dataset)[..., :3], bits)
            if kind in ("MONOCHROME1", "MONOCHROME2"):
                grey = np.asarray(apply_modality_lut(pixels, self._dataset), np.float64)
                shown = _windowed(grey, self._window(grey))
                return np.repeat((255 - shown if kind == "MONOCHROME1" else shown)[..., None], 3, axis=2)
            if pixels.ndim != 3 or pixels.shape[2] != 3:
                raise DicomUnusable(f"不支持的像素：{kind}，形状 {pixels.shape}")
            return _eight_bits(pixels, int(self._dataset.BitsStored))

    def _window(self, grey: npt.NDArray[np.float64]) -> tuple[float, float]:
        """The values shown as black and as white: its own first window, else all of 8 bits, else what is there."""
        width, center = _first(self._dataset.get("WindowWidth")), _first(self._dataset.get("WindowCenter"))
        if width is not None and center is not None and width >= 1:
            return center - 0.5 - (width - 1) / 2, center - 0.5 + (width - 1) / 2
        if self._dataset.BitsStored == 8 and grey.min() >= 0 and grey.max() <= 255:
            return 0.0, 255.0
        return float(grey.min()), float(grey.max())


def _decoded_apart(path: Path, shape: tuple[int, int, int]) -> npt.NDArray[np.uint8]:
    # -P: the folder of this file holds modules with common names.
    command = [sys.executable, "-P", __file__, str(path.absolute())]
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    try:
        done = subprocess.run(  # noqa: S603  ourselves
            command,
            env=kept,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            check=False,
            timeout=_DECODE_S,
        )
    except (subprocess.TimeoutExpired, OSError):
        raise DicomUnusable(f"{_DECODE_S:g} 秒内没有解码完") from None
    if done.returncode == _UNUSABLE:
        raise DicomUnusable(done.stdout[: 4 * _TOLD].decode("utf-8", "replace"))
    if done.returncode != 0 or len(done.stdout) != shape[0] * shape[1] * shape[2]:
        raise DicomUnusable("压缩的像素数据已损坏")
    return np.frombuffer(done.stdout, np.uint8).reshape(shape)


@contextmanager
def _translated() -> Iterator[None]:
    """What a broken file makes of the libraries."""
    from pydicom.errors import BytesLengthException, InvalidDicomError

    try:
        yield
    except (
        BytesLengthException,
        InvalidDicomError,
        struct.error,
        ArithmeticError,
        AttributeError,
        EOFError,
        LookupError,
        OSError,
        RuntimeError,
        TypeError,
        ValueError,
    ) as error:
        raise DicomUnusable(_told(error)) from None


def _first(value: Any) -> float | None:
    """Of a value that may be several."""
    if value is None or value == "":
        return None
    return float(value[0] if hasattr(value, "__getitem__") else value)


def _windowed(grey: npt.NDArray[np.float64], ends: tuple[float, float]) -> npt.NDArray[np.uint8]:
    low, high = ends
    return np.clip((grey - low) * (255.0 / max(high - low, 1e-9)), 0, 255).round().astype(np.uint8)


def _eight_bits(pixels: npt.NDArray[Any], bits: int) -> npt.NDArray[np.uint8]:
    return (pixels if bits <= 8 else pixels >> (bits - 8)).astype(np.uint8)


def _told(error: Exception) -> str:
    """A library's words, short and on one line."""
    return " ".join((str(error) or type(error).__name__).split())[:_TOLD]


def _main(path: Path) -> int:
    """The pixels to stdout, or why there are none."""
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_MAX, _MEMORY_MAX))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # A library that prints must not print into the pixels.
    with os.fdopen(os.dup(1), "wb") as out:
        os.dup2(2, 1)
        try:
            out.write(Dicom(path).rgb_here().tobytes())
        except DicomUnusable as error:
            out.write(str(error).encode())
            return _UNUSABLE
    return 0


if __name__ == "__main__":
    sys.exit(_main(Path(sys.argv[1])))
