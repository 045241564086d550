"""What servers that are programs of their own share: a free port, a start that ends when they listen, a kill."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

from tests.servers.ports import free_port
from tests.waiting import DEADLINE_S, until_beside


class ServerProcess:
    """May be killed, and started again on its port."""

    def __init__(self) -> None:
        self.port = free_port()
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
        until_beside(self._process, self._listens)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _listens(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), DEADLINE_S).close()
        except OSError:
            return False
        return True

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
