"""A slide file before it travels, and its tiles for a look at it in a browser (Deep Zoom: tiles of 254 pixels).

OpenSlide opens a file whose end is missing without a word, so that a tile of each corner of each level is decoded.
"""

import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imaging.errors import InputInvalid, InputTooLarge

TILE_SIZE, OVERLAP, QUALITY = 254, 1, 80
# What is decoded for one preview tile, and one tile in the file; each pixel takes four bytes, and more meanwhile.
PIXELS_MAX = 16 * 2**20
# Formats of several files, of which one alone is no slide.
_OF_MANY_FILES = {".mrxs": "mrxs", ".vms": "vms", ".vmu": "vmu"}


@dataclass(frozen=True, slots=True, kw_only=True)
class SlideInfo:
    """width, height: pixels of the finest level. mpp: microns per pixel, where the file says. size: bytes."""

    width: int
    height: int
    mpp: float | None
    vendor: str
    levels: int
    size: int


def check_slide(path: Path) -> SlideInfo:
    """What the slide is. Blocking; reads little of it.

    Raises InputInvalid with field `slide` where it cannot be sent: nothing is asked of the back end then.
    """
    size = _check_file(path)
    # It becomes part of the COS key and of JSON. A name in another encoding than UTF-8 could travel in neither.
    if not path.name.isprintable():
        raise _invalid(path, "文件名应为可打印的 UTF-8 文本。")
    if suffix := _OF_MANY_FILES.get(path.suffix.lower()):
        raise _invalid(path, f"{suffix} 格式由多个文件组成，不能单独上传。")
    with _opened(path) as slide:
        _check_whole(slide, path)
        width, height = slide.dimensions
        return SlideInfo(
            width=width,
            height=height,
            mpp=_positive(slide.properties.get("openslide.mpp-x")),
            vendor=str(slide.properties.get("openslide.vendor", "")),
            levels=slide.level_count,
            size=size,
        )


def dzi(path: Path) -> str:
    """The Deep Zoom descriptor, XML. Blocking. Raises InputInvalid."""
    with _zoomed(path) as zoom:
        return str(zoom.get_dzi("jpeg"))


def tile(path: Path, level: int, column: int, row: int) -> bytes:
    """One Deep Zoom tile as JPEG; level 0 is a single pixel. Blocking.

    Raises InputInvalid of a tile that is not there, InputTooLarge where the file lacks the coarse levels for it.
    """
    with _zoomed(path) as zoom:
        if not 0 <= level < zoom.level_count:
            raise InputInvalid(
                f"level：{level} 不存在，应为 0 到 {zoom.level_count - 1}。", field="level", value=str(level)
            )
        for name, value, count in zip(("column", "row"), (column, row), zoom.level_tiles[level], strict=True):
            if not 0 <= value < count:
                raise InputInvalid(
                    f"{name}：{value} 不存在，第 {level} 层应为 0 到 {count - 1}。", field=name, value=str(value)
                )
        _, _, (width, height) = zoom.get_tile_coordinates(level, (column, row))
        if width * height > PIXELS_MAX:
            raise InputTooLarge(
                f"切片 {path.name} 没有足够的低倍层，无法预览第 {level} 层（需要解码 {width}×{height} 像素）。",
                field="level",
                value=str(level),
            )
        content = io.BytesIO()
        zoom.get_tile(level, (column, row)).save(content, "JPEG", quality=QUALITY)
        return content.getvalue()


def _check_file(path: Path) -> int:
    """Its size. Opened without waiting: a named pipe would wait for a writer."""
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    except FileNotFoundError:
        raise _invalid(path, "文件不存在。") from None
    except (OSError, ValueError) as error:
        raise _invalid(path, f"文件不可读（{getattr(error, 'strerror', None) or '路径无效'}）。") from None
    try:
        found = os.fstat(handle)
    finally:
        os.close(handle)
    if not stat.S_ISREG(found.st_mode):
        raise _invalid(path, "不是普通文件，应为一个切片文件。")
    if found.st_size == 0:
        raise _invalid(path, "文件是空的。")
    return found.st_size


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    import openslide

    try:
        if openslide.OpenSlide.detect_format(path) is None:
            raise _invalid(path, "不是 OpenSlide 能打开的切片（例如 svs、ndpi、scn、分块金字塔 tif），或者文件不完整。")
        with openslide.OpenSlide(path) as slide:
            yield slide
    except openslide.OpenSlideError:
        # Its words hold the whole path.
        raise _invalid(path, "文件已损坏或不完整，无法读取。") from None


@contextmanager
def _zoomed(path: Path) -> Iterator[Any]:
    _check_file(path)
    with _opened(path) as slide:
        from openslide.deepzoom import DeepZoomGenerator

        _check_tiles(slide, path)
        yield DeepZoomGenerator(slide, tile_size=TILE_SIZE, overlap=OVERLAP)


def _check_whole(slide: Any, path: Path) -> None:
    _check_tiles(slide, path)
    full_width, full_height = slide.dimensions
    for level, (width, height) in enumerate(slide.level_dimensions):
        for column in (0, width - 1):
            for row in (0, height - 1):
                # Places are in pixels of the finest level.
                place = (column * full_width // width, row * full_height // height)
                slide.read_region(place, level, (1, 1))


def _check_tiles(slide: Any, path: Path) -> None:
    """A tile is decoded whole, however little of it is asked for."""
    for level in range(slide.level_count):
        width, height = (
            int(slide.properties.get(f"openslide.level[{level}].tile-{side}", 0)) for side in ("width", "height")
        )
        if width * height > PIXELS_MAX:
            raise InputTooLarge(
                f"切片 {path.name}：图块为 {width}×{height} 像素，超过上限 {PIXELS_MAX} 像素。",
                field="slide",
                value=path.name[:200],
            )


def _positive(text: str | None) -> float | None:
    try:
        value = float(text) if text else 0.0
    except ValueError:
        return None
    return value if 0 < value < 1000 else None


def _invalid(path: Path, what: str) -> InputInvalid:
    name = "".join(each if each.isprintable() else "?" for each in path.name[:200])
    return InputInvalid(f"切片 {name}：{what}", field="slide", value=name)
