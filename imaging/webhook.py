"""Results to the address that a request named: only to hosts of the configuration, signed, one attempt at a time.

A header must not make this machine call into the hospital's own network, so that an address is taken apart and put
together again before it is compared, and what was compared is what is called.
"""

import asyncio
import hashlib
import hmac
import ipaddress
import re
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from http.cookiejar import DefaultCookiePolicy
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

import httpx

from imaging.errors import InputForbidden, InputInvalid, NotConfigured, Refused, Unclear, Unreachable
from imaging.wire import kind_of, trusting

SIGNATURE_HEADER = "X-Orwatch-Signature"
DELIVERY_HEADER = "X-Orwatch-Delivery"
ATTEMPT_HEADER = "X-Orwatch-Attempt"
FIELD = "Webhook-Url"
_HOSTS = "imaging.retina.webhook_hosts"
_TOLERANCE = timedelta(minutes=5)
_URL_MAX = 2048
_ANSWER_MAX = 64 * 2**10
_CONNECT_SHARE = 0.5
_SHOWN_MAX = 80
_PORTS = {"https": 443, "http": 80}
_PASSING = (408, 425, 429)
_NAME = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)(?:\.(?!-)[a-z0-9-]{1,63}(?<!-))*")
# The last label of a spelling of an IPv4 address: 127.1, 0x7f000001, 2130706433.
_NUMBER = re.compile(r"(?:[0-9]+|0x[0-9a-f]*)")
_AUTHORITY = re.compile(r"(?P<host>[A-Za-z0-9.-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::(?P<port>[0-9]{1,5}))?")
_DELIVERY = re.compile(r"[A-Za-z0-9._-]{1,128}")


def sign(secret: str, body: bytes, at: datetime) -> str:
    """The value of the signature header. at: aware."""
    time_s = int(at.timestamp())
    return f"t={time_s},v1={_digest(secret, str(time_s), body)}"


def verified(secret: str, header: str, body: bytes, now: datetime, *, tolerance: timedelta = _TOLERANCE) -> bool:
    """Whether this body was signed with this secret, and not longer ago: for those who receive.

    body: as it came, before anything is parsed. More than one v1 may be given, while a secret is replaced.
    """
    pieces = [piece.strip().partition("=") for piece in header[:1024].split(",")]
    times = [value for name, _, value in pieces if name == "t"]
    if len(times) != 1 or not re.fullmatch(r"[0-9]{1,12}", times[0]):
        return False
    if abs(now.timestamp() - int(times[0])) > tolerance.total_seconds():
        return False
    expected = _digest(secret, times[0], body).encode()
    given = [value.encode(errors="replace") for name, _, value in pieces if name == "v1"]
    # All of them are compared, so that the time does not tell which.
    return sum(hmac.compare_digest(expected, each) for each in given) > 0


def _digest(secret: str, time_s: str, body: bytes) -> str:
    return hmac.new(secret.encode(), f"{time_s}.".encode() + body, hashlib.sha256).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookRules:
    """hosts: host (the scheme's own port) or host:port. allow_http: to other machines too."""

    secret: str | None = field(repr=False)
    hosts: tuple[str, ...]
    ca_file: Path | None
    timeout_s: float
    allow_http: bool


class Webhook:
    def __init__(self, rules: WebhookRules) -> None:
        """Raises InputInvalid of hosts that are none, or an unusable ca_file."""
        self._rules = rules
        self._hosts = frozenset(_host_and_port(entry) for entry in rules.hosts)
        self._trusted = trusting(rules.ca_file, "imaging.retina.webhook_ca_file") if rules.ca_file else True
        self._opened: httpx.AsyncClient | None = None

    def check(self, url: str | None) -> str:
        """The URL as it will be called.

        Raises InputInvalid, InputForbidden where its host and port are not on the list, and NotConfigured.
        """
        parts, host, port = _taken_apart(url)
        if not self._rules.secret or not self._hosts:
            raise NotConfigured("未配置结果回调：请设置 imaging.retina.webhook_hosts 和 webhook_secret。")
        # The list is not told.
        if not {(host, port), (host, None if port == _PORTS[parts.scheme] else port)} & self._hosts:
            shown = f"{host}:{port}"[:_SHOWN_MAX]
            raise InputForbidden(f"{FIELD}：不允许回调 {shown}。", field=FIELD, value=shown)
        if parts.scheme == "http" and not self._rules.allow_http and not _is_loopback(host):
            raise _invalid("应为 https；http 只能用于本机")
        authority = f"[{host}]" if ":" in host else host
        authority += "" if port == _PORTS[parts.scheme] else f":{port}"
        query = f"?{parts.query}" if parts.query else ""
        return f"{parts.scheme}://{authority}{parts.path or '/'}{query}"

    async def send(self, url: str, body: bytes, *, delivery_id: str, attempt: int, at: datetime) -> None:
        """One attempt; any 2xx is a success. at: aware, of the signature.

        The URL is checked again: it may have waited, and the list may have changed. A receiver tells a repetition by
        the delivery_id. Raises what check raises; Unreachable where nothing was sent, Refused of an answer that stays
        the same, Unclear of anything else.
        """
        assert _DELIVERY.fullmatch(delivery_id), delivery_id
        checked = self.check(url)
        assert self._rules.secret
        headers = {
            "Content-Type": "application/json",
            SIGNATURE_HEADER: sign(self._rules.secret, body, at),
            DELIVERY_HEADER: delivery_id,
            ATTEMPT_HEADER: str(attempt),
        }
        status: int | None = None
        try:
            async with (
                asyncio.timeout(self._rules.timeout_s),
                self._client().stream("POST", checked, content=body, headers=headers) as answer,
            ):
                status = answer.status_code
                with suppress(httpx.HTTPError):
                    await _drained(answer)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol) as error:
            raise Unreachable(f"无法连接回调地址（{kind_of(error)}）。") from None
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError) as error:
            # Its answer was the status; what it says besides is of no interest.
            if status is None:
                raise Unclear(f"回调地址没有完整应答（{kind_of(error)}）。") from None
        _judge(status)

    async def close(self) -> None:
        opened, self._opened = self._opened, None
        if opened is not None:
            await opened.aclose()

    def _client(self) -> httpx.AsyncClient:
        """Made when it is first needed: most sites have no webhook."""
        if self._opened is None:
            rules = self._rules
            self._opened = httpx.AsyncClient(
                verify=self._trusted,
                trust_env=False,
                follow_redirects=False,
                timeout=httpx.Timeout(rules.timeout_s, connect=rules.timeout_s * _CONNECT_SHARE),
                headers={"User-Agent": "orwatch"},
            )
            # A receiver's cookies are not ours to keep.
            self._opened.cookies.jar.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        return self._opened


