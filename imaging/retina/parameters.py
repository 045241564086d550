"""The header `Inference-Parameters` of the retina gateway: one JSON object, and every number with its range and unit.

The family of services spells two keys in two ways; both are taken. A key that is null was not given.
"""

import json
import math
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    Strict,
    ValidationError,
    model_validator,
)

from imaging.errors import InputInvalid

HEADER = "Inference-Parameters"
BYTES_MAX = 64 * 1024
SLICES_MAX = 10_000
SIDE_MAX = 100_000
MM_MAX = 30.0

_SPELLINGS = {"exam_center_coordinate": "center_coordinates", "mm_nerve_crop_zone": "mm_crop_zone_nerve"}
_CROP = f"大于 0、不超过 {MM_MAX:g} 的数字，单位 mm"
_SPACING = "大于 0、不超过 1 的数字，单位 mm/px"
_INDEX = f"0 到 {SLICES_MAX - 1} 的整数"
_EXPECTED = {
    "scan_width": "0.5 到 30 的数字，单位 mm",
    "mm_crop_zone": _CROP,
    "center_coordinates": "两个不小于 0 的数字 [列, 行或切片]，单位 px",
    "pixel_spacing_row": _SPACING,
    "pixel_spacing_column": _SPACING,
    "low_confidence_p": "0 到 1 的数字",
    "slice_idx": f"{_INDEX}，或由这样的整数组成的非空列表（不重复）",
    "nerve_zone_landmarks": "列表，每个切片一项：[左列, 右列]、若干个 [x, y] 点或一个列号，均不小于 0，单位 px",
    "nerve_zone_slice_indices": f"由{_INDEX}组成的非空列表（不重复）",
    "mm_crop_zone_nerve": _CROP,
}


def _columns(marks: Any) -> tuple[float, float]:
    """The leftmost and the rightmost column of what marks the nerve in one slice."""
    if _is_column(marks):
        return float(marks), float(marks)
    if not isinstance(marks, list | tuple) or len(marks) < 1:
        raise ValueError("expected [left, right], [[x, y], ...] or one number")
    if len(marks) == 2 and all(_is_column(mark) for mark in marks):
        return float(min(marks)), float(max(marks))
    for point in marks:
        if not isinstance(point, list | tuple) or len(point) != 2 or not all(_is_column(number) for number in point):
            raise ValueError("expected [left, right], [[x, y], ...] or one number")
    return float(min(point[0] for point in marks)), float(max(point[0] for point in marks))


