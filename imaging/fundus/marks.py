"""Where in the picture something was found: the encoded fields of an eye, decoded, counted and drawn.

What the JSON within holds is written nowhere, so its shape is recognised: lists of points are contours, four numbers
are a box. What is not recognised is kept and said, never guessed.
"""

import base64
import binascii
import json
import re
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from imaging.fundus.answer import EyeDetail
from imaging.fundus.terms import MARKS

INFLATED_MAX = 16 * 2**20
# The bytes of all fields of one eye.
TOGETHER_MAX = 64 * 2**20
DEPTH_MAX = 32

_SHAPE_DEPTH_MAX = 8
_COORDINATE_MAX = 1e6
_SCORES = ("confidence", "score", "conf", "prob", "probability")
_CORNERS = (("x1", "y1", "x2", "y2"), ("xmin", "ymin", "xmax", "ymax"), ("left", "top", "right", "bottom"))
_SIZES = (("x", "y", "w", "h"), ("x", "y", "width", "height"), ("left", "top", "width", "height"))
_DECIMAL = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,18})?")
_BOXES = ("bbox", "box", "rect")

Point = tuple[float, float]


class State(Enum):
    """MISSING: the answer has no such field. NONE: it is empty. BROKEN: it cannot be decoded."""

    MISSING = "missing"
    NONE = "none"
    DECODED = "decoded"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """Corners in pixels of the picture; score: None where none was given."""

    left: float
    top: float
    right: float
    bottom: float
    score: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """One field. value: as it was decoded, untouched. why: it is broken."""

    name: str
    state: State
    value: Any = field(default=None, repr=False)
    why: str = ""
    contours: tuple[tuple[Point, ...], ...] = field(default=(), repr=False)
    boxes: tuple[Box, ...] = ()

    @property
    def is_drawable(self) -> bool:
        return bool(self.contours or self.boxes)


class _Undecodable(Exception):
    """The message says why."""


def marks_of(detail: EyeDetail | None) -> tuple[Mark, ...]:
    """Every field of an eye, in the order of the report. Never raises: what cannot be decoded says so."""
    left, marks = TOGETHER_MAX, []
    fields: Mapping[str, Any] = detail.marks if detail else {}
    for name in MARKS:
        if fields.get(name) is None:
            marks.append(Mark(name=name, state=State.MISSING))
            continue
        mark, size = _mark(name, fields[name], min(INFLATED_MAX, left))
        left -= size
        marks.append(mark)
    return tuple(marks)


def _mark(name: str, raw: Any, size_max: int) -> tuple[Mark, int]:
    """The mark, and how many bytes of JSON it was."""
    try:
        value, size = _decoded(raw, size_max)
        if _depth(value) > DEPTH_MAX:
            raise _Undecodable(f"嵌套超过 {DEPTH_MAX} 层")
    except _Undecodable as error:
        return Mark(name=name, state=State.BROKEN, why=str(error)), 0
    if value is None or value in ("", [], {}):
        return Mark(name=name, state=State.NONE, value=value), size
    contours: list[tuple[Point, ...]] = []
    boxes: list[Box] = []
    for shape in _shapes(value, 0):
        if isinstance(shape, Box):
            boxes.append(shape)
        else:
            contours.append(shape)
    return Mark(name=name, state=State.DECODED, value=value, contours=tuple(contours), boxes=tuple(boxes)), size


def _decoded(raw: Any, size_max: int) -> tuple[Any, int]:
    """Plain JSON, else base64 of gzip of JSON."""
    if not isinstance(raw, str):
        return raw, 0
    text = raw.strip()
    if not text:
        return None, 0
    if len(text) > size_max:
        raise _Undecodable(f"超过 {size_max} 字节")
    try:
        value = json.loads(text)
    except ValueError:
        pass
    except RecursionError:
        raise _Undecodable("嵌套过深") from None
    else:
        # A JSON text around the encoded one.
        return (value, len(text)) if not isinstance(value, str) or value == raw else _decoded_packed(value, size_max)
    return _decoded_packed(text, size_max)


def _decoded_packed(text: str, size_max: int) -> tuple[Any, int]:
    try:
        packed = base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise _Undecodable("既不是 JSON 也不是 base64") from None
    content = _inflated(packed, size_max) if packed else b"null"
    try:
        return json.loads(content.decode("utf-8")), len(content)
    except (ValueError, RecursionError):
        raise _Undecodable("解压后不是有效的 JSON") from None


