"""What the three bucket stores share below their SDKs: the bounds of a call, and errors in our words.

A request that broke or met a fault of the server is sent up to three times within the bounds; the SDKs repeat nothing.
"""

import logging
import re
import ssl
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Generic, TypeVar

import requests
import urllib3
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError, ReadTimeoutError

from imaging.buckets.store import LOCATION, OUTPUT_BUCKET, changed, missing_bucket, missing_object
from imaging.errors import ImagingError, InputTooLarge, Refused, Unauthorized, Unclear, Unreachable
from net import TooMuch, deadline, pools
from net.causes import causes

T = TypeVar("T")

# What comes besides a picture or a list: heads, errors, metadata.
_ANSWERS_MAX = 16 * 2**20
# A folder of LISTED_MAX objects with long names.
LIST_MAX = 256 * 2**20
# A line slower than this for a whole picture is taken for dead.
_BYTES_PER_S_MIN = 64 * 2**10
_REPEATS = 2
_CODE = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_NO_BUCKET = ("NoSuchBucket", "ContainerNotFound")
_PASSING = (408, 425, 429)


def bounded(*, timeout_s: float, moves: int = 0, receives: int = 0) -> AbstractContextManager[None]:
    """Bound all that this thread does in here over our connections.

    moves: bytes of a picture or a result that travel. receives: what may come to us at most, besides short answers.
    """
    within_s = timeout_s + moves / _BYTES_PER_S_MIN
    return deadline.bounded(within_s=within_s, idle_s=timeout_s, receives=_ANSWERS_MAX + receives)


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
    return pools.pool(connect_timeout_s=connect_timeout_s, repeats=_REPEATS)


def tamed(session: requests.Session) -> requests.Session:
    """The same session over our connections."""
    return pools.tamed(session, repeats=_REPEATS, context=pools.machine_context())


# What an answer of another kind makes of the SDKs, and what our own sockets raise; ParseError is a SyntaxError.
UNREADABLE = (
    *(SyntaxError, ValueError, LookupError, TypeError, AttributeError),
    *(ArithmeticError, RecursionError, MemoryError),
)
BROKEN = (requests.RequestException, urllib3.exceptions.HTTPError, ConnectionError, TimeoutError, TooMuch)


def meaning(
    name: str, error: BaseException, status: int | None, code: object, *, bucket: str, field: str, key: str | None
) -> ImagingError:
    """What an SDK raised, in our words. status: of the answer, None without one. field: that names the bucket."""
    if isinstance(error, ImagingError):
        return error
    if status is None:
        told = broken(name, error)
        # Nothing is wrong with what was to be written.
        return Unclear(told.message) if isinstance(told, InputTooLarge) and field == OUTPUT_BUCKET else told
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
    found = list(causes(error))

    def has(*kinds: type[BaseException]) -> bool:
        return any(isinstance(cause, kinds) for cause in found)

    for cause in found:
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


for _chatty in ("azure", "google.auth", "google.cloud.storage", "google.api_core"):
    logging.getLogger(_chatty).setLevel(logging.ERROR)
