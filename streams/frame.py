"""What leaves this package: one sampled picture, ready for a model."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import numpy as np
import numpy.typing as npt

Rgb = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """The size that a model wants, and how a frame of another shape gets there.

    stretch: width and height are scaled apart. crop: the shorter side fills the size, the middle is cut out.
    """

    width: int
    height: int
    fit: Literal["stretch", "crop"]

    def __post_init__(self) -> None:
        if self.width < 1 or self.height < 1:
            raise ValueError(f"picture must be at least 1x1, got {self.width}x{self.height}")
        if self.fit not in ("stretch", "crop"):
            raise ValueError(f"picture fit must be 'stretch' or 'crop', got {self.fit!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One sampled picture of one camera.

    rgb: (height, width, 3) uint8, exactly the size asked for, read-only. captured_at: aware; never before the camera's
    previous frame. captured_mono_s: the same moment on time.monotonic(). stream_s: seconds since the first frame.
    repeated: the compressed stream says that nothing moved since the frame before, so its pixels stand again.
    """

    camera: str
    rgb: Rgb
    captured_at: datetime
    captured_mono_s: float
    stream_s: float
    repeated: bool = False
