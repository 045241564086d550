"""What a picture is, by its content and not by its name; and its pixels, for drawing.

The header is read and bounded before a pixel is decoded. JPEG and PNG are then walked to their end marker, since the
decoder fills what is missing with grey and says nothing.
"""

import mmap
import re
import zlib
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from imaging.errors import InputInvalid, InputTooLarge

if TYPE_CHECKING:
    from collections.abc import Iterator

BYTES_MAX = 100 * 2**20
PIXELS_MAX = 200_000_000
ULTRA_WIDE_MIN = 2000

_PNG = b"\x89PNG\r\n\x1a\n"
# In the data of a scan, a marker is an 0xFF that is neither stuffed nor a restart.
_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_FRAMES = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
_SOI, _EOI, _SOS = 0xD8, 0xD9, 0xDA


class Kind(StrEnum):
    JPEG = "JPEG"
    PNG = "PNG"
    DICOM = "DICOM"

    @property
    def media_type(self) -> str:
        return {"JPEG": "image/jpeg", "PNG": "image/png", "DICOM": "application/dicom"}[self.value]


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """size: in bytes; width and height in pixels."""

    path: Path
    kind: Kind
    width: int
    height: int
    size: int

    @property
    def media_type(self) -> str:
        return self.kind.media_type

    @property
    def ultra_wide_note(self) -> str:
        """What to tell of an ultra-wide picture that is sent all the same; "" for nothing."""
        if min(self.width, self.height) >= ULTRA_WIDE_MIN:
            return ""
        return f"{self.path.name}：{self.width}×{self.height}，超广角图像建议 ≥ {ULTRA_WIDE_MIN}×{ULTRA_WIDE_MIN}。"


def check_picture(path: Path) -> Picture:
    """Read it to its end, as the back end would. Blocking. Raises InputInvalid, InputTooLarge, both of field images."""
    size = _size(path)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        kind = _kind(path, data)
        if kind is Kind.DICOM:
            rgb = _dicom(path)
            return Picture(path=path, kind=kind, width=rgb.shape[1], height=rgb.shape[0], size=size)
        width, height = _bounded(path, *_walked(path, kind, data))
        _decoded(path, data, "grey")
    return Picture(path=path, kind=kind, width=width, height=height, size=size)


def open_rgb(path: Path) -> npt.NDArray[np.uint8]:
    """The pixels as they are stored, (height, width, 3): no rotation by EXIF, the first frame of a DICOM. Blocking.

    Raises what check_picture raises.
    """
    _size(path)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        kind = _kind(path, data)
        if kind is Kind.DICOM:
            return _dicom(path)
        _bounded(path, *_walked(path, kind, data))
        return _decoded(path, data, "rgb")


def _size(path: Path) -> int:
    if not path.is_file():
        raise _invalid(path, "不存在或不是普通文件")
    size = path.stat().st_size
    if size == 0:
        raise _invalid(path, "是空文件")
    if size > BYTES_MAX:
        raise _too_large(path, f"有 {size / 2**20:.1f} MB，上限 {BYTES_MAX // 2**20} MB")
    return size


def _kind(path: Path, data: mmap.mmap) -> Kind:
    if data[:3] == b"\xff\xd8\xff":
        return Kind.JPEG
    if data[:8] == _PNG:
        return Kind.PNG
    if data[128:132] == b"DICM":
        return Kind.DICOM
    raise _invalid(path, "既不是 JPEG、PNG，也不是 DICOM（按内容判断）")


def _bounded(path: Path, width: int, height: int) -> tuple[int, int]:
    if width < 1 or height < 1:
        raise _invalid(path, f"尺寸 {width}×{height} 无效")
    if width * height > PIXELS_MAX:
        raise _too_large(path, f"有 {width}×{height} 像素，上限 {PIXELS_MAX // 1_000_000} 百万像素")
    return width, height


def _walked(path: Path, kind: Kind, data: mmap.mmap) -> tuple[int, int]:
    """Width and height of a file that is whole."""
    found = _jpeg_size(data) if kind is Kind.JPEG else _png_size(data)
    if found is None:
        raise _invalid(path, f"不是完整的 {kind} 文件（被截断或已损坏）")
    return found


