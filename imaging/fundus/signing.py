"""Small words of the fundus wire: who signs, what a code means."""

import hashlib
import hmac
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from imaging.errors import Refused, Unauthorized, Unclear
from imaging.fundus.terms import CODES, DATABASE, INVALID_SIGNATURE, INVALID_TOKEN, AiType

NAME = "眼底平台"
# Words of "please write to us to open this service", which comes with various codes.
CLOSED = "开通服务"

_TOLD = 200
_SIGNATURE = re.compile("[0-9A-Fa-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    app_id: str
    token: str = field(repr=False)


class Signer:
    """One signature per request, and no timestamp twice. clock: unix seconds; the wire has milliseconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._last_ms = 0

    def headers(self, credential: Credential) -> dict[str, str]:
        self._last_ms = max(int(self._clock() * 1000), self._last_ms + 1)
        timestamp = str(self._last_ms)
        text = (credential.app_id + timestamp).encode()
        signature = hmac.new(credential.token.encode(), text, hashlib.sha256).hexdigest()
        return {"appId": credential.app_id, "signature": signature, "timestamp": timestamp}


def code_of(body: Mapping[str, Any]) -> tuple[str, str]:
    """Code and message. Raises Unclear where there is no code."""
    code = body.get("code")
    if isinstance(code, bool) or not isinstance(code, int | str) or not str(code).strip():
        raise Unclear(f"{NAME}的应答没有 code。")
    message = body.get("message")
    return str(code).strip()[:16], message if isinstance(message, str) else ""


def refused(code: str, message: str, ai_type: AiType, credential: Credential) -> Refused | Unclear:
    if CLOSED in message:
        return Refused(f"此 APP-ID 未开通“{ai_type.label}”分析：请联系服务方开通。", code=code)
    if code == DATABASE:
        return Unclear(f"{NAME}：{CODES[code]}（code {code}）。", code=code)
    told = CODES.get(code) or _plain(message, credential) or "未说明原因"
    kind = Unauthorized if code in (INVALID_TOKEN, INVALID_SIGNATURE) else Refused
    return kind(f"{NAME}：{told}（code {code}）。", code=code)


def _plain(message: str, credential: Credential) -> str:
    """Their words, short, without what could steer a terminal and without an echo of our secrets."""
    shown = "".join(c if c.isprintable() else " " for c in message[: 10 * _TOLD])
    shown = _SIGNATURE.sub("***", shown.replace(credential.token, "***"))
    return " ".join(shown.split())[:_TOLD]
