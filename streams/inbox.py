"""When did a packet arrive that has only now been read? What waits here is our slowness, not the network's.

A read that had to wait for its packet says when it came. One that was answered at once says that the packet had been
waiting: it came a usual distance after the one before, or just now if that is earlier.
"""

from collections import deque

WAITED = 0.25  # of the usual distance: scheduling takes less
KEPT = 50
KNOWN_FROM = 10


class Inbox:
    """One per connection."""

    def __init__(self) -> None:
        self._arrivals_s: deque[float] = deque(maxlen=KEPT)

    def arrived(self, asked_mono_s: float, got_mono_s: float, step_s: float) -> float:
        """The monotonic time of arrival. asked, got: when the read began and ended; step_s: of the stream's frames."""
        arrivals_s = self._arrivals_s
        if len(arrivals_s) >= KNOWN_FROM:
            step_s = (arrivals_s[-1] - arrivals_s[0]) / (len(arrivals_s) - 1)
        at_s = got_mono_s
        if arrivals_s and got_mono_s - asked_mono_s < WAITED * step_s:
            at_s = min(got_mono_s, arrivals_s[-1] + step_s)
        arrivals_s.append(at_s)
        return at_s
