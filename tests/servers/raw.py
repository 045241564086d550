"""A server on loopback that does with each connection what a test says, byte by byte, plain or over TLS."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.waiting import DEADLINE_S

DRIP_S = 0.05


class RawServer:
    """serve(connection, released): in a thread of its own; released is set when the test is over."""

    def __init__(
        self, serve: Callable[[socket.socket, threading.Event], None], *, tls: tuple[Path, Path] | None = None
    ) -> None:
        self._serve = serve
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
        self._released = threading.Event()
        self._threads: list[threading.Thread] = []
        self.port: int = self._listener.getsockname()[1]
        self.accepted = 0

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._released.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(DEADLINE_S)
            assert not thread.is_alive(), f"{thread.name} does not end"

    def _start(self, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=work, name=f"raw:{self.port}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.accepted += 1
                self._start(lambda connection=connection: self._one(connection))  # type: ignore[misc]

    def _one(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            stack.callback(connection.close)
            if self._tls is not None:
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                context.load_cert_chain(*self._tls)
                connection = context.wrap_socket(connection, server_side=True)
                stack.callback(connection.close)
            self._serve(connection, self._released)


def silent(_connection: socket.socket, released: threading.Event) -> None:
    """It reads nothing and says nothing."""
    released.wait()


def dripping(head: bytes) -> Callable[[socket.socket, threading.Event], None]:
    """It reads the request, says the head at once, and then a byte now and then for ever."""

    def serve(connection: socket.socket, released: threading.Event) -> None:
        connection.recv(65_536)
        connection.sendall(head)
        while not released.wait(DRIP_S):
            connection.sendall(b"x")

    return serve


def saying(*answers: bytes) -> Callable[[socket.socket, threading.Event], None]:
    """It answers the requests of one connection, each in one piece, with these, and closes it then."""

    def serve(connection: socket.socket, _released: threading.Event) -> None:
        for answer in answers:
            connection.recv(65_536)
            connection.sendall(answer)

    return serve
