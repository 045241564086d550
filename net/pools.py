"""Connections for clients that speak urllib3 or requests: each minds the bounds of the call that uses it.

Connecting counts against them too. TLS is verified, no redirect is followed, and no proxy, user or password of the
environment is used. A request that broke or met a fault of the server is sent again, where that is asked for, within
the bounds.
"""

import logging
import socket
import ssl
import time
from functools import cache
from typing import Any, TypeVar

import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, LocationParseError, NameResolutionError, NewConnectionError

from net.deadline import BoundedSocket, TooMuch, is_bounded, left_s, pause, receives_at_most

S = TypeVar("S", bound=requests.Session)

_CONNECTIONS = 8
_UNSENT_MAX = 128 * 2**10
# What is packed grows up to a thousandfold where the client unpacks it, and no bound of a socket sees that.
_PACKED_MAX = 256 * 2**10


def pool(*, connect_timeout_s: float, repeats: int) -> urllib3.PoolManager:
    """Connections for a client that speaks urllib3; they trust what this machine trusts, and take no packed answer."""
    made = urllib3.PoolManager(
        maxsize=_CONNECTIONS,
        retries=_repetition(repeats),
        timeout=urllib3.Timeout(connect=connect_timeout_s, read=None),
        ssl_context=machine_context(),
    )
    made.pool_classes_by_scheme = {"http": _PlainHttpPool, "https": _PlainHttpsPool}
    return made


def tamed(
    session: S,
    *,
    repeats: int = 0,
    connections: int = _CONNECTIONS,
    context: ssl.SSLContext | None = None,
    **settings: Any,
) -> S:
    """The same session over our connections.

    context: what it trusts, None for its own `verify`. settings: of urllib3's pools.
    """
    session.trust_env = False
    session.get_redirect_target = _nowhere  # type: ignore[method-assign,assignment]
    if context is not None:
        settings["ssl_context"] = context
    session.mount("http://", _Adapter(repeats, connections, settings))
    session.mount("https://", _Adapter(repeats, connections, settings))
    return session


@cache
def machine_context() -> ssl.SSLContext:
    """Trusts what this machine trusts, where a hospital keeps the certificate of its own store."""
    return ssl.create_default_context()


class _Repetition(urllib3.Retry):
    def sleep(self, response: urllib3.BaseHTTPResponse | None = None) -> None:
        pause(self.get_backoff_time())


def _repetition(repeats: int) -> urllib3.Retry:
    # A server's Retry-After might be a day.
    return _Repetition(
        total=repeats,
        redirect=False,
        allowed_methods=None,
        backoff_factor=0.1,
        status_forcelist=(500, 502, 503, 504),
        raise_on_status=False,
        respect_retry_after_header=False,
    )


def _nowhere(_response: requests.Response) -> None:
    return None


def _connected(to: HTTPConnection) -> socket.socket:
    """Connect as urllib3 does, but all addresses of a name share its time-out, and the bounds hold.

    An address that does not answer leaves half of the time to those behind it.
    """
    within_s = left_s() if to.timeout is None else min(float(to.timeout), left_s())
    ends_mono_s = time.monotonic() + within_s
    try:
        to.host.encode("idna")
        found = socket.getaddrinfo(to.host.strip("[]"), to.port, type=socket.SOCK_STREAM)
    except UnicodeError as error:
        raise LocationParseError("no name of a host") from error
    except socket.gaierror as error:
        raise NameResolutionError(to.host, to, error) from error
    trouble: OSError = OSError("the name has no address")
    for behind, (family, kind, protocol, _, address) in zip(reversed(range(len(found))), found, strict=True):
        if (left := ends_mono_s - time.monotonic()) <= 0:
            trouble = TimeoutError("out of time")
            break
        connecting = socket.socket(family, kind, protocol)
        try:
            connecting.settimeout(left / 2 if behind else left)
            for option in to.socket_options or ():
                connecting.setsockopt(*option)
            # The kernel would take megabytes at once, and the time that they need would count as the server's.
            connecting.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT_MAX)
            connecting.connect(address)
            # For the handshake of TLS, which comes next.
            connecting.settimeout(max(ends_mono_s - time.monotonic(), 0.001))
            return connecting
        except OSError as error:
            connecting.close()
            trouble = error
    if isinstance(trouble, TimeoutError):
        raise ConnectTimeoutError(to, "timed out") from trouble
    raise NewConnectionError(to, type(trouble).__name__) from trouble


def _check_packing(answer: urllib3.BaseHTTPResponse, most: int) -> None:
    """Raises TooMuch where it is packed more often than may be."""
    ways = [way.strip().lower() for way in answer.headers.get("Content-Encoding", "").split(",")]
    packed = [way for way in ways if way not in ("", "identity", "aws-chunked")]
    if len(packed) > most:
        answer.close()
        raise TooMuch("the answer is packed")
    if packed:
        receives_at_most(_PACKED_MAX)


class _Http(HTTPConnection):
    """packed_max: how many times an answer may be packed."""

    packed_max = 1

    def _new_conn(self) -> socket.socket:
        return _connected(self)

    def connect(self) -> None:
        super().connect()
        self.sock = BoundedSocket(self.sock)

    def getresponse(self) -> Any:
        answer = super().getresponse()
        _check_packing(answer, self.packed_max)
        return answer


class _Https(_Http, HTTPSConnection):
    pass


class _PlainHttp(_Http):
    packed_max = 0


class _PlainHttps(_PlainHttp, _Https):
    pass


class _HttpPool(HTTPConnectionPool):
    ConnectionCls = _Http


class _HttpsPool(HTTPSConnectionPool):
    ConnectionCls = _Https


class _PlainHttpPool(HTTPConnectionPool):
    ConnectionCls = _PlainHttp


class _PlainHttpsPool(HTTPSConnectionPool):
    ConnectionCls = _PlainHttps


_POOLS = {"http": _HttpPool, "https": _HttpsPool}


class _Adapter(HTTPAdapter):
    def __init__(self, repeats: int, connections: int, settings: dict[str, Any]) -> None:
        self._settings = settings
        # What requests does with 0 tells a time-out of reading from other breaks.
        super().__init__(pool_maxsize=connections, max_retries=_repetition(repeats) if repeats else 0)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs | self._settings)
        self.poolmanager.pool_classes_by_scheme = _POOLS


def _is_of_another(_record: logging.LogRecord) -> bool:
    return not is_bounded()


# urllib3 logs the path and the query of each request, and what it repeats.
logging.getLogger("urllib3.connectionpool").addFilter(_is_of_another)
logging.getLogger("urllib3.util.retry").addFilter(_is_of_another)
