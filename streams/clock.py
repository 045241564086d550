"""From the stamps of a stream to the time when a picture was taken, and how late it came.

*How far into the stream is this packet?* The camera's stamps say so (timeline.py), in seconds as fast as ours
(pace.py). *When was that?* The least delayed of the last packets arrived with hardly any delay, so `LiveClock` adds the
smallest difference between arrival and stamp. *Is it late?* Stamps cannot tell: those of a camera that stamps 25 frames
a second and delivers 12 fall behind for ever, and nothing is late. Only a pause between two packets makes a queue, and
what the stamps then have more than the arrivals drains it. So packets that come steadily are not late, whatever they
are stamped, and no picture is told to be older than the queue and TOLD_LATE_MAX_S. `FileClock` needs none of this.

Everything runs on the monotonic clock; the wall clock is read once, at the first packet, so a wall clock that is set
in mid-surgery moves no event. What cannot be seen from here: a constant delay between lens and arrival.
"""

from collections import deque
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median
from typing import Protocol

from streams.pace import Pace
from streams.timeline import Timeline

GAP_S = 0.2  # a longer silence may have made a queue; a shorter one is jitter,
GAP_SPACINGS = 2.5  # as is less than so many of the usual distances between packets
SPACINGS_KEPT = 15
SPACINGS_FROM = 5
SHRINKS_IN_S = 1.0
SHRINKS_TO = 0.75  # what does not is no queue, but stamps that paused
TOLD_LATE_MAX_S = 0.3
REORDERS_FOR_S = 5.0  # after the last B-frame
NUDGE_S = 0.001  # between two packets that arrive at once and have no stamps of their own


