"""The table and the camera above it: cloth, lamp, perspective, shadows, optics and sensor.

Things are placed in centimetres on the table; a camera is a homography per height above it. A picture is built in
linear light (cloth, things, shadows, then lamp and vignetting), and the sensor turns it into 8 bits: defocus, exposure,
shot and read noise, gamma.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from sheet import Array, Lit, Rng, hue, linear, noise


@dataclass(frozen=True, slots=True, kw_only=True)
class Camera:
    """A pinhole above the table, aimed at its middle; `span_cm` of table fill the picture's shorter side."""

    width: int
    height: int
    span_cm: float
    tilt_deg: float
    yaw_deg: float
    distance_cm: float = 120.0

    def matrix(self, lift_cm: float = 0.0) -> Array:
        """Table cm to pixels, for the plane `lift_cm` above the table."""
        tilt, yaw = np.deg2rad(self.tilt_deg), np.deg2rad(self.yaw_deg)
        sin, cos, away = np.sin(tilt), np.cos(tilt), self.distance_cm
        focal = min(self.width, self.height) * away / self.span_cm
        half_w, half_h = self.width / 2, self.height / 2
        depth = np.array([0, -sin, away - cos * lift_cm])
        view = np.stack(
            [
                np.array([focal, 0, 0]) + half_w * depth,
                np.array([0, focal * cos, -focal * sin * lift_cm]) + half_h * depth,
                depth,
            ]
        )
        turn = np.array([[np.cos(yaw), -np.sin(yaw), 0], [np.sin(yaw), np.cos(yaw), 0], [0, 0, 1]])
        return np.asarray(view @ turn)

    @property
    def ppc(self) -> float:
        return min(self.width, self.height) / self.span_cm


@dataclass(frozen=True, slots=True, kw_only=True)
class Sensor:
    """What optics and electronics do to the light."""

    exposure: float = 1.0
    defocus_px: float = 0.8
    shot: float = 0.0012
    read: float = 0.00002


class Table:
    """A draped table under a lamp, as one camera sees it."""

    def __init__(
        self, rng: Rng, camera: Camera, light: tuple[float, float, float], cloth_hue: float, warmth: float = 0.0
    ) -> None:
        self.camera = camera
        self.light = light
        self.cloth = _cloth(rng, camera, light, cloth_hue)
        self.lamp = _lamp(rng, camera, warmth)

    def place(self, picture: Array, thing: Lit, x: float, y: float, lift_cm: float = 0.0, fade: float = 1.0) -> Array:
        """Lay a thing on the picture, with its shadow; returns its cover in pixels."""
        lamp = np.asarray(self.light) / self.light[2]
        drop = 0.5 + lift_cm
        self._shade(picture, thing, x - lamp[0] * drop, y - lamp[1] * drop, 0.62 / (1 + 0.1 * lift_cm) * fade)
        roi, warp = self._warp(thing, x, y, lift_cm)
        cover = np.zeros(picture.shape[:2], np.float32)
        if roi is None:
            return cover
        left, top, right, bottom = roi
        layer = cv2.warpPerspective(thing.rgba, warp, (right - left, bottom - top), flags=cv2.INTER_LINEAR) * fade
        part = picture[top:bottom, left:right]
        part *= 1 - layer[..., 3:]
        part += layer[..., :3]
        cover[top:bottom, left:right] = layer[..., 3]
        return cover

    def _shade(self, picture: Array, thing: Lit, x: float, y: float, strength: float) -> None:
        roi, warp = self._warp(thing, x, y, 0.0)
        if roi is None:
            return
        left, top, right, bottom = roi
        dark = cv2.warpPerspective(thing.shadow, warp, (right - left, bottom - top), flags=cv2.INTER_LINEAR)
        picture[top:bottom, left:right] *= (1 - strength * dark)[..., None]

    def _warp(self, thing: Lit, x: float, y: float, lift_cm: float) -> tuple[tuple[int, int, int, int] | None, Array]:
        height, width = thing.shadow.shape
        local = np.array(
            [[1 / thing.ppc, 0, x - width / 2 / thing.ppc], [0, 1 / thing.ppc, y - height / 2 / thing.ppc], [0, 0, 1]]
        )
        warp = self.camera.matrix(lift_cm) @ local
        corners = np.array([[0, 0, 1], [width, 0, 1], [width, height, 1], [0, height, 1]], float) @ warp.T
        corners = corners[:, :2] / corners[:, 2:]
        left, top = np.maximum(np.floor(corners.min(0)).astype(int) - 1, 0)
        right, bottom = np.minimum(np.ceil(corners.max(0)).astype(int) + 1, (self.camera.width, self.camera.height))
        if right <= left or bottom <= top:
            return None, warp
        return (int(left), int(top), int(right), int(bottom)), np.array([[1, 0, -left], [0, 1, -top], [0, 0, 1]]) @ warp


