"""The findings drawn over the picture: contours filled and outlined, boxes with their score, a legend beneath.

The legend names the fields in English, as the answer does: OpenCV has no Chinese font.
"""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from imaging.fundus.answer import StudyAnswer
from imaging.fundus.marks import Box, Mark, Point, marks_of
from imaging.fundus.terms import MARKS, Eye
from imaging.pictures import open_rgb

Rgb = npt.NDArray[np.uint8]

# None is the red or the orange of a fundus.
_COLOURS = (
    (0, 255, 255),
    (255, 255, 255),
    (255, 230, 0),
    (255, 0, 255),
    (60, 120, 255),
    (170, 255, 0),
    (255, 180, 200),
    (0, 255, 0),
    (180, 130, 255),
    (0, 180, 120),
)
COLOURS = dict(zip(MARKS, _COLOURS, strict=True))
FILL = 0.35  # how much of the colour is in a filled contour
_JPEG_SIDE_MAX = 65_000
_FONT = cv2.FONT_HERSHEY_SIMPLEX


def overlay(path: Path, marks: Sequence[Mark], eye: Eye) -> bytes:
    """The picture of a file with its findings, as JPEG; as PNG where a side is too long for it. Blocking.

    Raises InputInvalid, InputTooLarge of a file that is no picture any more.
    """
    rgb = with_legend(draw(open_rgb(path), marks), marks, eye)
    form = ".jpg" if max(rgb.shape[:2]) <= _JPEG_SIDE_MAX else ".png"
    is_written, encoded = cv2.imencode(form, cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
    assert is_written
    return bytes(encoded)


def marks_for(answer: StudyAnswer, eye: Eye, eyes: Sequence[Eye]) -> tuple[Sequence[Mark], Eye, str]:
    """What may be drawn on one picture, over which eye, or why nothing: the answer speaks of eyes, not of pictures.

    eyes: of all pictures that were sent, this one's too.
    """
    found = answer.ultra_wide
    if found is None:
        return (), eye, ""
    by_eye = {side: marks_of(found.detail(side)) for side in (Eye.LEFT, Eye.RIGHT)}
    if eye is Eye.UNKNOWN:
        sides = [side for side, marks in by_eye.items() if any(mark.is_drawable for mark in marks)]
        if len(eyes) == 1 and len(sides) == 1:
            return by_eye[sides[0]], sides[0], ""
        return (), eye, "眼别未知，标注没有画上"
    if sum(other in (eye, Eye.UNKNOWN) for other in eyes) > 1:
        return (), eye, f"{eye.label}可能不止一张图像，标注不知属于哪一张，没有画上"
    return by_eye[eye], eye, ""


def draw(rgb: Rgb, marks: Sequence[Mark]) -> Rgb:
    """A copy of the same size; what lies beyond the picture is cut off."""
    drawn = np.ascontiguousarray(rgb.copy())
    thickness = _thickness(drawn)
    for mark in marks:
        for contour in mark.contours:
            _draw_contour(drawn, contour, COLOURS[mark.name], thickness)
    # Boxes last: a filled contour would hide their score.
    for mark in marks:
        for box in mark.boxes:
            _draw_box(drawn, box, COLOURS[mark.name], thickness)
    return drawn


def with_legend(rgb: Rgb, marks: Sequence[Mark], eye: Eye) -> Rgb:
    """The picture with a strip beneath that names the colours; every pixel keeps its place."""
    shown = [mark for mark in marks if mark.is_drawable]
    scale = max(rgb.shape[1] / 1600, 0.4)
    line, left = round(36 * scale), round(12 * scale)
    strip = np.zeros((line * (len(shown) + 1) + left, rgb.shape[1], 3), np.uint8)
    title = {Eye.LEFT: "left eye", Eye.RIGHT: "right eye", Eye.UNKNOWN: "eye unknown"}[eye]
    texts = [(f"{title}: AI findings" if shown else f"{title}: nothing to draw", (255, 255, 255))]
    texts += [(f"{mark.name} ({len(mark.contours) + len(mark.boxes)})", COLOURS[mark.name]) for mark in shown]
    for row, (text, colour) in enumerate(texts, start=1):
        cv2.putText(strip, text, (left, line * row), _FONT, scale, colour, max(round(scale * 2), 1), cv2.LINE_AA)
    return np.concatenate([rgb, strip])


def _draw_contour(rgb: Rgb, contour: Sequence[Point], colour: tuple[int, int, int], thickness: int) -> None:
    height, width = rgb.shape[:2]
    # Far enough outside to keep every edge's slope, near enough for OpenCV's fixed point.
    reach = 4 * max(height, width)
    points = np.clip(np.asarray(contour, np.float64), -reach, reach).round().astype(np.int32)
    left, top = np.maximum(points.min(axis=0), 0)
    right, bottom = np.minimum(points.max(axis=0) + 1, (width, height))
    if right <= left or bottom <= top:
        return
    part = rgb[top:bottom, left:right]
    inside = np.zeros(part.shape[:2], np.uint8)
    cv2.fillPoly(inside, [points - (left, top)], 1)
    part[inside == 1] = (part[inside == 1] * (1 - FILL) + np.array(colour) * FILL).round().astype(np.uint8)
    cv2.polylines(rgb, [points], isClosed=True, color=colour, thickness=thickness)


def _draw_box(rgb: Rgb, box: Box, colour: tuple[int, int, int], thickness: int) -> None:
    height, width = rgb.shape[:2]
    left, right = (round(min(max(x, 0), width - 1)) for x in (box.left, box.right))
    top, bottom = (round(min(max(y, 0), height - 1)) for y in (box.top, box.bottom))
    if box.left >= width or box.top >= height or box.right < 0 or box.bottom < 0:
        return
    cv2.rectangle(rgb, (left, top), (right, bottom), colour, thickness)
    if box.score is not None:
        scale = max(width / 2400, 0.35)
        at = (left, top - 2 * thickness if top > 20 * scale else min(bottom + round(24 * scale), height - 1))
        cv2.putText(rgb, f"{box.score:.2f}", at, _FONT, scale, colour, thickness, cv2.LINE_AA)


def _thickness(rgb: Rgb) -> int:
    return int(max(round(max(rgb.shape[:2]) / 1000), 1))
