"""Baidu's speech service on loopback: token, ASR and TTS as documented, and every way to fail."""

import base64
import binascii
import json
import re
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.servers.vendor import Vendor, VendorHandler, send

API_KEY, SECRET_KEY = "test-key", "test-secret-do-not-print"
TOKEN_LASTS_S = 2_592_000
# Left over where a text was encoded twice.
_ENCODED = re.compile("%[0-9A-F]{2}")
_LANGUAGES = (1536, 1537, 1737, 1637, 1837, 1936)


@dataclass(frozen=True, slots=True)
class Fault:
    """What one call gets in the place of an answer. number: of an error; otherwise status and body; how: below."""

    number: int | None = None
    status: int = 200
    body: bytes = b""
    kind: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    # "reset" in the middle, "stall" before anything, "flood" without end, "trickle": a byte now and then,
    # "trickle_head": of the header, too
    how: str = ""


HTML = Fault(status=500, body=b"<html><body>Internal Server Error</body></html>", kind="text/html")
HTML_AS_AUDIO = Fault(body=b"<html>no audio</html>", kind="audio/mp3")
EMPTY = Fault()
HALF_JSON = Fault(body=b'{"err_no":0,"result":["\xe7\xba')
NO_OBJECT = Fault(body=b'["err_no", 0]')
NESTED = Fault(body=b"[" * 1_000_000)
NO_NUMBER = Fault(body=b'{"hello": "world"}')
RESET, STALL, FLOOD, TRICKLE, TRICKLE_HEAD = (
    Fault(how="reset"),
    Fault(how="stall"),
    Fault(how="flood"),
    Fault(how="trickle"),
    Fault(how="trickle_head"),
)


@dataclass
class Calls:
    """How often each route was asked, how many requests were in hand at once, and what ASR and TTS were asked."""

    token: int = 0
    asr: int = 0
    tts: int = 0
    now: int = 0
    most: int = 0
    seen: list[dict[str, Any]] = field(default_factory=list)


class BaiduServer(Vendor):
    """say: what ASR hears; sound: what TTS says of a text. It uses what the SDK sends, by GET or POST."""

    def __init__(
        self, *, say: str = "纱布。", sound: Callable[[str], bytes] | None = None, tls: tuple[Path, Path] | None = None
    ) -> None:
        super().__init__("baidu", tls=tls)
        self.say = say
        # What ASR hears in a WAV.
        self.hear: Callable[[bytes], str] = lambda wav: self.say
        self.sound = sound or (lambda text: b"")
        self.calls = Calls()
        self.faults: dict[str, deque[Fault]] = {"token": deque(), "asr": deque(), "tts": deque()}
        self.tokens: set[str] = set()
        self.takes_s = 0.0
        # As behind a firewall that forgets idle connections: the second request on one gets no answer.
        self.forgets_connections = False

    def url(self, route: str) -> str:
        return f"{self._scheme}://localhost:{self.port}/{route}"

    def next(self, route: str, *faults: Fault) -> None:
        self.faults[route].extend(faults)

    def expire(self) -> None:
        """Every token that was given is refused from now on."""
        self.tokens.clear()

    def take(self, handler: VendorHandler) -> None:
        body = handler.body()
        route = urlsplit(handler.path).path.strip("/")
        with self._lock:
            setattr(self.calls, route, getattr(self.calls, route) + 1)
            self.calls.now += 1
            self.calls.most = max(self.calls.most, self.calls.now)
            fault = self.faults[route].popleft() if self.faults[route] else None
        if fault is None:
            answered: tuple[int, str, bytes] = getattr(self, f"_{route}")(handler, body)
        self._released.wait(self.takes_s)
        with self._lock:
            # Before the answer: who has it may ask again at once.
            self.calls.now -= 1
        if self.forgets_connections and handler.has_answered:
            self.misbehave(handler, "stall")
        elif fault is None:
            status, kind, content = answered
            send(handler, status, content, kind)
        elif fault.how:
            self.misbehave(handler, fault.how)
        elif fault.number is not None:
            send(handler, 200, _error(fault.number))
        else:
            send(handler, fault.status, fault.body, fault.kind, fault.headers)

    def _token(self, handler: VendorHandler, body: bytes) -> tuple[int, str, bytes]:
        form = {key: value[0] for key, value in parse_qs(body.decode() or urlsplit(handler.path).query).items()}
        wanted = {"grant_type": "client_credentials", "client_id": API_KEY, "client_secret": SECRET_KEY}
        if form != wanted:
            refused = {"error": "invalid_client", "error_description": "Client authentication failed"}
            return 401, "application/json", json.dumps(refused).encode()
        token = f"24.{len(self.tokens)}{time.monotonic_ns()}"
        self.tokens.add(token)
        given = {"access_token": token, "expires_in": TOKEN_LASTS_S, "scope": "audio_voice_assistant_get"}
        return 200, "application/json", json.dumps(given).encode()

    def _asr(self, handler: VendorHandler, body: bytes) -> tuple[int, str, bytes]:
        request = json.loads(body)
        self.calls.seen.append({key: value for key, value in request.items() if key not in ("token", "speech")})
        try:
            speech = base64.b64decode(request.get("speech", ""), validate=True)
        except binascii.Error:
            return 200, "application/json", _error(3300)
        if request.get("token") not in self.tokens:
            return 200, "application/json", _error(3302)
        is_right = (
            len(speech) == request.get("len")
            and request.get("rate") == 16000
            and request.get("channel") == 1
            and request.get("dev_pid") in _LANGUAGES
            and request.get("format") == "wav"
            and speech[:4] == b"RIFF"
            and 0 < len(request.get("cuid", "")) <= 60
        )
        if not is_right:
            return 200, "application/json", _error(3300)
        heard = {"err_no": 0, "err_msg": "success.", "corpus_no": "1", "sn": "1", "result": [self.hear(speech)]}
        return 200, "application/json", json.dumps(heard).encode()

    def _tts(self, handler: VendorHandler, body: bytes) -> tuple[int, str, bytes]:
        form = {key: value[0] for key, value in parse_qs(body.decode(), strict_parsing=True).items()}
        self.calls.seen.append({key: value for key, value in form.items() if key != "tok"})
        if form.get("tok") not in self.tokens:
            return 200, "application/json", _error(502)
        if not form.get("tex") or form.get("lan") != "zh" or form.get("ctp") != "1" or _ENCODED.search(form["tex"]):
            return 200, "application/json", _error(501)
        if len(form["tex"].encode("gbk")) > 1024:
            return 200, "application/json", _error(513)
        return 200, "audio/mp3", self.sound(form["tex"])


def _error(number: int) -> bytes:
    return json.dumps({"err_no": number, "err_msg": "as documented", "sn": "1", "idx": 1}).encode()
