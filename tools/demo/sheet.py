"""A drawing board in centimetres for one thing that lies on the table.

A `Sheet` holds what the thing is made of (colour, cover, height, gloss), not how it looks: the same sheet is lit anew
for every lamp and every turn by `lit()`, so that the dark side is away from the lamp however the thing lies.
Colours are written as sRGB 0-255 and kept as linear light, because lamps, exposure and sensor noise are linear.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

Rng = np.random.Generator
Array = np.ndarray
Point = tuple[float, float]
Colour = tuple[float, float, float]


def linear(colour: Colour) -> Array:
    """Turn an sRGB colour (0-255) into linear light (0-1)."""
    return ((np.asarray(colour, np.float32) / 255.0) ** 2.2).astype(np.float32)


def hue(degrees: float, saturation: float, value: float) -> Colour:
    """An sRGB colour (0-255) from its hue in degrees, saturation and value (0-1)."""
    third = np.array([5.0, 3.0, 1.0]) + degrees % 360 / 60
    wave = np.clip(np.minimum(third % 6, 4 - third % 6), 0, 1)
    red, green, blue = 255 * value * (1 - saturation * wave)
    return float(red), float(green), float(blue)


def noise(rng: Rng, shape: tuple[int, int], cell_px: float, octaves: int = 3) -> Array:
    """Smooth noise of about unit spread whose coarsest grain is `cell_px` pixels."""
    height, width = shape
    total = np.zeros(shape, np.float32)
    for octave in range(octaves):
        cell = max(cell_px / 2**octave, 1.0)
        grid = rng.standard_normal((int(height / cell) + 3, int(width / cell) + 3)).astype(np.float32)
        total += cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC) * 0.5**octave
    return total


class Sheet:
    """Colour (linear), cover (alpha), height in cm and gloss of one thing; coordinates in cm from its middle."""

    def __init__(self, width_cm: float, height_cm: float, ppc: float) -> None:
        self.ppc = ppc
        self.shape = (round(height_cm * ppc), round(width_cm * ppc))
        self.albedo = np.zeros((*self.shape, 3), np.float32)
        self.cover = np.zeros(self.shape, np.float32)
        self.height = np.zeros(self.shape, np.float32)
        self.gloss = np.zeros(self.shape, np.float32)

    def polygon(self, points: list[Point]) -> Array:
        mask = np.zeros(self.shape, np.uint8)
        cv2.fillPoly(mask, [self._px(points)], 255, cv2.LINE_AA, shift=4)
        return mask.astype(np.float32) / 255

    def box(self, centre: Point, width: float, height: float, corner: float = 0.0) -> Array:
        """A rectangle, its corners rounded by `corner` cm."""
        (x, y), half_w, half_h = centre, width / 2, height / 2
        if corner <= 0:
            return self.polygon(
                [(x - half_w, y - half_h), (x + half_w, y - half_h), (x + half_w, y + half_h), (x - half_w, y + half_h)]
            )
        outline: list[Point] = []
        for sign_x, sign_y, start in ((1, 1, 0), (-1, 1, 90), (-1, -1, 180), (1, -1, 270)):
            for degrees in range(start, start + 91, 15):
                turn = np.deg2rad(degrees)
                outline.append(
                    (
                        x + sign_x * (half_w - corner) + corner * np.cos(turn),
                        y + sign_y * (half_h - corner) + corner * np.sin(turn),
                    )
                )
        return self.polygon(outline)

    def disc(self, centre: Point, radius: float, flatten: float = 1.0) -> Array:
        turns = np.linspace(0, 2 * np.pi, 72)
        return self.polygon([(centre[0] + radius * np.cos(t), centre[1] + radius * flatten * np.sin(t)) for t in turns])

    def stroke(self, points: list[Point], width: float) -> Array:
        """A line with round ends."""
        mask = np.zeros(self.shape, np.uint8)
        cv2.polylines(mask, [self._px(points)], False, 255, max(1, round(width * self.ppc)), cv2.LINE_AA, shift=4)
        thin = min(1.0, width * self.ppc)
        return mask.astype(np.float32) / 255 * thin

    def text(self, words: str, corner: Point, size: float, bold: float = 0.08) -> Array:
        """Print whose capitals are `size` cm high, from its lower left corner."""
        mask = np.zeros(self.shape, np.uint8)
        scale, x, y = size * self.ppc / 22, *self._px([corner])[0] // 16
        cv2.putText(
            mask,
            words,
            (int(x), int(y)),
            cv2.FONT_HERSHEY_DUPLEX,
            scale,
            255,
            max(1, round(bold * self.ppc)),
            cv2.LINE_AA,
        )
        return mask.astype(np.float32) / 255

    def paint(
        self,
        mask: Array,
        colour: Colour,
        *,
        opacity: float = 1.0,
        cover: float | None = None,
        gloss: float | None = None,
    ) -> None:
        """Lay a colour over what is there; `cover` also makes the place solid (or translucent)."""
        weight = (mask * opacity)[..., None]
        self.albedo += (linear(colour) - self.albedo) * weight
        if cover is not None:
            self.cover = np.maximum(self.cover, mask * cover)
        if gloss is not None:
            self.gloss += (gloss - self.gloss) * mask

    def swell(self, mask: Array, radius: float, base: float = 0.0) -> None:
        """Raise a mask like a cushion whose rim is rounded over `radius` cm."""
        depth = cv2.distanceTransform((mask > 0.5).astype(np.uint8), cv2.DIST_L2, 3) / self.ppc
        dome = radius * np.sqrt(np.clip(1 - (1 - np.minimum(depth / radius, 1)) ** 2, 0, 1))
        self.height = np.maximum(self.height, (base + dome) * (mask > 0.5)).astype(np.float32)

    def _px(self, points: list[Point]) -> Array:
        height, width = self.shape
        flat = np.asarray(points, np.float32) * self.ppc + np.array([width / 2, height / 2], np.float32)
        return np.round(flat * 16).astype(np.int32)


@dataclass(frozen=True, slots=True)
class Lit:
    """A sheet turned and lit: linear RGB multiplied by cover, the cover, and its soft shadow, at `ppc` pixels a cm."""

    rgba: Array
    shadow: Array
    ppc: float


def lit(sheet: Sheet, angle_deg: float, light: tuple[float, float, float], ppc: float, scale: float = 1.0) -> Lit:
    """Turn a sheet by `angle_deg` and light it; `light` points to the lamp, z up."""
    zoom = ppc * scale / sheet.ppc
    height, width = sheet.shape
    turn = np.deg2rad(angle_deg)
    cos, sin = abs(np.cos(turn)), abs(np.sin(turn))
    out = (int((width * cos + height * sin) * zoom) + 8, int((width * sin + height * cos) * zoom) + 8)
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), -angle_deg, zoom)
    matrix[:, 2] += np.array([out[0] / 2 - width / 2, out[1] / 2 - height / 2])
    source = np.dstack([sheet.albedo * sheet.cover[..., None], sheet.cover, sheet.height, sheet.gloss])
    if zoom < 0.75:  # a plain warp would alias when it shrinks
        source = cv2.GaussianBlur(source, (0, 0), 0.35 / zoom)
    parts = [
        cv2.warpAffine(np.ascontiguousarray(source[..., i : i + 3]), matrix, out, flags=cv2.INTER_LINEAR)
        for i in (0, 3)
    ]
    rgb, (cover, relief, gloss) = parts[0], np.moveaxis(parts[1], 2, 0)
    slope_x = cv2.Sobel(relief, cv2.CV_32F, 1, 0, ksize=3) * (ppc / 8)
    slope_y = cv2.Sobel(relief, cv2.CV_32F, 0, 1, ksize=3) * (ppc / 8)
    length = np.sqrt(slope_x**2 + slope_y**2 + 1)
    lamp = np.asarray(light, np.float32) / np.linalg.norm(light)
    facing = (-slope_x * lamp[0] - slope_y * lamp[1] + lamp[2]) / length
    diffuse = 0.34 + 0.66 * np.clip(facing, 0, None) / lamp[2]
    half = lamp + np.array([0, 0.25, 0.97], np.float32)
    half /= np.linalg.norm(half)
    shine = np.clip((-slope_x * half[0] - slope_y * half[1] + half[2]) / length, 0, 1) ** 40
    rgb = rgb * np.minimum(diffuse, 1.5)[..., None] + (gloss * shine * cover)[..., None]
    soft = cv2.GaussianBlur(cover, (0, 0), max(0.8, 0.28 * ppc))
    return Lit(np.dstack([rgb, cover]).astype(np.float32), soft, ppc)
