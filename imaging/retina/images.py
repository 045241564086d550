"""An OCT image: a B-scan in PNG or JPEG, or a DICOM file of one or many. Its slices in grey, one at a time."""

from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from imaging.dicom import Dicom, DicomUnusable
from imaging.errors import InputInvalid, InputTooLarge, InputUnsupported
from imaging.pictures import Kind, check_picture, open_rgb

FIELD = "image"
# One slice has at most so many.
PIXELS_MAX = 100_000_000

_PNG, _JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
_HEAD = 132


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageInfo:
    """width, height: pixels of each slice. size: bytes. spacing_mm: between rows, between columns; of a DICOM only."""

    kind: Kind
    width: int
    height: int
    slices: int
    size: int
    spacing_mm: tuple[float, float] | None


def look(path: Path, *, slices_max: int) -> ImageInfo:
    """What the image is, by its content. Blocking.

    It is read to its end; of a compressed DICOM the first slice is decoded too. Raises InputInvalid and InputTooLarge
    of field `image`.
    """
    head, size = _head(path)
    if head[128:132] == b"DICM":
        return _volume(path, size, slices_max)
    if not head.startswith((_PNG, _JPEG)):
        raise InputUnsupported(
            f"{FIELD}：{path.name} 既不是 JPEG、PNG，也不是 DICOM（按内容判断）。", field=FIELD, value=path.name
        )
    if head[:8] == _PNG:
        # Before it is decoded, even if only to see whether it can be.
        _check_pixels(path, int.from_bytes(head[16:20], "big"), int.from_bytes(head[20:24], "big"))
    with _of_this_field():
        found = check_picture(path)
    _check_pixels(path, found.width, found.height)
    return ImageInfo(kind=found.kind, width=found.width, height=found.height, slices=1, size=size, spacing_mm=None)


def slices(path: Path, indices: Sequence[int] | None) -> Generator[tuple[int, npt.NDArray[np.uint8]], None, None]:
    """Each slice with its index, grey (height, width), in the order asked for; None is all. Blocking; to be closed.

    Never more than one is in memory. A slice of 16 bits without a window of its own is stretched to its own range.
    Raises InputInvalid of field `image`, at the slice that cannot be decoded.
    """
    head, _ = _head(path)
    if head[128:132] != b"DICM":
        for index in (0,) if indices is None else indices:
            yield index, _grey(path)
        return
    with _readable(path):
        dicom = Dicom(path)
        wanted = range(dicom.frames) if indices is None else indices
        greys = dicom.greys(wanted)
        try:
            yield from zip(wanted, greys, strict=True)
        finally:
            greys.close()


def _head(path: Path) -> tuple[bytes, int]:
    if not path.is_file():
        raise invalid(path, "不存在或不是普通文件")
    size = path.stat().st_size
    if size == 0:
        raise invalid(path, "是空文件")
    with path.open("rb") as file:
        return file.read(_HEAD), size


def _volume(path: Path, size: int, slices_max: int) -> ImageInfo:
    with _readable(path):
        dicom = Dicom(path)
        _check_pixels(path, dicom.width, dicom.height)
        if dicom.frames > slices_max:
            raise _too_large(path, f"有 {dicom.frames} 个切片，上限 {slices_max}（imaging.retina.slices_max）")
        dicom.check_whole()
        spacing = dicom.spacing_mm
        if dicom.is_compressed:
            for _ in dicom.greys([0]):
                pass
    return ImageInfo(
        kind=Kind.DICOM, width=dicom.width, height=dicom.height, slices=dicom.frames, size=size, spacing_mm=spacing
    )


def _grey(path: Path) -> npt.NDArray[np.uint8]:
    import cv2

    with _of_this_field():
        return np.asarray(cv2.cvtColor(open_rgb(path), cv2.COLOR_RGB2GRAY), np.uint8)


def _check_pixels(path: Path, width: int, height: int) -> None:
    if width * height > PIXELS_MAX:
        raise _too_large(path, f"有 {width}×{height} 像素，每个切片的上限是 {PIXELS_MAX // 1_000_000} 百万像素")


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except DicomUnusable as error:
        raise invalid(path, f"是无法使用的 DICOM：{error}") from None


@contextmanager
def _of_this_field() -> Iterator[None]:
    """pictures.py speaks of `images`."""
    try:
        yield
    except InputInvalid as error:
        message = f"{FIELD}：{error.message.removeprefix('images：')}"
        raise type(error)(message, field=FIELD, value=error.value) from None


def invalid(path: Path, why: str) -> InputInvalid:
    return InputInvalid(f"{FIELD}：{path.name} {why}。", field=FIELD, value=path.name)


def _too_large(path: Path, why: str) -> InputTooLarge:
    return InputTooLarge(f"{FIELD}：{path.name} {why}。", field=FIELD, value=path.name)
