"""A DICOM file as 8 bits, whatever it is stored as: its first frame as RGB, or the frames of a volume in grey.

The decoder of compressed frames, GDCM, ends the whole process over a corrupt one (a C++ exception that nobody catches).
So they are decoded in a process of their own, which is this file run as a program; it imports nothing of ours.
"""

import os
import resource
import select
import struct
import subprocess
import sys
import time
from collections.abc import Generator, Iterator, Sequence
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
# What decoding a volume's frames may take: the libraries, and for each pixel of a frame a few floats.
_MEMORY_BASE, _MEMORY_PER_PIXEL = 3 * 2**30, 64
# A longer value is read when it is asked for: the pixels of a volume.
_DEFERRED = 2**20
_FRAME, _ERROR = b"F", b"E"
_SPACING_MAX = 10.0
_LUMA = np.array([0.299, 0.587, 0.114])
# What the other process gets of the environment: Python's and its libraries' needs, none of our credentials.
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
            self._dataset: Any = pydicom.dcmread(path, defer_size=_DEFERRED)
            self.width = int(self._dataset.get("Columns") or 0)
            self.height = int(self._dataset.get("Rows") or 0)
            if "PixelData" not in self._dataset:
                raise DicomUnusable("没有像素数据")
            pixels: Any = self._dataset.get_item("PixelData", keep_deferred=True)
            self._pixels_at, self._pixels_size = int(pixels.value_tell), int(pixels.length)
            self.frames = int(self._dataset.get("NumberOfFrames") or 1)
            self.is_compressed = bool(self._dataset.file_meta.TransferSyntaxUID.is_encapsulated)

    @property
    def spacing_mm(self) -> tuple[float, float] | None:
        """Between rows and between columns of the first frame; None where the file does not say."""
        with _translated():
            row, column = map(float, self._group("PixelMeasuresSequence", 0).get("PixelSpacing") or (0, 0))
        return (row, column) if 0 < row < _SPACING_MAX and 0 < column < _SPACING_MAX else None

    def check_whole(self) -> None:
        """Look, without decoding, whether there are bytes for every frame that it claims."""
        from pydicom.encaps import parse_basic_offsets, parse_fragments
        from pydicom.pixels.utils import get_expected_length

        with _translated(), self._path.open("rb") as file:
            if self.frames < 1 or self.width < 1 or self.height < 1:
                raise DicomUnusable(f"尺寸 {self.width}×{self.height}、{self.frames} 帧无效")
            file.seek(self._pixels_at)
            if self.is_compressed:
                parse_basic_offsets(file)
                found, claimed = parse_fragments(file)[0], self.frames
            else:
                found = min(self._pixels_size, os.fstat(file.fileno()).st_size - self._pixels_at)
                claimed = get_expected_length(self._dataset)
            if found < claimed:
                raise DicomUnusable(f"像素数据不完整（被截断）：{self.frames} 帧应有 {claimed}，只有 {found}")

    def greys(self, indices: Sequence[int]) -> Generator[npt.NDArray[np.uint8], None, None]:
        """Frames as a viewer would show them, (height, width), in the order asked for; at most a minute each.

        One process decodes them all and is at most a frame ahead; closing the iterator ends it.
        """
        pixels = self.width * self.height
        with _decoding(self._path, indices) as process:
            assert process.stdout is not None
            for _ in indices:
                if _received(process.stdout.fileno(), 1) != _FRAME:
                    told = _received(process.stdout.fileno(), 4 * _TOLD, is_whole=False)
                    raise DicomUnusable(told.decode("utf-8", "replace") or "压缩的像素数据已损坏")
                frame = _received(process.stdout.fileno(), pixels)
                yield np.frombuffer(frame, np.uint8).reshape(self.height, self.width)

    def greys_here(self, indices: Sequence[int]) -> Iterator[npt.NDArray[np.uint8]]:
        """The same in this process, which a corrupt compressed frame may end. It reads one frame at a time."""
        from pydicom.pixels.utils import iter_pixels

        with _translated():
            for index, pixels in zip(indices, iter_pixels(self._path, indices=indices), strict=True):
                shown = self._shown(pixels, index)
                if shown.shape[:2] != (self.height, self.width):
                    raise DicomUnusable(f"第 {index} 帧解码后为 {shown.shape[1]}×{shown.shape[0]}，与标签不符")
                yield shown if shown.ndim == 2 else (shown @ _LUMA).round().astype(np.uint8)

    def compressed_frame(self) -> bytes:
        """The first frame as it is stored; b"" where it is not compressed."""
        from pydicom.encaps import get_frame

        with _translated():
            if not self.is_compressed:
                return b""
            return bytes(get_frame(self._dataset.PixelData, 0, number_of_frames=self.frames))

    def rgb(self) -> npt.NDArray[np.uint8]:
        """What a viewer would show, (height, width, 3). At most a minute."""
        return _decoded_apart(self._path, (self.height, self.width, 3)) if self.is_compressed else self.rgb_here()

    def rgb_here(self) -> npt.NDArray[np.uint8]:
        """The same in this process, which a corrupt compressed frame may end."""
        from pydicom.pixels.utils import pixel_array

        with _translated():
            shown = self._shown(pixel_array(self._dataset, index=0), 0)
            return np.repeat(shown[..., None], 3, axis=2) if shown.ndim == 2 else shown

    def _shown(self, pixels: npt.NDArray[Any], index: int) -> npt.NDArray[np.uint8]:
        """Grey where it is stored so, else RGB; other colour spaces were turned to it by the decoder."""
        from pydicom.pixels.processing import apply_color_lut, apply_modality_lut

        kind = str(self._dataset.PhotometricInterpretation)
        if kind == "PALETTE COLOR":
            bits = int(self._dataset.RedPaletteColorLookupTableDescriptor[2])
            return _eight_bits(apply_color_lut(pixels, self._dataset)[..., :3], bits)
        if kind in ("MONOCHROME1", "MONOCHROME2"):
            rescaling = self._group("PixelValueTransformationSequence", index)
            grey = np.asarray(apply_modality_lut(pixels, rescaling), np.float64)
            shown = _windowed(grey, self._window(grey, index))
            return 255 - shown if kind == "MONOCHROME1" else shown
        if pixels.ndim != 3 or pixels.shape[2] != 3:
            raise DicomUnusable(f"不支持的像素：{kind}，形状 {pixels.shape}")
        return _eight_bits(pixels, int(self._dataset.BitsStored))

    def _window(self, grey: npt.NDArray[np.float64], index: int) -> tuple[float, float]:
        """The values shown as black and as white: its own first window, else all of 8 bits, else what is there."""
        window = self._group("FrameVOILUTSequence", index)
        width, center = _first(window.get("WindowWidth")), _first(window.get("WindowCenter"))
        if width is not None and center is not None and width >= 1:
            return center - 0.5 - (width - 1) / 2, center - 0.5 + (width - 1) / 2
        if self._dataset.BitsStored == 8 and grey.min() >= 0 and grey.max() <= 255:
            return 0.0, 255.0
        return float(grey.min()), float(grey.max())

    def _group(self, name: str, index: int) -> Any:
        """A functional group: the frame's own, else the one of all frames; the file itself where it has none."""
        for groups, at in (("PerFrameFunctionalGroupsSequence", index), ("SharedFunctionalGroupsSequence", 0)):
            held = self._dataset.get(groups) or ()
            if at < len(held) and held[at].get(name):
                return held[at].get(name)[0]
        return self._dataset