def _jpeg_size(data: bytes | mmap.mmap) -> tuple[int, int] | None:
    """None unless it has a frame, a scan and the end marker; what comes behind that is nobody's."""
    at, size = 2, None
    while at + 4 <= len(data):
        marker = data[at + 1]
        if data[at] != 0xFF:
            return None
        if marker == 0xFF:  # padding
            at += 1
            continue
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        if length < 2:
            return None
        if marker in _FRAMES and at + 9 <= len(data):
            size = int.from_bytes(data[at + 7 : at + 9], "big"), int.from_bytes(data[at + 5 : at + 7], "big")
        at += 2 + length
        if marker == _SOS:
            found = _MARKER.search(data, at)
            if found is None:
                return None
            at = found.start()
            if data[at + 1] == _EOI:
                return size
    return None


def _png_size(data: mmap.mmap) -> tuple[int, int] | None:
    """None unless every chunk up to the end has its checksum."""
    if data[12:16] != b"IHDR":
        return None
    at = len(_PNG)
    with memoryview(data) as view:
        while at + 12 <= len(view):
            length = int.from_bytes(view[at : at + 4], "big")
            end = at + 12 + length
            if end > len(view) or zlib.crc32(view[at + 4 : end - 4]) != int.from_bytes(view[end - 4 : end], "big"):
                return None
            if bytes(view[at + 4 : at + 8]) == b"IEND":
                return int.from_bytes(view[16:20], "big"), int.from_bytes(view[20:24], "big")
            at = end
    return None


def _decoded(path: Path, data: mmap.mmap, to: str) -> npt.NDArray[np.uint8]:
    import cv2

    # An eighth of the size is enough to see that it decodes.
    wanted = cv2.IMREAD_REDUCED_GRAYSCALE_8 if to == "grey" else cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        pixels = cv2.imdecode(np.frombuffer(bytes(data), np.uint8), wanted)
    except cv2.error:
        pixels = None
    if pixels is None:
        raise _invalid(path, "无法解码")
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB) if to == "rgb" else pixels, np.uint8)


def _dicom(path: Path) -> npt.NDArray[np.uint8]:
    from imaging.dicom import Dicom, DicomUnusable

    try:
        dicom = Dicom(path)
        size = _bounded(path, dicom.width, dicom.height)
        claimed = _embedded_size(dicom.compressed_frame())
        if claimed is not None and claimed != size:
            raise _invalid(path, f"压缩帧的尺寸 {claimed[0]}×{claimed[1]} 与 DICOM 标签 {size[0]}×{size[1]} 不符")
        return dicom.rgb()
    except DicomUnusable as error:
        raise _invalid(path, f"DICOM 无法使用：{error}") from None


def _embedded_size(frame: bytes) -> tuple[int, int] | None:
    """What a compressed frame says of itself, which need not be what the DICOM around it says."""
    if frame[:3] == b"\xff\xd8\xff":
        return next(_frame_sizes(frame), None)
    if (at := frame[:4096].find(b"\xff\x4f\xff\x51")) >= 0:  # JPEG 2000: SOC, SIZ
        return int.from_bytes(frame[at + 8 : at + 12], "big"), int.from_bytes(frame[at + 12 : at + 16], "big")
    return None


def _frame_sizes(data: bytes) -> "Iterator[tuple[int, int]]":
    at = 2
    while at + 9 <= len(data) and data[at] == 0xFF:
        if data[at + 1] in _FRAMES or data[at + 1] == 0xF7:  # JPEG-LS
            yield int.from_bytes(data[at + 7 : at + 9], "big"), int.from_bytes(data[at + 5 : at + 7], "big")
        at += 1 if data[at + 1] == 0xFF else 2 + int.from_bytes(data[at + 2 : at + 4], "big")


def _invalid(path: Path, why: str) -> InputInvalid:
    return InputInvalid(f"images：{path.name} {why}。", field="images", value=path.name)


def _too_large(path: Path, why: str) -> InputTooLarge:
    return InputTooLarge(f"images：{path.name} {why}。", field="images", value=path.name)
