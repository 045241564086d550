"""A TCP proxy on loopback with the faults of a network, between clients and one port.

    with FaultProxy(server.port) as proxy:
        proxy.at(1_000_000, server.kill)  # in the middle of whatever is being sent then

Each connection has a thread for each direction. `sent` is what was handed on, so that a test can prove what had passed.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import Self

from tests.servers.ports import free_port
from tests.waiting import DEADLINE_S

CHUNK = 64 * 1024
TURNS_PER_S = 50  # of a throttled client
DRIP_S = 0.05
_AT_ONCE = struct.pack("ii", 1, 0)  # what is not sent yet is thrown away, and the other side is told so


class FaultProxy:
    def __init__(self, target_port: int) -> None:
        self.port = free_port()
        self._target = target_port
        self._listener: socket.socket | None = None
        self._changed = threading.Condition()
        self._connections: list[_Connection] = []
        self._threads: list[threading.Thread] = []
        self._marks: dict[int, Callable[[], object] | None] = {}
        self._at_answer: Callable[[], object] | None = None
        self._is_stalled = False
        self._bytes_per_s: float | None = None
        self._dripped: bytes | None = None
        self._answers_lost = 0

    @property
    def endpoint(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def sent(self) -> list[bytes]:
        """What came from clients and was handed on, of each connection."""
        return [bytes(each.sent) for each in self._connections]

    def at(self, count: int, do: Callable[[], object]) -> None:
        """Call it once, when just so many bytes of one connection were handed on; all wait until it has returned."""
        with self._changed:
            self._marks[count] = do

    def kill_at(self, count: int) -> None:
        """Kill one connection when just so many bytes of its client were handed on."""
        with self._changed:
            self._marks[count] = None

    def at_answer(self, do: Callable[[], object]) -> None:
        """Call it once, when the target has begun to answer and nothing of that was handed on yet."""
        with self._changed:
            self._at_answer = do

    def refuse(self) -> None:
        """Who is connected is thrown out, and nobody comes in."""
        if self._listener is not None:
            # close alone would leave the thread in accept, and the port taken.
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None
        for connection in list(self._connections):
            self._kill(connection)

    def accept(self) -> None:
        """On the same port as before."""
        assert self._listener is None, "the proxy listens already"
        self._listener = socket.create_server(("127.0.0.1", self.port))
        # Loopback would take megabytes at once, and a client would never feel that its bytes do not pass.
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, CHUNK)
        self._start("accept", partial(self._listen, self._listener))

    def lead_to(self, port: int) -> None:
        """Who is connected is thrown out; whoever comes from now on is led there."""
        self.refuse()
        self._target = port
        self.accept()

    def lose_answers(self, count: int = 1) -> None:
        """So many times what a server sends is thrown away, and its connection with it: it has done its work."""
        with self._changed:
            self._answers_lost = count

    def stall(self) -> None:
        """Nothing passes any more; connections stay, and new ones are taken."""
        with self._changed:
            self._is_stalled = True

    def flow(self, *, bytes_per_s: float | None = None) -> None:
        """All that clients send passes at this rate, or as fast as it comes."""
        with self._changed:
            self._is_stalled, self._bytes_per_s, self._dripped = False, bytes_per_s, None
            self._changed.notify_all()

    def drip(self, asked: bytes) -> None:
        """Who has sent this is answered a byte now and then, until all flows again."""
        with self._changed:
            self._dripped = asked

    def __enter__(self) -> Self:
        self.accept()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.refuse()
        for thread in self._threads:
            thread.join(DEADLINE_S)
            assert not thread.is_alive(), f"{thread.name} does not end"

    def _start(self, name: str, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=work, name=f"proxy:{self._target}:{name}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _listen(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            try:
                target = socket.create_connection(("127.0.0.1", self._target), DEADLINE_S)
            except OSError:
                _close(client)
                continue
            target.settimeout(None)
            connection = _Connection(client, target)
            with self._changed:
                self._connections.append(connection)
            self._start("up", partial(self._up, connection))
            self._start("down", partial(self._down, connection))
            if self._listener is not listener:
                self._kill(connection)  # it came in while the others were thrown out

    def _up(self, connection: _Connection) -> None:
        try:
            while data := connection.client.recv(CHUNK):
                rest = memoryview(data)
                while rest:
                    piece = rest[: self._may_pass(connection, len(rest))]
                    connection.target.sendall(piece)
                    connection.sent += piece
                    rest = rest[len(piece) :]
                    self._reached(connection)
            connection.target.shutdown(socket.SHUT_WR)
        except OSError:
            self._kill(connection)
        self._ended(connection)

    def _down(self, connection: _Connection) -> None:
        try:
            while data := connection.target.recv(CHUNK):
                self._may_pass(connection, 0)
                with self._changed:
                    is_lost, self._answers_lost = self._answers_lost > 0, max(0, self._answers_lost - 1)
                if is_lost:
                    self._kill(connection)
                self._answers()
                rest = memoryview(data)
                while rest:
                    count = self._may_come(connection, len(rest))
                    connection.client.sendall(rest[:count])
                    rest = rest[count:]
            connection.client.shutdown(socket.SHUT_WR)
        except OSError:
            self._kill(connection)
        self._ended(connection)

    def _may_pass(self, connection: _Connection, wanted: int) -> int:
        """Wait for the turn; returns how many bytes may be sent on: to the next mark, no further."""
        with self._changed:
            self._changed.wait_for(lambda: not self._is_stalled or connection.is_dead)
            ahead = [mark - len(connection.sent) for mark in self._marks if mark > len(connection.sent)]
            count = min([wanted, *ahead])
            if self._bytes_per_s is not None and count:
                count = min(count, max(1, int(self._bytes_per_s / TURNS_PER_S)))
                self._changed.wait_for(lambda: connection.is_dead, count / self._bytes_per_s)
            return count

    def _may_come(self, connection: _Connection, wanted: int) -> int:
        """How many bytes may be answered, after their wait."""
        with self._changed:
            if self._dripped is None or self._dripped not in connection.sent:
                return wanted
            self._changed.wait_for(lambda: connection.is_dead or self._dripped is None, DRIP_S)
            return 1

    def _reached(self, connection: _Connection) -> None:
        with self._changed:
            if len(connection.sent) in self._marks:
                do = self._marks.pop(len(connection.sent))
                self._kill(connection) if do is None else do()

    def _answers(self) -> None:
        with self._changed:
            do, self._at_answer = self._at_answer, None
            if do is not None:
                do()

    def _ended(self, connection: _Connection) -> None:
        with self._changed:
            connection.ended += 1
            if connection.ended == 2:
                connection.client.close()
                connection.target.close()

    def _kill(self, connection: _Connection) -> None:
        with self._changed:
            connection.is_dead = True
            self._changed.notify_all()
        _close(connection.client)
        _close(connection.target)


class _Connection:
    def __init__(self, client: socket.socket, target: socket.socket) -> None:
        self.client, self.target = client, target
        self.sent = bytearray()
        self.is_dead = False
        self.ended = 0


def _close(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
        # close alone would leave a thread in recv or send.
        one.shutdown(socket.SHUT_RDWR)
    one.close()
