"""Baidu's voice and ear, by its SDK, with what the SDK leaves out.

The SDK verifies no TLS, reads the proxies of the environment, waits for minutes, gives away the secret in a URL, and
hides the status of an answer. So it gets a session of ours and tokens of ours, and only builds the requests. This rests
on the insides of one version, which is pinned.

Errors say what happened in our words: those of the libraries print addresses, and with them secrets.
"""

import json
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import numpy as np
import requests
from aip import AipSpeech
from urllib3.exceptions import HTTPError
from urllib3.exceptions import TimeoutError as HTTPTimeoutError

from speech import mp3
from speech.audio import wav_bytes
from speech.deadline import deadline, has_passed, left_s, session
from speech.errors import NotUnderstood, ProviderFailed, ProviderTimedOut, ProviderUnusable, TextEmpty, TextNotSpeakable
from speech.provider import RATE_HZ, Heard, Spoken
from speech.workers import Workers

T = TypeVar("T")

NAME = "baidu"
_ANSWER_MAX = 4 * 2**20
_TEXT_GBK_MAX = 1024
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_TOKEN_RESERVE_S = 60.0
_TOKEN_LASTS_MAX_S = 30 * 86_400
# What the speaker can mend by saying it again.
_OF_THE_SPEAKER = {
    2000: "empty recording",
    3301: "no clear speech",
    3308: "too long",
    3309: "cannot be decoded",
    3314: "too short",
    3316: "cannot be decoded",
}
_TOKEN_WRONG = (110, 111, 502, 3302)
_BACKEND = (3303, 3307, 3313, 3315)


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
    asr_url: str | None = None
    tts_url: str | None = None
    ca_file: Path | None = None
    dev_pid: int = 1537
    person: int = 0
    speed: int = 5
    pitch: int = 5
    volume: int = 5
    connect_timeout_s: float = 2.0
    timeout_s: float = 8.0
    workers: int = 2
    cuid: str = "orwatch"


class BaiduSynthesizer:
    name = NAME

    def __init__(self, rules: BaiduRules) -> None:
        """Raises ProviderUnusable."""
        self._rules = rules
        self._service = _Service(rules, _checked(rules.tts_url, "tts_url"))

    @property
    def voice(self) -> str:
        rules = self._rules
        return f"{NAME} {rules.person} {rules.speed} {rules.pitch} {rules.volume}"

    def synthesize(self, text: str) -> Spoken:
        """Raises TextEmpty, TextNotSpeakable, ProviderFailed, ProviderTimedOut."""
        if not text.strip():
            raise TextEmpty("there is nothing to say")
        try:
            size = len(text.encode("gbk"))
        except UnicodeEncodeError:
            raise TextNotSpeakable(f"{NAME}: a character is not in GBK") from None
        if size > _TEXT_GBK_MAX:
            raise TextNotSpeakable(f"{NAME}: {size} bytes of GBK, expected at most {_TEXT_GBK_MAX}")
        rules = self._rules
        options = {
            "cuid": rules.cuid,
            "per": rules.person,
            "spd": rules.speed,
            "pit": rules.pitch,
            "vol": rules.volume,
            "aue": 3,
        }
        return self._service.call(lambda client: client.synthesis(text, "zh", 1, options), _sound)


class BaiduRecognizer:
    name = NAME

    def __init__(self, rules: BaiduRules) -> None:
        """Raises ProviderUnusable."""
        self._options = {"cuid": rules.cuid, "dev_pid": rules.dev_pid}
        self._service = _Service(rules, _checked(rules.asr_url, "asr_url"))

    def recognize(self, pcm: np.ndarray, phrases: Sequence[str]) -> Heard:
        """phrases are not for Baidu to see. Raises NotUnderstood, ProviderFailed, ProviderTimedOut."""
        wav = wav_bytes(pcm)
        words = self._service.call(lambda client: client.asr(wav, "wav", RATE_HZ, self._options), _words)
        return Heard(text=words, confidence=None, provider=NAME)


@dataclass(frozen=True, slots=True)
class _Reply:
    status: int
    content: bytes


