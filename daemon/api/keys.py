"""API keys: who calls, and what that caller may do."""

import hashlib
import hmac
import stat
import tomllib
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator


class Right(StrEnum):
    START_END = "start_end"
    READ = "read"
    ANSWER = "answer"
    CORRECT = "correct"
    IMAGING = "imaging"
    AUDIT = "audit"


class Role(StrEnum):
    HIS = "his"
    NURSE = "nurse"
    ADMIN = "admin"


RIGHTS = {
    Role.HIS: frozenset({Right.START_END, Right.READ, Right.IMAGING}),
    Role.NURSE: frozenset({Right.ANSWER, Right.READ, Right.CORRECT}),
    Role.ADMIN: frozenset(Right),
}


class KeysBroken(ValueError):
    """The keys file cannot be used."""

    hint = "It is TOML, mode 0600, with [[keys]] entries of name, role (his, nurse, admin) and key or key_sha256."


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """rooms: None for all of them."""

    name: str
    role: Role
    rooms: frozenset[str] | None

    def may(self, right: Right) -> bool:
        return right in RIGHTS[self.role]


class _Key(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: str = Field(min_length=1, max_length=64)
    role: Role
    key: str | None = Field(None, min_length=16, max_length=256)
    key_sha256: str | None = Field(None, pattern="^[0-9a-fA-F]{64}$")
    rooms: list[str] | None = None

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if (self.key is None) == (self.key_sha256 is None):
            raise ValueError("give exactly one of key and key_sha256")
        return self

    @property
    def digest(self) -> bytes:
        return bytes.fromhex(self.key_sha256) if self.key_sha256 else hashlib.sha256((self.key or "").encode()).digest()


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")
    keys: list[_Key] = Field(min_length=1)


class Keys:
    """Only digests are kept. Every known key is compared, whatever is presented, so timing tells nothing."""

    def __init__(self, digests: dict[bytes, Caller]) -> None:
        self._digests = digests

    def caller(self, presented: str) -> Caller | None:
        digest = hashlib.sha256(presented.encode("utf-8", "surrogateescape")).digest()
        found = None
        for known, caller in self._digests.items():
            if hmac.compare_digest(known, digest):
                found = caller
        return found


def read_keys(path: Path, rooms: frozenset[str]) -> Keys:
    """Raises KeysBroken; the message never holds a key."""
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & 0o077:
            raise KeysBroken(f"{path}: mode {mode:04o} lets others read it; expected 0600: chmod 600 {path}")
        file = _File.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise KeysBroken(f"{path}: cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise KeysBroken(f"{path}: not valid TOML: {error}") from None
    except ValidationError as error:
        problems = (f"{'.'.join(str(part) for part in p['loc'])}: {p['msg']}" for p in error.errors())
        raise KeysBroken(f"{path}: {'; '.join(problems)}") from None
    digests: dict[bytes, Caller] = {}
    for key in file.keys:
        if unknown := set(key.rooms or ()) - rooms:
            raise KeysBroken(f"{path}: key {key.name!r}: rooms {sorted(unknown)} are not configured")
        if key.digest in digests:
            raise KeysBroken(f"{path}: keys {digests[key.digest].name!r} and {key.name!r} are the same key")
        allowed = frozenset(key.rooms) if key.rooms is not None else None
        digests[key.digest] = Caller(name=key.name, role=key.role, rooms=allowed)
    return Keys(digests)
