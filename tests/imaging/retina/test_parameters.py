"""The header Inference-Parameters: every alias is taken, and everything wrong is named with what was expected."""

import json
import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imaging.errors import InputInvalid
from imaging.retina.parameters import Parameters, parse_parameters

WHOLE = {
    "scan_width": 6,
    "mm_crop_zone": 4.5,
    "center_coordinates": [256, 48],
    "pixel_spacing_row": 0.0039,
    "pixel_spacing_column": 0.0117,
    "low_confidence_p": 0.25,
    "slice_idx": [45, 46, 47],
    "nerve_zone_landmarks": [[100, 180], [[101.5, 30], [179, 33], [120, 8]], 140],
    "nerve_zone_slice_indices": [45, 46, 47],
    "mm_crop_zone_nerve": 1.5,
}


def refused(text: str) -> InputInvalid:
    with pytest.raises(InputInvalid) as caught:
        parse_parameters(text)
    caught.value.message.encode()
    return caught.value


@pytest.mark.parametrize("text", [None, "", "  ", "{}", '{"low_confidence_p": null, "mm_crop_zone": null}'])
def test_nothing_given_is_the_seeds_defaults(text: str | None) -> None:
    found = parse_parameters(text)

    assert (found.low_confidence_p, found.mm_crop_zone_nerve, found.mm_crop_zone) == (0.1, 1.0, None)
    assert found == Parameters()


def test_every_parameter_of_the_seed_is_read() -> None:
    found = parse_parameters(json.dumps(WHOLE))

    assert (found.scan_width, found.center_coordinates) == (6.0, (256.0, 48.0))
    assert found.slices == (45, 46, 47)
    assert found.nerve_zone_landmarks == ((100.0, 180.0), (101.5, 179.0), (140.0, 140.0))


def test_parameters_survive_a_database_row() -> None:
    found = parse_parameters(json.dumps(WHOLE))

    assert Parameters.model_validate(json.loads(json.dumps(found.model_dump(mode="json")))) == found


@pytest.mark.parametrize(
    ("key", "alias", "value"),
    [("center_coordinates", "exam_center_coordinate", [1, 2]), ("mm_crop_zone_nerve", "mm_nerve_crop_zone", 2)],
)
def test_both_spellings_mean_the_same(key: str, alias: str, value: Any) -> None:
    assert parse_parameters(json.dumps({alias: value})) == parse_parameters(json.dumps({key: value}))
    assert parse_parameters(json.dumps({alias: value, key: value})) == parse_parameters(json.dumps({key: value}))
    error = refused(json.dumps({alias: value, key: [3, 4] if key == "center_coordinates" else 3}))
    assert error.field == f"Inference-Parameters.{alias}"
    assert key in error.message


