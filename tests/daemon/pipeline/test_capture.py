"""A camera whose library does not come back is connected anew beside it, and not without an end."""

import asyncio
import threading
from pathlib import Path

import pytest

from daemon.bridge import left
from daemon.health import Health
from daemon.pipeline import capture as module
from daemon.pipeline.capture import LEFT_MAX, Capture
from daemon.pipeline.sight import SightRules
from daemon.supervise import Backoff
from streams.frame import Frame
from tests import rules
from tests.daemon.deaf import Deaf
from tests.waiting import until

QUICK = Backoff(initial_s=0.01, max_s=0.02)


async def test_threads_that_hang_are_given_up_and_only_so_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HANGS_AFTER_S", 0.1)
    monkeypatch.setattr(module, "STOPS_WITHIN_S", 0.0)
    deaf = Deaf(tmp_path / "pipe")
    health, frames = Health(), list[Frame]()
    capture = Capture(
        rules.camera(deaf.pipe, connect_timeout_s=0.1, read_timeout_s=0.1),
        on_frame=frames.append,
        on_gap=lambda camera: None,
        health=health,
        backoff=QUICK,
        sight=SightRules(blind_alarm_s=1.0),
    )
    running = asyncio.create_task(capture.run())
    try:
        await until(lambda: f"{LEFT_MAX} threads hang already" in capture.fault)

        before = capture.reconnects
        await until(lambda: capture.reconnects > before + 2)
        hanging = [thread for thread in threading.enumerate() if thread.name == "capture:or-cam-01"]
        assert len(hanging) == len(left()) == LEFT_MAX
        assert not capture.sees
        assert not health.components["camera:or-cam-01"].ok
    finally:
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        await deaf.let_go()
    assert "camera:or-cam-01" not in health.components
    assert frames == []
