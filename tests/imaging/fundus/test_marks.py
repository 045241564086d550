"""Coordinates in whatever they come: decoded or said to be broken, counted, and drawn where they are."""

import base64
import gzip
import json
import tracemalloc
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imaging.fundus.answer import EyeDetail
from imaging.fundus.drawing import COLOURS, draw, overlay, with_legend
from imaging.fundus.marks import INFLATED_MAX, Box, Mark, State, marks_of
from imaging.fundus.terms import MARKS, Eye
from tests.servers.fundus_answers import packed

SQUARE = [[10, 10], [30, 10], [30, 30], [10, 30]]
FIELD = "hemohedgeMask"


def mark(raw: Any, name: str = FIELD) -> Mark:
    detail = EyeDetail.model_validate(EyeDetail.of({name: raw}))
    return next(each for each in marks_of(detail) if each.name == name)


def of(value: Any, name: str = FIELD) -> Mark:
    return mark(packed(value), name)


# --- decoding ---


@pytest.mark.parametrize("raw", ["", "  ", "[]", "{}", "null", packed([]), packed(None), [], {}])
def test_an_empty_field_holds_nothing(raw: Any) -> None:
    assert mark(raw).state is State.NONE


def test_a_field_that_is_not_there_is_missing() -> None:
    assert [each.state for each in marks_of(None)] == [State.MISSING] * len(MARKS)
    assert mark(None).state is State.MISSING


@pytest.mark.parametrize("raw", [json.dumps(SQUARE), packed(SQUARE), json.dumps(packed(SQUARE)), SQUARE])
def test_plain_packed_wrapped_and_bare_json_are_the_same(raw: Any) -> None:
    found = mark(raw)
    assert (found.state, len(found.contours), found.value) == (State.DECODED, 1, SQUARE)


BROKEN = {
    "no base64": "###",
    "base64 of nothing known": base64.b64encode(b"hello there").decode(),
    "half a gzip": base64.b64encode(gzip.compress(json.dumps(SQUARE).encode())[:-9]).decode(),
    "a gzip of no JSON": base64.b64encode(gzip.compress(b"[1,")).decode(),
    "a gzip of no UTF-8": base64.b64encode(gzip.compress(b'"\xff"')).decode(),
    "nested too deep": "[" * 40 + "]" * 40,
    "nested without end": "[" * 200_000,
    "text beyond ASCII": "视网膜",
}


@pytest.mark.parametrize("raw", BROKEN.values(), ids=BROKEN)
def test_what_cannot_be_decoded_says_so_and_stops_nothing(raw: str) -> None:
    found = mark(raw)
    assert found.state is State.BROKEN
    assert found.why
    assert not found.is_drawable


def test_a_gzip_bomb_is_stopped_early() -> None:
    bomb = base64.b64encode(gzip.compress(b" " * (40 * INFLATED_MAX), 1)).decode()
    tracemalloc.start()
    try:
        found = mark(bomb)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (found.state, found.why) == (State.BROKEN, f"解压后超过 {INFLATED_MAX} 字节")
    assert peak < 6 * INFLATED_MAX


def test_all_fields_of_an_eye_share_one_bound() -> None:
    large = packed([" " * (INFLATED_MAX - 10)])
    states = [each.state for each in marks_of(EyeDetail.model_validate(EyeDetail.of(dict.fromkeys(MARKS, large))))]
    assert states[:4] == [State.DECODED] * 4
    assert states[4:] == [State.BROKEN] * 6


# --- shapes ---

BOX = Box(left=10, top=20, right=30, bottom=40, score=0.9)


@pytest.mark.parametrize(
    ("value", "count"),
    [
        (SQUARE, 1),
        ([SQUARE, SQUARE], 2),
        ([[SQUARE], [SQUARE, SQUARE]], 3),
        ([[[x, y]] for x, y in SQUARE], 1),
        ([[[[x, y]] for x, y in SQUARE]], 1),
        ({"contours": [SQUARE]}, 1),
        ([{"points": [{"x": x, "y": y} for x, y in SQUARE], "label": "a"}], 1),
        ([10, 10, 30, 10, 30, 30, 10, 30], 1),
        ([[10.5, 10, 30, 10, 30, 30, 10, 30]], 1),
    ],
)
def test_contours_are_known_in_several_nestings(value: Any, count: int) -> None:
    found = of(value)
    assert (len(found.contours), found.boxes) == (count, ())


@pytest.mark.parametrize(
    "value",
    [
        [10, 20, 30, 40, 0.9],
        [[10, 20, 30, 40, 0.9, 3]],
        [{"bbox": [10, 20, 30, 40], "score": 0.9}],
        {"boxes": [{"box": {"x1": 10, "y1": 20, "x2": 30, "y2": 40}, "confidence": "0.9"}]},
        [{"x": 10, "y": 20, "w": 20, "h": 20, "confidence": 0.9}],
        [{"left": 10, "top": 20, "width": 20, "height": 20, "prob": 0.9}],
        [{"xmin": 10, "ymin": 20, "xmax": 30, "ymax": 40, "conf": 0.9, "bbox": None}],
        [{"rect": [10, 20, 30, 40, 0.9]}],
    ],
)
def test_boxes_are_known_with_their_confidence(value: Any) -> None:
    found = of(value, "retinalHole")
    assert (found.boxes, found.contours) == ((BOX,), ())


