"""A connected socket under the bounds of one call, plain and over TLS: whatever the other side does, it ends.

What hangs here is ended by the time-out of the suite; no test measures how long anything took.
"""

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

import pytest

from net import Halted, TooMuch, Unbounded, bounded
from net.deadline import BoundedSocket, has_passed, left_s, pause
from tests.servers.raw import RawServer, dripping, saying, silent
from tests.waiting import DEADLINE_S

SHORT_S = 0.3
LONG_S = 600.0
MUCH = bytes(64 * 2**20)
Serve = Callable[[socket.socket, threading.Event], None]
To = Callable[[Serve], AbstractContextManager[BoundedSocket]]


@pytest.fixture(params=["plain", "TLS"])
def to(request: pytest.FixtureRequest, certificate: tuple[Path, Path]) -> To:
    """to(serve): a connection to a server that does this."""
    tls = certificate if request.param == "TLS" else None

    @contextmanager
    def connected(serve: Serve) -> Iterator[BoundedSocket]:
        with ExitStack() as stack:
            server = stack.enter_context(RawServer(serve, tls=tls))
            raw = stack.enter_context(socket.create_connection(("127.0.0.1", server.port)))
            if tls is not None:
                context = ssl.create_default_context(cafile=str(tls[0]))
                raw = stack.enter_context(context.wrap_socket(raw, server_hostname="localhost"))
            yield BoundedSocket(raw)

    return connected


def read(connection: BoundedSocket, count: int) -> bytes:
    """So many bytes, or fewer at the end."""
    got = bytearray()
    block = bytearray(65_536)
    while len(got) < count and (received := connection.recv_into(memoryview(block)[: count - len(got)])):
        got += block[:received]
    return bytes(got)


def test_what_comes_in_time_is_read(to: To) -> None:
    with to(saying(b"one", b"two")) as connection, bounded(within_s=LONG_S, receives=6):
        connection.sendall(b"?")
        assert read(connection, 3) == b"one"
        connection.sendall(b"?")
        with connection.makefile("rb") as file:
            assert file.read() == b"two"


@pytest.mark.parametrize("bound", ["within_s", "idle_s", "answer_s"])
def test_a_server_that_says_nothing_is_left(to: To, bound: str) -> None:
    with to(silent) as connection, bounded(**{"within_s": LONG_S, bound: SHORT_S}):  # type: ignore[arg-type]
        connection.sendall(b"?")
        with pytest.raises(TimeoutError):
            read(connection, 1)


@pytest.mark.parametrize("bound", ["within_s", "answer_s"])
def test_a_server_that_drips_is_left(to: To, bound: str) -> None:
    with to(dripping(b"")) as connection, bounded(**{"within_s": LONG_S, bound: SHORT_S}):  # type: ignore[arg-type]
        connection.sendall(b"?")
        with pytest.raises(TimeoutError):
            read(connection, 2**20)


@pytest.mark.parametrize("bound", ["within_s", "idle_s"])
def test_a_server_that_reads_nothing_is_left(to: To, bound: str) -> None:
    bounds = {"within_s": LONG_S, bound: SHORT_S}
    with to(silent) as connection, bounded(**bounds), pytest.raises(TimeoutError):  # type: ignore[arg-type]
        connection.sendall(MUCH)


def test_each_answer_has_its_own_time(to: To) -> None:
    has_answered = threading.Event()

    def second_only(connection: socket.socket, released: threading.Event) -> None:
        connection.recv(1)
        connection.recv(1)
        connection.sendall(b"two")
        has_answered.set()
        released.wait()

    with to(second_only) as connection, bounded(within_s=LONG_S, answer_s=1.0):
        connection.sendall(b"?")
        for _ in range(2):
            with pytest.raises(TimeoutError):
                read(connection, 1)
        connection.sendall(b"?")
        assert has_answered.wait(DEADLINE_S)
        assert read(connection, 3) == b"two"


def test_a_halt_ends_what_waits_for_an_answer(to: To) -> None:
    halt = threading.Event()

    def asked(connection: socket.socket, released: threading.Event) -> None:
        connection.recv(1)
        halt.set()
        released.wait()

    with to(asked) as connection, bounded(within_s=LONG_S, halt=halt):
        connection.sendall(b"?")
        with pytest.raises(Halted):
            read(connection, 1)


def test_a_halt_ends_what_is_being_sent(to: To) -> None:
    halt = threading.Event()

    def begun(connection: socket.socket, released: threading.Event) -> None:
        connection.recv(1)
        halt.set()
        released.wait()

    with to(begun) as connection, bounded(within_s=LONG_S, halt=halt), pytest.raises(Halted):
        connection.sendall(MUCH)


def test_more_bytes_than_may_come_are_not_read(to: To) -> None:
    def flood(connection: socket.socket, released: threading.Event) -> None:
        while not released.is_set():
            connection.sendall(bytes(65_536))

    with to(flood) as connection, bounded(within_s=LONG_S, receives=100_000):
        with pytest.raises(TooMuch):
            read(connection, 2**30)
        with pytest.raises(TooMuch):
            connection.sendall(b"?")


def test_a_thread_without_bounds_cannot_use_a_connection(to: To) -> None:
    raised: list[BaseException] = []

    def use() -> None:
        for act in (lambda: connection.sendall(b"?"), lambda: read(connection, 1)):
            try:
                act()
            except Unbounded as error:
                raised.append(error)

    with to(silent) as connection, bounded(within_s=LONG_S):
        worker = threading.Thread(target=use)
        worker.start()
        worker.join(DEADLINE_S)
    use()

    assert len(raised) == 4


def test_one_call_is_bounded_once() -> None:
    with bounded(within_s=LONG_S):
        with pytest.raises(AssertionError), bounded(within_s=2 * LONG_S):
            pass
        assert left_s() <= LONG_S


def test_a_pause_ends_with_the_call() -> None:
    with bounded(within_s=SHORT_S):
        assert not has_passed()
        with pytest.raises(TimeoutError):
            pause(LONG_S)
        assert has_passed()
    halt = threading.Event()
    halt.set()
    with bounded(within_s=LONG_S, halt=halt), pytest.raises(Halted):
        pause(LONG_S)