def _is_column(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= SIDE_MAX


def _distinct(value: Any) -> Any:
    if isinstance(value, list | tuple) and len({repr(each) for each in value}) != len(value):
        raise ValueError("expected no index twice")
    return value


_Number = Annotated[float, Strict(), Field(allow_inf_nan=False)]
_Crop = Annotated[_Number, Field(gt=0, le=MM_MAX)]
_Spacing = Annotated[_Number, Field(gt=0, le=1)]
_Place = Annotated[_Number, Field(ge=0, le=SIDE_MAX)]
_Index = Annotated[int, Strict(), Field(ge=0, lt=SLICES_MAX)]
_Indices = Annotated[tuple[_Index, ...], BeforeValidator(_distinct), Field(min_length=1, max_length=SLICES_MAX)]
_Columns = Annotated[tuple[_Number, _Number], BeforeValidator(_columns)]


class Parameters(BaseModel):
    """How to cut and judge one image or one volume. Slices count from 0.

    center_coordinates: a column, then a row or a slice. nerve_zone_landmarks: kept as (left, right) columns, one pair
    for each of nerve_zone_slice_indices.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    scan_width: Annotated[_Number, Field(ge=0.5, le=30)] | None = None
    mm_crop_zone: _Crop | None = None
    center_coordinates: tuple[_Place, _Place] | None = None
    pixel_spacing_row: _Spacing | None = None
    pixel_spacing_column: _Spacing | None = None
    low_confidence_p: Annotated[_Number, Field(ge=0, le=1)] = 0.1
    slice_idx: _Index | _Indices | None = None
    nerve_zone_landmarks: Annotated[tuple[_Columns, ...], Field(min_length=1, max_length=SLICES_MAX)] | None = None
    nerve_zone_slice_indices: _Indices | None = None
    mm_crop_zone_nerve: _Crop = 1.0

    @model_validator(mode="before")
    @classmethod
    def _in_one_spelling(cls, given: Any) -> Any:
        if not isinstance(given, Mapping):
            return given
        known = {key: value for key, value in given.items() if value is not None}
        for other, name in _SPELLINGS.items():
            if other in known:
                known.setdefault(name, known.pop(other))
        return known

    @property
    def slices(self) -> tuple[int, ...] | None:
        """The slices asked for, ascending; None for all."""
        if self.slice_idx is None or isinstance(self.slice_idx, tuple):
            return tuple(sorted(self.slice_idx)) if self.slice_idx else None
        return (self.slice_idx,)


def parse_parameters(text: str | None) -> Parameters:
    """None or "" is all defaults.

    Raises InputInvalid: of field `Inference-Parameters` where it is no JSON object, else of the key in it.
    """
    if text is None or not text.strip():
        return Parameters()
    if len(text) > BYTES_MAX:
        raise _unreadable(f"有 {len(text)} 个字符，上限 {BYTES_MAX}")
    given = _parsed(text)
    _check_spellings(given)
    try:
        parameters = Parameters.model_validate(given)
    except ValidationError as error:
        raise _named(error, given) from None
    _check_nerve(parameters)
    return parameters


def invalid(key: str, value: Any, expected: str) -> InputInvalid:
    """An error of one key, that says what was expected. value: as it stood in the JSON."""
    field = f"{HEADER}.{key}"
    return InputInvalid(f"{field}：{_shown(value)} 无效，{expected}。", field=field, value=_shown(value))


def _parsed(text: str) -> dict[str, Any]:
    try:
        given = json.loads(text, parse_constant=_no_number, object_pairs_hook=_each_once)
    except json.JSONDecodeError as error:
        raise _unreadable(f"不是有效的 JSON（第 {error.lineno} 行第 {error.colno} 列）", text) from None
    except _Unreadable as error:
        raise _unreadable(str(error), text) from None
    except (ValueError, RecursionError):
        raise _unreadable("嵌套过深，或有过长的数字", text) from None
    if not isinstance(given, dict):
        raise _unreadable("应为一个 JSON 对象 {…}", text)
    return given


class _Unreadable(ValueError):
    """JSON that Python reads and JSON does not know."""


def _no_number(name: str) -> float:
    raise _Unreadable(f"含有 {name}，应为有限的数字")


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    known = dict(pairs)
    if len(known) != len(pairs):
        twice = next(key for number, (key, _) in enumerate(pairs) if key in dict(pairs[:number]))
        raise _Unreadable(f"键 {_cut(twice)} 出现了两次")
    return known


def _check_spellings(given: Mapping[str, Any]) -> None:
    for other, name in _SPELLINGS.items():
        if given.get(other) is not None and given.get(name) is not None and given[other] != given[name]:
            raise invalid(other, given[other], f"与 {name}（{_shown(given[name])}）是同一参数而值不同，只给一个")


def _named(error: ValidationError, given: Mapping[str, Any]) -> InputInvalid:
    """The first thing wrong, under the name that it was given by."""
    key = str(error.errors(include_url=False, include_context=False)[0]["loc"][0])
    name = next((other for other, same in _SPELLINGS.items() if same == key and given.get(key) is None), key)
    if key not in _EXPECTED:
        field = f"{HEADER}.{_cut(key)}"
        return InputInvalid(
            f"{field}：未知的参数，可用 {'、'.join(_EXPECTED)}。", field=field, value=_shown(given.get(key))
        )
    return invalid(name, given.get(name), f"应为 {_EXPECTED[key]}")


def _check_nerve(parameters: Parameters) -> None:
    marks, indices = parameters.nerve_zone_landmarks, parameters.nerve_zone_slice_indices
    if marks is None and indices is not None:
        raise invalid("nerve_zone_landmarks", None, "给了 nerve_zone_slice_indices 就应逐一给出对应的标志点")
    if marks is not None and indices is None:
        raise invalid("nerve_zone_slice_indices", None, "给了 nerve_zone_landmarks 就应逐一给出对应的切片号")
    if marks is not None and indices is not None and len(marks) != len(indices):
        raise invalid(
            "nerve_zone_landmarks",
            marks,
            f"有 {len(marks)} 项，应与 nerve_zone_slice_indices（{len(indices)} 项）逐一对应",
        )


def _shown(value: Any) -> str:
    """As it stood in the JSON, cut short."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    try:
        return _cut(json.dumps(value, ensure_ascii=False))
    except ValueError:  # a number of thousands of digits
        return type(value).__name__


def _cut(text: str) -> str:
    # Half a surrogate pair is JSON, and cannot be sent back.
    plain = "".join(each if each.isprintable() else "?" for each in text[:80])
    return plain if len(text) <= 80 else f"{plain}…"


def _unreadable(why: str, text: str = "") -> InputInvalid:
    return InputInvalid(f"{HEADER}：{why}。", field=HEADER, value=_cut(text))
