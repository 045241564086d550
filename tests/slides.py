"""Real pyramidal slides, as a scanner writes them: JPEG tiles, three levels."""

from pathlib import Path

import numpy as np
import tifffile

MPP = 0.5


def write_slide(path: Path, *, side: int = 1024, levels: int = 3, seed: int = 1, grain: int = 8) -> Path:
    """A tiled TIFF that OpenSlide opens as generic-tiff; noise, so that every tile takes room in the file.

    grain: pixels of a side of its squares; the finer, the larger the file.
    """
    rng = np.random.default_rng(seed)
    picture = (
        rng.integers(0, 256, (side // grain, side // grain, 3), np.uint8).repeat(grain, axis=0).repeat(grain, axis=1)
    )
    dots_per_cm = 10_000 / MPP
    with tifffile.TiffWriter(path) as writer:
        for level in range(levels):
            step = 2**level
            writer.write(
                picture[::step, ::step],
                tile=(256, 256),
                compression="jpeg",
                photometric="rgb",
                subfiletype=1 if level else 0,
                resolution=(dots_per_cm / step, dots_per_cm / step),
                resolutionunit="CENTIMETER",
                metadata=None,
            )
    return path
