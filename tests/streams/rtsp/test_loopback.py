"""The door on loopback, turned by hand."""

import select
import socket

from streams.rtsp.loopback import Loopback
from tests.waiting import DEADLINE_S


def turned(door: Loopback, until_ready: int) -> None:
    """Wait until so many of its descriptors have something to say, then let it look at all of them in one turn."""
    poller = select.poll()
    for fd, events in door.events().items():
        poller.register(fd, events)
    ready: dict[int, int] = {}
    while len(ready) < until_ready:
        ready |= dict(poller.poll(DEADLINE_S * 1000))
    door.turn(ready)


def is_gone(connection: socket.socket) -> bool:
    """Closed, with what it had said perhaps unread."""
    try:
        return connection.recv(100) == b""
    except ConnectionResetError:
        return True


def test_a_stranger_who_speaks_in_the_same_turn_as_libav_disturbs_nothing() -> None:
    door = Loopback("v=0\r\n")
    port = int(door.url.rpartition(":")[2].partition("/")[0])
    connections = []
    for _ in range(3):
        connections.append(socket.create_connection(("127.0.0.1", port), DEADLINE_S))
        turned(door, 1)
    first, stranger, other = connections
    stranger.sendall(b"OPTIONS rtsp://127.0.0.1/guessed RTSP/1.0\r\nCSeq: 1\r\n\r\n")
    other.sendall(b"OPTIONS rtsp://127.0.0.1/guessed RTSP/1.0\r\nCSeq: 1\r\n\r\n")
    first.sendall(f"OPTIONS {door.url} RTSP/1.0\r\nCSeq: 1\r\n\r\n".encode())

    turned(door, 3)

    assert first.recv(100).startswith(b"RTSP/1.0 200")
    assert is_gone(stranger)
    assert is_gone(other)
    door.close()
    for each in connections:
        each.close()