def expose(rng: Rng, light: Array, sensor: Sensor, grain: Array | None = None) -> Array:
    """Turn linear light into an 8-bit sRGB picture; `grain` is unit noise of its shape, drawn if not given."""
    light = cv2.GaussianBlur(light, (0, 0), sensor.defocus_px) if sensor.defocus_px > 0.2 else light
    light = np.maximum(light * sensor.exposure, 0)
    if grain is None:
        grain = rng.standard_normal(light.shape, np.float32)
    light = light + grain * np.sqrt(sensor.shot * light + sensor.read)
    steps = np.clip(light * 4095, 0, 4095).astype(np.uint16)
    return np.asarray(_GAMMA[steps])


# A knee instead of a hard edge: cameras roll bright cloth and steel off before they clip.
_LINEAR = np.linspace(0, 1, 4096)
_GAMMA = np.round(255 * np.minimum(_LINEAR * 1.08 / (1 + 0.08 * _LINEAR), 1) ** (1 / 2.2)).astype(np.uint8)


def _cloth(rng: Rng, camera: Camera, light: tuple[float, float, float], cloth_hue: float) -> Array:
    """The draped cloth, lit, in camera pixels: weave, soft waves, pressed folds, wrinkles."""
    ppc = camera.ppc * 0.9
    wide = camera.span_cm * 1.5 * camera.width / min(camera.width, camera.height)
    shape = (int(camera.span_cm * 1.7 * ppc), int(wide * ppc))
    rows, columns = np.mgrid[0 : shape[0], 0 : shape[1]].astype(np.float32) / ppc
    relief = 0.9 * noise(rng, shape, 16 * ppc, 2) + 0.16 * noise(rng, shape, 4 * ppc, 3)
    for _ in range(int(rng.integers(2, 5))):  # soft drapes
        turn, reach = rng.uniform(0, np.pi), rng.uniform(1.2, 4)
        across = columns * np.cos(turn) + rows * np.sin(turn) + 1.5 * noise(rng, shape, 22 * ppc, 1)
        middle = rng.uniform(float(across.min()), float(across.max()))
        relief += rng.uniform(0.5, 1.5) * np.exp(-(((across - middle) / reach) ** 2))
    for vertical in (True, False):  # the creases of a cloth that came folded
        along = columns if vertical else rows
        middle = rng.uniform(0.2, 0.8) * float(along.max())
        relief += (
            rng.choice([-1, 1]) * 0.2 * np.exp(-np.abs(along - middle - 0.1 * noise(rng, shape, 8 * ppc, 1)) / 0.35)
        )
    slope_x, slope_y = np.gradient(relief, axis=1) * ppc, np.gradient(relief, axis=0) * ppc
    lamp = np.asarray(light, np.float32) / np.linalg.norm(light)
    facing = (-slope_x * lamp[0] - slope_y * lamp[1] + lamp[2]) / np.sqrt(slope_x**2 + slope_y**2 + 1)
    shade = 0.4 + 0.6 * np.clip(facing, 0, None) / lamp[2]
    weave = 1 + 0.05 * noise(rng, shape, max(1.0, 0.12 * ppc), 1) + 0.03 * np.sin(2 * np.pi * (rows + columns) / 0.32)
    colour = linear(hue(cloth_hue, rng.uniform(0.42, 0.62), rng.uniform(0.38, 0.52)))
    cloth = (shade * weave)[..., None].astype(np.float32) * colour
    local = np.array([[1 / ppc, 0, -shape[1] / 2 / ppc], [0, 1 / ppc, -shape[0] / 2 / ppc], [0, 0, 1]])
    turn = np.deg2rad(-camera.yaw_deg)
    upright = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
    warp = camera.matrix() @ upright @ local
    return cv2.warpPerspective(
        cloth, warp, (camera.width, camera.height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT
    )


def _lamp(rng: Rng, camera: Camera, warmth: float) -> Array:
    """Lamp light and vignetting in camera pixels; `warmth` > 0 is yellower, < 0 bluer."""
    rows, columns = np.mgrid[0 : camera.height, 0 : camera.width].astype(np.float32)
    size = min(camera.width, camera.height)
    x, y = (columns - camera.width / 2) / size, (rows - camera.height / 2) / size
    from_spot = (x - rng.uniform(-0.35, 0.35)) ** 2 + (y - rng.uniform(-0.35, 0.35)) ** 2
    spot = 0.62 + 0.6 * np.exp(-from_spot / rng.uniform(0.35, 0.8))
    vignette = 1 - 0.16 * (x**2 + y**2)
    tint = np.array([1 + 0.16 * warmth, 1.0, 1 - 0.2 * warmth], np.float32)
    return ((spot * vignette)[..., None] * tint).astype(np.float32)
