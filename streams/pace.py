"""How fast a camera's seconds pass against ours, and whether its stamps can be believed at all.

A packet cannot arrive before it was sent, and the least delayed of each BUCKET_S arrived with hardly any delay: these
points lie on a line, whose slope is the camera's pace. The slope is the median of those of all pairs (Theil and Sen),
so that a second in which everything was late does not turn it. A pace other than one is taken for such once it stands
out of the scatter of the points, over 2 s if it is far off (a camera that halves its rate at night), over 30 s if it
is off by 0.3 %; what is less the least delay of the window follows by itself.

Stamps that mostly repeat the one before, that keep jumping, that are missing, or that scatter about every line say
nothing: then the moment of arrival is the better one, until the stamps have been in order for BELIEVED_AGAIN_S.
"""

from collections import deque

import numpy as np
import numpy.typing as npt

BUCKET_S = 0.5
SPANS_S = (2.0, 4.0, 8.0, 16.0, 30.0)
POINTS_MIN = 4
SURE = 0.001
SURE_SCATTERS = 4.0
SCATTER_MIN_S = 0.015  # what jitter and rounding leave on a good day
SPEED_MIN, SPEED_MAX = 0.005, 200.0  # a clock of 1 kHz that is said to be one of 90 kHz runs at 0.011
SCATTER_MAX_S = 0.3
SCATTER_SPAN_S = 4.0
JUMPS_MAX, JUMPS_WITHIN_S = 3, 10.0
UNSTAMPED_MAX_S = 1.0
REPEATS_KEPT, REPEATS_FROM, REPEATS_MAX = 50, 12, 0.6
BELIEVED_AGAIN_S = 20.0


class Pace:
    """One per connection; fed with every packet."""

    def __init__(self) -> None:
        self._points: deque[tuple[float, float]] = deque()  # (arrival, stream) of the least delayed of each bucket
        self.least_delay_s = float("inf")  # arrival less stream time, of the window
        self._bucket_mono_s = float("-inf")
        self._jumps_mono_s: deque[float] = deque(maxlen=JUMPS_MAX + 1)
        self._repeats: deque[bool] = deque(maxlen=REPEATS_KEPT)
        self._stamped_mono_s: float | None = None
        self._last_s: float | None = None
        self._doubted_mono_s = float("-inf")

    def is_believed(self, now_mono_s: float) -> bool:
        """The stamps tell when a picture was taken better than its arrival does."""
        return now_mono_s - self._doubted_mono_s >= BELIEVED_AGAIN_S

    def packet(self, stream_s: float, arrival_mono_s: float, *, stamped: bool, jumped: bool, seen: bool) -> float:
        """Learn from one packet; return by how much the camera's seconds must be stretched from here on (mostly 1).

        seen: the arrival was; what is only estimated says nothing of the pace.
        """
        if self._stamped_mono_s is None or stamped:
            self._stamped_mono_s = arrival_mono_s
        if jumped:
            self._jumps_mono_s.append(arrival_mono_s)
        self._repeats.append(stream_s == self._last_s)
        self._last_s = stream_s
        if self._says_nothing(arrival_mono_s):
            self._doubted_mono_s = arrival_mono_s
        if not seen and self._points:
            return 1.0
        factor = 1.0
        if arrival_mono_s - self._bucket_mono_s >= BUCKET_S:
            if stamped and self.is_believed(arrival_mono_s):
                factor = self._stretched(stream_s)
            self._bucket_mono_s = arrival_mono_s
            self._points.append((arrival_mono_s, stream_s))
            while arrival_mono_s - self._points[0][0] > SPANS_S[-1] + BUCKET_S:
                self._points.popleft()
            self.least_delay_s = min(arrival_s - at_s for arrival_s, at_s in self._points)
        elif stream_s - arrival_mono_s > self._points[-1][1] - self._points[-1][0]:
            self._points[-1] = (arrival_mono_s, stream_s)
            self.least_delay_s = min(self.least_delay_s, arrival_mono_s - stream_s)
        return factor

    def _says_nothing(self, now_mono_s: float) -> bool:
        assert self._stamped_mono_s is not None, "the first packet sets it"
        often = len(self._jumps_mono_s) > JUMPS_MAX and now_mono_s - self._jumps_mono_s[0] <= JUMPS_WITHIN_S
        repeats = len(self._repeats) >= REPEATS_FROM and sum(self._repeats) > REPEATS_MAX * len(self._repeats)
        return often or repeats or now_mono_s - self._stamped_mono_s > UNSTAMPED_MAX_S

    def _stretched(self, now_s: float) -> float:
        """The shortest span over which another pace is plain; the points before it were of another time."""
        if len(self._points) < POINTS_MIN:
            return 1.0
        points = np.asarray(self._points)
        end_mono_s = points[-1, 0]
        for span_s in SPANS_S:
            chosen = points[points[:, 0] >= end_mono_s - span_s]
            extent_s = end_mono_s - chosen[0, 0]
            if len(chosen) < POINTS_MIN or extent_s < 0.7 * span_s:
                continue
            speed, scatter_s = line_of(chosen)
            if extent_s >= SCATTER_SPAN_S and scatter_s > SCATTER_MAX_S:
                self._doubted_mono_s = end_mono_s
                continue
            sure = SURE + SURE_SCATTERS * max(scatter_s, SCATTER_MIN_S) / extent_s
            if abs(1.0 / speed - 1.0) <= sure or not SPEED_MIN <= speed <= SPEED_MAX:
                continue
            self._points = deque((arrival_s, now_s + (at_s - now_s) / speed) for arrival_s, at_s in chosen.tolist())
            return 1.0 / speed
        return 1.0


def line_of(points: npt.NDArray[np.float64]) -> tuple[float, float]:
    """(stream seconds per second of arrival, median distance of the (arrival, stream) points in seconds of arrival)."""
    first, second = np.triu_indices(len(points), 1)
    arrival_s, at_s = points[:, 0], points[:, 1]
    speed = float(np.median((at_s[second] - at_s[first]) / (arrival_s[second] - arrival_s[first])))
    speed = max(speed, SPEED_MIN / 2)
    rest_s = arrival_s - at_s / speed
    return speed, float(np.median(np.abs(rest_s - np.median(rest_s))))
