"""What the pathology back end takes and gives: its addresses, its answers, its words for success and failure.

Create, list and the status codes are as the seed has them. The addresses of login, credentials and callback, and the
shapes of the answers, are believed: every address can be set, and an answer is looked through for each known spelling.
"""

import base64
import binascii
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from enum import Enum
from pathlib import Path
from typing import Any, Self

from imaging.errors import Failed, InputInvalid, NotConfigured, Refused, Unauthorized, Unclear
from imaging.wire import checked_url

# Create and list are the seed's; the others are ours until a site says otherwise.
PATHS = {
    "login_url": "/api/user/login",
    "credentials_url": "/api/v1/cos/credentials/",
    "callback_url": "/api/v1/image/callback/",
    "create_url": "/api/v1/image/create/",
    "list_url": "/api/v1/embed/image/list/",
}
# How long a token lasts that does not say: a login too many costs nothing, and a 401 leads to one anyway.
TOKEN_LASTS = timedelta(hours=1)
# A time without a zone is the back end's own.
_BEIJING = timezone(timedelta(hours=8))
_TOKEN = re.compile(r"[\x21-\x7e]{1,16384}")
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class PathologyRules:
    """Where the back end is and how it is spoken to. Each URL is its own, or base_url with the path of PATHS.

    diseases: the ids that the site allows, with their names.
    """

    base_url: str | None
    login_url: str | None
    credentials_url: str | None
    callback_url: str | None
    create_url: str | None
    list_url: str | None
    auth_scheme: str
    allow_http: bool
    ca_file: Path | None
    connect_timeout_s: float
    timeout_s: float
    diseases: Mapping[str, str]

    def url(self, key: str) -> str:
        """key: one of PATHS. Raises NotConfigured, and InputInvalid of one that no password may travel to."""
        if own := getattr(self, key):
            return checked_url(own, f"imaging.pathology.{key}", allow_http=self.allow_http)
        if not self.base_url:
            raise NotConfigured(
                f"没有配置病理平台的地址：请设置 imaging.pathology.{key} 或 imaging.pathology.base_url。"
            )
        whole = self.base_url.rstrip("/") + PATHS[key]
        return checked_url(whole, "imaging.pathology.base_url", allow_http=self.allow_http)

    def disease(self, text: str) -> int | str:
        """The id as the back end takes it. Raises InputInvalid of one that is not among diseases."""
        if text not in self.diseases:
            known = "，".join(f"{each}（{name}）" for each, name in self.diseases.items())
            raise InputInvalid(
                f"疾病类型 {text[:40]!r} 无效，应为其中之一：{known}。", field="disease", value=text[:40]
            )
        return int(text) if text.isdecimal() else text


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """expires_at: aware. response: the answer as it came, which holds the token too."""

    value: str = field(repr=False)
    expires_at: datetime
    response: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def read(cls, body: Mapping[str, Any], now: datetime) -> Self:
        """Raises Unclear where there is none."""
        value = first(body, "data.token", "token", "access", "data.access")
        if not isinstance(value, str) or not _TOKEN.fullmatch(value):
            raise Unclear("病理平台的登录应答里没有可用的 token。")
        names = ("expired_time", "expiredTime", "expires_at", "expires_in")
        said = first(body, *(f"{place}{name}" for name in names for place in ("data.", "")))
        expires_at = moment(said, now) or expiry_inside(value, now) or now + TOKEN_LASTS
        return cls(value=value, expires_at=expires_at, response=body)

    def is_valid(self, now: datetime, *, reserve_s: float = 60) -> bool:
        return now + timedelta(seconds=reserve_s) < self.expires_at


class Status(Enum):
    """ai_diagnosis_status. A code that is none of these is UNKNOWN."""

    UNKNOWN = 0
    WAITING = 1
    QUEUED = 2
    ANALYSING = 3
    DONE = 4
    FAILED = 5

    @property
    def is_pending(self) -> bool:
        return self in (Status.WAITING, Status.QUEUED, Status.ANALYSING)


