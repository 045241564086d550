"""When did a packet arrive that has only now been read? What waits here is our slowness, not the network's.

A read that had to wait for its packet says when it came. One that was answered at once says that the packet had been
waiting: it came a usual distance after the one before, or just now if that is earlier.
"""

from collections import deque

WAITED = 0.25  # of the usual distance: scheduling takes less
KEPT = 50


class Inbox:
    """One per connection."""

    def __init__(self) -> None:
        self.seen = False  # the last packet did not wait here: that is when it arrived
        self._packets = 0
        self._at_s = 0.0
        self._waited: deque[tuple[int, float]] = deque(maxlen=KEPT)  # (how many came before, arrival)

    def arrived(self, asked_mono_s: float, got_mono_s: float, step_s: float) -> float:
        """The monotonic time of arrival. asked, got: when the read began and ended; step_s: of the stream's frames."""
        if len(self._waited) > 1:
            (first, first_s), (last, last_s) = self._waited[0], self._waited[-1]
            step_s = (last_s - first_s) / (last - first)
        if not self._packets or got_mono_s - asked_mono_s >= WAITED * step_s:
            self._at_s = got_mono_s
            self._waited.append((self._packets, got_mono_s))
        else:
            self._at_s = min(got_mono_s, self._at_s + step_s)
        self.seen = self._at_s == got_mono_s
        self._packets += 1
        return self._at_s
