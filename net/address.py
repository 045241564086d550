"""The parts of an address with a user and a password in it, however they are written, as long as one reading is clear.

A password with a raw `#`, `/` or `?` in it ends the host's part of an address early: `rtsp://ops:pa#ss@cam/1` names,
to the letter, a host `ops` with the port `pa`. Where the letter makes no sense, what was meant is taken; where both
readings make sense, the address is refused, because the wrong one would show the password to somebody else.
"""

import re
from dataclasses import dataclass, field
from urllib.parse import unquote

ENCODED = "@ is %40, : is %3A, / is %2F, ? is %3F, # is %23, % is %25, a space is %20"

_HOST = r"\[[0-9A-Fa-f:.]+(?:%25[\w.~-]+)?\]|[^\s:/?#\[\]@]+"
_HOST_AND_PORT = re.compile(rf"({_HOST})(?::(\d{{1,5}}))?")
# Behind an @: a host with a port, of several parts, or with a path behind it.
_LIKE_A_HOST = re.compile(r"\[[0-9A-Fa-f:.]+\]|[\w-]+(?:\.[\w-]+)+|localhost(?=[/?#:]|$)|[\w-]+(?::\d|/)")
_ESCAPE = re.compile(r"%[0-9A-Fa-f]{2}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Decoded, but for the path, which is as it was written, with the query. port: None where none is given."""

    scheme: str
    user: str | None
    password: str | None = field(repr=False)
    host: str
    port: int | None
    path: str


def parts_of(url: str) -> Parts:
    """Raises ValueError, whose words hold nothing of the address, if it has not one clear reading."""
    scheme, mark, rest = url.partition("://")
    if not mark:
        raise ValueError("expected scheme://host:port/path")
    if any(ord(each) < 32 or ord(each) == 127 for each in url):
        raise ValueError("expected no control characters in an address")
    who, where = _divided(rest)
    authority, path = _split(where)
    found = _HOST_AND_PORT.fullmatch(authority)
    if found is None or (found[2] and not 0 < int(found[2]) < 65536):
        raise ValueError(f"expected {scheme.lower()}://host:port/path with a port from 1 to 65535")
    user, password = _read(who) if who is not None else (None, None)
    return Parts(
        scheme=scheme.lower(),
        user=user,
        password=password,
        host=found[1].strip("[]"),
        port=int(found[2]) if found[2] else None,
        path=path,
    )


def looks_encoded(text: str) -> bool:
    """It holds what would be an escape in an address: %40, say."""
    return _ESCAPE.search(text) is not None


def _split(rest: str) -> tuple[str, str]:
    end = re.search(r"[/?#]|$", rest)
    assert end is not None, "the end is always found"
    return rest[: end.start()], rest[end.start() :]


def _divided(rest: str) -> tuple[str | None, str]:
    """User info, None if there is none, and what follows its @."""
    authority, path = _split(rest)
    who, at, host = authority.rpartition("@")
    plausible = _HOST_AND_PORT.fullmatch(host) is not None
    marks = [found.end() for found in re.finditer("@", path)]
    if not marks:
        return (who if at else None), host + path
    # Which of the marks behind the first / ? or # could end the user info of a password that holds one of these?
    hosts = [mark for mark in marks if _HOST_AND_PORT.match(path, mark)]
    has_secret = ":" in (who if at else authority)
    if plausible and not (has_secret and any(_LIKE_A_HOST.match(path, mark) for mark in hosts)):
        return (who if at else None), host + path  # a path or a query that holds an @
    if not plausible and len(hosts) == 1 and ":" in authority:
        return authority + path[: hosts[0] - 1], path[hosts[0] :]
    raise ValueError(
        "where the password ends and the host begins is not clear; percent-encode special characters of the user, of"
        f" the password and @ of the path: {ENCODED} (rtsp://ops:pa%23ss@192.0.2.11/main has the password pa#ss)"
    )


def _read(who: str) -> tuple[str, str | None]:
    escapes = len(_ESCAPE.findall(who))
    raw = any(mark in who for mark in "@/?# ") or who.count("%") > escapes
    if escapes and raw:
        raise ValueError(
            "the user and the password are percent-encoded in one place and not in another; encode all of their"
            f" special characters: {ENCODED}"
        )
    user, colon, password = who.partition(":")
    if escapes:
        user, password = unquote(user), unquote(password)
    return user, (password if colon else None)
