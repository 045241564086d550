"""Clients that speak urllib3 and requests, over our connections, against servers that misbehave in and below HTTP."""

import gzip
import logging
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
import urllib3
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NameResolutionError, NewConnectionError

from net import Halted, TooMuch, Unbounded, bounded
from net.causes import causes
from net.pools import pool, tamed
from tests.servers.raw import RawServer, dripping, saying, silent

SHORT_S = 0.3
LONG_S = 600.0
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"
BUSY = b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nRetry-After: 86400\r\nConnection: close\r\n\r\n"
BROKE = (requests.RequestException, HTTPError, OSError)
Ask = Callable[..., tuple[int, bytes]]


@pytest.fixture(params=["urllib3", "requests"])
def ask(request: pytest.FixtureRequest) -> Iterator[Ask]:
    """ask(url, content): the status and the whole answer."""
    opened: list[Any] = []

    def ask(
        url: str, content: bytes = b"", *, repeats: int = 0, connect_timeout_s: float = LONG_S
    ) -> tuple[int, bytes]:
        if request.param == "urllib3":
            pooled = pool(connect_timeout_s=connect_timeout_s, repeats=repeats)
            opened.append(pooled.clear)
            answer = pooled.request("PUT", url, body=content)
            return answer.status, answer.data
        session = tamed(requests.Session(), repeats=repeats)
        opened.append(session.close)
        got = session.put(url, data=content, timeout=(connect_timeout_s, LONG_S))
        return got.status_code, got.content

    yield ask
    for close in opened:
        close()


def url_of(server: RawServer) -> str:
    return f"http://127.0.0.1:{server.port}/path?key=secret-word"


def in_turn(*serves: Callable[[socket.socket, threading.Event], None]) -> RawServer:
    """A server that does with each connection the next of these."""
    waiting = iter(serves)

    def serve(connection: socket.socket, released: threading.Event) -> None:
        next(waiting)(connection, released)

    return RawServer(serve)


def breaks(connection: socket.socket, _released: threading.Event) -> None:
    connection.recv(65_536)