class _Refused(Exception):
    """The service says that it did not do it."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class _Wire:
    """In the place of `requests`, for the SDK: what it asks for beyond the URL and the data is not granted."""

    def __init__(self, rules: BaiduRules) -> None:
        self._session = session(str(rules.ca_file) if rules.ca_file else None)
        self._connect_timeout_s = rules.connect_timeout_s

    def post(self, url: str, data: Any, **_unwanted: Any) -> _Reply:
        """Raises ProviderFailed, ProviderTimedOut."""
        try:
            timeout = (min(self._connect_timeout_s, left_s()), left_s())
            with self._session.post(url, data=data, stream=True, timeout=timeout) as response:
                content = response.raw.read(_ANSWER_MAX + 1, decode_content=True)
                reply = _Reply(response.status_code, content)
        except (requests.RequestException, HTTPError, OSError) as error:
            raise _broken(error) from None
        finally:
            # Questions come minutes apart, and a firewall that forgets an idle connection tells nobody.
            self._session.close()
        if len(content) > _ANSWER_MAX:
            raise ProviderFailed(NAME, f"answer of more than {_ANSWER_MAX} bytes")
        return reply


class _Tokens:
    """One token for all workers; fetched by the first that needs it, while the others wait."""

    def __init__(self, rules: BaiduRules) -> None:
        self._rules = rules
        self._url = _checked(rules.token_url, "token_url")
        self._wire = _Wire(rules)
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
        body = _json(reply)
        token, lasts_s = body.get("access_token"), body.get("expires_in")
        if reply.status != 200 or not isinstance(token, str) or not token:
            raise ProviderFailed(NAME, "no token for this key and secret", code=_code(body) or str(reply.status))
        self._token = token
        seconds = min(lasts_s, _TOKEN_LASTS_MAX_S) if isinstance(lasts_s, int | float) else 0
        self._until_mono_s = time.monotonic() + max(0.0, seconds - _TOKEN_RESERVE_S)


class _Client(AipSpeech):  # type: ignore[misc]
    """The SDK, which builds the request; the reply comes back as it is."""

    def __init__(self, rules: BaiduRules, url: str, tokens: _Tokens) -> None:
        super().__init__(rules.app_id, "", "")
        self._tokens = tokens
        self.token = ""
        self.refused = ""
        self.s = self._AipBase__client = _Wire(rules)
        # ASR and TTS share a way of calling; which of them it is shows in the URL alone.
        self._AipSpeech__asrUrl = self._AipSpeech__ttsUrl = url
        self._isCloudUser = False

    def synthesis(self, *args: Any) -> Any:
        self._AipSpeech__asrUrl = ""
        return super().synthesis(*args)

    def _auth(self, refresh: bool = False) -> dict[str, str]:
        self.token, self.refused = self._tokens.get(self.refused), ""
        return {"access_token": self.token}

    def _request(self, url: str, data: dict[str, Any], headers: Any = None) -> dict[str, _Reply]:
        params = self._getParams(self._auth())
        return {"reply": self.s.post(url, self._proccessRequest(url, params, data, headers))}


class _Service:
    def __init__(self, rules: BaiduRules, url: str) -> None:
        if rules.ca_file is not None:
            _check_ca(rules.ca_file)
        self._timeout_s = rules.timeout_s
        self._tokens = _Tokens(rules)
        self._clients = Workers(lambda: _Client(rules, url, self._tokens), rules.workers)

    def call(self, ask: Callable[[_Client], dict[str, _Reply]], read: Callable[[_Reply], T]) -> T:
        """Once, or once more where that may help: with another token, or a back end that stumbled."""
        with deadline(self._timeout_s):
            try:
                with self._clients.one(left_s()) as client:
                    try:
                        return read(_reply(ask(client)))
                    except _Refused as refused:
                        if refused.number in _TOKEN_WRONG:
                            client.refused = client.token
                        elif refused.number not in _BACKEND:
                            raise _failed(refused) from None
                    try:
                        return read(_reply(ask(client)))
                    except _Refused as refused:
                        raise _failed(refused) from None
            except ProviderFailed:
                raise
            except TimeoutError:
                raise ProviderTimedOut(NAME, f"not done within {self._timeout_s:g} s") from None


def _reply(found: dict[str, _Reply]) -> _Reply:
    return found["reply"]


def _sound(reply: _Reply) -> Spoken:
    if reply.content.lstrip()[:1] == b"{":
        raise _Refused(_number(_json(reply)))
    try:
        duration_s = mp3.duration_s(reply.content)
    except mp3.NotMp3:
        duration_s = 0.0
    # HTML with 500 comes in the place of audio, too, and audio under any name.
    if reply.status != 200 or not duration_s:
        raise ProviderFailed(NAME, "sent no MP3", code=str(reply.status))
    return Spoken(mp3=reply.content, provider=NAME, duration_s=duration_s)


def _words(reply: _Reply) -> str:
    body = _json(reply)
    if (number := _number(body)) in _OF_THE_SPEAKER:
        raise NotUnderstood(NAME, _OF_THE_SPEAKER[number], code=str(number))
    if number != 0:
        raise _Refused(number)
    if reply.status != 200:
        raise ProviderFailed(NAME, "refused", code=str(reply.status))
    result = body.get("result")
    words = result[0] if isinstance(result, list) and result else ""
    if not isinstance(words, str) or not words.strip():
        raise NotUnderstood(NAME, "no words")
    return words


def _json(reply: _Reply) -> dict[str, Any]:
    try:
        body = json.loads(reply.content)
    except (ValueError, RecursionError):
        raise ProviderFailed(NAME, "sent no JSON", code=str(reply.status)) from None
    if not isinstance(body, dict):
        raise ProviderFailed(NAME, "sent JSON that is no object", code=str(reply.status))
    return body


def _number(body: dict[str, Any]) -> int:
    """0: success. An answer without a number is none of theirs."""
    for key in ("err_no", "error_code"):
        if isinstance(body.get(key), int):
            return int(body[key])
    raise ProviderFailed(NAME, "sent neither a result nor an error number", code=_code(body))


def _code(body: dict[str, Any]) -> str:
    """What a body calls its error, if that looks like a code."""
    code = body.get("error", body.get("error_code", ""))
    return code if isinstance(code, str) and code.replace("_", "").isalnum() and len(code) <= 40 else ""


def _failed(refused: _Refused) -> ProviderFailed:
    return ProviderFailed(NAME, "refused", code=str(refused.number))


def _broken(error: Exception) -> ProviderFailed:
    """In our words."""
    if has_passed() or isinstance(error, TimeoutError | requests.Timeout | HTTPTimeoutError):
        return ProviderTimedOut(NAME, "no whole answer in time")
    if isinstance(error, requests.exceptions.SSLError):
        return ProviderFailed(NAME, "no TLS, or a certificate that cannot be verified; see speech.baidu.ca_file")
    return ProviderFailed(NAME, "the connection failed")


def _checked(url: str | None, key: str) -> str:
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


def _check_ca(ca_file: Path) -> None:
    """Raises ProviderUnusable."""
    try:
        ssl.create_default_context(cafile=str(ca_file))
    except OSError as error:
        raise ProviderUnusable(f"speech.baidu.ca_file: {ca_file}: {error.strerror}") from error
