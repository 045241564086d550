"""Which moments of a stream are wanted: `sample_fps` a second, laid onto key frames where the group length allows.

A sample on a key frame costs one decoded picture, and the last sample of a group decides how much of the group is
decoded at all. So where the learnt group length is a multiple (or a fraction) of the sampling period within
RATE_TOLERANCE, the grid starts anew at each key frame, and the samples of a group stand closer together than the
period, by DRAWN at most, so that more of its end need not be decoded; no pause gets longer than PAUSE_MAX periods.
Else the grid runs on by itself. Either way wanted times are fixed by an origin, never "the last one plus something",
so nothing drifts and `sample_fps` is the mean rate.
"""

from collections import deque
from dataclasses import dataclass
from math import floor

RATE_TOLERANCE = 0.10
EPSILON_S = 0.002  # stamps are rounded to the container's clock
GROUPS_KEPT = 3
DRAWN = 0.7  # of the period
DRAWN_FROM_S = 0.25  # a shorter period is a few frames only: there is nothing to draw together
PAUSE_MAX = 2.0  # periods


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


@dataclass(frozen=True, slots=True)
class _Cycle:
    """`samples` points `step_s` apart, anew every `length_s`."""

    length_s: float
    samples: int
    step_s: float

    def at_s(self, index: int) -> float:
        """The time of a point since the origin."""
        cycles, point = divmod(index, self.samples)
        return cycles * self.length_s + point * self.step_s

    def points_until(self, since_s: float) -> int:
        """How many points lie at or before this time."""
        cycles = floor(since_s / self.length_s)
        return cycles * self.samples + min(self.samples, floor((since_s - cycles * self.length_s) / self.step_s) + 1)


class Sampler:
    """Says when the next picture is due."""

    def __init__(self, sample_fps: float) -> None:
        self._period_s = 1.0 / sample_fps
        self._even = _Cycle(self._period_s, 1, self._period_s)
        self._origin_s: float | None = None
        self._cycle = self._even
        self._index = 0
        self._taken_s = float("-inf")

    @property
    def due_s(self) -> float:
        """The stream time from which on a frame is taken."""
        return float("-inf") if self._origin_s is None else self._origin_s + self._cycle.at_s(self._index)

    def is_due(self, stream_s: float) -> bool:
        return stream_s >= self.due_s - EPSILON_S

    def key(self, key_s: float, length_s: float | None) -> None:
        """A key frame passes: start the grid at it if the group length allows."""
        if self._origin_s is None:
            self._start(key_s, self._even)
            return
        if length_s is None:
            return
        cycle = self._cycle_of(length_s)
        if cycle is None:
            if self._cycle is not self._even:
                self._start(self.due_s, self._even)
            return
        if cycle.length_s > length_s:  # several groups to one sample: begin at the key frame nearest to it
            if abs(self.due_s - key_s) < length_s / 2:
                self._start(key_s, cycle)
            return
        # Where a sample has just been taken it stands for this key frame's; the grid is laid from here all the same.
        self._start(key_s, cycle, 0 if key_s - self._taken_s >= self._period_s / 2 else 1)

    def taken(self, stream_s: float) -> None:
        """A frame at this time was taken: the next grid point after it is due."""
        if self._origin_s is None:
            self._origin_s = stream_s
        self._taken_s = stream_s
        self._index = max(self._index + 1, self._cycle.points_until(stream_s - self._origin_s + EPSILON_S))

    def _cycle_of(self, length_s: float) -> _Cycle | None:
        """None where key frames come at no multiple or fraction of the period."""
        samples = round(length_s / self._period_s)
        if samples == 0:
            length_s, samples = length_s * max(1, round(self._period_s / length_s)), 1
        even_s = length_s / samples
        if abs(self._period_s / even_s - 1) > RATE_TOLERANCE:
            return None
        if samples == 1 or self._period_s < DRAWN_FROM_S:
            return _Cycle(length_s, samples, even_s)
        return _Cycle(length_s, samples, max(DRAWN * even_s, (length_s - PAUSE_MAX * self._period_s) / (samples - 1)))

    def _start(self, origin_s: float, cycle: _Cycle, index: int = 0) -> None:
        self._origin_s, self._cycle, self._index = origin_s, cycle, index
