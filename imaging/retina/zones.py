"""Which columns of a B-scan the model looks at. A crop is lateral: the full depth stays.

How the original cuts is not public; this is our reading. Half open columns [left, right), in pixels:
    center  cx - half to cx + half, where half = mm_crop_zone / spacing / 2 and cx is center_coordinates[0], else the
            middle; the whole width, named "full", where no mm_crop_zone is given
    nerve   in a slice of nerve_zone_slice_indices: from its leftmost landmark less mm_crop_zone_nerve to its rightmost
            and as much more
Both are rounded to whole columns, clipped to the picture and at least one column wide. spacing, mm per column:
pixel_spacing_column, else scan_width / width, else what the DICOM says.
"""

import math
from dataclasses import dataclass
from typing import Literal

from imaging.retina.parameters import Parameters, invalid

Name = Literal["full", "center", "nerve"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Zone:
    name: Name
    left: int
    right: int


def zones_of(parameters: Parameters, *, width: int, slice_index: int, spacing_mm: float | None) -> tuple[Zone, ...]:
    """The zones of one slice, the center or the full one first. spacing_mm: of a column, as the DICOM says.

    Raises InputInvalid: a place outside the picture, or no spacing where millimetres are to be cut.
    """
    spacing = column_spacing(parameters, width, spacing_mm)
    zones = [_center(parameters, width, spacing)]
    indices = parameters.nerve_zone_slice_indices or ()
    if slice_index in indices and parameters.nerve_zone_landmarks is not None:
        marks = parameters.nerve_zone_landmarks[indices.index(slice_index)]
        zones.append(_nerve(parameters, marks, width, spacing))
    return tuple(zones)


def column_spacing(parameters: Parameters, width: int, own_mm: float | None) -> float | None:
    """Millimetres per column; None where nobody says."""
    if parameters.pixel_spacing_column is not None:
        return parameters.pixel_spacing_column
    if parameters.scan_width is not None:
        return parameters.scan_width / width
    return own_mm


def _center(parameters: Parameters, width: int, spacing: float | None) -> Zone:
    middle = width / 2
    if parameters.center_coordinates is not None:
        middle = parameters.center_coordinates[0]
        if middle > width:
            raise invalid("center_coordinates", list(parameters.center_coordinates), f"列应在图像内：0 到 {width} px")
    if parameters.mm_crop_zone is None:
        return Zone(name="full", left=0, right=width)
    half = parameters.mm_crop_zone / _known(spacing, "mm_crop_zone", parameters.mm_crop_zone) / 2
    return _clipped("center", middle - half, middle + half, width)


def _nerve(parameters: Parameters, marks: tuple[float, float], width: int, spacing: float | None) -> Zone:
    left, right = marks
    if right > width:
        raise invalid("nerve_zone_landmarks", [left, right], f"列应在图像内：0 到 {width} px")
    margin = parameters.mm_crop_zone_nerve / _known(spacing, "nerve_zone_landmarks", [left, right])
    return _clipped("nerve", left - margin, right + margin, width)


def _known(spacing: float | None, key: str, value: object) -> float:
    if spacing is None:
        raise invalid(
            key, value, "按毫米裁剪需要列间距：请给出 pixel_spacing_column（mm/px）或 scan_width（mm），图像本身没有"
        )
    return spacing


def _clipped(name: Name, left: float, right: float, width: int) -> Zone:
    first = min(max(_rounded(left), 0), width - 1)
    return Zone(name=name, left=first, right=max(min(_rounded(right), width), first + 1))


def _rounded(column: float) -> int:
    """Halves go up, so that a zone is as wide wherever it lies; Python's round() goes to the even one."""
    return math.floor(column + 0.5)