def _inflated(packed: bytes, size_max: int) -> bytes:
    inflater = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    try:
        content = inflater.decompress(packed, size_max + 1)
    except zlib.error:
        raise _Undecodable("不是有效的 gzip") from None
    if len(content) > size_max:
        raise _Undecodable(f"解压后超过 {size_max} 字节")
    if not inflater.eof:
        raise _Undecodable("gzip 数据不完整")
    return content


def _depth(value: Any) -> int:
    depth, level = 0, [value]
    while level and depth <= DEPTH_MAX:
        inner: list[Any] = []
        for each in level:
            if isinstance(each, dict):
                inner += [part for part in each.values() if isinstance(part, dict | list)]
            elif isinstance(each, list):
                inner += [part for part in each if isinstance(part, dict | list)]
        depth, level = depth + 1, inner
    return depth


def _shapes(value: Any, depth: int) -> Iterator[Box | tuple[Point, ...]]:
    if depth > _SHAPE_DEPTH_MAX:
        return
    if isinstance(value, dict):
        box = _box_of_keys(value)
        if box is not None:
            yield box
            return
        inner = list(value.values())
    elif isinstance(value, list):
        if (shape := _box_of_numbers(value) or _contour(value)) is not None:
            yield shape
            return
        inner = value
    else:
        return
    for each in inner:
        yield from _shapes(each, depth + 1)


def _box_of_keys(value: Mapping[str, Any]) -> Box | None:
    score = _score_of(value)
    for key in _BOXES:
        inner = value.get(key)
        box = _box_of_keys(inner) if isinstance(inner, dict) else _box_of_numbers(inner)
        if box is not None:
            return Box(
                left=box.left,
                top=box.top,
                right=box.right,
                bottom=box.bottom,
                score=box.score if score is None else score,
            )
    for keys in _CORNERS:
        if None not in (found := [_number(value.get(key)) for key in keys]):
            return _box(found, score)
    for keys in _SIZES:
        if None not in (found := [_number(value.get(key)) for key in keys]):
            left, top, width, height = (number or 0.0 for number in found)
            return _box([left, top, left + width, top + height], score)
    return None


def _box_of_numbers(value: Any) -> Box | None:
    """[left, top, right, bottom], perhaps with a score and a class behind; as [left, top, width, height] where the
    second pair does not lie beyond the first."""
    if not isinstance(value, list) or not 4 <= len(value) <= 6:
        return None
    numbers = [_number(each) for each in value[:5]]
    if None in numbers[:4]:
        return None
    left, top, right, bottom = (number or 0.0 for number in numbers[:4])
    score = numbers[4] if len(numbers) > 4 else None
    if right <= left or bottom <= top:
        right, bottom = left + right, top + bottom
    return _box([left, top, right, bottom], score)


def _box(corners: list[float | None], score: float | None) -> Box | None:
    left, top, right, bottom = (corner or 0.0 for corner in corners)
    if right <= left or bottom <= top:
        return None
    return Box(left=left, top=top, right=right, bottom=bottom, score=score)


def _contour(value: list[Any]) -> tuple[Point, ...] | None:
    """A list of points; or of x and y in turn, where they are too many for a box."""
    if not value:
        return None
    if len(value) >= 8 and len(value) % 2 == 0 and all(_number(each) is not None for each in value):
        flat = [_number(each) or 0.0 for each in value]
        return tuple(zip(flat[::2], flat[1::2], strict=True))
    points = []
    for each in value:
        if (point := _point(each)) is None:
            return None
        points.append(point)
    return tuple(points)


def _point(value: Any) -> Point | None:
    """[x, y], OpenCV's [[x, y]], or x and y by name."""
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], list):
        value = value[0]
    if isinstance(value, dict) and _box_of_keys(value) is None:
        value = [value.get("x"), value.get("y")]
    if not isinstance(value, list) or len(value) != 2:
        return None
    x, y = _number(value[0]), _number(value[1])
    return None if x is None or y is None else (x, y)


def _number(value: Any) -> float | None:
    """A coordinate or a score."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and abs(value) <= _COORDINATE_MAX else None


def _score_of(value: Mapping[str, Any]) -> float | None:
    """Some write their numbers as text."""
    for key in _SCORES:
        found = value.get(key)
        if isinstance(found, str) and _DECIMAL.fullmatch(found):
            found = float(found)
        if (number := _number(found)) is not None:
            return number
    return None
