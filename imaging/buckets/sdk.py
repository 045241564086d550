"""What the three bucket stores share below their SDKs: connections that end in time, and errors in our words.

The time-outs of urllib3 are per socket operation, so that a server which sends a byte now and then holds a thread for
as long as it likes, and its answers have no bound. Here each connection minds the bounds of the call that uses it. A
request that broke or met a fault of the server is sent up to three times within them; the SDKs repeat nothing.
"""

import io
import logging
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, Generic, TypeVar

import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError, ReadTimeoutError

from imaging.buckets.store import LOCATION, changed, missing_bucket, missing_object
from imaging.errors import ImagingError, InputTooLarge, Refused, Unauthorized, Unclear, Unreachable

T = TypeVar("T")

# What comes besides a picture or a list: heads, errors, metadata.
_ANSWERS_MAX = 16 * 2**20
# Of a folder of LISTED_MAX objects with long names.
LIST_MAX = 256 * 2**20
# A line slower than this for a whole picture is taken for dead.
_BYTES_PER_S_MIN = 64 * 2**10
_CONNECTIONS = 8
_CODE = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_NO_BUCKET = ("NoSuchBucket", "ContainerNotFound")
_PASSING = (408, 425, 429)


class TooMuch(OSError):
    """More bytes came than the whole answer may have."""


@dataclass(slots=True)
class _Bounds:
    """Of one call. bytes_left: of what may come yet, headers and repetitions included."""

    ends_mono_s: float
    idle_s: float
    bytes_left: int


_call = threading.local()


@contextmanager
def bounded(*, timeout_s: float, moves: int = 0, receives: int = 0) -> Iterator[None]:
    """Of all that this thread does in here over our connections.

    moves: bytes of a picture or a result that travel. receives: what may come to us at most, besides short answers.
    """
    ends_mono_s = time.monotonic() + timeout_s + moves / _BYTES_PER_S_MIN
    _call.bounds = _Bounds(ends_mono_s, timeout_s, _ANSWERS_MAX + receives)
    try:
        yield
    finally:
        del _call.bounds


class Lazy(Generic[T]):
    """Made once, by the first thread that needs it; one that could not be made is tried again."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._made: T | None = None

    def get(self) -> T:
        with self._lock:
            if self._made is None:
                self._made = self._make()
            return self._made

    def taken(self) -> T | None:
        """What was made, if it was; the next one who asks gets a new one."""
        with self._lock:
            made, self._made = self._made, None
            return made


def pool(*, connect_timeout_s: float) -> urllib3.PoolManager:
    """Connections for a client that speaks urllib3."""
    made = urllib3.PoolManager(
        maxsize=_CONNECTIONS,
        retries=_retries(),
        timeout=urllib3.Timeout(connect=connect_timeout_s, read=None),
        ssl_context=_context(),
    )
    made.pool_classes_by_scheme = {"http": _HttpPool, "https": _HttpsPool}
    return made


def tamed(session: requests.Session) -> requests.Session:
    """The same session over our connections: no proxy or password of the environment, and no redirect followed."""
    session.trust_env = False
    session.get_redirect_target = _nowhere  # type: ignore[method-assign,assignment]
    session.mount("http://", _Adapter())
    session.mount("https://", _Adapter())
    return session


# What an answer of another kind makes of the SDKs, and what our own sockets raise; ParseError is a SyntaxError.
UNREADABLE = (SyntaxError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError)
BROKEN = (requests.RequestException, urllib3.exceptions.HTTPError, ConnectionError, TimeoutError, TooMuch)


def meaning(
    name: str, error: BaseException, status: int | None, code: object, *, bucket: str, field: str, key: str | None
) -> ImagingError:
    """What an SDK raised, in our words. status: of the answer, None without one. field: that names the bucket."""
    if isinstance(error, ImagingError):
        return error
    if status is None:
        return broken(name, error)
    if status == 404:
        return missing_bucket(bucket, field) if key is None or code in _NO_BUCKET else missing_object(key)
    if status == 412 and key is not None:
        return changed(key)
    return judged(name, status, code)


def judged(name: str, status: int, code: object = "") -> ImagingError:
    """What an answer with this status means. code: the store's own, if it gave one."""
    told = code if isinstance(code, str) and _CODE.fullmatch(code) else ""
    shown = f"HTTP {status}" + (f"，{told}" if told else "")
    if status >= 500 or status in _PASSING or 200 <= status < 300:
        return Unclear(f"{name}没有完成请求（{shown}）。", code=told or str(status))
    if status in (401, 403):
        return Unauthorized(f"{name}拒绝了访问凭据（{shown}）。", code=told or str(status))
    return Refused(f"{name}拒绝了请求（{shown}）。", code=told or str(status))


