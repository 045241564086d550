"""One bounded HTTP call to an imaging back end: connecting, sending and the whole answer end by a deadline.

An answer is at most `answer_max` bytes of JSON. TLS is verified, no redirect is followed, and no proxy or password of
the environment is used. What failed is told in our words: no address, no body and no header gets into an error.
"""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import httpx
import stamina.instrumentation

from imaging.errors import InputInvalid, Refused, Unauthorized, Unclear, Unreachable

# Whoever repeats a call says so in its own words; those of the library go to standard output.
stamina.instrumentation.set_on_retry_hooks([])

_LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True, slots=True)
class Reply:
    """status: of HTTP. body: the JSON object of the answer."""

    status: int
    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class RawReply:
    """status: of HTTP, any. headers: by lower-case name. content: whole, of any kind."""

    status: int
    headers: Mapping[str, str]
    content: bytes


# Runs blocking work somewhere else than on the event loop, and returns what it gives.
OffLoop = Callable[[Callable[[], Any]], Awaitable[Any]]


async def here(work: Callable[[], Any]) -> Any:
    """Run blocking work where we are; for a command, whose loop has nothing else to do."""
    return work()


class Wire:
    """One connection pool to one back end.

    name: what a person calls it, for messages. section: of the configuration. off_loop: how megabytes are read, encoded
    and parsed; a daemon does so off its event loop.
    """

    def __init__(
        self,
        name: str,
        section: str,
        *,
        off_loop: OffLoop = here,
        connect_timeout_s: float,
        timeout_s: float,
        ca_file: Path | None,
        answer_max: int = 4 * 2**20,
    ) -> None:
        """timeout_s: of a whole call, unless the call says otherwise. Raises InputInvalid of an unusable ca_file."""
        self.off_loop = off_loop
        self._name = name
        self._timeout_s = timeout_s
        self._answer_max = answer_max
        self._client = httpx.AsyncClient(
            verify=trusting(ca_file, f"{section}.ca_file") if ca_file else True,
            trust_env=False,
            follow_redirects=False,
            timeout=httpx.Timeout(timeout_s, connect=connect_timeout_s),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        await self._client.aclose()

    async def call(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
        body: Any = None,
        form: Mapping[str, str] | None = None,
        files: Any = None,
        timeout_s: float | None = None,
    ) -> Reply:
        """body: sent as JSON. files: as httpx takes them; file objects are streamed.

        Returns a 2xx answer that is a JSON object. Raises Unreachable where nothing was sent, Unauthorized on 401,
        Refused on another status below 500, and Unclear where it may have been acted on.
        """
        async with self._bounded(timeout_s):
            sent = None
            if body is not None:
                sent = await self.off_loop(partial(_json, body))
                headers = {"Content-Type": "application/json", **(headers or {})}
            answer = await self._exchanged(
                method, url, headers=headers, params=params, content=sent, data=form, files=files
            )
            return await self._judged(answer.status, answer.content)

    async def exchange(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
        timeout_s: float | None = None,
    ) -> RawReply:
        """One call as it comes and goes, for what is no JSON. Raises Unreachable, and Unclear of no whole answer."""
        async with self._bounded(timeout_s):
            return await self._exchanged(method, url, headers=headers, content=content)

    @asynccontextmanager
    async def _bounded(self, timeout_s: float | None) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(timeout_s or self._timeout_s):
                yield
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.UnsupportedProtocol, httpx.InvalidURL) as error:
            raise Unreachable(f"无法连接{self._name}（{kind_of(error)}）。") from None
        except (httpx.HTTPError, TimeoutError) as error:
            raise Unclear(f"{self._name}没有完整应答（{kind_of(error)}）。") from None

    async def _exchanged(self, method: str, url: str, **what: Any) -> RawReply:
        response = await self._client.send(self._client.build_request(method, url, **what), stream=True)
        try:
            content = await self._read(response)
        finally:
            await response.aclose()
        return RawReply(response.status_code, {key.lower(): value for key, value in response.headers.items()}, content)

    async def _read(self, response: httpx.Response) -> bytes:
        content = bytearray()
        async for chunk in response.aiter_bytes(65_536):
            content += chunk
            if len(content) > self._answer_max:
                raise Unclear(f"{self._name}的应答超过 {self._answer_max} 字节。")
        return bytes(content)

    async def _judged(self, status: int, content: bytes) -> Reply:
        if status == 401:
            raise Unauthorized(f"{self._name}拒绝了登录凭据（HTTP 401）。", code="401")
        if status >= 500:
            raise Unclear(f"{self._name}内部错误（HTTP {status}）。", code=str(status))
        if not 200 <= status < 300:
            raise Refused(f"{self._name}拒绝了请求（HTTP {status}）。", code=str(status))
        try:
            body = await self.off_loop(partial(json.loads, content))
        except (ValueError, RecursionError):
            raise Unclear(f"{self._name}的应答不是有效的 JSON。", code=str(status)) from None
        if not isinstance(body, dict):
            raise Unclear(f"{self._name}的应答不是 JSON 对象。", code=str(status))
        return Reply(status, body)


def _json(body: Any) -> bytes:
    return json.dumps(body, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def trusting(ca_file: Path, field: str) -> ssl.SSLContext:
    """Only these certificates. Raises InputInvalid."""
    try:
        return ssl.create_default_context(cafile=str(ca_file))
    except OSError as error:
        why = error.strerror or "不是 PEM"
        raise InputInvalid(f"{field}：{ca_file} 不能用作 CA 证书（{why}）。", field=field, value=str(ca_file)) from None


def checked_url(url: str, field: str, *, allow_http: bool = False) -> str:
    """A URL that pictures and passwords may travel to: https, or http to this machine or where that was allowed.

    Raises InputInvalid.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
        host.encode("idna")
    except ValueError:
        host = ""
    is_safe = host and (parts.scheme == "https" or (parts.scheme == "http" and (allow_http or host in _LOOPBACK)))
    if not is_safe or "@" in parts.netloc:
        raise InputInvalid(
            f"{field}：应为 https://主机/路径（仅本机或明确允许时可用 http），且不含用户名。", field=field
        )
    return url


def kind_of(error: Exception) -> str:
    """What broke a call, in a word; the library's own words hold addresses."""
    if isinstance(error, TimeoutError | httpx.TimeoutException):
        return "超时"
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLError):
            return "TLS 证书无法验证"
        cause = cause.__cause__ or cause.__context__
    return type(error).__name__
