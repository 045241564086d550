"""From a picture of any shape to the squares that a model sees, and from what it says of them back to the picture.

The models were trained on the middle square of pictures whose short side was scaled to the model's. So:

- A classification sees exactly that square: labels and published figures refer to it, and examiners put the finding in
  the middle. Averaging it with squares that do not show the finding would pull the answer towards "normal".
- A segmentation sees squares along the whole long side, which overlap, so that its ends are segmented too; where they
  overlap, the probabilities are averaged, each square's weight falling towards its own edges. (The original stretched
  the mask of the middle square over the whole picture.)
- A picture longer than `WINDOWS_MAX` squares is shown whole, on black.
- A model may say that it was trained on pictures stretched to the square; then it is shown those.

Scaling is that of the training: linear, corner pixels on corner pixels, without smoothing. Pixel c of n scaled to m
lies at c * (n - 1) / (m - 1), and the way back is the exact inverse, so that nothing drifts.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Rgb = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Places = npt.NDArray[np.intp]

WINDOWS_MAX = 16
_OVERLAP = 0.25  # of a window, with the next
_BLOCK = 2_000_000  # pixels of a mask that are worked out at once


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How a picture is seen. All sizes are (rows, columns).

    size: of the picture. scaled: of the picture once scaled. starts: of each window in the scaled picture; negative
    where black is added before it.
    """

    side: int
    size: tuple[int, int]
    scaled: tuple[int, int]
    starts: tuple[tuple[int, int], ...]

    @property
    def seen(self) -> float:
        """The share of the picture that lies in a window."""
        rows = {(max(0, top), min(self.scaled[0], top + self.side)) for top, _ in self.starts}
        columns = {(max(0, left), min(self.scaled[1], left + self.side)) for _, left in self.starts}
        return _covered(rows) * _covered(columns) / (self.scaled[0] * self.scaled[1])


def middle(height: int, width: int, side: int) -> Plan:
    """The middle square, as in training."""
    scaled = _short_side_scaled(height, width, side)
    start = (scaled[0] // 2 - side // 2, scaled[1] // 2 - side // 2)
    return Plan(side=side, size=(height, width), scaled=scaled, starts=(start,))


def whole(height: int, width: int, side: int) -> Plan:
    """Squares that cover all of it."""
    scaled = _short_side_scaled(height, width, side)
    long = max(scaled)
    count = 1 if long == side else -(-(long - side) // round(side * (1 - _OVERLAP))) + 1
    if count > WINDOWS_MAX:
        return _on_black(height, width, side)
    along = [round(index * (long - side) / max(count - 1, 1)) for index in range(count)]
    starts = tuple((at, 0) if height > width else (0, at) for at in along)
    return Plan(side=side, size=(height, width), scaled=scaled, starts=starts)


def stretched(height: int, width: int, side: int) -> Plan:
    return Plan(side=side, size=(height, width), scaled=(side, side), starts=((0, 0),))


def windows(rgb: Rgb, plan: Plan) -> Iterator[Floats]:
    """What the model sees: (3, side, side) of 0..1 each. Only the pixels that are needed are ever scaled."""
    for top, left in plan.starts:
        yield _sampled(rgb, plan, top, left)


class Mosaic:
    """Puts together what the model said of the windows of one plan."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._sum = np.zeros(plan.scaled, np.float32)
        self._weight = np.zeros(plan.scaled, np.float32)
        ramp = np.minimum(np.arange(1, plan.side + 1), np.arange(plan.side, 0, -1)).astype(np.float32)
        self._taper = ramp[:, None] * ramp[None, :] if len(plan.starts) > 1 else np.ones((plan.side,) * 2, np.float32)

    def add(self, index: int, probability: Floats) -> None:
        """probability: (side, side), that a pixel of window `index` belongs to what is sought."""
        top, left = self._plan.starts[index]
        side, (rows, columns) = self._plan.side, self._plan.scaled
        inside = slice(max(0, -top), min(side, rows - top)), slice(max(0, -left), min(side, columns - left))
        place = slice(max(0, top), min(rows, top + side)), slice(max(0, left), min(columns, left + side))
        self._sum[place] += probability[inside] * self._taper[inside]
        self._weight[place] += self._taper[inside]

    def mask(self) -> Rgb:
        """0 or 255, (height, width) of the picture. Every window must have been added."""
        probability = self._sum / self._weight
        height, width = self._plan.size
        left, right, share = _between(np.arange(width), width, probability.shape[1])
        wide = probability[:, left] * (1 - share) + probability[:, right] * share
        found = np.empty((height, width), np.uint8)
        step = max(1, _BLOCK // width)
        for begin in range(0, height, step):
            rows = np.arange(begin, min(begin + step, height))
            above, below, part = _between(rows, height, probability.shape[0])
            block = wide[above] * (1 - part)[:, None] + wide[below] * part[:, None]
            found[rows[0] : rows[-1] + 1] = (block > 0.5).astype(np.uint8) * 255
        return found


def _short_side_scaled(height: int, width: int, side: int) -> tuple[int, int]:
    factor = side / min(height, width)
    return round(height * factor), round(width * factor)


def _on_black(height: int, width: int, side: int) -> Plan:
    factor = side / max(height, width)
    scaled = max(1, round(height * factor)), max(1, round(width * factor))
    start = -((side - scaled[0]) // 2), -((side - scaled[1]) // 2)
    return Plan(side=side, size=(height, width), scaled=scaled, starts=(start,))


def _between(at: Places, count: int, of: int) -> tuple[Places, Places, Floats]:
    """For places in a row of `count`: the two places around each in a row of `of`, and the share of the second."""
    where = np.full(len(at), (of - 1) / 2) if count == 1 else at * ((of - 1) / (count - 1))
    first = np.clip(np.floor(where), 0, of - 1).astype(np.intp)
    return first, np.minimum(first + 1, of - 1), (where - first).astype(np.float32)


def _sampled(rgb: Rgb, plan: Plan, top: int, left: int) -> Floats:
    side, (rows, columns) = plan.side, plan.scaled
    down, along = np.arange(top, top + side), np.arange(left, left + side)
    inside = (down >= 0) & (down < rows), (along >= 0) & (along < columns)
    above, below, row_share = _between(down[inside[0]], rows, plan.size[0])
    before, after, column_share = _between(along[inside[1]], columns, plan.size[1])
    # Whole rows first: picking single pixels out of the picture takes four times as long.
    upper, lower = (
        _mixed(np.take(row, before, axis=1), np.take(row, after, axis=1), column_share[None, :, None])
        for row in (np.take(rgb, above, axis=0), np.take(rgb, below, axis=0))
    )
    values = _mixed(upper, lower, row_share[:, None, None])
    values *= np.float32(1 / 255)
    seen = np.zeros((3, side, side), np.float32)
    seen[:, inside[0].argmax() :, inside[1].argmax() :][:, : len(above), : len(before)] = values.transpose(2, 0, 1)
    return seen


def _mixed(first: npt.NDArray[Any], second: npt.NDArray[Any], share: Floats) -> Floats:
    """share: of the second."""
    start = first.astype(np.float32)
    mixed = second.astype(np.float32)
    mixed -= start
    mixed *= share
    mixed += start
    return mixed


def _covered(spans: set[tuple[int, int]]) -> int:
    """How much of a row some spans cover that leave no gap."""
    return max(end for _, end in spans) - min(begin for begin, _ in spans)
