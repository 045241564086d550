"""The signature of Tencent COS as documented (XML API, q-sign-algorithm=sha1), verified on the far side."""

import hashlib
import hmac
import time
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

_FIELDS = {
    "q-sign-algorithm",
    "q-ak",
    "q-sign-time",
    "q-key-time",
    "q-header-list",
    "q-url-param-list",
    "q-signature",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """Temporary credentials, good for keys that begin with prefix."""

    secret_id: str
    secret_key: str
    session_token: str
    prefix: str
    ends_s: float


def refusal(
    method: str,
    path: str,
    params: Mapping[str, str],
    headers: Mapping[str, str],
    tokens: Mapping[str, Token],
) -> str:
    """The code of COS that a request with this signature is refused with, or "". headers: names in lower case."""
    given = dict(pair.split("=", 1) for pair in headers.get("authorization", "").split("&") if "=" in pair)
    if set(given) != _FIELDS or given["q-sign-algorithm"] != "sha1":
        return "InvalidRequest"
    token = tokens.get(given["q-ak"])
    if token is None:
        return "InvalidAccessKeyId"
    if headers.get("x-cos-security-token") != token.session_token:
        return "InvalidToken"
    if given["q-signature"] != _signature(method, path, params, headers, given, token.secret_key):
        return "SignatureDoesNotMatch"
    begins, ends = map(int, given["q-sign-time"].split(";"))
    if not begins <= time.time() <= ends or given["q-key-time"] != given["q-sign-time"]:
        return "RequestTimeTooSkewed"
    if time.time() >= token.ends_s:
        return "ExpiredToken"
    return "" if path.removeprefix("/").startswith(token.prefix) else "AccessDenied"


def _signature(
    method: str,
    path: str,
    params: Mapping[str, str],
    headers: Mapping[str, str],
    given: Mapping[str, str],
    secret_key: str,
) -> str:
    signed = given["q-header-list"].split(";")
    named = given["q-url-param-list"].split(";") if given["q-url-param-list"] else []
    # What a thief could change has to be signed.
    if not {"host", "x-cos-security-token"} <= set(signed) or sorted(named) != sorted(map(str.lower, params)):
        return ""
    lowered = {name.lower(): value for name, value in params.items()}
    text = "\n".join(
        [
            method.lower(),
            path,
            "&".join(f"{name}={quote(lowered[name], '-_.~')}" for name in named),
            "&".join(f"{name}={quote(headers.get(name, ''), '-_.~')}" for name in signed),
            "",
        ]
    )
    digest = hashlib.sha1(text.encode()).hexdigest()
    key = hmac.new(secret_key.encode(), given["q-key-time"].encode(), hashlib.sha1).hexdigest()
    to_sign = f"sha1\n{given['q-sign-time']}\n{digest}\n"
    return hmac.new(key.encode(), to_sign.encode(), hashlib.sha1).hexdigest()
