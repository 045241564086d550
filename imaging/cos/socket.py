"""HTTP connections to COS: each operation, and each call as a whole, ends in time or when told to stop.

The timeouts of `requests` are per socket operation, so that a server which sends a byte now and then holds a thread for
as long as it likes; and nothing could interrupt them.
"""

import io
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from imaging.errors import Stopped

_ANSWER_MAX = 2 * 2**20
_BLOCK = 128 * 2**10
_SLICE_S = 0.1


@dataclass(slots=True)
class _Bounds:
    """Of one request and its answer. answered_mono_s: when the answer has to be whole, once it is waited for."""

    ends_mono_s: float
    idle_s: float
    halt: threading.Event
    answered_mono_s: float | None = None


_call = threading.local()


@contextmanager
def bounded(*, within_s: float, idle_s: float, halt: threading.Event) -> Iterator[None]:
    """Of the one call of this thread in here. idle_s: of a connection that takes nothing, and of the answer.

    They raise TimeoutError, or Stopped soon after halt is set.
    """
    _call.bounds = _Bounds(time.monotonic() + within_s, idle_s, halt)
    try:
        yield
    finally:
        del _call.bounds


class TooLong(requests.RequestException):
    """An answer of more bytes than any of COS has."""


class Redirected(requests.RequestException):
    """An answer that sends us to another address; the SDK would take it for a success."""


class Session(requests.Session):
    """Verifies TLS, follows no redirect, reads bounded answers, and knows no proxy or password of the environment."""

    def __init__(self, *, connections: int, ca_file: str | None) -> None:
        super().__init__()
        self.trust_env = False
        self.verify = ca_file or True
        self.mount("http://", _Adapter(pool_maxsize=connections))
        self.mount("https://", _Adapter(pool_maxsize=connections))

    def send(self, request: requests.PreparedRequest, **settings: Any) -> requests.Response:
        settings |= {"stream": True, "allow_redirects": False}
        response = super().send(request, **settings)
        try:
            # As requests does it, which has no bound.
            content: bytes = response.raw.read(_ANSWER_MAX + 1, decode_content=True)
            response._content, response._content_consumed = content, len(content) <= _ANSWER_MAX
        finally:
            # A connection with something unread on it is closed, any other goes back to the pool.
            response.close()
        if not response._content_consumed:
            raise TooLong
        if 300 <= response.status_code < 400:
            raise Redirected(response.status_code)
        # Otherwise it is guessed, which takes longer than the request.
        response.encoding = "utf-8"
        return response


class _Socket:
    """A connected socket that minds the bounds of the call that uses it."""

    def __init__(self, wrapped: Any) -> None:
        self._wrapped = wrapped

    def __getattr__(self, name: str) -> Any:
        return getattr(self._wrapped, name)

    def recv_into(self, *args: Any) -> int:
        bounds: _Bounds = _call.bounds
        if bounds.answered_mono_s is None:
            bounds.answered_mono_s = min(time.monotonic() + bounds.idle_s, bounds.ends_mono_s)
        return self._in_time(bounds.answered_mono_s, partial(self._wrapped.recv_into, *args))

    def sendall(self, content: bytes) -> None:
        bounds: _Bounds = _call.bounds
        rest = memoryview(content)
        while rest:
            ends_mono_s = min(time.monotonic() + bounds.idle_s, bounds.ends_mono_s)
            rest = rest[self._in_time(ends_mono_s, partial(self._wrapped.send, rest)) :]

    def makefile(self, mode: str, *_args: Any) -> io.BufferedReader:
        assert mode == "rb", mode
        self._wrapped._io_refs += 1
        return io.BufferedReader(socket.SocketIO(self, "r"))  # type: ignore[arg-type]

    def _in_time(self, ends_mono_s: float, operation: Callable[[], int]) -> int:
        while True:
            if _call.bounds.halt.is_set():
                raise Stopped("已停止。")
            if (left_s := ends_mono_s - time.monotonic()) <= 0:
                raise TimeoutError("out of time")
            self._wrapped.settimeout(min(left_s, _SLICE_S))
            try:
                return operation()
            except TimeoutError:
                continue


class _Http(HTTPConnection):
    def connect(self) -> None:
        super().connect()
        self.sock = _Socket(self.sock)


class _Https(HTTPSConnection):
    def connect(self) -> None:
        super().connect()
        self.sock = _Socket(self.sock)


class _HttpPool(HTTPConnectionPool):
    ConnectionCls = _Http


class _HttpsPool(HTTPSConnectionPool):
    ConnectionCls = _Https


class _Adapter(HTTPAdapter):
    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs, blocksize=_BLOCK)
        self.poolmanager.pool_classes_by_scheme = {"http": _HttpPool, "https": _HttpsPool}


def keep_quiet() -> None:
    """The SDK logs tokens, signatures and signing keys; urllib3 logs the path and query of each request of ours."""
    for name, logger in logging.root.manager.loggerDict.items():
        if name.partition(".")[0] == "qcloud_cos" and isinstance(logger, logging.Logger):
            logger.disabled = True
    wire = logging.getLogger("urllib3.connectionpool")
    if _is_of_another not in wire.filters:
        wire.addFilter(_is_of_another)


def _is_of_another(_record: logging.LogRecord) -> bool:
    return not hasattr(_call, "bounds")