@contextmanager
def never_answering() -> Iterator[int]:
    """A port whose backlog is full: whoever connects after that waits."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, socket.create_connection(full.getsockname()):
        yield full.getsockname()[1]


def resolve(monkeypatch: pytest.MonkeyPatch, *ports: int) -> None:
    """Every name leads to these ports, one after the other."""
    found = [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("127.0.0.1", port)) for port in ports]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_kwargs: found)


def kinds(error: BaseException) -> set[type[BaseException]]:
    return {type(cause) for cause in causes(error)}


def test_what_comes_in_time_is_the_answer(ask: Ask) -> None:
    with RawServer(saying(OK)) as server, bounded(within_s=LONG_S):
        assert ask(url_of(server), b"content") == (200, b"ok")


HEAD = b"HTTP/1.1 200 OK\r\n"
LATE = {
    "says nothing": silent,
    "drips its head": dripping(HEAD + b"X: "),
    "drips its body": dripping(HEAD + b"Content-Length: 100000\r\n\r\n"),
}


@pytest.mark.parametrize("serve", LATE.values(), ids=LATE)
def test_a_server_that_is_late_is_left(ask: Ask, serve: Callable[[socket.socket, threading.Event], None]) -> None:
    with RawServer(serve) as server, bounded(within_s=SHORT_S), pytest.raises(BROKE) as caught:
        ask(url_of(server), repeats=2)

    assert any(isinstance(cause, TimeoutError) for cause in causes(caught.value))


def test_a_server_that_reads_nothing_is_left(ask: Ask) -> None:
    with RawServer(silent) as server, bounded(within_s=LONG_S, idle_s=SHORT_S), pytest.raises(BROKE) as caught:
        ask(url_of(server), bytes(64 * 2**20))

    assert any(isinstance(cause, TimeoutError) for cause in causes(caught.value))


def test_a_line_that_is_slow_and_lives_is_waited_for(ask: Ask) -> None:
    """More than the kernel takes at once passes, although each wait is shorter than the whole."""
    taken = bytearray()

    def slow(connection: socket.socket, released: threading.Event) -> None:
        while b"the end" not in taken[-100:]:
            taken.extend(connection.recv(65_536))
            released.wait(0.01)
        connection.sendall(OK)

    with RawServer(slow) as server, bounded(within_s=LONG_S, idle_s=60.0, answer_s=60.0):
        assert ask(url_of(server), bytes(4 * 2**20) + b"the end") == (200, b"ok")


def test_a_flood_is_not_read_to_its_end(ask: Ask) -> None:
    def flood(connection: socket.socket, released: threading.Event) -> None:
        connection.recv(65_536)
        connection.sendall(HEAD + b"\r\n")
        while not released.is_set():
            connection.sendall(bytes(65_536))

    with RawServer(flood) as server, bounded(within_s=LONG_S, receives=2**20), pytest.raises(BROKE) as caught:
        ask(url_of(server), repeats=2)

    assert TooMuch in kinds(caught.value)


def test_a_halt_ends_a_call_and_its_repetition(ask: Ask) -> None:
    halt = threading.Event()

    def asked(connection: socket.socket, released: threading.Event) -> None:
        connection.recv(1)
        halt.set()
        released.wait()

    with RawServer(asked) as server, bounded(within_s=LONG_S, halt=halt), pytest.raises(BROKE) as caught:
        ask(url_of(server), repeats=2)

    assert Halted in kinds(caught.value)
    assert server.accepted == 1


def test_a_thread_without_bounds_is_told_at_once(ask: Ask) -> None:
    with RawServer(saying(OK)) as server, pytest.raises(Unbounded):
        ask(url_of(server), repeats=2)

    assert server.accepted == 0


# --- connecting ---


@pytest.mark.parametrize("dead", ["refuses", "never answers"])
def test_an_address_that_is_dead_leaves_time_for_the_next(ask: Ask, monkeypatch: pytest.MonkeyPatch, dead: str) -> None:
    with socket.socket() as closed, never_answering() as full, RawServer(saying(OK)) as server:
        closed.bind(("127.0.0.1", 0))
        resolve(monkeypatch, closed.getsockname()[1] if dead == "refuses" else full, server.port)
        with bounded(within_s=LONG_S):
            assert ask("http://store.invalid/", connect_timeout_s=4.0) == (200, b"ok")


@pytest.mark.parametrize(("within_s", "connect_timeout_s"), [(LONG_S, SHORT_S), (SHORT_S, LONG_S)])
def test_addresses_that_never_answer_share_one_time_out(
    ask: Ask, monkeypatch: pytest.MonkeyPatch, within_s: float, connect_timeout_s: float
) -> None:
    with never_answering() as full:
        resolve(monkeypatch, *[full] * 1000)
        with bounded(within_s=within_s), pytest.raises(BROKE) as caught:
            ask("http://store.invalid/", connect_timeout_s=connect_timeout_s)

    assert ConnectTimeoutError in kinds(caught.value)


def test_what_refuses_and_what_has_no_address_are_told_apart(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_args: Any, **_kwargs: Any) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    with socket.socket() as closed, bounded(within_s=LONG_S):
        closed.bind(("127.0.0.1", 0))
        with pytest.raises(BROKE) as refused:
            ask(f"http://127.0.0.1:{closed.getsockname()[1]}/")
        monkeypatch.setattr(socket, "getaddrinfo", unknown)
        with pytest.raises(BROKE) as nameless:
            ask("http://store.invalid/")

    assert {NewConnectionError, ConnectionRefusedError} <= kinds(refused.value)
    assert NameResolutionError in kinds(nameless.value)


# --- repetition ---


def test_a_fault_that_passes_is_survived_as_often_as_asked(ask: Ask) -> None:
    with in_turn(saying(BUSY), breaks, saying(OK)) as server, bounded(within_s=LONG_S):
        assert ask(url_of(server), repeats=2) == (200, b"ok")

    assert server.accepted == 3


def test_a_fault_that_stays_is_the_answer_and_no_day_is_waited(ask: Ask) -> None:
    with in_turn(saying(BUSY), saying(BUSY), saying(OK)) as server, bounded(within_s=LONG_S):
        assert ask(url_of(server), repeats=1) == (503, b"")

    assert server.accepted == 2


def test_nothing_is_repeated_unasked(ask: Ask) -> None:
    with in_turn(breaks, saying(OK)) as server, bounded(within_s=LONG_S), pytest.raises(BROKE):
        ask(url_of(server))

    assert server.accepted == 1


# --- what nobody configured ---


def test_a_redirect_is_not_followed(ask: Ask) -> None:
    with RawServer(saying(OK)) as elsewhere:
        for status in (301, 302, 307, 308):
            there = f"Location: {url_of(elsewhere)}\r\nContent-Length: 0\r\nConnection: close"
            answer = f"HTTP/1.1 {status} Moved\r\n{there}\r\n\r\n".encode()
            with RawServer(saying(answer)) as server, bounded(within_s=LONG_S):
                assert ask(url_of(server), repeats=2) == (status, b"")

    assert elsewhere.accepted == 0


def test_no_proxy_and_no_password_of_the_environment_is_used(
    ask: Ask, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    passwords = tmp_path / "netrc"
    passwords.write_text("machine 127.0.0.1 login somebody password secret-word\n")
    passwords.chmod(0o600)
    monkeypatch.setenv("NETRC", str(passwords))
    heard: list[bytes] = []

    def listen(connection: socket.socket, _released: threading.Event) -> None:
        heard.append(connection.recv(65_536))
        connection.sendall(OK)

    with RawServer(listen) as server, bounded(within_s=LONG_S):
        assert ask(url_of(server)) == (200, b"ok")

    assert b"authorization" not in heard[0].lower()


def test_our_calls_are_not_logged_and_those_of_others_are(ask: Ask, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with in_turn(breaks, saying(BUSY), saying(OK)) as server, bounded(within_s=LONG_S):
        assert ask(url_of(server), repeats=2) == (200, b"ok")
    assert "secret-word" not in caplog.text
    assert "urllib3" not in caplog.text

    with RawServer(saying(OK)) as server, urllib3.PoolManager() as theirs:
        theirs.request("GET", url_of(server))
    assert "urllib3" in caplog.text


# --- TLS ---


def test_a_certificate_that_nobody_knows_is_refused(ask: Ask, certificate: tuple[Path, Path]) -> None:
    with RawServer(saying(OK), tls=certificate) as server, bounded(within_s=LONG_S), pytest.raises(BROKE) as caught:
        ask(f"https://localhost:{server.port}/")

    assert any("CERTIFICATE_VERIFY_FAILED" in str(cause) for cause in causes(caught.value))


def test_over_tls_a_server_that_drips_is_left_too(certificate: tuple[Path, Path]) -> None:
    session = tamed(requests.Session())
    session.verify = str(certificate[0])
    with RawServer(saying(OK), tls=certificate) as server, bounded(within_s=LONG_S):
        assert session.get(f"https://localhost:{server.port}/").content == b"ok"
    drips = dripping(HEAD + b"Content-Length: 100000\r\n\r\n")
    with RawServer(drips, tls=certificate) as server, bounded(within_s=LONG_S, answer_s=SHORT_S), pytest.raises(BROKE):
        session.get(f"https://localhost:{server.port}/")
    session.close()


def test_a_server_that_never_shakes_hands_is_left(ask: Ask) -> None:
    with RawServer(silent) as server, bounded(within_s=LONG_S), pytest.raises(BROKE) as caught:
        ask(f"https://localhost:{server.port}/", connect_timeout_s=SHORT_S)

    assert any(isinstance(cause, TimeoutError) for cause in causes(caught.value))


def _packed(content: bytes, ways: str) -> bytes:
    return f"HTTP/1.1 200 OK\r\nContent-Encoding: {ways}\r\nContent-Length: {len(content)}\r\n\r\n".encode() + content


@pytest.mark.parametrize(
    ("answer", "is_taken"),
    [
        (_packed(gzip.compress(b"list"), "gzip"), True),
        (_packed(gzip.compress(gzip.compress(b"list")), "gzip, gzip"), False),
        (_packed(gzip.compress(bytes(1000) + os.urandom(2**20)), "gzip"), False),
    ],
    ids=["once", "twice", "much"],
)
def test_what_is_packed_cannot_grow_without_bound(answer: bytes, is_taken: bool) -> None:
    with RawServer(saying(answer)) as server, tamed(requests.Session()) as session, bounded(within_s=60):
        if is_taken:
            assert session.get(f"http://127.0.0.1:{server.port}/").content == b"list"
        else:
            with pytest.raises((requests.RequestException, TooMuch)):
                session.get(f"http://127.0.0.1:{server.port}/")
