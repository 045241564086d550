"""Answers to a camera's challenge: Digest (RFC 7616, RFC 2617 and, without qop, RFC 2069) and Basic.

Of what is offered the strongest is taken, whatever the order: SHA-256, SHA-512-256, MD5, and Basic, which tells the
password, only where the camera knows nothing else.
"""

import base64
import hashlib
import re
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass

# What is no token is stepped over by the search: a prefix for it would be tried anew at each of its characters.
_PART = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+)(?:\s*=\s*(\"(?:[^\"\\]|\\.)*\"|[^\s,]*))?")
_HEADER_CHARS_MAX = 4096
_HASHES: dict[str, Callable[[bytes], "hashlib._Hash"]] = {
    "SHA-256": hashlib.sha256,
    "SHA-512-256": lambda data: hashlib.new("sha512_256", data),
    "MD5": lambda data: hashlib.md5(data, usedforsecurity=False),
}
_ORDER = (*_HASHES, "Basic")


class Unanswerable(ValueError):
    """Nothing that the camera asks for can be answered here."""


@dataclass(frozen=True, slots=True)
class Challenge:
    """scheme as it was written; parameters by their names in lower case, unquoted."""

    scheme: str
    parameters: dict[str, str]

    @property
    def algorithm(self) -> str:
        """With -sess, in capitals; of Digest only."""
        return self.parameters.get("algorithm", "MD5").upper()

    @property
    def strength(self) -> str | None:
        """Its name in _ORDER; None if it cannot be answered."""
        if self.scheme.lower() == "basic":
            return "Basic"
        known = self.algorithm.removesuffix("-SESS")
        if self.scheme.lower() != "digest" or known not in _HASHES or "nonce" not in self.parameters:
            return None
        return known if self.qop is not None else None

    @property
    def qop(self) -> str | None:
        """What is answered: "auth", "auth-int", "" where none is asked for; None if none of them is known here."""
        if "qop" not in self.parameters:
            return ""
        offered = [each.strip().lower() for each in self.parameters["qop"].split(",")]
        return next((each for each in ("auth", "auth-int") if each in offered), None)

    @property
    def name(self) -> str:
        if self.scheme.lower() != "digest":
            return self.scheme
        return f"Digest {self.algorithm}" + (f" with qop {self.parameters['qop']}" if self.qop is None else "")


def challenges(values: Iterable[str]) -> list[Challenge]:
    """All that the WWW-Authenticate headers offer, several in one of them included."""
    found: list[Challenge] = []
    for value in values:
        for part in _PART.finditer(value[:_HEADER_CHARS_MAX]):
            if part[2] is None:
                found.append(Challenge(part[1], {}))
            elif found:
                found[-1].parameters[part[1].lower()] = _unquoted(part[2])
    return found


def is_stale(offered: Iterable[Challenge]) -> bool:
    """The camera says that the password was right and the nonce too old."""
    return any(each.parameters.get("stale", "").lower() == "true" for each in offered)


def _unquoted(value: str) -> str:
    return re.sub(r"\\(.)", r"\1", value[1:-1]) if len(value) > 1 and value[0] == '"' else value


def _quoted(value: str) -> str:
    return '"' + re.sub(r'(["\\])', r"\\\1", value) + '"'


class Authorizer:
    """One user and password, and the challenge that was answered last."""

    def __init__(self, user: str, password: str) -> None:
        self._user, self._password = user, password
        self._challenge: Challenge | None = None
        self._count = 0

    def take(self, offered: list[Challenge]) -> None:
        """Answer the strongest from now on. Raises Unanswerable, naming what was asked for."""
        known = [each for each in offered if each.strength is not None]
        if not known:
            names = ", ".join(sorted({each.name[:40] for each in offered})) or "a password, but not how"
            raise Unanswerable(f"asks for {names}, which is not known here; expected Digest SHA-256 or MD5, or Basic")
        self._challenge = min(known, key=lambda each: _ORDER.index(each.strength or ""))
        self._count = 0

    def has_new_nonce(self, offered: list[Challenge]) -> bool:
        """The camera gave up the nonce that was answered: the password may be right all the same."""
        if self._challenge is None:
            return True
        nonce = self._challenge.parameters.get("nonce")
        is_other = nonce is not None and all(each.parameters.get("nonce") != nonce for each in offered)
        return is_other or is_stale(offered)

    def told(self, info: str | None) -> None:
        """Authentication-Info of a response: the nonce to go on with."""
        if info is None or self._challenge is None:
            return
        for each in challenges([f"Digest {info}"]):
            if nonce := each.parameters.get("nextnonce"):
                self._challenge.parameters["nonce"] = nonce
                self._count = 0

    def header(self, method: str, url: str) -> str | None:
        """The value of Authorization for a request without a body; None as long as nothing was asked for."""
        challenge = self._challenge
        if challenge is None:
            return None
        if challenge.strength == "Basic":
            return "Basic " + base64.b64encode(f"{self._user}:{self._password}".encode()).decode()
        return "Digest " + self._digest(challenge, method, url)

    def _digest(self, challenge: Challenge, method: str, url: str) -> str:
        given, qop = challenge.parameters, challenge.qop
        hashed = _HASHES[challenge.algorithm.removesuffix("-SESS")]

        def h(text: str) -> str:
            return hashed(text.encode()).hexdigest()

        self._count += 1
        realm, nonce, count, cnonce = given.get("realm", ""), given["nonce"], f"{self._count:08x}", secrets.token_hex(8)
        secret = h(f"{self._user}:{realm}:{self._password}")
        is_session = challenge.algorithm.endswith("-SESS")
        if is_session:
            secret = h(f"{secret}:{nonce}:{cnonce}")
        what = h(f"{method}:{url}" + (f":{h('')}" if qop == "auth-int" else ""))
        middle = f":{count}:{cnonce}:{qop}:" if qop else ":"
        parts = {
            "username": _quoted(self._user),
            "realm": _quoted(realm),
            "nonce": _quoted(nonce),
            "uri": _quoted(url),
            "response": _quoted(h(f"{secret}:{nonce}{middle}{what}")),
        }
        if "algorithm" in given:
            parts["algorithm"] = given["algorithm"]
        if "opaque" in given:
            parts["opaque"] = _quoted(given["opaque"])
        if qop:
            parts |= {"qop": qop, "nc": count}
        if qop or is_session:
            parts["cnonce"] = _quoted(cnonce)
        return ", ".join(f"{name}={value}" for name, value in parts.items())
