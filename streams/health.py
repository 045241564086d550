"""Is the picture worth classifying? A frozen encoder and a covered lens still send video.

Looks only at pictures of the model's size, at every fourth pixel: about 0.05 ms each. It reports; it hides nothing:
frames are handed on as they are. What was not watched is not known: a gap or a new connection starts both clocks anew.
"""

from datetime import datetime

import numpy as np
import numpy.typing as npt

from streams.frame import Rgb

FROZEN_AFTER_S = 30.0  # identical pictures for so long
GAP_MAX_S = 6.0  # without a picture: in still mode one comes with each key frame, 4 s apart at most
GAP_MAX_SAMPLES = 3.0
COVERED_AFTER_S = 3.0  # a hand that passes is no news
# Mean step between neighbours, in levels of 255: footage of rooms has several; a cap, a drape, a black picture under 1.
DETAIL_MIN = 1.0
NOISE_LEVELS = 1  # re-encoding the same picture moves single pixels by this much


class PictureHealth:
    """Watches the decoded samples of one camera."""

    def __init__(self, frozen_after_s: float, gap_max_s: float = GAP_MAX_S) -> None:
        """gap_max_s: a longer time without a picture was not watched."""
        self._frozen_after_s = frozen_after_s
        self._gap_max_s = gap_max_s
        self.connected()

    def connected(self) -> None:
        """A new connection: what was seen before it says nothing of the time in between."""
        self._reference: npt.NDArray[np.int16] | None = None
        self._seen_at: datetime | None = None
        self._same_since: datetime | None = None
        self._dull_since: datetime | None = None
        self.frozen_since: datetime | None = None
        self.covered_since: datetime | None = None

    def look(self, rgb: Rgb, at: datetime) -> None:
        """rgb: a freshly decoded sample, not a repeated one."""
        if self._seen_at is not None and (at - self._seen_at).total_seconds() > self._gap_max_s:
            self.connected()
        self._seen_at = at
        green = rgb[::2, ::2, 1].astype(np.int16)
        self._look_frozen(green, at)
        self._look_covered(green, at)

    def _look_frozen(self, green: npt.NDArray[np.int16], at: datetime) -> None:
        # Against the first of the row, not the last: a picture that creeps is not frozen.
        same = (
            self._reference is not None
            and self._reference.shape == green.shape
            and int(np.abs(green - self._reference).max()) <= NOISE_LEVELS
        )
        if not same or self._same_since is None:
            self._reference, self._same_since, self.frozen_since = green, at, None
        elif (at - self._same_since).total_seconds() >= self._frozen_after_s:
            self.frozen_since = self._same_since

    def _look_covered(self, green: npt.NDArray[np.int16], at: datetime) -> None:
        if detail(green) >= DETAIL_MIN:
            self._dull_since = self.covered_since = None
        elif self._dull_since is None:
            self._dull_since = at
        elif (at - self._dull_since).total_seconds() >= COVERED_AFTER_S:
            self.covered_since = self._dull_since


def detail(green: npt.NDArray[np.int16]) -> float:
    """Mean step between neighbouring pixels: low for what is uniform, dark or wholly out of focus."""
    across = np.abs(np.diff(green, axis=1)).mean() if green.shape[1] > 1 else 0.0
    down = np.abs(np.diff(green, axis=0)).mean() if green.shape[0] > 1 else 0.0
    return float(across + down) / 2
