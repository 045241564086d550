"""orwatch itself: the whole daemon with a running surgery, started over HTTP as the HIS would.

Nothing is left out: reconnecting, time-outs, statistics, health, windows, ledger, control plane. A result counts as
there only when it is in the surgery's window, after the crossing into the event loop, which the other contenders do
not have.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from bench.results import Results, say
from daemon import app, config
from daemon.pipeline import pipeline
from daemon.pipeline.watch import Watch
from inference.batcher import Prediction

if TYPE_CHECKING:
    from bench.contender import Job


def run(job: Job, results: Results, *, adaptive: bool) -> None:
    class ToldWatch(Watch):
        """The surgery's windows, which also write down each result that went into them."""

        async def push(self, prediction: Prediction) -> None:
            await super().push(prediction)
            results.add(prediction.camera, prediction.scores, time.monotonic(), prediction.captured_mono_s)

    vars(pipeline)["Watch"] = ToldWatch  # the one thing that is not as in production
    say("ready")  # bench/measure.py asks /health when it listens
    asyncio.run(app.serve(config.load(None, settings(job, adaptive=adaptive))))


def settings(job: Job, *, adaptive: bool) -> dict[str, Any]:
    """Defaults, but for what this run is about."""
    cameras: dict[str, dict[str, Any]] = {
        camera: {"url": job.mains.get(camera, url), "adaptive": adaptive} for camera, url in job.cameras.items()
    }
    for camera in job.mains:
        cameras[camera]["detect_url"] = job.cameras[camera]
    return {
        "server": {"port": job.port},
        "auth": {"mode": "none"},
        "database": {"ledger": str(job.folder / "ledger.db")},
        "logs": {"folder": str(job.folder / "log"), "level": "INFO"},
        "objects": {"folder": str(job.folder / "objects"), "spool": str(job.folder / "spool")},
        "model": {"path": str(job.model), "device": "cpu"},
        "cameras": cameras,
        "inference": {"sample_fps": job.sample_fps},
    }
