"""Reads the frame counter that is burnt into the shared footage (see media/SOURCES.md there)."""

import numpy as np

from streams.frame import Rgb

TOP, BOTTOM, FRAME_HEIGHT = 276, 803, 1080


def counter_of(rgb: Rgb) -> int:
    """The frame index mod 500; any size, stretched or cropped: the blocks lie in the horizontal middle."""
    height, width = rgb.shape[:2]
    scale = height / FRAME_HEIGHT
    centres = [round((TOP + 48 * (block + 0.5)) * scale) for block in range(11)]
    levels = [float(np.mean(rgb[row - 1 : row + 2, width // 2 - 2 : width // 2 + 2])) for row in centres]
    white, black = levels[:2]
    assert white - black > 60, f"no counter on this picture: {levels}"
    bits = "".join("1" if level > (white + black) / 2 else "0" for level in levels[2:])
    return int(bits, 2)
