"""The columns of a zone, held against the formula: to within one pixel, for every size, place and edge."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imaging.errors import InputInvalid
from imaging.retina.parameters import Parameters, parse_parameters
from imaging.retina.zones import Zone, zones_of
from tests.oct import b_scan


def zones(width: int, slice_index: int = 0, own_mm: float | None = None, **keys: Any) -> tuple[Zone, ...]:
    parameters = parse_parameters(json.dumps(keys))
    return zones_of(parameters, width=width, slice_index=slice_index, spacing_mm=own_mm)


widths = st.integers(8, 4096)
millimetres = st.floats(0.05, 30)
spacings = st.floats(0.001, 0.1)


@given(widths, millimetres, spacings, st.floats(0, 1))
def test_a_center_zone_follows_the_formula_within_a_pixel(width: int, mm: float, spacing: float, at: float) -> None:
    middle = at * width
    (zone,) = zones(width, mm_crop_zone=mm, pixel_spacing_column=spacing, center_coordinates=[middle, 0])
    half = mm / spacing / 2

    assert 0 <= zone.left < zone.right <= width
    assert abs(zone.left - min(max(middle - half, 0), width)) <= 1
    assert abs(zone.right - max(min(middle + half, width), 0)) <= 1


@given(widths, millimetres, spacings)
def test_a_zone_around_the_middle_is_symmetric_within_a_pixel(width: int, mm: float, spacing: float) -> None:
    (zone,) = zones(width, mm_crop_zone=mm, pixel_spacing_column=spacing)

    assert abs(zone.left - (width - zone.right)) <= 1


@given(st.integers(400, 2000), st.floats(0.1, 2), st.integers(150, 250))
def test_a_zone_is_as_wide_wherever_it_lies(width: int, mm: float, middle: int) -> None:
    first, second = (
        zones(width, mm_crop_zone=mm, pixel_spacing_column=0.0117, center_coordinates=[place, 0])[0]
        for place in (middle, middle + 1)
    )

    assert first.right - first.left == second.right - second.left


@given(widths, spacings, st.floats(0, 1), st.floats(0, 1), st.floats(0.05, 10))
def test_a_nerve_zone_reaches_so_far_beyond_both_landmarks(
    width: int, spacing: float, one: float, other: float, mm: float
) -> None:
    marks = [one * width, other * width]
    _, zone = zones(
        width,
        slice_index=7,
        pixel_spacing_column=spacing,
        nerve_zone_landmarks=[marks],
        nerve_zone_slice_indices=[7],
        mm_crop_zone_nerve=mm,
    )

    assert zone.name == "nerve"
    assert abs(zone.left - max(min(marks) - mm / spacing, 0)) <= 1
    assert abs(zone.right - min(max(marks) + mm / spacing, width)) <= 1


@pytest.mark.parametrize(("width", "middle"), [(501, 250.5), (512, 256), (767, 100), (767, 700), (1024, 0), (333, 333)])
def test_marks_at_known_millimetres_fall_in_and_out_of_the_crop(width: int, middle: float) -> None:
    spacing, mm = 6.0 / width, 3.0
    inside = [middle + side * (mm / 2 / spacing - 2) for side in (-1, 1)]
    outside = [middle + side * (mm / 2 / spacing + 2) for side in (-1, 1)]
    visible = [round(x) for x in inside if 0 <= round(x) < width]
    grey = b_scan(width, marks=[*visible, *(round(x) for x in outside if 0 <= round(x) < width)])
    (zone,) = zones(width, scan_width=6.0, mm_crop_zone=mm, center_coordinates=[middle, 10])
    cut = grey[:, zone.left : zone.right]

    assert [zone.left + int(x) for x in np.flatnonzero(cut[0] == 255)] == visible


@pytest.mark.parametrize(
    ("keys", "own", "spacing"),
    [
        ({"pixel_spacing_column": 0.01, "scan_width": 6}, 0.03, 0.01),
        ({"scan_width": 6}, 0.03, 0.02),
        ({}, 0.03, 0.03),
    ],
)
def test_what_the_parameters_say_of_the_spacing_comes_before_the_file(keys: Any, own: float, spacing: float) -> None:
    (zone,) = zones(300, own_mm=own, mm_crop_zone=1.2, **keys)

    assert zone.right - zone.left == pytest.approx(1.2 / spacing, abs=1)


def test_without_a_crop_zone_it_is_the_whole_width_and_needs_no_spacing() -> None:
    assert zones(97) == (Zone(name="full", left=0, right=97),)
    assert zones(97, center_coordinates=[20, 0]) == (Zone(name="full", left=0, right=97),)


def test_a_crop_zone_wider_than_the_picture_is_the_whole_width() -> None:
    assert zones(97, mm_crop_zone=30, scan_width=6) == (Zone(name="center", left=0, right=97),)


def test_a_crop_zone_of_less_than_a_pixel_is_one_column() -> None:
    for middle in (0, 50.2, 97):
        (zone,) = zones(97, mm_crop_zone=0.0001, scan_width=6, center_coordinates=[middle, 0])
        assert zone.right - zone.left == 1
        assert abs(zone.left - middle) <= 1


def test_a_slice_that_is_not_listed_has_no_nerve_zone() -> None:
    keys: dict[str, Any] = {"scan_width": 6, "nerve_zone_landmarks": [[1, 2], 50], "nerve_zone_slice_indices": [3, 9]}

    assert [zone.name for zone in zones(97, slice_index=4, **keys)] == ["full"]
    assert [zone.name for zone in zones(97, slice_index=9, **keys)] == ["full", "nerve"]
    assert zones(97, slice_index=9, **keys)[1] == Zone(name="nerve", left=34, right=66)


@pytest.mark.parametrize(
    ("keys", "field", "what"),
    [
        ({"mm_crop_zone": 3}, "mm_crop_zone", "pixel_spacing_column"),
        ({"nerve_zone_landmarks": [5], "nerve_zone_slice_indices": [0]}, "nerve_zone_landmarks", "scan_width"),
        ({"center_coordinates": [97.5, 3]}, "center_coordinates", "0 到 97 px"),
        (
            {"scan_width": 6, "nerve_zone_landmarks": [[3, 98]], "nerve_zone_slice_indices": [0]},
            "nerve_zone_landmarks",
            "0 到 97 px",
        ),
    ],
)
def test_a_place_outside_or_a_spacing_nobody_says_is_named(keys: Any, field: str, what: str) -> None:
    with pytest.raises(InputInvalid, match=what) as caught:
        zones(97, **keys)

    assert caught.value.field == f"Inference-Parameters.{field}"


def test_the_second_coordinate_is_no_column() -> None:
    assert zones(97, center_coordinates=[48, 5000])[0].right == 97
    assert Parameters(center_coordinates=(1.0, 5000.0)).center_coordinates == (1.0, 5000.0)