WORDS = {
    Status.UNKNOWN: "未知",
    Status.WAITING: "排队中",
    Status.QUEUED: "队列中",
    Status.ANALYSING: "分析中",
    Status.DONE: "分析成功",
    Status.FAILED: "分析失败",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """What the list says of one slide. code: the status as it came. entry: as it came."""

    slide_id: str
    status: Status
    code: str
    value: str | None
    entry: Mapping[str, Any]

    @classmethod
    def read(cls, body: Mapping[str, Any], slide_id: str) -> Self:
        """Raises Unclear where there is no list, Refused where this slide is not in it."""
        entries = _entries(body)
        if entries is None:
            raise Unclear("病理平台的应答里没有切片列表。")
        for entry in entries:
            if isinstance(entry, Mapping) and identity(entry.get("id")) == slide_id:
                raw = entry.get("ai_diagnosis_status")
                results = entry.get("modified_ai_diagnosis_result_map")
                value = results.get("value") if isinstance(results, Mapping) else None
                return cls(slide_id=slide_id, status=_status(raw), code=str(raw)[:40], value=_text(value), entry=entry)
        raise Refused(f"病理平台没有编号为 {slide_id} 的切片记录。", code="not_found")

    def outcome(self) -> str | None:
        """The diagnosis, or None while it is pending.

        Raises Failed where the analysis failed or the status is none that is known, Unclear where success has no text.
        """
        if self.status.is_pending:
            return None
        if self.status is Status.FAILED:
            raise Failed("AI 分析失败（状态 5）。", code="5")
        if self.status is Status.UNKNOWN:
            raise Failed(f"AI 诊断状态未知（状态 {self.code}）。", code=self.code)
        if not self.value:
            raise Unclear("AI 分析成功（状态 4），但应答里没有 modified_ai_diagnosis_result_map.value。", code="4")
        return self.value


def at(body: Any, path: str) -> Any:
    """at(body, "data.token"); None where it is not."""
    for name in path.split("."):
        body = body.get(name) if isinstance(body, Mapping) else None
    return body


def first(body: Mapping[str, Any], *paths: str) -> Any:
    """The first that is there and not null."""
    return next((found for path in paths if (found := at(body, path)) is not None), None)


def identity(value: Any) -> str | None:
    """An id as text; None of what is none."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        return None
    text = str(value)
    return text if re.fullmatch(r"[A-Za-z0-9_-]{1,64}", text) else None


def record_id(body: Mapping[str, Any]) -> str | None:
    """The id of a record that was created."""
    return identity(first(body, "id", "data.id", "data.slide_id", "slide_id"))


def moment(value: Any, now: datetime) -> datetime | None:
    """A point in time as back ends write it: ISO 8601, unix seconds or milliseconds, or seconds from now; also as text.

    Without a zone it is Beijing's, which is never later than what was meant by UTC. None of anything else.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except ValueError:
        return _iso(str(value))
    try:
        if number < 1e9:
            return now + timedelta(seconds=number)
        return datetime.fromtimestamp(number / 1000 if number > 1e11 else number, tz=now.tzinfo)
    except (OverflowError, ValueError, OSError):
        return None


def expiry_inside(token: str, now: datetime) -> datetime | None:
    """`exp` of a JSON Web Token."""
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (binascii.Error, ValueError, RecursionError):
        return None
    return moment(at(claims, "exp"), now)


def check(body: Mapping[str, Any], *secrets: str) -> None:
    """An answer may say no inside a 200. Raises Unauthorized, Refused; the back end's words without the secrets."""
    code = body.get("code")
    is_fine = code is None or (not isinstance(code, bool) and str(code) in ("0", "200", "201"))
    if is_fine and body.get("success") is not False:
        return
    said = first(body, "msg", "message", "detail", "error")
    words = _CONTROLS.sub(" ", said) if isinstance(said, str) else ""
    for secret in secrets:
        words = words.replace(secret, "***") if secret else words
    number = "" if code is None else _CONTROLS.sub(" ", str(code))[:40]
    kind = Unauthorized if number == "401" else Refused
    told = "：" + words.strip()[:120] if words.strip() else ""
    raise kind(f"病理平台拒绝了请求（code {number or '无'}）{told}", code=number)


def _entries(body: Mapping[str, Any]) -> Sequence[Any] | None:
    for path in ("results", "data.list", "data.results", "list", "data"):
        found = at(body, path)
        if isinstance(found, list):
            return found
    for alone in (at(body, "data"), body):
        if isinstance(alone, Mapping) and "ai_diagnosis_status" in alone:
            return [alone]
    return None


def _status(raw: Any) -> Status:
    try:
        return Status(int(raw)) if isinstance(raw, int | str) and not isinstance(raw, bool) else Status.UNKNOWN
    except ValueError:
        return Status.UNKNOWN


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)


def _iso(text: str) -> datetime | None:
    try:
        said = datetime.fromisoformat(text.strip())
    except ValueError:
        return None
    return said if said.tzinfo else said.replace(tzinfo=_BEIJING)
