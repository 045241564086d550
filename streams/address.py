"""Addresses of streams: their parts, and how to show one without its secrets."""

import re
from dataclasses import dataclass, field
from urllib.parse import quote

from net.address import parts_of

NETWORK_SCHEMES = {"rtsp": 554, "rtsps": 322}

# Some makers take the password as a part of the path: /user=admin&password=...&channel=1.
_SECRET_IN_PATH = re.compile(r"(?i)\b(user|username|usr|pass|password|passwd|pwd|token|auth|key)=[^&/;]*")


@dataclass(frozen=True, slots=True)
class Door:
    """Where a network stream answers, its address without credentials, and these apart."""

    host: str
    port: int
    scheme: str
    plain_url: str
    user: str | None = None
    password: str | None = field(default=None, repr=False)


def scheme_of(url: str) -> str:
    """`rtsp`, `rtsps`, ..., or "" for the path of a file."""
    scheme, mark, _ = url.partition("://")
    return scheme.lower() if mark else ""


def is_network(url: str) -> bool:
    return scheme_of(url) in NETWORK_SCHEMES


def redacted(url: str) -> str:
    """The address as it may be shown: `rtsp://***@host/path?channel=***`. A file's path stays as it is."""
    scheme, mark, rest = url.partition("://")
    if not mark:
        return url
    # Everything before the last @ is a secret: a password with a raw / or ? or @ in it must not leak its tail.
    _, at, rest = rest.rpartition("@")
    path, question, query = rest.partition("?")
    path = _SECRET_IN_PATH.sub(r"\1=***", path)
    if question:
        query = "&".join(f"{part.partition('=')[0]}=***" if "=" in part else "***" for part in query.split("&"))
    return f"{scheme}{mark}{'***@' if at else ''}{path}{question}{query}"


def door_of(url: str) -> Door:
    """Where to knock for a network stream. Raises ValueError, without secrets, if the address has no clear reading."""
    try:
        parts = parts_of(url)
    except ValueError as error:
        raise ValueError(f"{redacted(url)}: {error}") from None
    port = parts.port or NETWORK_SCHEMES[parts.scheme]
    host = f"[{parts.host}]" if ":" in parts.host else parts.host
    shown_port = f":{parts.port}" if parts.port else ""
    # What must not stand in the line of a request is encoded; what is encoded already stays as it is.
    path = quote(parts.path, safe="/?#[]@!$&'()*+,;=:%~|^`{}\\\"<>")
    return Door(
        parts.host, port, parts.scheme, f"{parts.scheme}://{host}{shown_port}{path}", parts.user, parts.password
    )
