"""A Google Cloud Storage for tests: gcp-storage-emulator in a process of its own. It knows no credentials."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from types import TracebackType
from typing import Self

import httpx

START_DEADLINE_S = 30.0


class GcsServer:
    def __init__(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def make(self, bucket: str) -> None:
        answer = httpx.post(f"{self.endpoint}/storage/v1/b?project=test", json={"name": bucket}, trust_env=False)
        answer.raise_for_status()

    def put(self, bucket: str, key: str, content: bytes, media_type: str) -> None:
        answer = httpx.post(
            f"{self.endpoint}/upload/storage/v1/b/{bucket}/o",
            params={"uploadType": "media", "name": key},
            headers={"Content-Type": media_type},
            content=content,
            trust_env=False,
        )
        answer.raise_for_status()

    def start(self) -> None:
        command = [sys.executable, "-m", "gcp_storage_emulator", "start"]
        self._process = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", str(self.port), "--in-memory"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        answers(self.port, START_DEADLINE_S, self._process)

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


def answers(port: int, deadline_s: float, process: subprocess.Popen[bytes]) -> None:
    """Wait until a process listens."""
    deadline = time.monotonic() + deadline_s
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 0.5).close()
            return
        except OSError:
            assert process.poll() is None, f"the server ended with {process.returncode}"
            assert time.monotonic() < deadline, "the server does not answer"
            time.sleep(0.05)
