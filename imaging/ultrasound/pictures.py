"""PNG and JPEG of ultrasound: their size before a pixel is decoded, and bounds that the site sets.

`pictures` looks whether a file is whole and decodes it; this asks its header first.
"""

from pathlib import Path

from imaging.errors import InputInvalid, InputMissing, InputTooLarge
from imaging.pictures import Kind, check_picture, open_rgb
from imaging.ultrasound.geometry import Rgb

_PNG = b"\x89PNG\r\n\x1a\n"
# Start of frame, all codings; 0xC4, 0xC8 and 0xCC are other segments.
_FRAMES = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
_HEADER_MAX = 2**20


def size_of(path: Path, *, field: str, pixels_max: int) -> tuple[int, int]:
    """Width and height by the header. Raises InputMissing, InputInvalid, InputTooLarge of this field."""
    return _header(path, field, pixels_max)[1:]


def open_bounded(path: Path, *, field: str, pixels_max: int) -> Rgb:
    """The pixels as they are stored, (height, width, 3). Raises what size_of raises."""
    size_of(path, field=field, pixels_max=pixels_max)
    try:
        return open_rgb(path)
    except InputInvalid as error:
        raise _renamed(error, field, path) from None


def check_whole(path: Path, *, field: str, name: str, pixels_max: int) -> tuple[Kind, int, int]:
    """Read to its end: its kind, width and height. name: for messages. Raises what size_of raises."""
    kind, width, height = _header(path, field, pixels_max, name)
    try:
        check_picture(path)
    except InputInvalid as error:
        raise _renamed(error, field, path, name) from None
    return kind, width, height


def _header(path: Path, field: str, pixels_max: int, name: str = "") -> tuple[Kind, int, int]:
    name = name or path.name
    try:
        with path.open("rb") as file:
            head = file.read(_HEADER_MAX)
    except FileNotFoundError:
        raise InputMissing(f"{field}：没有图像 {name}。", field=field, value=name) from None
    except OSError as error:
        raise InputInvalid(f"{field}：{name} 不可读（{error.strerror}）。", field=field, value=name) from None
    if not head:
        raise InputInvalid(f"{field}：{name} 是空文件。", field=field, value=name)
    kind = Kind.PNG if head.startswith(_PNG) else Kind.JPEG if head.startswith(b"\xff\xd8\xff") else None
    if kind is None:
        raise InputInvalid(f"{field}：{name} 不是 PNG 或 JPEG 图像（按内容判断）。", field=field, value=name)
    size = _png_size(head) if kind is Kind.PNG else _jpeg_size(head)
    if size is None or min(size) < 1:
        raise InputInvalid(f"{field}：{name} 的文件头已损坏，读不出尺寸。", field=field, value=name)
    if size[0] * size[1] > pixels_max:
        message = f"{field}：{name} 有 {size[0]}×{size[1]} 像素，上限 {pixels_max / 1e6:g} 百万像素。"
        raise InputTooLarge(message, field=field, value=name)
    return kind, *size


def _png_size(head: bytes) -> tuple[int, int] | None:
    if len(head) < 24 or head[12:16] != b"IHDR":
        return None
    return int.from_bytes(head[16:20], "big"), int.from_bytes(head[20:24], "big")


def _jpeg_size(head: bytes) -> tuple[int, int] | None:
    at = 2
    while at + 9 <= len(head) and head[at] == 0xFF:
        if head[at + 1] in _FRAMES:
            return int.from_bytes(head[at + 7 : at + 9], "big"), int.from_bytes(head[at + 5 : at + 7], "big")
        at += 1 if head[at + 1] == 0xFF else 2 + int.from_bytes(head[at + 2 : at + 4], "big")
    return None


def _renamed(error: InputInvalid, field: str, path: Path, name: str = "") -> InputInvalid:
    """The same of another field. name: what the person calls the file."""
    message = error.message.removeprefix("images：").replace(path.name, name or path.name)
    return type(error)(f"{field}：{message}", field=field, value=name or path.name)