def test_a_box_whose_second_pair_lies_before_the_first_has_a_size() -> None:
    assert of([100, 100, 20, 30]).boxes == (Box(left=100, top=100, right=120, bottom=130),)


@pytest.mark.parametrize(
    "value", [["a", "b"], {"version": 2}, [1, 2], "text", [True, True, True, True], 7, [1e300] * 4]
)
def test_what_is_not_recognised_is_kept_and_not_guessed(value: Any) -> None:
    found = mark(json.dumps(value)) if not isinstance(value, str) else of([value])
    assert found.state is State.DECODED
    assert not found.is_drawable
    assert found.value == (value if not isinstance(value, str) else [value])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(st.sampled_from(["x", "y", "w", "h", "bbox", "score", "points"]), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(JSON)
def test_any_json_is_counted_and_drawn_without_a_crash(value: Any) -> None:
    found = mark(json.dumps(value))
    assert draw(np.zeros((20, 30, 3), np.uint8), [found]).shape == (20, 30, 3)


# --- drawing ---


def test_a_contour_is_filled_and_outlined_at_its_pixels() -> None:
    rgb = np.full((100, 100, 3), 100, np.uint8)
    drawn = draw(rgb, [of(SQUARE)])
    colour = np.array(COLOURS[FIELD])

    assert (drawn[10, 20] == colour).all()
    assert (drawn[20, 30] == colour).all()
    assert np.abs(drawn[20, 20].astype(int) - (100 * 0.65 + colour * 0.35)).max() <= 1
    outside = np.ones((100, 100), bool)
    outside[9:32, 9:32] = False
    assert (drawn[outside] == 100).all()
    assert (rgb == 100).all(), "the picture itself is left as it is"


def test_a_box_is_drawn_at_its_corners_with_its_score() -> None:
    drawn = draw(np.zeros((200, 200, 3), np.uint8), [of([50, 60, 150, 160, 0.87], "retinalHole")])
    colour = np.array(COLOURS["retinalHole"])

    for row, column in ((60, 100), (160, 100), (110, 50), (110, 150)):
        assert (drawn[row, column] == colour).all()
    assert not drawn[110, 100].any()
    assert drawn[40:59, 50:110].any(), "the score"


@pytest.mark.parametrize(
    "value",
    [
        [[-50, -50], [50, -50], [50, 50], [-50, 50]],
        [[90, 90], [1e6, 90], [1e6, 1e6], [90, 1e6]],
        [[-1e6, -1e6], [-5, -1e6], [-5, -5]],
        [80, 80, 5000, 5000, 0.5],
        [-500, -500, -10, -10, 0.5],
        [[50, 50]],
    ],
)
def test_what_lies_beyond_the_picture_is_cut_off(value: Any) -> None:
    drawn = draw(np.zeros((100, 100, 3), np.uint8), [of(value)])
    assert drawn.shape == (100, 100, 3)


def test_half_a_contour_outside_keeps_its_inner_half() -> None:
    drawn = draw(np.zeros((100, 100, 3), np.uint8), [of([[-50, 20], [50, 20], [50, 60], [-50, 60]])])
    assert drawn[40, 25].any()
    assert (drawn[40, 50] == np.array(COLOURS[FIELD])).all()
    assert not drawn[40, 60].any()


def test_every_kind_has_its_own_colour_and_stands_in_the_legend() -> None:
    assert len(set(COLOURS.values())) == len(MARKS)
    marks = [of(SQUARE), of([40, 40, 60, 60, 0.5], "retinalHole"), mark("", "retinalDetachment")]
    rgb = np.zeros((100, 800, 3), np.uint8)
    shown = with_legend(rgb, marks, Eye.LEFT)

    assert (shown[:100] == rgb).all(), "every pixel keeps its place"
    strip = shown[100:].reshape(-1, 3)
    found = {name for name, colour in COLOURS.items() if (strip == np.array(colour)).all(axis=1).any()}
    assert {FIELD, "retinalHole"} <= found
    assert "retinalDetachment" not in found


def test_an_overlay_is_a_picture_with_a_strip_beneath(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), np.full((120, 160, 3), (10, 20, 30), np.uint8))
    made = cv2.imdecode(np.frombuffer(overlay(path, [of(SQUARE)], Eye.RIGHT), np.uint8), cv2.IMREAD_COLOR)

    assert made.shape[0] > 120
    assert made.shape[1] == 160
    assert np.abs(made[100, 100].astype(int) - (10, 20, 30)).max() < 8
    assert made[20, 20, 0] > 80, "cyan, half through"
