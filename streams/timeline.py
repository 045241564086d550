"""The stamps of one connection as seconds that only run on.

Stamps wrap, jump and start anew, and the seconds of a camera need not be ours: one that stamps 25 frames a second and
delivers 24 has seconds that last 1.04 of ours. `Timeline` bridges what is no step of one frame by the time that has
passed, and multiplies the rest by the rate that pace.py has found, so that all that follows counts in true seconds.
"""

from collections import deque

JUMP_BACK_S = 0.5  # B-frames step back by less,
JUMP_BACK_FRAMES = 5  # or by fewer frames where they are far apart
JUMP_AHEAD_S = 5.0  # beyond what arrived in the meantime
STEPS_KEPT = 25
STEP_MAX_S = 5.0


class Timeline:
    """Seconds since the first packet."""

    def __init__(self) -> None:
        self.jumped = False  # by the last packet
        self.rate = 1.0  # our seconds in one of the camera's
        self._shift_s: float | None = None
        self._last_stamp_s = 0.0
        self._last_s: float | None = None
        self._last_mono_s = 0.0
        self._steps_s: deque[float] = deque(maxlen=STEPS_KEPT)

    @property
    def step_s(self) -> float:
        """The shortest distance of two packets of late: one frame. After a pause the last one would be the pause."""
        return min(self._steps_s, default=0.04)

    def stretch(self, factor: float) -> None:
        """From the last packet on, a second of the camera lasts `factor` times as long as it was taken to."""
        self.rate *= factor
        self._steps_s = deque((factor * step_s for step_s in self._steps_s), maxlen=STEPS_KEPT)
        if self._shift_s is not None and self._last_s is not None:
            self._shift_s = self._last_s - self.rate * self._last_stamp_s

    def stream_s(self, stamp_s: float | None, now_mono_s: float) -> float:
        """stamp_s: the packet's own presentation stamp; None where the container gives none (RTSP's first packets)."""
        self.jumped = False
        follows_s = 0.0 if self._last_s is None else self._last_s + self.step_s
        if stamp_s is None:
            at_s = follows_s
        else:
            if self._shift_s is None:
                self._shift_s = follows_s - self.rate * stamp_s  # what came before it had no stamp
            at_s = self.rate * stamp_s + self._shift_s
            if self._last_s is not None:
                at_s = self._bridged_s(at_s, self._last_s, now_mono_s - self._last_mono_s)
            self._shift_s = at_s - self.rate * stamp_s if self.jumped else self._shift_s
            self._last_stamp_s = stamp_s
        self._last_s, self._last_mono_s = at_s, now_mono_s
        return at_s

    def _bridged_s(self, at_s: float, last_s: float, passed_s: float) -> float:
        step_s = at_s - last_s
        if step_s < -max(JUMP_BACK_S, JUMP_BACK_FRAMES * self.step_s) or step_s > passed_s + JUMP_AHEAD_S:
            self.jumped = True
            return last_s + max(passed_s, self.step_s)
        if 0.0 < step_s < STEP_MAX_S:
            self._steps_s.append(step_s)
        return at_s