class Clock(Protocol):
    """When the picture at `stream_s` was taken."""

    def captured(self, stream_s: float, now_mono_s: float) -> tuple[datetime, float]:
        """(aware wall time, the same moment on the monotonic clock)."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """One packet: seconds into the stream, seconds that the network held it back, whether its stamp had jumped."""

    stream_s: float
    late_s: float
    jumped: bool


class LiveClock:
    """The packets of one connection to a live camera."""

    def __init__(self, now_wall: datetime, now_mono_s: float) -> None:
        self._wall0, self._mono0_s = now_wall, now_mono_s
        self._timeline, self._pace, self._queue = Timeline(), Pace(), Queue()
        self._shift_s = 0.0  # from the timeline to the stream
        self.by_arrival = False  # the stamps of late cannot be believed
        self._anchor_s = 0.0  # from the stream to the monotonic clock while by arrival
        self._front_s = float("-inf")
        self._offset_s: float | None = None  # from the stream to the monotonic clock
        self._last_mono_s = now_mono_s
        self._reordered_mono_s = float("-inf")
        self._last_captured_s = float("-inf")

    @property
    def step_s(self) -> float:
        """The distance of two frames."""
        return self._timeline.step_s

    @property
    def pace(self) -> float:
        """How many seconds pass while the stamps count one."""
        return self._timeline.rate

    def arrived(self, stamp_s: float | None, arrival_mono_s: float, *, seen: bool = True) -> Arrival:
        """Learn from the next packet.

        arrival_mono_s: taken for the one before where it is earlier; seen: False where it is only estimated.
        """
        arrival_mono_s = max(arrival_mono_s, self._last_mono_s) if self._offset_s is not None else arrival_mono_s
        timeline, pace = self._timeline, self._pace
        at_s = timeline.stream_s(stamp_s, arrival_mono_s)
        stretched = pace.packet(at_s, arrival_mono_s, stamped=stamp_s is not None, jumped=timeline.jumped, seen=seen)
        if stretched != 1.0:
            timeline.stretch(stretched)
        stream_s = self._placed(at_s, arrival_mono_s)
        if self.by_arrival:
            self._queue.clear()
        elif self._offset_s is not None:
            step_s = max(0.0, stream_s - self._front_s)
            self._queue.packet(arrival_mono_s - self._last_mono_s, step_s, arrival_mono_s)
        if stream_s < self._front_s:
            self._reordered_mono_s = arrival_mono_s
        self._front_s, self._last_mono_s = max(self._front_s, stream_s), arrival_mono_s
        if self.by_arrival:
            self._offset_s = self._anchor_s
        else:
            told_s = arrival_mono_s - self._queue.late_s - TOLD_LATE_MAX_S
            self._offset_s = max(pace.least_delay_s - self._shift_s, told_s - self._front_s)
        return Arrival(stream_s, self._queue.late_s, timeline.jumped)

    def captured(self, stream_s: float, now_mono_s: float) -> tuple[datetime, float]:
        """Never in the future, never before an earlier answer.

        B-frames are several frames old when they leave the decoder, however quick all is: at 12 frames a second half
        a second. They, too, are told to be no older than the queue and TOLD_LATE_MAX_S, or none would be young enough.
        """
        assert self._offset_s is not None, "no packet arrived yet"
        mono_s = stream_s + self._offset_s
        if self._last_mono_s - self._reordered_mono_s < REORDERS_FOR_S:
            mono_s = max(mono_s, self._last_mono_s - self._queue.late_s - TOLD_LATE_MAX_S)
        mono_s = max(min(mono_s, now_mono_s), self._last_captured_s)
        self._last_captured_s = mono_s
        return self._wall0 + timedelta(seconds=mono_s - self._mono0_s), mono_s

    def _placed(self, at_s: float, arrival_mono_s: float) -> float:
        """Where the packet stands on the stream, that runs on when the stamps begin or cease to be believed."""
        by_arrival = not self._pace.is_believed(arrival_mono_s)
        if by_arrival:
            if not self.by_arrival:
                self._anchor_s = self._last_mono_s - self._front_s
            stream_s = max(arrival_mono_s - self._anchor_s, self._front_s + NUDGE_S)
        else:
            if self.by_arrival:
                self._shift_s = self._front_s + self._timeline.step_s - at_s
            stream_s = at_s + self._shift_s
        self.by_arrival = by_arrival
        return stream_s


class Queue:
    """What a pause has held back and the packets after it have not yet made good."""

    def __init__(self) -> None:
        self.late_s = 0.0
        self._since_mono_s = 0.0
        self._least_s = 0.0  # that it must come down to in time
        self._spacings_s: deque[float] = deque(maxlen=SPACINGS_KEPT)

    def clear(self) -> None:
        self.late_s = 0.0

    def packet(self, passed_s: float, step_s: float, now_mono_s: float) -> None:
        """passed_s: since the packet before; step_s: further into the stream."""
        if passed_s > self._pause_s():
            if self.late_s < GAP_S:
                self._since_mono_s = now_mono_s
            self.late_s = max(0.0, self.late_s + passed_s - step_s)
            self._least_s = SHRINKS_TO * self.late_s
        else:
            self.late_s = max(0.0, self.late_s - max(0.0, step_s - passed_s))
        self._spacings_s.append(passed_s)
        if now_mono_s - self._since_mono_s >= SHRINKS_IN_S:
            if self.late_s > self._least_s:
                self.late_s = 0.0
            self._since_mono_s, self._least_s = now_mono_s, SHRINKS_TO * self.late_s

    def _pause_s(self) -> float:
        """What lasts longer is a pause. The same distance twice is none: the camera has become slower."""
        spacings_s = self._spacings_s
        if len(spacings_s) < SPACINGS_FROM:
            return max(GAP_S, GAP_SPACINGS * max(spacings_s, default=GAP_S))
        return max(GAP_S, GAP_SPACINGS * max(median(spacings_s), spacings_s[-1]))


class FileClock:
    """A recording: its first frame was taken at `started_at`, whenever it is read."""

    def __init__(self, started_at: datetime) -> None:
        self._started_at = started_at

    def captured(self, stream_s: float, now_mono_s: float) -> tuple[datetime, float]:
        """The monotonic moment is now: nothing read from a file is too old to be classified."""
        return self._started_at + timedelta(seconds=stream_s), now_mono_s
