"""The whole program as its user starts it: a process of its own, a TOML, signals, HTTP."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import pytest

from tests.servers.ports import free_port
from tests.waiting import DEADLINE_S, until_beside

ASSETS = Path(__file__).parents[2] / "daemon" / "demo_assets"
# On a machine that does other things as well a frame may wait; it is no less true.
AT_LEISURE = {"ORWATCH_INFERENCE__FRAME_AGE_MAX_S": "60"}
# The server closes what is idle for some seconds: a test that was held up between two requests would meet that.
_NEVER_KEPT = httpx.Limits(max_keepalive_connections=0)


class Program:
    """`orwatch run` on a configuration in its own folder; started, stopped and killed as an init system would."""

    def __init__(self, folder: Path, *, cameras: dict[str, str], more: str = "") -> None:
        self.folder = folder
        self.port = free_port()
        tables = "".join(f'[cameras.{name}]\nurl = "{url}"\n' for name, url in cameras.items())
        self.config = folder / "orwatch.toml"
        self.config.write_text(
            f'[server]\nport = {self.port}\n[model]\npath = "{ASSETS / "consumables.onnx"}"\n'
            f'[catalogue]\npath = "{ASSETS / "catalogue.csv"}"\n{tables}{more}',
            encoding="utf-8",
        )
        self.log = folder / "stderr.log"
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=300, limits=_NEVER_KEPT)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None, "the program is not started"
        return self._process.pid

    def start(self) -> Self:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "daemon", "run", "--config", str(self.config)],
                cwd=self.folder,
                env={**AT_LEISURE, **os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
                stderr=log,
                stdout=log,
            )
        self.until(self._answers, deadline_s=2 * DEADLINE_S)
        return self

    def stop(self) -> int:
        """SIGTERM, as systemd does; returns the exit code."""
        return self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL, as a power cut does."""
        self._signal(signal.SIGKILL)

    def begin(self, surgery_id: str, cameras: list[str], **more: Any) -> httpx.Response:
        return self.client.post(
            "/client/surgeries/start", json={"surgery_id": surgery_id, "camera_ids": cameras, **more}
        )

    def end(self, surgery_id: str) -> httpx.Response:
        return self.client.post("/client/surgeries/end", json={"surgery_id": surgery_id})

    def component(self, name: str) -> dict[str, Any] | None:
        found = self.client.get("/ready").json()["components"].get(name)
        assert found is None or isinstance(found, dict)
        return found

    def classified(self, camera: str) -> float:
        """Frames of the camera that were classified so far."""
        name = f'orwatch_frames_classified_total{{camera="{camera}"}} '
        lines = self.client.get("/metrics").text.splitlines()
        return next((float(line.removeprefix(name)) for line in lines if line.startswith(name)), 0.0)

    def until(self, holds: Callable[[], bool], *, deadline_s: float = DEADLINE_S) -> float:
        """Wait for it; returns how long it took, in seconds. The program must live, or it is over at once."""
        assert self._process is not None, "the program is not started"
        return until_beside(self._process, holds, deadline_s=deadline_s, said=lambda: self.log.read_text()[-3000:])

    def goes_on(self, for_s: float) -> None:
        """Let it work for so long; its end fails the test at once."""
        assert self._process is not None, "the program is not started"
        with pytest.raises(subprocess.TimeoutExpired):
            self._process.wait(for_s)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self.kill()
        self.client.close()

    def _signal(self, number: signal.Signals) -> int:
        assert self._process is not None, "the program is not started"
        self._process.send_signal(number)
        code = self._process.wait(timeout=DEADLINE_S)
        self._process = None
        return code

    def _answers(self) -> bool:
        try:
            return self.client.get("/health").status_code == 200
        except httpx.TransportError:
            return False
