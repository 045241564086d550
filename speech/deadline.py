"""HTTP calls that end in time: connecting, sending, and every byte of the answer count against one deadline.

The timeouts of `requests` are per socket operation, so that a server which sends a byte now and then holds a thread for
as long as it likes.
"""

import io
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError

_call = threading.local()


@contextmanager
def deadline(within_s: float) -> Iterator[None]:
    """Of all calls that this thread makes in here."""
    _call.ends_mono_s = time.monotonic() + within_s
    try:
        yield
    finally:
        del _call.ends_mono_s


def left_s() -> float:
    """Raises TimeoutError when it has passed."""
    left: float = _call.ends_mono_s - time.monotonic()
    if left <= 0:
        raise TimeoutError("deadline passed")
    return left


def has_passed() -> bool:
    ends: float = _call.ends_mono_s
    return time.monotonic() >= ends


def session(ca_file: str | None) -> requests.Session:
    """Verifies TLS, follows no redirect, and knows no proxy, user or password of the environment."""
    made = requests.Session()
    made.trust_env = False
    made.verify = ca_file or True
    made.max_redirects = 0
    made.mount("http://", _Adapter())
    made.mount("https://", _Adapter())
    return made


class _Socket:
    """A connected socket whose every operation ends by the deadline."""

    def __init__(self, wrapped: Any) -> None:
        self._wrapped = wrapped

    def __getattr__(self, name: str) -> Any:
        return getattr(self._wrapped, name)

    def recv_into(self, *args: Any) -> int:
        self._wrapped.settimeout(left_s())
        received: int = self._wrapped.recv_into(*args)
        return received

    def sendall(self, content: bytes) -> None:
        # That of TLS starts the clock anew with every record.
        rest = memoryview(content)
        while rest:
            self._wrapped.settimeout(left_s())
            rest = rest[self._wrapped.send(rest) :]

    def makefile(self, mode: str, *_args: Any) -> io.BufferedReader:
        assert mode == "rb", mode
        self._wrapped._io_refs += 1
        return io.BufferedReader(socket.SocketIO(self, "r"))  # type: ignore[arg-type]


def _connected(to: HTTPConnection) -> socket.socket:
    """As urllib3 connects, but all addresses of a name share its timeout."""
    assert isinstance(to.timeout, int | float)
    ends_mono_s = time.monotonic() + to.timeout
    trouble: OSError = OSError("the name has no address")
    try:
        found = socket.getaddrinfo(to.host.strip("[]"), to.port, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        raise NameResolutionError(to.host, to, error) from error
    for family, kind, protocol, _, address in found:
        if (left := ends_mono_s - time.monotonic()) <= 0:
            break
        connecting = socket.socket(family, kind, protocol)
        try:
            connecting.settimeout(left)
            connecting.connect(address)
            connecting.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return connecting
        except OSError as error:
            connecting.close()
            trouble = error
    if isinstance(trouble, TimeoutError):
        raise ConnectTimeoutError(to, "timed out") from trouble
    raise NewConnectionError(to, type(trouble).__name__) from trouble


class _Http(HTTPConnection):
    def _new_conn(self) -> socket.socket:
        return _connected(self)

    def connect(self) -> None:
        super().connect()
        self.sock = _Socket(self.sock)


class _Https(HTTPSConnection):
    def _new_conn(self) -> socket.socket:
        return _connected(self)

    def connect(self) -> None:
        super().connect()
        self.sock = _Socket(self.sock)


class _HttpPool(HTTPConnectionPool):
    ConnectionCls = _Http


class _HttpsPool(HTTPSConnectionPool):
    ConnectionCls = _Https


class _Adapter(HTTPAdapter):
    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _HttpPool, "https": _HttpsPool}
