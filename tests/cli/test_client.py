"""What the commands make of a daemon's address at which something else, or nothing useful, answers."""

import socket
import threading
from collections.abc import Callable

import pytest

from daemon.cli.client import Daemon, NotAnswering
from tests.servers.raw import RawServer, dripping, silent


@pytest.mark.parametrize(
    "serve", [silent, dripping(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")], ids=["says nothing", "drips"]
)
async def test_who_does_not_answer_in_time_is_left(serve: Callable[[socket.socket, threading.Event], None]) -> None:
    with RawServer(serve) as server, pytest.raises(NotAnswering, match="does not answer in time"):
        await Daemon(f"http://127.0.0.1:{server.port}").request("GET", "/health", timeout_s=0.5)
