"""From the stamps of a stream to the time when a picture was taken.

Two questions, answered apart. *How far into the stream is this packet?* The camera's stamps say so, but they wrap,
jump and start anew: `Timeline` turns them into seconds that only run on. *When was that?* A packet cannot arrive
before it was sent, and the least delayed of the last WINDOW_S arrived with hardly any delay, so `LiveClock` keeps the
smallest difference between arrival and stamp. It follows the window's minimum down at once and up at SLEW: a camera
clock that runs 0.1 % slow is followed for ever, a burst of network delay is not mistaken for time. `FileClock` needs
none of this.

Everything runs on the monotonic clock; the wall clock is read once, at the first packet, so a wall clock that is set
in mid-surgery moves no event. What cannot be seen from here: a constant delay between lens and arrival.
"""

from collections import deque
from datetime import datetime, timedelta
from typing import Protocol

JUMP_BACK_S = 0.5  # B-frames step back by less
JUMP_AHEAD_S = 5.0  # beyond what arrived in the meantime
WINDOW_S = 30.0
STEPS_KEPT = 25
BUCKET_S = 1.0
SLEW = 0.005  # seconds per second; cameras are off by less than 0.0005
RESET_LAG_S = 1.0
RESET_AFTER_S = 3.0


class Clock(Protocol):
    """When the picture at `stream_s` was taken."""

    def captured(self, stream_s: float, now_mono_s: float) -> tuple[datetime, float]:
        """(aware wall time, the same moment on the monotonic clock)."""


class Timeline:
    """Stamps of one connection as seconds since its first packet, that run on over wraps, jumps and resets."""

    def __init__(self) -> None:
        self.jumped = False  # by the last packet
        self._shift_s: float | None = None
        self._last_s = 0.0
        self._last_mono_s = 0.0
        self._steps_s: deque[float] = deque(maxlen=STEPS_KEPT)

    @property
    def step_s(self) -> float:
        """The shortest distance of two packets of late: one frame. After a pause the last one would be the pause."""
        return min(self._steps_s, default=0.04)

    def stream_s(self, stamp_s: float | None, now_mono_s: float) -> float:
        """stamp_s: the packet's own presentation stamp; None where the container gives none (RTSP's first packets)."""
        self.jumped = False
        if self._shift_s is None and stamp_s is not None:
            unstamped_s = self._last_s + self.step_s if self._last_mono_s else 0.0  # what came before it
            self._shift_s = unstamped_s - stamp_s
        if stamp_s is None or self._shift_s is None:
            at_s = self._last_s + self.step_s if self._last_mono_s else 0.0
        else:
            at_s = stamp_s + self._shift_s
            step_s = at_s - self._last_s
            passed_s = now_mono_s - self._last_mono_s if self._last_mono_s else 0.0
            if self._last_mono_s and (step_s < -JUMP_BACK_S or step_s > passed_s + JUMP_AHEAD_S):
                self.jumped = True
                at_s = self._last_s + max(passed_s, self.step_s)
                self._shift_s = at_s - stamp_s
            elif 0.0 < step_s < 1.0:
                self._steps_s.append(step_s)
        self._last_s = at_s
        self._last_mono_s = now_mono_s
        return at_s


class LiveClock:
    """Stream seconds of a live camera to time, by the least delayed packets."""

    def __init__(self, now_wall: datetime, now_mono_s: float) -> None:
        self._wall0, self._mono0_s = now_wall, now_mono_s
        self._offset_s: float | None = None
        self._minima: deque[tuple[float, float]] = deque()  # (start of the second, least delay in it)
        self._last_mono_s = 0.0
        self._late_since_mono_s: float | None = None
        self._late_least_s = 0.0
        self._last_captured_s = float("-inf")

    def arrived(self, stream_s: float, now_mono_s: float) -> float:
        """Learn from one packet; return how late it is against the least delayed ones, in seconds."""
        delay_s = now_mono_s - stream_s
        if self._offset_s is None:
            self._offset_s, self._last_mono_s = delay_s, now_mono_s
        self._remember(delay_s, now_mono_s)
        least_s = min(least for _, least in self._minima)
        risen_s = self._offset_s + SLEW * (now_mono_s - self._last_mono_s)
        self._offset_s = min(least_s, risen_s)
        self._last_mono_s = now_mono_s
        self._start_over_if_late(delay_s, now_mono_s)
        return delay_s - self._offset_s

    def captured(self, stream_s: float, now_mono_s: float) -> tuple[datetime, float]:
        """Never in the future, never before an earlier answer."""
        assert self._offset_s is not None, "no packet arrived yet"
        mono_s = max(min(stream_s + self._offset_s, now_mono_s), self._last_captured_s)
        self._last_captured_s = mono_s
        return self._wall0 + timedelta(seconds=mono_s - self._mono0_s), mono_s

    def _remember(self, delay_s: float, now_mono_s: float) -> None:
        if self._minima and now_mono_s - self._minima[-1][0] < BUCKET_S:
            start_s, least_s = self._minima[-1]
            self._minima[-1] = (start_s, min(least_s, delay_s))
        else:
            self._minima.append((now_mono_s, delay_s))
        while now_mono_s - self._minima[0][0] > WINDOW_S:
            self._minima.popleft()

    def _start_over_if_late(self, delay_s: float, now_mono_s: float) -> None:
        """A delay that has risen and stays is the camera's stamps, not a queue: a queue drains or ends in a stall."""
        assert self._offset_s is not None
        if delay_s - self._offset_s < RESET_LAG_S:
            self._late_since_mono_s = None
            return
        if self._late_since_mono_s is None:
            self._late_since_mono_s, self._late_least_s = now_mono_s, delay_s
        self._late_least_s = min(self._late_least_s, delay_s)
        if now_mono_s - self._late_since_mono_s >= RESET_AFTER_S:
            self._offset_s = self._late_least_s
            self._minima.clear()
            self._minima.append((now_mono_s, self._late_least_s))
            self._late_since_mono_s = None


class FileClock:
    """A recording: its first frame was taken at `started_at`, whenever it is read."""

    def __init__(self, started_at: datetime) -> None:
        self._started_at = started_at

    def captured(self, stream_s: float, now_mono_s: float) -> tuple[datetime, float]:
        """The monotonic moment is now: nothing read from a file is too old to be classified."""
        return self._started_at + timedelta(seconds=stream_s), now_mono_s
