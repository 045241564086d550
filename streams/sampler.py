"""Which moments of a stream are wanted: `sample_fps` a second, laid onto key frames where the group length allows.

A sample on a key frame costs one decoded picture, and the last sample of a group decides how much of the group is
decoded at all. So where the learnt group length is a multiple (or a fraction) of the sampling period within
RATE_TOLERANCE, the grid starts anew at each key frame; else it runs on by itself. Either way wanted times are
multiples of a step from an origin, never "the last one plus something", so nothing drifts.
"""

from collections import deque
from math import floor

RATE_TOLERANCE = 0.10
EPSILON_S = 0.002  # stamps are rounded to the container's clock
GROUPS_KEPT = 3


class Groups:
    """Learns the distance of key frames as packets pass."""

    def __init__(self) -> None:
        self.frames = 0  # of the last whole group
        self._lengths_s: deque[float] = deque(maxlen=GROUPS_KEPT)
        self._key_s: float | None = None
        self._counted = 0

    def packet(self, stream_s: float, *, is_key: bool) -> None:
        if is_key:
            if self._key_s is not None and stream_s > self._key_s:
                self._lengths_s.append(stream_s - self._key_s)
                self.frames = self._counted
            self._key_s, self._counted = stream_s, 0
        self._counted += 1

    @property
    def length_s(self) -> float | None:
        """The longest of the last few: taking a group for too short would cost a burst of decoding at its end."""
        return max(self._lengths_s) if self._lengths_s else None

    @property
    def end_s(self) -> float | None:
        """When the next key frame is expected; None until a whole group has been seen."""
        length_s = self.length_s
        return None if length_s is None or self._key_s is None else self._key_s + length_s


class Sampler:
    """Says when the next picture is due."""

    def __init__(self, sample_fps: float) -> None:
        self._period_s = 1.0 / sample_fps
        self._origin_s: float | None = None
        self._step_s = self._period_s
        self._index = 0

    @property
    def due_s(self) -> float:
        """The stream time from which on a frame is taken."""
        return float("-inf") if self._origin_s is None else self._origin_s + self._index * self._step_s

    def is_due(self, stream_s: float) -> bool:
        return stream_s >= self.due_s - EPSILON_S

    def key(self, key_s: float, length_s: float | None) -> None:
        """A key frame passes: start the grid at it if the group length allows."""
        if self._origin_s is None:
            self._origin_s, self._index = key_s, 0
            return
        if length_s is None:
            return
        samples = round(length_s / self._period_s)
        if samples >= 1:
            step_s = length_s / samples
            near_s = step_s / 2
        else:
            step_s = length_s * max(1, round(self._period_s / length_s))
            near_s = length_s / 2
        fits = abs(self._period_s / step_s - 1) <= RATE_TOLERANCE
        if fits and abs(self.due_s - key_s) < near_s:
            self._origin_s, self._index, self._step_s = key_s, 0, step_s
        elif not fits and self._step_s != self._period_s:
            self._origin_s, self._index, self._step_s = self.due_s, 0, self._period_s

    def taken(self, stream_s: float) -> None:
        """A frame at this time was taken: the next grid point after it is due."""
        if self._origin_s is None:
            self._origin_s = stream_s
        passed = floor((stream_s - self._origin_s + EPSILON_S) / self._step_s) + 1
        self._index = max(self._index + 1, passed)
