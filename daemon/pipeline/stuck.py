"""What all cameras share and what can stand still: the classifier, and threads that were given up."""

import logging

from daemon.bridge import left
from daemon.health import Health

log = logging.getLogger(__name__)

_MODEL, _THREADS = "model", "threads"


class Stuck:
    """Says it in the health, and in the log once when it breaks and once when it is back. Event loop only."""

    def __init__(self, health: Health, *, silent_max_s: float) -> None:
        self._health = health
        self._silent_max_s = silent_max_s
        self._was = ""  # said of the model while it answered

    def look(self, silent_s: float, now_mono_s: float) -> None:
        """silent_s: since the classifier last finished anything, were it only to see that nothing waits."""
        model = self._health.components.get(_MODEL)
        if silent_s > self._silent_max_s:
            self._was = model.why if model is not None and model.ok else self._was
            why = f"the classifier has not answered for {silent_s:.0f} s"
            if self._health.set(_MODEL, ok=False, why=why):
                log.error("model: %s", why)
        elif model is not None and not model.ok:
            self._health.set(_MODEL, ok=True, why=self._was)
            log.info("model: the classifier answers again")
        self._look_at_threads(now_mono_s)

    def _look_at_threads(self, now_mono_s: float) -> None:
        hanging = left()
        if not hanging:
            self._health.forget(_THREADS)
            return
        names = ", ".join(f"{each.name} for {now_mono_s - each.since_mono_s:.0f} s" for each in hanging)
        self._health.set(_THREADS, ok=False, why=f"given up, in a call of a library that does not come back: {names}")