@pytest.mark.parametrize(("given", "slices"), [(46, (46,)), ([47, 45], (45, 47)), (None, None)])
def test_a_slice_is_one_or_a_list(given: Any, slices: Any) -> None:
    assert parse_parameters(json.dumps({"slice_idx": given})).slices == slices


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ('{"scan_width" 6}', "第 1 行第 15 列"),
        ('{"scan_width":\n 6', "第 2 行第 3 列"),
        ("[1, 2]", "应为一个 JSON 对象"),
        ("6", "应为一个 JSON 对象"),
        ('{"mm_crop_zone": NaN}', "含有 NaN"),
        ('{"mm_crop_zone": -Infinity}', "含有 -Infinity"),
        ('{"scan_width": 6, "scan_width": 9}', "键 scan_width 出现了两次"),
        ("[" * 60_000, "嵌套过深"),
        ('{"scan_width": ' + "9" * 5000 + "}", "过长的数字"),
        ('{"a": "' + "x" * 70_000 + '"}', "上限 65536"),
    ],
    ids=["colon", "cut", "list", "number", "nan", "infinity", "twice", "deep", "digits", "long"],
)
def test_a_header_that_is_no_json_object_is_named_with_its_place(text: str, what: str) -> None:
    error = refused(text)

    assert error.field == "Inference-Parameters"
    assert what in error.message
    assert len(error.value) <= 81


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("scan_width", 0.4, "0.5 到 30 的数字，单位 mm"),
        ("scan_width", 31, "单位 mm"),
        ("scan_width", "6", "单位 mm"),
        ("scan_width", True, "单位 mm"),
        ("mm_crop_zone", 0, "大于 0、不超过 30"),
        ("mm_crop_zone", -1, "大于 0"),
        ("mm_crop_zone", 10**400, "单位 mm"),
        ("center_coordinates", [1], "两个不小于 0 的数字"),
        ("center_coordinates", [1, 2, 3], "两个不小于 0 的数字"),
        ("center_coordinates", [-1, 2], "单位 px"),
        ("center_coordinates", {"x": 1}, "单位 px"),
        ("pixel_spacing_row", 0, "单位 mm/px"),
        ("pixel_spacing_column", 11.7, "不超过 1 的数字，单位 mm/px"),
        ("low_confidence_p", 1.01, "0 到 1"),
        ("slice_idx", -1, "0 到 9999 的整数"),
        ("slice_idx", 1.5, "整数"),
        ("slice_idx", True, "整数"),
        ("slice_idx", [], "非空列表"),
        ("slice_idx", [3, 3], "不重复"),
        ("slice_idx", "45", "整数"),
        ("mm_crop_zone_nerve", 30.5, "不超过 30"),
    ],
)
def test_a_value_out_of_range_names_key_value_and_unit(key: str, value: Any, expected: str) -> None:
    error = refused(json.dumps({key: value}))

    assert error.field == f"Inference-Parameters.{key}"
    assert expected in error.message
    assert error.value.rstrip("…") in json.dumps(value)


def test_a_number_beyond_every_float_is_refused() -> None:
    assert refused('{"scan_width": 1e999}').field == "Inference-Parameters.scan_width"


def test_an_unknown_key_is_named_with_those_that_are_known() -> None:
    error = refused('{"crop_zone_mm": 3}')

    assert error.field == "Inference-Parameters.crop_zone_mm"
    assert "mm_crop_zone" in error.message


@pytest.mark.parametrize(
    ("landmarks", "indices", "key"),
    [
        ([[1, 2]], None, "nerve_zone_slice_indices"),
        (None, [1], "nerve_zone_landmarks"),
        ([[1, 2]], [1, 2], "nerve_zone_landmarks"),
        ([[1, 2], [3, 4]], [1, 1], "nerve_zone_slice_indices"),
        ([[1, 2, 3]], [1], "nerve_zone_landmarks"),
        ([[[1, 2], 3]], [1], "nerve_zone_landmarks"),
        ([[[1, 2, 3]]], [1], "nerve_zone_landmarks"),
        ([[-1, 2]], [1], "nerve_zone_landmarks"),
        ([["1", 2]], [1], "nerve_zone_landmarks"),
        ([[]], [1], "nerve_zone_landmarks"),
        ([None], [1], "nerve_zone_landmarks"),
        ([], [], "nerve_zone_landmarks"),
        ("left", [1], "nerve_zone_landmarks"),
    ],
)
def test_landmarks_and_their_slices_go_together(landmarks: Any, indices: Any, key: str) -> None:
    text = json.dumps({"nerve_zone_landmarks": landmarks, "nerve_zone_slice_indices": indices})

    assert refused(text).field == f"Inference-Parameters.{key}"


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(string.printable + "\ud800é", max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from([*WHOLE, "exam_center_coordinate", "mm_nerve_crop_zone", "other"]), _JSON))
def test_whatever_is_sent_is_taken_or_named(given_: dict[str, Any]) -> None:
    try:
        found = parse_parameters(json.dumps(given_))
    except InputInvalid as error:
        # It travels in an answer as UTF-8.
        told = f"{error.message}{error.value}".encode().decode()
    else:
        told = "Inference-Parameters"
        assert Parameters.model_validate(found.model_dump(mode="json")) == found
    assert "Inference-Parameters" in told
