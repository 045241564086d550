"""What an upload to Tencent COS is allowed by: the temporary credentials as the back end gives them, and the rules."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from imaging.errors import Unclear

# Names as they are without case, - and _.
_SECRET_IDS = ("tmpsecretid", "secretid")
_SECRET_KEYS = ("tmpsecretkey", "secretkey")
_TOKENS = ("sessiontoken", "xcossecuritytoken", "securitytoken", "token")
_EXPIRIES = ("expiredtime", "expiretime", "expiration", "expiresat")
_BUCKETS, _REGIONS = ("bucket", "bucketname", "cosbucket"), ("region", "cosregion", "bucketregion")
_NESTS = ("credentials", "credential", "data", "response", "result")
_NESTED_MAX = 4
_SECRET = re.compile(r"[\x21-\x7e]{1,8192}")
_PLACE = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,127}")
_TIME = TypeAdapter(datetime)


@dataclass(frozen=True, slots=True, kw_only=True)
class CosCredentials:
    """expires_at: None where the back end did not say. bucket, region: where it named them."""

    secret_id: str = field(repr=False)
    secret_key: str = field(repr=False)
    session_token: str = field(repr=False)
    expires_at: datetime | None
    bucket: str | None = None
    region: str | None = None

    @classmethod
    def read(cls, body: Mapping[str, Any]) -> "CosCredentials":
        """Read the answer of the credentials call, or the file it was kept in: nested or flat, any known spelling.

        A time without a zone is UTC, as that of STS. Raises Unclear, which names the field and never a value.
        """
        levels = list(_levels(body, _NESTED_MAX))
        # A login token may stand beside the nested credentials: the secrets are of one level.
        own = next((level for level in levels if any(level.get(name) for name in _SECRET_IDS)), {})
        return cls(
            secret_id=_secret(own, _SECRET_IDS, "tmpSecretId"),
            secret_key=_secret(own, _SECRET_KEYS, "tmpSecretKey"),
            session_token=_secret(own, _TOKENS, "sessionToken"),
            expires_at=_expiry(_found([own, *levels], _EXPIRIES)),
            bucket=_place(_found(levels, _BUCKETS), "bucket"),
            region=_place(_found(levels, _REGIONS), "region"),
        )

    def is_valid(self, now: datetime, *, reserve_s: float = 60) -> bool:
        """For reserve_s yet. Those of unknown life are until COS refuses them."""
        return self.expires_at is None or now + timedelta(seconds=reserve_s) < self.expires_at


# What no site chooses of the rules.
ATTEMPTS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class CosRules:
    """endpoint: host or host:port that is connected to, and whose certificate counts, in the place of the bucket's own.

    The request and its signature still name the bucket's own host. timeout_s: of an answer, and of a connection that
    does not move.
    """

    bucket: str
    region: str
    endpoint: str | None
    secure: bool
    ca_file: Path | None
    part_size_mib: int
    threads: int
    timeout_s: float
    connect_timeout_s: float
    attempts: int


def _levels(body: Mapping[str, Any], depth: int) -> Iterator[dict[str, Any]]:
    level = {
        str(name).lower().replace("_", "").replace("-", ""): value
        for name, value in body.items()
        if value not in (None, "")
    }
    yield level
    for name in _NESTS:
        if isinstance(inner := level.get(name), Mapping) and depth > 1:
            yield from _levels(inner, depth - 1)


def _found(levels: list[dict[str, Any]], names: tuple[str, ...]) -> Any:
    for level in levels:
        for name in names:
            if name in level:
                return level[name]
    return None


def _secret(level: dict[str, Any], names: tuple[str, ...], field_name: str) -> str:
    value = _found([level], names)
    if value is None:
        raise Unclear(f"COS 临时凭证缺少 {field_name}。")
    if not isinstance(value, str) or not _SECRET.fullmatch(value):
        raise Unclear(f"COS 临时凭证的 {field_name} 应为不含空格的 ASCII 字符串。")
    return value


def _expiry(value: Any) -> datetime | None:
    if value is None:
        return None
    try:
        if isinstance(value, bool):
            raise TypeError
        at = _TIME.validate_python(value)
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValidationError, TypeError, OverflowError):
        raise Unclear("COS 临时凭证的 expiredTime 应为 Unix 秒数或 ISO 8601 时间。") from None


def _place(value: Any, field_name: str) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or not _PLACE.fullmatch(value):
        raise Unclear(f"COS 临时凭证的 {field_name} 不是有效的名称。")
    return value
