"""Addresses of streams: their parts, and how to show one without its secrets."""

import re
from dataclasses import dataclass

NETWORK_SCHEMES = {"rtsp": 554, "rtsps": 322}

# Some makers take the password as a part of the path: /user=admin&password=...&channel=1.
_SECRET_IN_PATH = re.compile(r"(?i)\b(user|username|usr|pass|password|passwd|pwd|token|auth|key)=[^&/;]*")


@dataclass(frozen=True, slots=True)
class Door:
    """Where a network stream answers, and its address without credentials."""

    host: str
    port: int
    scheme: str
    plain_url: str


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
    """Where to knock for a network stream. Raises ValueError if the port is no number."""
    scheme = scheme_of(url)
    rest = url.partition("://")[2].rpartition("@")[2]
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    found = re.fullmatch(r"(\[[^\]]+\]|[^:]*)(?::(\d+))?", authority)
    if found is None or not found[1]:
        raise ValueError(f"{redacted(url)}: expected {scheme}://host:port/path")
    port = int(found[2]) if found[2] else NETWORK_SCHEMES[scheme]
    return Door(found[1].strip("[]"), port, scheme, f"{scheme}://{rest}")
