"""What of Baidu's service is asked over the wire: the rules, one bounded call, and the token that all calls share."""

import json
import ssl
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
from urllib3.exceptions import HTTPError
from urllib3.exceptions import TimeoutError as HTTPTimeoutError

from net.deadline import has_passed, left_s
from net.pools import tamed
from speech.errors import ProviderFailed, ProviderTimedOut, ProviderUnusable

NAME = "baidu"
_ANSWER_MAX = 4 * 2**20
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_TOKEN_RESERVE_S = 60.0
_TOKEN_LASTS_MAX_S = 30 * 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class Secret:
    """Prints as nothing."""

    value: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class BaiduRules:
    """person, speed, pitch, volume: of the voice. dev_pid: of the language model. timeout_s: of a whole call."""

    app_id: str
    api_key: Secret
    secret_key: Secret
    token_url: str
    asr_url: str | None
    tts_url: str | None
    ca_file: Path | None
    dev_pid: int
    person: int
    speed: int
    pitch: int
    volume: int
    connect_timeout_s: float
    timeout_s: float
    workers: int


@dataclass(frozen=True, slots=True)
class BaiduReply:
    status: int
    content: bytes


class BaiduHttp:
    """In the place of `requests`, for the SDK: what it asks for beyond the URL and the data is not granted."""

    def __init__(self, rules: BaiduRules) -> None:
        self._session = tamed(requests.Session())
        self._session.verify = str(rules.ca_file) if rules.ca_file else True
        self._connect_timeout_s = rules.connect_timeout_s

    def post(self, url: str, data: Any, **_unwanted: Any) -> BaiduReply:
        """Raises ProviderFailed, ProviderTimedOut."""
        try:
            timeout = (min(self._connect_timeout_s, left_s()), left_s())
            with self._session.post(url, data=data, stream=True, timeout=timeout) as response:
                if response.is_redirect:
                    raise requests.TooManyRedirects
                content = response.raw.read(_ANSWER_MAX + 1, decode_content=True)
                reply = BaiduReply(response.status_code, content)
        except (requests.RequestException, HTTPError, OSError) as error:
            raise _broken(error) from None
        finally:
            # Questions come minutes apart, and a firewall that forgets an idle connection tells nobody.
            self._session.close()
        if len(content) > _ANSWER_MAX:
            raise ProviderFailed(NAME, f"answer of more than {_ANSWER_MAX} bytes")
        return reply


class Tokens:
    """One token for all workers; fetched by the first that needs it, while the others wait."""

    def __init__(self, rules: BaiduRules) -> None:
        self._rules = rules
        self._url = checked_url(rules.token_url, "token_url")
        self._wire = BaiduHttp(rules)
        self._lock = threading.Lock()
        self._token = ""
        self._until_mono_s = 0.0

    def get(self, refused: str) -> str:
        """refused: one that is no good any more; another that came in its place is."""
        if not self._lock.acquire(timeout=left_s()):
            raise ProviderTimedOut(NAME, "no token in time")
        try:
            if self._token in ("", refused) or time.monotonic() >= self._until_mono_s:
                self._fetch()
            return self._token
        finally:
            self._lock.release()

    def _fetch(self) -> None:
        # In the body, not in the query as the SDK has it: servers log queries.
        form = {
            "grant_type": "client_credentials",
            "client_id": self._rules.api_key.value,
            "client_secret": self._rules.secret_key.value,
        }
        reply = self._wire.post(self._url, form)
        body = read_json(reply)
        token, lasts_s = body.get("access_token"), body.get("expires_in")
        if reply.status != 200 or not isinstance(token, str) or not token:
            raise ProviderFailed(NAME, "no token for this key and secret", code=code_of(body) or str(reply.status))
        self._token = token
        seconds = min(lasts_s, _TOKEN_LASTS_MAX_S) if isinstance(lasts_s, int | float) else 0
        self._until_mono_s = time.monotonic() + max(0.0, seconds - _TOKEN_RESERVE_S)


def read_json(reply: BaiduReply) -> dict[str, Any]:
    try:
        body = json.loads(reply.content)
    except (ValueError, RecursionError):
        raise ProviderFailed(NAME, "sent no JSON", code=str(reply.status)) from None
    if not isinstance(body, dict):
        raise ProviderFailed(NAME, "sent JSON that is no object", code=str(reply.status))
    return body


def code_of(body: dict[str, Any]) -> str:
    """What a body calls its error, if that looks like a code."""
    code = body.get("error", body.get("error_code", ""))
    return code if isinstance(code, str) and code.replace("_", "").isalnum() and len(code) <= 40 else ""


def _broken(error: Exception) -> ProviderFailed:
    """In our words."""
    if has_passed() or isinstance(error, TimeoutError | requests.Timeout | HTTPTimeoutError):
        return ProviderTimedOut(NAME, "no whole answer in time")
    if isinstance(error, requests.exceptions.SSLError):
        return ProviderFailed(NAME, "no TLS, or a certificate that cannot be verified; see speech.baidu.ca_file")
    return ProviderFailed(NAME, "the connection failed")


def checked_url(url: str | None, key: str) -> str:
    """Raises ProviderUnusable."""
    try:
        parts = urlsplit(url or "")
        host, _ = parts.hostname or "", parts.port
        host.encode("idna")
    except ValueError:
        host = ""
    is_safe = host and (parts.scheme == "https" or (parts.scheme == "http" and host in _LOOPBACK))
    if not url or not is_safe or "@" in parts.netloc:
        raise ProviderUnusable(f"speech.baidu.{key}: expected https://host/path; http only on this machine")
    return url


def check_ca(ca_file: Path) -> None:
    """Raises ProviderUnusable."""
    try:
        ssl.create_default_context(cafile=str(ca_file))
    except OSError as error:
        raise ProviderUnusable(f"speech.baidu.ca_file: {ca_file}: {error.strerror}") from error