def _decoded_apart(path: Path, shape: tuple[int, int, int]) -> npt.NDArray[np.uint8]:
    try:
        done = subprocess.run(  # noqa: S603  ourselves
            _command(path),
            env=_environment(),
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
def _decoding(path: Path, indices: Sequence[int]) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(  # noqa: S603  ourselves
        _command(path, ",".join(map(str, indices))),
        env=_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        bufsize=0,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def _received(out: int, size: int, *, is_whole: bool = True) -> bytes:
    """So many bytes; fewer at the end of the stream, which is an error where they were to be whole."""
    content, ends_at = bytearray(), time.monotonic() + _DECODE_S
    watch = select.poll()
    watch.register(out, select.POLLIN)
    while len(content) < size:
        if not watch.poll(max(0.0, ends_at - time.monotonic()) * 1000):
            raise DicomUnusable(f"{_DECODE_S:g} 秒内没有解码完")
        if not (some := os.read(out, min(size - len(content), 2**20))):
            break
        content += some
    if is_whole and len(content) < size:
        raise DicomUnusable("压缩的像素数据已损坏")
    return bytes(content)


def _command(path: Path, *more: str) -> list[str]:
    # -P: the folder of this file holds modules with common names.
    return [sys.executable, "-P", __file__, str(path.absolute()), *more]


def _environment() -> dict[str, str]:
    # A linear algebra library reserves memory for each of the machine's cores, and that counts against the bound.
    return {name: os.environ[name] for name in _KEPT if name in os.environ} | {"OPENBLAS_NUM_THREADS": "1"}


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
    """The first of a value that may be several."""
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


def _main(path: Path, indices: str | None = None) -> int:
    """The pixels to stdout, or why there are none. indices: of frames in grey; else it is the first one in RGB."""
    _bound_memory(_MEMORY_MAX)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # A library that prints must not print into the pixels.
    with os.fdopen(os.dup(1), "wb") as out:
        os.dup2(2, 1)
        try:
            dicom = Dicom(path)
            if indices is None:
                out.write(dicom.rgb_here().tobytes())
                return 0
            _bound_memory(min(_MEMORY_MAX, _MEMORY_BASE + _MEMORY_PER_PIXEL * dicom.width * dicom.height))
            for grey in dicom.greys_here([int(index) for index in indices.split(",")]):
                out.write(_FRAME + grey.tobytes())
                out.flush()
        except DicomUnusable as error:
            out.write((b"" if indices is None else _ERROR) + str(error).encode())
            return _UNUSABLE
    return 0


def _bound_memory(size: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (size, _MEMORY_MAX))


if __name__ == "__main__":
    sys.exit(_main(Path(sys.argv[1]), *sys.argv[2:]))
