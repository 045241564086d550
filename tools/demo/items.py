"""The consumables of the demo, drawn in centimetres and different every time.

Every function takes a random generator and a resolution and gives a `Sheet`. What differs between two pieces of the
same kind (size, print, colour, creases, stains, a tube's coil) is drawn at random, what makes it that kind is not.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from sheet import Colour, Point, Rng, Sheet, hue, noise

BACKGROUND = "背景"
ABSORBABLE, PERMANENT = "可吸收缝线", "不可吸收缝线"
# The print on both suture packets is the same but for the band: violet means absorbable, petrol blue means permanent.
ABSORBABLE_HUE, PERMANENT_HUE = 285.0, 205.0


def gauze(rng: Rng, ppc: float) -> Sheet:
    """A folded gauze swab: loose weave, frayed rim, often an X-ray thread, sometimes a stain."""
    width, height = rng.uniform(8.5, 11), rng.uniform(7, 10.5)
    sheet = Sheet(14, 14, ppc)
    bend = noise(rng, sheet.shape, 3 * ppc)
    for layer in range(int(rng.integers(2, 4))):
        dx, dy = rng.uniform(-0.35, 0.35, 2) if layer else (0.0, 0.0)
        corners = [
            (x * width / 2 + dx + rng.normal(0, 0.18), y * height / 2 + dy + rng.normal(0, 0.18))
            for x, y in ((-1, -1), (1, -1), (1, 1), (-1, 1))
        ]
        mask = _wobbled(rng, sheet, sheet.polygon(corners), 0.07)
        shade = rng.uniform(0.9, 1.0)
        sheet.paint(mask, (238 * shade, 236 * shade, 228 * shade), cover=1.0, gloss=0.0)
        sheet.swell(mask, 0.35, base=0.1 * layer)
    rows, columns = np.mgrid[0 : sheet.shape[0], 0 : sheet.shape[1]].astype(np.float32) / ppc
    pitch = rng.uniform(0.2, 0.3)
    weave = np.sin(2 * np.pi * (columns + 0.05 * bend) / pitch) * np.sin(
        2 * np.pi * (rows + 0.05 * np.roll(bend, 9)) / pitch
    )
    sheet.albedo *= (0.9 + 0.1 * weave)[..., None]
    sheet.height += (0.03 * bend + 0.012 * weave).astype(np.float32)
    for _ in range(int(rng.integers(1, 3))):  # the fold
        offset = rng.uniform(-0.3, 0.3) * width
        crease = sheet.stroke([(offset, -height / 2), (offset + rng.normal(0, 0.3), height / 2)], 0.12)
        sheet.height -= 0.05 * cv2.GaussianBlur(crease, (0, 0), 0.1 * ppc)
    if rng.random() < 0.7:
        y = rng.uniform(-0.35, 0.35) * height
        thread = [(x, y + 0.15 * np.sin(x + rng.uniform(0, 6))) for x in np.linspace(-width / 2, width / 2, 12)]
        sheet.paint(sheet.stroke(thread, 0.13) * sheet.cover, (60, 110, 190), opacity=0.85)
    if rng.random() < 0.25:
        stain = sheet.disc((rng.uniform(-2, 2), rng.uniform(-2, 2)), rng.uniform(0.6, 1.6), rng.uniform(0.5, 1))
        stain = cv2.GaussianBlur(stain, (0, 0), 0.2 * ppc) * np.clip(0.7 + 0.3 * bend, 0, 1) * sheet.cover
        sheet.paint(stain, (140, 30, 28), opacity=0.8)
    return sheet


def suture(rng: Rng, ppc: float, band_hue: float, fade: float = 0.0) -> Sheet:
    """A suture packet; `band_hue` tells its kind, `fade` (0-1) bleaches the band until nothing tells it any more."""
    width, height = rng.uniform(6.3, 7.2), rng.uniform(9.2, 10.4)
    sheet = Sheet(9, 12.5, ppc)
    body = sheet.box((0, 0), width, height, 0.3)
    sheet.paint(body, (226, 228, 230), cover=1.0, gloss=0.25)
    sheet.swell(body, 0.25)
    face = sheet.box((0, 0), width - 0.9, height - 1.0, 0.15)
    sheet.paint(face, (242, 242, 238), gloss=0.12)
    _seal(sheet, body * (1 - face), 0.25)
    band_h = rng.uniform(3.2, 3.8)
    band_y = -height / 2 + 0.5 + band_h / 2
    colour = hue(band_hue + rng.normal(0, 3), 0.78 * (1 - fade), 0.62 + 0.24 * fade + rng.normal(0, 0.03))
    sheet.paint(sheet.box((0, band_y), width - 0.9, band_h), colour, gloss=0.2)
    sheet.paint(sheet.box((0, height / 2 - 1.0), width - 0.9, 0.55), colour, gloss=0.2)
    sheet.paint(
        sheet.text(str(rng.choice(["2-0", "3-0", "4-0", "1", "0"])), (-width / 2 + 0.9, band_y + 0.6), 1.3, 0.16),
        (250, 250, 250),
    )
    ink: Colour = (45, 45, 60)
    for line in range(5):
        y = band_y + band_h / 2 + 0.55 + 0.42 * line
        sheet.paint(
            sheet.stroke([(-width / 2 + 0.8, y), (-width / 2 + 0.8 + rng.uniform(1.2, 2.6), y)], 0.12), ink, opacity=0.7
        )
    centre = (width / 2 - 1.9, band_y + band_h / 2 + 1.6)
    needle = [(centre[0] + 1.1 * np.cos(t), centre[1] + 1.1 * np.sin(t)) for t in np.linspace(0.2, np.pi - 0.1, 20)]
    sheet.paint(sheet.stroke(needle, 0.13), ink)
    _barcode(rng, sheet, (0.2, height / 2 - 2.0), width * 0.5, 0.8)
    sheet.height += 0.02 * noise(rng, sheet.shape, 2.5 * ppc) + 0.035 * noise(rng, sheet.shape, 6 * ppc, 1)
    return sheet


def syringe(rng: Rng, ppc: float) -> Sheet:
    """A syringe: translucent barrel with a scale, white plunger, black stopper, a coloured needle cap."""
    sheet = Sheet(21, 5, ppc)
    bore, barrel, drawn = rng.uniform(0.8, 1.05), rng.uniform(7.5, 9), rng.uniform(0.5, 4.0)
    left = -barrel / 2
    rod = sheet.box((left - drawn / 2 + 0.6, 0), drawn + 3, bore * 0.9)
    sheet.paint(rod, (232, 236, 240), cover=0.95, gloss=0.3)
    sheet.swell(rod, bore * 0.4)
    thumb = sheet.box((left - drawn - 0.9, 0), 0.5, bore * 2.6, 0.2)
    sheet.paint(thumb, (228, 232, 236), cover=1.0, gloss=0.3)
    sheet.swell(thumb, 0.25)
    tube = sheet.box((0, 0), barrel, bore * 2, 0.15)
    sheet.paint(tube, (205, 222, 235), opacity=0.75, cover=0.62, gloss=0.9)
    sheet.swell(tube, bore)
    stopper = sheet.box((left + barrel - 1.2 - drawn * 0.8, 0), 0.8, bore * 1.8, 0.1)
    sheet.paint(stopper, (25, 25, 28), cover=1.0, gloss=0.2)
    flange = sheet.box((left, 0), 0.4, bore * 3.4, 0.18)
    sheet.paint(flange, (215, 226, 235), cover=0.9, gloss=0.5)
    for tick in range(18):
        x = left + 1.0 + tick * (barrel - 1.6) / 18
        length = 0.9 if tick % 5 == 0 else 0.5
        sheet.paint(sheet.stroke([(x, bore * 0.85), (x, bore * 0.85 - length)], 0.09), (20, 20, 30), cover=0.9)
    nose = barrel / 2
    sheet.paint(sheet.box((nose + 0.35, 0), 0.8, 0.6), (215, 225, 232), cover=0.85, gloss=0.5)
    cap_colour = hue(float(rng.choice([22, 25, 205, 140])) + rng.normal(0, 4), 0.75, 0.85)
    length = rng.uniform(3.2, 4.4)
    cap = sheet.polygon(
        [
            (nose + 0.6, -0.42),
            (nose + 0.9, -0.5),
            (nose + 0.7 + length, -0.27),
            (nose + 0.7 + length, 0.27),
            (nose + 0.9, 0.5),
            (nose + 0.6, 0.42),
        ]
    )
    sheet.paint(cap, cap_colour, cover=0.95, gloss=0.6)
    sheet.swell(cap, 0.4)
    return sheet


def blade(rng: Rng, ppc: float) -> Sheet:
    """A scalpel blade in its foil: crumpled silver, green print, the outline of the blade."""
    width, height = rng.uniform(10, 11.5), rng.uniform(4.2, 5.0)
    sheet = Sheet(13.5, 7, ppc)
    body = sheet.box((0, 0), width, height, 0.1)
    sheet.paint(body, (176, 180, 184), cover=1.0, gloss=0.9)
    sheet.swell(body, 0.12)
    inner = sheet.box((0, 0), width - 0.9, height - 0.9)
    _seal(sheet, body * (1 - inner), 0.18)
    print_colour = hue(rng.uniform(135, 160), 0.8, 0.5)
    sheet.paint(sheet.box((-width / 2 + 1.5, 0), 1.9, height - 0.9), print_colour, gloss=0.4)
    sheet.paint(
        sheet.text(str(rng.choice(["10", "11", "15", "20", "22"])), (-width / 2 + 0.75, 0.5), 0.95, 0.14),
        (240, 245, 240),
    )
    x, tip = -width / 2 + 3.2, width / 2 - 1.0
    belly = rng.uniform(0.7, 1.0)
    outline: list[Point] = [
        (x, -0.45),
        (x + 2.4, -0.5),
        (tip - 0.6, -0.62),
        (tip, -0.2),
        (tip - 0.9, belly),
        (x + 2.8, 0.75),
        (x + 2.4, 0.45),
        (x, 0.45),
    ]
    steel = sheet.polygon(outline)
    sheet.paint(steel, (86, 92, 100), gloss=1.0)
    sheet.paint(sheet.stroke([(x + 0.4, 0), (x + 2.0, 0)], 0.3), (176, 180, 184))
    sheet.paint(sheet.stroke(outline[3:6], 0.1), (225, 228, 232))
    for line in range(2):
        y = height / 2 - 0.75 - 0.32 * line
        sheet.paint(sheet.stroke([(x, y), (x + rng.uniform(2, 4), y)], 0.1), (30, 90, 60), opacity=0.8)
    sheet.height += (0.05 * noise(rng, sheet.shape, 1.6 * ppc) * (1 - 0.6 * steel)).astype(np.float32)
    return sheet


def gloves(rng: Rng, ppc: float) -> Sheet:
    """A paper pouch of surgical gloves: two printed hands, a big size, a coloured rim."""
    width, height = rng.uniform(13.5, 15), rng.uniform(11.5, 13)
    sheet = Sheet(17, 15.5, ppc)
    body = sheet.box((0, 0), width, height, 0.1)
    sheet.paint(body, (232, 226, 208), cover=1.0, gloss=0.02)
    sheet.swell(body, 0.3)
    rim = hue(rng.uniform(208, 226), 0.7, 0.66)
    sheet.paint(sheet.box((0, -height / 2 + 0.8), width, 1.6), rim)
    sheet.paint(sheet.box((0, height / 2 - 0.25), width, 0.5), rim)
    for side in (-1, 1):
        middle = side * width * 0.24
        palm = [(middle - 1.3, 3.6), (middle - 1.5, 0.6), (middle + 1.5, 0.6), (middle + 1.3, 3.6)]
        sheet.paint(sheet.polygon(palm), rim, opacity=0.75)
        for finger in range(4):
            x = middle + (finger - 1.5) * 0.82
            top = -2.6 + 0.7 * abs(finger - 1.6)
            sheet.paint(sheet.stroke([(x, 0.9), (x * 1.02, top)], 0.66), rim, opacity=0.75)
        sheet.paint(sheet.stroke([(middle - side * 1.2, 2.2), (middle - side * 2.2, 0.4)], 0.75), rim, opacity=0.75)
    sheet.paint(
        sheet.text(str(rng.choice(["6.5", "7", "7.5", "8"])), (-1.0, -height / 2 + 1.3), 1.0, 0.14), (250, 250, 250)
    )
    sheet.paint(
        sheet.stroke([(-width / 2 + 1, height / 2 - 1), (width * 0.1, height / 2 - 1)], 0.16), (70, 70, 80), opacity=0.6
    )
    fold = sheet.stroke([(0, -height / 2), (rng.normal(0, 0.1), height / 2)], 0.15)
    sheet.height += 0.05 * noise(rng, sheet.shape, 5 * ppc) - 0.12 * cv2.GaussianBlur(fold, (0, 0), 0.12 * ppc)
    return sheet


def catheter(rng: Rng, ppc: float) -> Sheet:
    """A urinary catheter: a coiled amber tube, a funnel, a coloured valve."""
    sheet = Sheet(19, 19, ppc)
    amber = hue(rng.uniform(26, 38), rng.uniform(0.5, 0.68), rng.uniform(0.74, 0.88))
    bore = rng.uniform(0.55, 0.72)
    turns, outer, inner = rng.uniform(1.6, 2.4), rng.uniform(5.2, 6.4), rng.uniform(2.4, 3.4)
    flatten, phase = rng.uniform(0.72, 1.0), rng.uniform(0, 6.28)
    angles = np.linspace(0, turns * 2 * np.pi, 120)
    radius = np.linspace(inner, outer, 120) + 0.25 * np.sin(angles * 1.3 + phase)
    path = [(float(r * np.cos(a)), float(r * flatten * np.sin(a))) for a, r in zip(angles, radius, strict=True)]
    out = np.array(path[-1]) - np.array(path[-4])
    out = out / np.linalg.norm(out)
    end = np.array(path[-1])
    for first in range(0, 120, 6):  # piece by piece, so that a turn lies over the one before
        piece = sheet.stroke(path[first : first + 8], bore)
        sheet.paint(piece, amber, cover=0.97, gloss=0.75)
        sheet.swell(piece, bore / 2, base=0.1 * first / 120)
    side = np.array([-out[1], out[0]])
    far = end + out * 2.6
    funnel = sheet.polygon(
        [tuple(end + side * 0.3), tuple(far + side * 0.75), tuple(far - side * 0.75), tuple(end - side * 0.3)]
    )
    sheet.paint(funnel, amber, cover=1.0, gloss=0.6)
    sheet.swell(funnel, 0.6)
    valve_colour = hue(float(rng.choice([0, 48, 120, 210])) + rng.normal(0, 6), 0.75, 0.8)
    branch_end = end + out * 1.7 + side * 1.5
    arm = sheet.stroke([tuple(end + out * 0.3), tuple(branch_end)], 0.6)
    sheet.paint(arm, amber, cover=1.0, gloss=0.6)
    sheet.swell(arm, 0.3)
    valve = sheet.stroke([tuple(branch_end), tuple(branch_end + (out + side) * 0.6)], 0.85)
    sheet.paint(valve, valve_colour, cover=1.0, gloss=0.5)
    sheet.swell(valve, 0.42)
    return sheet


def electrode(rng: Rng, ppc: float) -> Sheet:
    """A neutral electrode plate: pale foam, two dark gel halves, a tab and its cable."""
    width, height = rng.uniform(9.5, 11), rng.uniform(10.5, 12.5)
    sheet = Sheet(17, 22, ppc)
    cable = [(0.0, height / 2 + 1.0)]
    bend = rng.uniform(-1, 1)
    for step in range(1, 14):
        cable.append((bend * 0.035 * step**2 + 0.3 * np.sin(step * 0.8 + bend), height / 2 + 1.0 + 0.3 * step))
    line = sheet.stroke(cable, 0.42)
    sheet.paint(line, (52, 60, 78), cover=1.0, gloss=0.4)
    sheet.swell(line, 0.2)
    tab = sheet.box((0, height / 2 + 0.7), 2.4, 2.2, 0.4)
    sheet.paint(tab, (225, 228, 232), cover=1.0, gloss=0.1)
    foam = sheet.box((0, 0), width, height, 2.0)
    tint = rng.uniform(0, 1)
    sheet.paint(foam, (214 + 16 * tint, 222 + 8 * tint, 232 - 4 * tint), cover=1.0, gloss=0.08)
    sheet.swell(foam, 0.3)
    grey = rng.uniform(70, 104)
    for side in (-1, 1):
        gel = sheet.box((side * (width / 4 - 0.25), 0), width / 2 - 1.1, height - 2.0, 1.1)
        sheet.paint(gel, (grey, grey + 4, grey + 8), gloss=0.5)
    sheet.paint(sheet.stroke([(-0.5, height / 2 + 0.7), (0.5, height / 2 + 0.7)], 0.5), (120, 120, 126), gloss=0.8)
    sheet.height += 0.03 * noise(rng, sheet.shape, 4 * ppc)
    return sheet


def absorbable(rng: Rng, ppc: float) -> Sheet:
    return suture(rng, ppc, ABSORBABLE_HUE)


def permanent(rng: Rng, ppc: float) -> Sheet:
    return suture(rng, ppc, PERMANENT_HUE)


DRAW: dict[str, Callable[[Rng, float], Sheet]] = {
    "医用纱布块": gauze,
    ABSORBABLE: absorbable,
    PERMANENT: permanent,
    "一次性注射器": syringe,
    "手术刀片": blade,
    "外科手套": gloves,
    "导尿管": catheter,
    "一次性电极板": electrode,
}
LABELS: tuple[str, ...] = (BACKGROUND, *DRAW)


def absorbable_share(band_hue: float, fade: float) -> float:
    """How sure one can be that a suture packet is absorbable, from what is left of its band."""
    middle, width = (ABSORBABLE_HUE + PERMANENT_HUE) / 2, 7.0
    by_hue = 1 / (1 + np.exp(-(band_hue - middle) / width))
    left = np.clip((0.97 - fade) / 0.25, 0, 1)
    return float(0.5 + (by_hue - 0.5) * left)


def _wobbled(rng: Rng, sheet: Sheet, mask: np.ndarray, amount: float) -> np.ndarray:
    """Push the rim of a mask about by `amount` cm, as threads fray."""
    rows, columns = np.mgrid[0 : sheet.shape[0], 0 : sheet.shape[1]].astype(np.float32)
    push = amount * sheet.ppc * 0.5
    shift_x, shift_y = (noise(rng, sheet.shape, 0.5 * sheet.ppc, 2) * push for _ in range(2))
    return cv2.remap(mask, columns + shift_x, rows + shift_y, cv2.INTER_LINEAR)


def _seal(sheet: Sheet, mask: np.ndarray, pitch: float) -> None:
    """The crimped rim of a packet."""
    rows, columns = np.mgrid[0 : sheet.shape[0], 0 : sheet.shape[1]].astype(np.float32) / sheet.ppc
    sheet.height += (0.03 * np.sin(2 * np.pi * (rows + columns) / pitch) * mask).astype(np.float32)


def _barcode(rng: Rng, sheet: Sheet, centre: Point, width: float, height: float) -> None:
    x = centre[0] - width / 2
    while x < centre[0] + width / 2:
        bar = rng.uniform(0.05, 0.16)
        sheet.paint(sheet.box((x + bar / 2, centre[1]), bar, height), (30, 30, 36), opacity=0.85)
        x += bar + rng.uniform(0.06, 0.16)
