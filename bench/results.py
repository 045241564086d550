"""What every contender writes down: which frame each result is of, and when the result was there.

Runs inside the measured processes, so it imports nothing that they do not have anyway and works only at results, twice
a second and camera.
"""

import json
import sys
import threading
from pathlib import Path

import numpy as np
import numpy.typing as npt

SIZE = 224
BITS = 9  # of the frame counter
ITEMS = tuple(f"item-{number:02}" for number in range(60))
BIT_LABELS = tuple(f"bit-{bit}-{state}" for bit in range(BITS) for state in ("on", "off"))


def frame_of(scores: npt.NDArray[np.float32]) -> int:
    """The counter (frame index mod 500) of the picture that got these scores."""
    on, off = scores[len(ITEMS) :: 2], scores[len(ITEMS) + 1 :: 2]
    return int("".join("1" if bit else "0" for bit in on > off), 2)


class Results:
    """Kept in memory while the clock runs, written when the contender stops."""

    def __init__(self, cameras: int) -> None:
        self._missing = cameras
        self._seen: set[str] = set()
        self._rows: list[tuple[str, int, float, float | None]] = []
        self._lock = threading.Lock()

    def add(
        self, camera: str, scores: npt.NDArray[np.float32], done_mono_s: float, captured_mono_s: float | None = None
    ) -> None:
        """captured_mono_s: what the contender itself takes for the moment of capture, if it says so."""
        row = (camera, frame_of(scores), done_mono_s, captured_mono_s)
        with self._lock:
            self._rows.append(row)
            if camera not in self._seen:
                self._seen.add(camera)
                self._missing -= 1
                if not self._missing:
                    say("all cameras")

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(self._rows), encoding="utf-8")


def say(event: str) -> None:
    """Tell bench/measure.py, on stdout."""
    sys.stdout.write(event + "\n")
    sys.stdout.flush()
