"""What is on the table and no consumable: gloved hands, steel, bowls, caps, towels, paper."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from sheet import Colour, Rng, Sheet, hue, noise

LATEX: tuple[Colour, ...] = ((226, 214, 190), (236, 232, 222), (112, 146, 204), (126, 110, 190), (96, 160, 150))
GOWN: tuple[Colour, ...] = ((58, 122, 110), (70, 112, 160), (96, 140, 150), (52, 96, 132))


def hand(rng: Rng, ppc: float) -> Sheet:
    """A gloved hand with its gown sleeve; the fingertips meet at the middle of the sheet and point up."""
    sheet = Sheet(22, 96, ppc)
    glove, gown = LATEX[rng.integers(len(LATEX))], GOWN[rng.integers(len(GOWN))]
    sleeve = sheet.polygon([(-4.2, 15.5), (4.2, 15.5), (7.0, 30), (8.2, 48), (-8.2, 48), (-7.0, 30)])
    sheet.paint(sleeve, gown, cover=1.0, gloss=0.0)
    sheet.swell(sleeve, 4.5)
    rows, columns = np.mgrid[0 : sheet.shape[0], 0 : sheet.shape[1]].astype(np.float32) / ppc
    warp = noise(rng, sheet.shape, 5 * ppc, 2)
    sheet.height += (0.22 * np.sin(rows * 1.1 + 1.6 * warp + 0.05 * columns) * sleeve + 0.12 * warp * sleeve).astype(
        np.float32
    )
    cuff = sheet.polygon([(-4.0, 12.2), (4.0, 12.2), (4.9, 17.5), (-4.9, 17.5)])
    sheet.paint(cuff, glove, cover=1.0, gloss=0.15)
    sheet.swell(cuff, 2.6, base=1.6)
    sheet.paint(sheet.stroke([(-4.7, 17.3), (4.7, 17.3)], 0.4), glove)
    palm = sheet.polygon(
        [(-4.1, 6.0), (-2.0, 4.4), (2.2, 4.4), (4.1, 6.2), (4.3, 10.5), (3.4, 13.5), (-3.4, 13.5), (-4.3, 10.0)]
    )
    sheet.paint(palm, glove, cover=1.0, gloss=0.18)
    sheet.swell(palm, 2.4, base=1.8)
    spread, curl = rng.uniform(0.35, 0.9), rng.uniform(-0.6, 0.6)
    for finger in (3, 2, 1, 0):
        root = (-3.1 + 2.05 * finger, 6.4 + 0.35 * abs(finger - 1.5))
        knuckle = (root[0] * 0.8 + curl, 3.2 + 0.5 * abs(finger - 1.4))
        tip = ((finger - 1.5) * 2.1 * spread + curl, -0.6 + 0.75 * abs(finger - 1.3))
        limb = sheet.stroke([root, knuckle, tip], 1.85 - 0.1 * abs(finger - 1.3))
        sheet.paint(limb, glove, cover=1.0, gloss=0.22)
        sheet.swell(limb, 0.95, base=2.2)
        sheet.albedo *= (
            1 - 0.12 * sheet.stroke([(knuckle[0] - 0.5, knuckle[1]), (knuckle[0] + 0.5, knuckle[1])], 0.14)
        )[..., None]
    thumb = sheet.stroke([(-3.6, 10.2), (-4.4, 6.6), (-2.6 * spread, 2.6)], 2.0)
    sheet.paint(thumb, glove, cover=1.0, gloss=0.22)
    sheet.swell(thumb, 1.0, base=3.0)
    sheet.height += (0.05 * noise(rng, sheet.shape, 1.2 * ppc) * sheet.cover).astype(np.float32)
    return sheet


def bowl(rng: Rng, ppc: float) -> Sheet:
    """A steel bowl or kidney dish, seen from above."""
    radius, flatten = rng.uniform(4.5, 7.0), float(rng.choice([1.0, 1.0, 0.6]))
    sheet = Sheet(16, 16, ppc)
    for share, grey in ((1.0, 196), (0.93, 120), (0.86, 150), (0.6, 178), (0.45, 168)):
        sheet.paint(sheet.disc((0, 0), radius * share, flatten), (grey, grey + 3, grey + 7), cover=1.0, gloss=0.8)
    rows, columns = np.mgrid[0 : sheet.shape[0], 0 : sheet.shape[1]].astype(np.float32) / ppc
    x, y = columns - 8, (rows - 8) / flatten
    turn, share = np.arctan2(y, x), np.sqrt(x**2 + y**2) / radius
    streak = 0.5 + 0.5 * np.cos(2 * turn + rng.uniform(0, 6)) * np.clip(share, 0, 1)
    sheet.albedo *= (0.55 + 0.75 * streak)[..., None]
    dip = np.where(
        share < 0.93, -1.4 * (1 - (share / 0.93) ** 2), 0.3 * np.sin(np.clip((share - 0.93) / 0.07, 0, 1) * np.pi)
    )
    sheet.height = (dip * sheet.cover).astype(np.float32)
    return sheet


def cap(rng: Rng, ppc: float) -> Sheet:
    """A plastic screw cap."""
    radius = rng.uniform(1.6, 2.8)
    colour = hue(rng.uniform(0, 360), rng.uniform(0.4, 0.85), rng.uniform(0.5, 0.9))
    sheet = Sheet(7, 7, ppc)
    disc = sheet.disc((0, 0), radius)
    sheet.paint(disc, colour, cover=1.0, gloss=0.5)
    sheet.swell(disc, 0.5)
    for turn in np.linspace(0, 2 * np.pi, 28, endpoint=False):
        ends = [(radius * k * np.cos(turn), radius * k * np.sin(turn)) for k in (0.86, 1.0)]
        sheet.albedo *= (1 - 0.35 * sheet.stroke(ends, 0.1))[..., None]
    inner = sheet.disc((0, 0), radius * 0.72)
    sheet.height -= 0.1 * inner
    return sheet


def forceps(rng: Rng, ppc: float) -> Sheet:
    """Scissors or a clamp: two steel limbs, two rings."""
    sheet = Sheet(8, 19, ppc)
    opening = rng.uniform(0.2, 1.6)
    for side in (-1, 1):
        limb = sheet.stroke(
            [(side * opening * 0.25, -8), (-side * 0.25, -2.5), (side * (0.9 + opening * 0.5), 4.6)], 0.62
        )
        sheet.paint(limb, (150, 154, 160), cover=1.0, gloss=1.0)
        sheet.swell(limb, 0.3)
        turns = np.linspace(0, 2 * np.pi, 24)
        centre = (side * (1.3 + opening * 0.5), 6.2)
        ring = sheet.stroke([(centre[0] + 1.15 * np.cos(t), centre[1] + 1.5 * np.sin(t)) for t in turns], 0.5)
        sheet.paint(ring, (158, 162, 168), cover=1.0, gloss=1.0)
        sheet.swell(ring, 0.25)
    sheet.paint(sheet.disc((0, -2.4), 0.4), (120, 124, 130), gloss=1.0)
    return sheet


def towel(rng: Rng, ppc: float) -> Sheet:
    """A folded cloth towel, coloured or white."""
    width, height = rng.uniform(8, 15), rng.uniform(6, 12)
    sheet = Sheet(18, 15, ppc)
    colour = hue(float(rng.choice([150, 170, 205, 215])), rng.uniform(0.15, 0.6), rng.uniform(0.35, 0.75))
    for layer in range(3):
        shift = rng.normal(0, 0.15)
        body = sheet.box((shift, 0.35 * layer), width, height - 0.3 * layer, 0.5)
        sheet.paint(body, colour, cover=1.0)
        sheet.swell(body, 0.6, base=0.2 * layer)
    sheet.height += 0.1 * noise(rng, sheet.shape, 2.5 * ppc)
    grain = noise(rng, sheet.shape, 0.15 * ppc, 1)
    sheet.albedo *= (1 + 0.06 * grain)[..., None]
    return sheet


def marker(rng: Rng, ppc: float) -> Sheet:
    """A skin marker."""
    sheet = Sheet(16, 3, ppc)
    body = sheet.box((0.8, 0), 11, 1.1, 0.3)
    sheet.paint(body, (228, 228, 230), cover=1.0, gloss=0.5)
    top = sheet.box((-4.8, 0), 3.8, 1.25, 0.3)
    sheet.paint(top, hue(rng.uniform(220, 290), 0.75, 0.5), cover=1.0, gloss=0.5)
    sheet.swell(np.maximum(body, top), 0.55)
    return sheet


def note(rng: Rng, ppc: float) -> Sheet:
    """A count sheet: white paper with lines of print. White and flat, and still no gauze."""
    width, height = rng.uniform(7, 13), rng.uniform(6, 13)
    sheet = Sheet(15, 15, ppc)
    body = sheet.box((0, 0), width, height)
    sheet.paint(body, (240, 240, 236), cover=1.0, gloss=0.02)
    sheet.swell(body, 0.08)
    for line in range(int((height - 1.2) / 0.75)):
        y = -height / 2 + 0.9 + 0.75 * line
        sheet.paint(
            sheet.stroke([(-width / 2 + 0.6, y), (rng.uniform(-0.1, 0.42) * width, y)], 0.12), (60, 60, 70), opacity=0.7
        )
    sheet.height += 0.05 * noise(rng, sheet.shape, 5 * ppc)
    return sheet


DRAW: dict[str, Callable[[Rng, float], Sheet]] = {
    "bowl": bowl,
    "cap": cap,
    "forceps": forceps,
    "towel": towel,
    "marker": marker,
    "note": note,
}
