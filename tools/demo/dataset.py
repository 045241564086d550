"""Render the pictures that the demo's classifier learns from.

They share the drawing code with the recordings and nothing else: other seeds, other cloths, lamps, cameras and hands.
Every picture has a target of one share per label: an item of which little is left to see is worth less than its name,
and a suture packet whose band is bleached, between two colours or hidden is worth what a person could still tell.

    python dataset.py OUT.npz --count 6500 --seed 101
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
from pathlib import Path

import cv2
import numpy as np

import items
import props
import scene
from sheet import Array, Lit, Rng, lit

RENDER, STORED = 320, 240
DRAW_PPC = 18.0


def sample(seed: int) -> tuple[Array, Array]:
    """One picture (STORED x STORED x 3, uint8 RGB) and its target (one share per label)."""
    rng = np.random.default_rng(seed)
    camera = scene.Camera(
        width=RENDER,
        height=RENDER,
        span_cm=rng.uniform(22, 36),
        tilt_deg=rng.uniform(5, 45),
        yaw_deg=rng.uniform(-180, 180),
        distance_cm=rng.uniform(80, 160),
    )
    turn = rng.uniform(0, 2 * np.pi)
    slant = rng.uniform(0.2, 0.8)
    light = (slant * np.cos(turn), slant * np.sin(turn), 1.0)
    table = scene.Table(
        rng,
        camera,
        light,
        float(rng.choice([150, 165, 175, 200, 210, 215])) + rng.normal(0, 6),
        warmth=rng.uniform(-0.8, 0.8),
    )
    picture = table.cloth.copy()
    show = _Show(table, rng)

    for _ in range(int(rng.choice([0, 1, 2, 3], p=[0.45, 0.3, 0.15, 0.1]))):
        show.prop(picture)
    target = np.zeros(len(items.LABELS), np.float32)
    target[0] = 1.0
    if rng.random() < 0.8:
        target = show.item(picture)
    elif rng.random() < 0.75:
        show.hand(picture, near=tuple(rng.uniform(-0.5, 0.5, 2) * camera.span_cm))
    picture *= table.lamp

    blur = rng.random()
    if blur < 0.12:
        picture = cv2.filter2D(picture, -1, _streak(rng, int(rng.integers(3, 15))))
    sensor = scene.Sensor(
        exposure=float(np.exp(rng.normal(0.05, 0.28))),
        defocus_px=rng.uniform(0.0, 1.1),
        shot=rng.uniform(0, 0.004),
        read=rng.uniform(0, 2e-4),
    )
    eight = scene.expose(rng, picture, sensor)
    small = cv2.resize(eight, (STORED, STORED), interpolation=int(rng.choice([cv2.INTER_AREA, cv2.INTER_LINEAR])))
    if rng.random() < 0.6:
        quality = int(rng.integers(35, 95))
        coded = cv2.imencode(".jpg", small[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        small = cv2.imdecode(coded, cv2.IMREAD_COLOR)[..., ::-1]
    return np.ascontiguousarray(small), target


class _Show:
    """What is put on one table, each piece with its own turn and place."""

    def __init__(self, table: scene.Table, rng: Rng) -> None:
        self.table, self.rng = table, rng
        self.ppc = table.camera.ppc * 1.1
        self.half = table.camera.span_cm / 2

    def prop(self, picture: Array, near: tuple[float, float] | None = None) -> Array:
        rng = self.rng
        draw = props.DRAW[str(rng.choice(list(props.DRAW)))]
        thing = lit(draw(rng, DRAW_PPC), rng.uniform(0, 360), self.table.light, self.ppc)
        x, y = near if near is not None else tuple(rng.uniform(-1, 1, 2) * self.half)
        return self.table.place(picture, thing, x, y)

    def hand(self, picture: Array, near: tuple[float, float]) -> Array:
        """A hand that reaches to a place or past it: fingers, palm or wrist may be over it."""
        rng = self.rng
        turn, past = rng.uniform(0, 360), rng.choice([0.0, rng.uniform(0, 10)])
        pointing = np.deg2rad(turn - 90)
        thing = lit(props.hand(rng, 10.0), turn, self.table.light, self.ppc)
        x, y = near[0] + past * np.cos(pointing), near[1] + past * np.sin(pointing)
        return self.table.place(picture, thing, x, y, lift_cm=rng.uniform(0.5, 8))

    def item(self, picture: Array) -> Array:
        rng = self.rng
        target = np.zeros(len(items.LABELS), np.float32)
        label = str(rng.choice(items.LABELS[1:], p=_SHARES))
        clear = 1.0
        if label in (items.ABSORBABLE, items.PERMANENT):
            sheet, clear = _packet(rng, label)
        else:
            sheet = items.DRAW[label](rng, DRAW_PPC)
        thing = lit(sheet, rng.uniform(0, 360), self.table.light, self.ppc, scale=rng.uniform(0.92, 1.08))
        reach = 1.25 if rng.random() < 0.15 else 0.55
        x, y = rng.uniform(-1, 1, 2) * self.half * reach
        lift = float(rng.choice([0, rng.uniform(0, 6)], p=[0.75, 0.25]))
        own = self.table.place(picture, thing, x, y, lift_cm=lift)
        whole = _mass(thing, self.table.camera, x, y, lift)
        seen = own.copy()
        how = rng.random()
        near = (x + rng.normal(0, 3.0), y + rng.normal(0, 3.0))
        if how < 0.38:
            seen *= 1 - self.hand(picture, near)
        elif how < 0.48:
            away = rng.uniform(0, 2 * np.pi)
            seen *= 1 - self.prop(picture, (x + 8.5 * np.cos(away), y + 8.5 * np.sin(away)))
        left = float(seen.sum()) / max(whole, 1.0)
        certain = float(np.clip((left - 0.08) / 0.3, 0, 1))
        index = items.LABELS.index(label)
        if label in (items.ABSORBABLE, items.PERMANENT):
            other = items.LABELS.index(items.PERMANENT if label == items.ABSORBABLE else items.ABSORBABLE)
            # What is hidden of a packet may be its band: half a packet is a packet, but no longer surely this one.
            told = clear if left > 0.6 else 0.5 + (clear - 0.5) * max(0.0, (left - 0.2) / 0.4)
            target[index], target[other] = certain * told, certain * (1 - told)
        else:
            target[index] = certain
        target[0] += 1 - certain
        return target


_WEIGHTS = np.array([1.5 if name in (items.ABSORBABLE, items.PERMANENT) else 1.0 for name in items.LABELS[1:]])
_SHARES = _WEIGHTS / _WEIGHTS.sum()


def _packet(rng: Rng, label: str) -> tuple[items.Sheet, float]:
    """A suture packet and how surely it is of its kind; every third one is bleached or between the two colours."""
    band = items.ABSORBABLE_HUE if label == items.ABSORBABLE else items.PERMANENT_HUE
    fade = 0.0
    if rng.random() < 0.4:
        band, fade = rng.uniform(items.PERMANENT_HUE, items.ABSORBABLE_HUE), float(rng.choice([0, rng.uniform(0, 1)]))
    elif rng.random() < 0.3:
        fade = rng.uniform(0, 0.6)
    share = items.absorbable_share(band, fade)
    return items.suture(rng, DRAW_PPC, band, fade), share if label == items.ABSORBABLE else 1 - share


def _mass(thing: Lit, camera: scene.Camera, x: float, y: float, lift: float) -> float:
    """How many pixels the whole thing would cover, in or out of the picture."""
    view = camera.matrix(lift)
    middle = view @ np.array([x, y, 1.0])
    zoom = np.linalg.det(view) / middle[2] ** 3
    return float((thing.rgba[..., 3].sum() / thing.ppc**2) * abs(zoom))


def _streak(rng: Rng, length: int) -> Array:
    kernel = np.zeros((length, length), np.float32)
    turn = rng.uniform(0, np.pi)
    reach = np.array([np.cos(turn), np.sin(turn)]) * length / 2
    ends = np.round(np.array([length / 2 - reach, length / 2 + reach])).astype(int)
    cv2.line(kernel, tuple(map(int, ends[0])), tuple(map(int, ends[1])), 1.0, 1)
    return kernel / max(kernel.sum(), 1.0)


def _one(seed: int) -> tuple[Array, Array]:
    cv2.setNumThreads(1)
    return sample(seed)


def render(count: int, seed: int, workers: int) -> tuple[Array, Array]:
    """Render `count` pictures; the same seed gives the same pictures, however many workers draw them."""
    pictures = np.empty((count, STORED, STORED, 3), np.uint8)
    targets = np.empty((count, len(items.LABELS)), np.float32)
    with multiprocessing.Pool(workers) as pool:
        for index, (picture, target) in enumerate(
            pool.imap(_one, range(seed * 1_000_000, seed * 1_000_000 + count), 16)
        ):
            pictures[index], targets[index] = picture, target
    return pictures, targets


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--count", type=int, default=6500)
    parser.add_argument("--seed", type=int, default=101)
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    began = time.monotonic()
    pictures, targets = render(args.count, args.seed, args.workers)
    np.savez(args.out, pictures=pictures, targets=targets)
    print(f"{args.count} pictures in {time.monotonic() - began:.0f} s -> {args.out}")


if __name__ == "__main__":
    main()
