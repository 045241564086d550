"""Ports of loopback that are ours from the moment they are picked until the tests end."""

import socket

_held: list[socket.socket] = []


def free_port() -> int:
    """A port that refuses connections until somebody listens on it who was told its number.

    It is bound here and not listened on. Who sets SO_REUSEADDR, as servers do, may listen on it, again and again; the
    system gives it to nobody else meanwhile. One that was let go could be taken before it is used.
    """
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind(("127.0.0.1", 0))
    _held.append(held)
    return int(held.getsockname()[1])