def broken(name: str, error: BaseException) -> ImagingError:
    """What an error of an SDK means that is not an answer; the SDKs' own words hold addresses."""
    causes = list(_causes(error))

    def has(*kinds: type[BaseException]) -> bool:
        return any(isinstance(cause, kinds) for cause in causes)

    for cause in causes:
        if isinstance(cause, ImagingError):
            return cause
    is_late = has(TimeoutError, ConnectTimeoutError, ReadTimeoutError, requests.Timeout)
    if has(TooMuch):
        return InputTooLarge(f"{name}的应答超过上限。", field=LOCATION)
    if has(ssl.SSLCertVerificationError):
        return Unreachable(f"无法连接{name}（TLS 证书无法验证）。")
    if has(NewConnectionError, ConnectTimeoutError):
        return Unreachable(f"无法连接{name}（{'超时' if is_late else '连接被拒绝或域名无法解析'}）。")
    is_cut = has(OSError, urllib3.exceptions.HTTPError)
    why = "没有完整应答（超时）" if is_late else "没有完整应答（连接中断）" if is_cut else "的应答无法读取"
    return Unclear(f"{name}{why}。")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error and all it was made of: the libraries wrap theirs in arguments, reasons and contexts."""
    waiting, seen = [error], set[int]()
    while waiting and len(seen) < 64:
        cause = waiting.pop(0)
        if cause is None or id(cause) in seen:
            continue
        seen.add(id(cause))
        yield cause
        waiting += [inner for inner in cause.args if isinstance(inner, BaseException)]
        for name in ("reason", "inner_exception"):
            inner = getattr(cause, name, None)
            waiting += [inner] if isinstance(inner, BaseException) else []
        waiting += [cause.__cause__, cause.__context__]


class _Retry(urllib3.Retry):
    def sleep(self, response: urllib3.BaseHTTPResponse | None = None) -> None:
        time.sleep(min(self.get_backoff_time(), _left_s()))


def _retries() -> urllib3.Retry:
    # A server's Retry-After might be a day.
    return _Retry(
        total=2,
        redirect=False,
        allowed_methods=None,
        backoff_factor=0.1,
        status_forcelist=(500, 502, 503, 504),
        raise_on_status=False,
        respect_retry_after_header=False,
    )


@cache
def _context() -> ssl.SSLContext:
    """Trusts what this machine trusts, where a hospital keeps the certificate of its own store."""
    return ssl.create_default_context()


def _nowhere(_response: requests.Response) -> None:
    return None


class _Socket:
    """A connected socket that minds the bounds of the call that uses it."""

    def __init__(self, wrapped: Any) -> None:
        self._wrapped = wrapped

    def __getattr__(self, name: str) -> Any:
        return getattr(self._wrapped, name)

    def recv_into(self, *args: Any) -> int:
        count = self._in_time(partial(self._wrapped.recv_into, *args))
        _call.bounds.bytes_left -= count
        if _call.bounds.bytes_left < 0:
            raise TooMuch
        return count

    def sendall(self, content: bytes) -> None:
        rest = memoryview(content)
        while rest:
            rest = rest[self._in_time(partial(self._wrapped.send, rest)) :]

    def makefile(self, mode: str, *_args: Any) -> io.BufferedReader:
        assert mode == "rb", mode
        self._wrapped._io_refs += 1
        return io.BufferedReader(socket.SocketIO(self, "r"))  # type: ignore[arg-type]

    def _in_time(self, operation: Callable[[], int]) -> int:
        self._wrapped.settimeout(min(_left_s(), _call.bounds.idle_s))
        return operation()


def _left_s() -> float:
    bounds: _Bounds | None = getattr(_call, "bounds", None)
    if bounds is not None and bounds.bytes_left < 0:
        raise TooMuch
    left_s = 0.0 if bounds is None else bounds.ends_mono_s - time.monotonic()
    if left_s <= 0:
        raise TimeoutError("out of time")
    return left_s


class _Http(HTTPConnection):
    def connect(self) -> None:
        _hurry(self)
        super().connect()
        self.sock = _Socket(self.sock)


class _Https(HTTPSConnection):
    def connect(self) -> None:
        _hurry(self)
        super().connect()
        self.sock = _Socket(self.sock)


def _hurry(connection: HTTPConnection) -> None:
    connection.timeout = min(float(connection.timeout or 60.0), _left_s())


class _HttpPool(HTTPConnectionPool):
    ConnectionCls = _Http


class _HttpsPool(HTTPSConnectionPool):
    ConnectionCls = _Https


class _Adapter(HTTPAdapter):
    def __init__(self) -> None:
        super().__init__(pool_maxsize=_CONNECTIONS, max_retries=_retries())

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs, ssl_context=_context())
        self.poolmanager.pool_classes_by_scheme = {"http": _HttpPool, "https": _HttpsPool}


def _is_of_another(_record: logging.LogRecord) -> bool:
    return not hasattr(_call, "bounds")


# urllib3 logs the path and the query of each request, and what it repeats.
logging.getLogger("urllib3.connectionpool").addFilter(_is_of_another)
logging.getLogger("urllib3.util.retry").addFilter(_is_of_another)
for _chatty in ("azure", "google.auth", "google.cloud.storage", "google.api_core"):
    logging.getLogger(_chatty).setLevel(logging.ERROR)
