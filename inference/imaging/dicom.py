"""The first frame of a DICOM file as RGB of 8 bits, whatever it is stored as."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

# The reader inflates such a file whole and without a bound.
_DEFLATED = ("1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.8.1")
_TOLD = 120


class DicomUnusable(Exception):
    """The file cannot be read as a picture."""


class Dicom:
    """One file, read but not decoded. Blocking; every method raises DicomUnusable."""

    def __init__(self, path: Path) -> None:
        import pydicom
        from pydicom.filereader import read_file_meta_info

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
        """What a viewer would show, (height, width, 3)."""
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


@contextmanager
def _translated() -> Iterator[None]:
    """What a broken file makes of the libraries."""
    try:
        yield
    # pydicom's own errors stand under these; they are many, and differ by decoder.
    except (
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