async def _drained(answer: httpx.Response) -> None:
    """So that the connection can serve again; an answer of any length beyond is cut off."""
    seen = 0
    async for chunk in answer.aiter_raw():
        seen += len(chunk)
        if seen > _ANSWER_MAX:
            return


def _judge(status: int | None) -> None:
    if status is None or status >= 500 or status in _PASSING:
        raise Unclear(f"回调地址没有接收结果（HTTP {status}）。", code=str(status))
    if 300 <= status < 400:
        raise Refused(f"回调地址指向另一个地址，未跟随（HTTP {status}）。", code=str(status))
    if not 200 <= status < 300:
        raise Refused(f"回调地址拒绝了结果（HTTP {status}）。", code=str(status))


# --- addresses ---


def _taken_apart(url: str | None) -> tuple[SplitResult, str, int]:
    """The parts, the host as it is compared, and the port. Raises InputInvalid."""
    if url is None or not url.strip():
        raise _invalid("缺少；应为接收结果的 https 网址")
    if len(url) > _URL_MAX:
        raise _invalid(f"超过 {_URL_MAX} 个字符")
    # The parser drops tabs and line ends, and browsers read a backslash as a slash.
    if re.search(r"[^\x21-\x7e]|[\\\"<>^`{|}]", url):
        raise _invalid("只能含可见 ASCII 字符（中文用百分号编码，域名用 xn-- 写法），不含空格和反斜杠")
    try:
        parts = urlsplit(url)
    except ValueError:
        raise _invalid("不是有效的网址") from None
    if parts.scheme not in _PORTS or not url.lower().startswith(f"{parts.scheme}://"):
        raise _invalid("应以 https:// 开头")
    if "@" in parts.netloc:
        raise _invalid("不能含用户名或密码")
    if "#" in url:
        raise _invalid("不能含 #")
    matched = _AUTHORITY.fullmatch(parts.netloc)
    host = _canonical(matched["host"]) if matched else None
    if matched is None or host is None:
        raise _invalid("主机名无效")
    port = int(matched["port"] or _PORTS[parts.scheme])
    if not 0 < port < 65_536:
        raise _invalid("端口应为 1 到 65535")
    return parts, host, port


def _canonical(host: str) -> str | None:
    """One spelling of each host; None of what is no host, or an address that is spelled to deceive."""
    if host.startswith("["):
        try:
            return str(ipaddress.IPv6Address(host[1:-1]))
        except ValueError:
            return None
    name = host.lower().removesuffix(".")
    if _NUMBER.fullmatch(name.rpartition(".")[2]):
        try:
            return str(ipaddress.IPv4Address(name))
        except ValueError:
            return None
    return name if _NAME.fullmatch(name) else None


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _host_and_port(entry: str) -> tuple[str, int | None]:
    """An entry of the list, taken apart: without a port it is the scheme's own. Raises InputInvalid."""
    matched = _AUTHORITY.fullmatch(entry)
    host = _canonical(matched["host"]) if matched else None
    if matched is None or host is None or not 0 < int(matched["port"] or 1) < 65_536:
        shown = entry[:_SHOWN_MAX]
        raise InputInvalid(f"{_HOSTS}：应为 主机 或 主机:端口：{shown!r}。", field=_HOSTS, value=shown)
    return host, int(matched["port"]) if matched["port"] else None


def _invalid(why: str) -> InputInvalid:
    """Without the URL, which may hold a token of the receiver."""
    return InputInvalid(f"{FIELD}：{why}。", field=FIELD)
