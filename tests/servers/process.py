"""What servers that are programs of their own share: a free port, a start that ends when they listen, a kill."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

START_DEADLINE_S = 40.0


class ServerProcess:
    """May be killed, and started again on its port."""

    def __init__(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None

    def command(self) -> Sequence[str]:
        raise NotImplementedError

    @property
    def environment(self) -> Mapping[str, str] | None:
        """None: this process's own."""
        return None

    def start(self) -> None:
        self._process = subprocess.Popen(
            [*self.command()], env=self.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + START_DEADLINE_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 0.5).close()
                return
            except OSError:
                assert self._process.poll() is None, f"the server ended with {self._process.returncode}"
                assert time.monotonic() < deadline, "the server does not answer"
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
