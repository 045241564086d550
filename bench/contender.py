"""One contender in a process of its own: `python -m bench.contender KIND JOB.json`, started by bench/measure.py.

Says "ready" on stdout once its model is loaded, starts on a line on stdin, says "all cameras" when each has given a
result, stops on SIGTERM and then writes its results.
"""

import json
import signal
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.results import Results, say

KINDS = ("ours", "ours-full", "naive", "grab", "floor")


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """cameras: name -> RTSP address of what is classified. mains: of the main stream, where that is another.

    wanted: the frames of a group of pictures that orwatch samples, counted from its key frame.
    """

    cameras: dict[str, str]
    mains: dict[str, str]
    model: Path
    folder: Path
    port: int
    sample_fps: float
    wanted: list[int]

    @property
    def results(self) -> Path:
        return self.folder / "results.json"

    def write(self, path: Path) -> None:
        values = {name: getattr(self, name) for name in self.__slots__}
        path.write_text(json.dumps(values, default=str), encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> "Job":
        values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return cls(**{**values, "model": Path(values["model"]), "folder": Path(values["folder"])})


def wait_for_start() -> threading.Event:
    """Say that we are ready, wait for the start; the event is set by SIGTERM."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda _number, _frame: stop.set())
    say("ready")
    sys.stdin.readline()
    return stop


def main() -> None:
    kind, job = sys.argv[1], Job.read(Path(sys.argv[2]))
    results = Results(len(job.cameras))
    # Each imports its own libraries only: memory is measured.
    if kind in ("ours", "ours-full"):
        from bench.ours import run as run_ours

        run_ours(job, results, adaptive=kind == "ours")
    elif kind in ("naive", "grab"):
        from bench.naive import run as run_naive

        run_naive(job, results, wait_for_start, grabs=kind == "grab")
    else:
        from bench.floor import run as run_floor

        run_floor(job, results, wait_for_start)
    results.write(job.results)


if __name__ == "__main__":
    main()
