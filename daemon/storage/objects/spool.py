"""Objects on their way to the store: durable files in one bounded folder, so that a store may be away.

A file is named for its key. Whatever is not as it was written is put into `aside` and never overwritten.
"""

import hashlib
import logging
from collections.abc import Collection
from pathlib import Path

from daemon.storage.objects.folder import write_durably
from daemon.storage.objects.store import checked

log = logging.getLogger(__name__)

_ASIDE = "aside"
_SLASH = "~"  # in no key


class SpoolFull(OSError):
    """The spool holds all that it may."""

    hint = "The object store has been away for long: mend it, or raise objects.spool_mib."


class Spool:
    """Blocking; one caller at a time."""

    def __init__(self, folder: Path, *, bytes_max: int) -> None:
        self._folder = folder
        self._bytes_max = bytes_max
        self._sizes: dict[str, int] = {}

    @property
    def held_bytes(self) -> int:
        return sum(self._sizes.values())

    def listed(self) -> list[str]:
        """The keys that files stand for, after a start. Raises OSError."""
        self._folder.mkdir(parents=True, exist_ok=True)
        return sorted(_key(path) for path in self._folder.iterdir() if path.is_file())

    def open(self, *, waiting: Collection[str], stored: Collection[str]) -> None:
        """After a start: what no row speaks of is set aside, what is in the store already deleted. Raises OSError."""
        self._sizes = {}
        for key in self.listed():
            path = self._folder / key.replace("/", _SLASH)
            if key in waiting:
                self._sizes[key] = path.stat().st_size
            elif key in stored or path.name.startswith("."):
                path.unlink()  # or half a file, which was never promised
            else:
                log.warning("spool: %s stands in no ledger row; kept as %s", path.name, self._set_aside(path))

    def put(self, key: str, content: bytes) -> None:
        """Durable when this returns. Raises SpoolFull, or OSError of the disk."""
        if self.held_bytes + len(content) > self._bytes_max:
            raise SpoolFull(f"{self.held_bytes + len(content)} of {self._bytes_max} bytes")
        path = self._path(key)
        if path.exists():
            log.warning("spool: %s was there already; kept as %s", path.name, self._set_aside(path))
        self._folder.mkdir(parents=True, exist_ok=True)
        write_durably(path, content)
        self._sizes[key] = len(content)

    def get(self, key: str, sha256: str) -> bytes | None:
        """What was put; None if that is gone or damaged (then it is set aside). Raises OSError."""
        path = self._path(key)
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            self._sizes.pop(key, None)
            return None
        if hashlib.sha256(content).hexdigest() != sha256:
            self._sizes.pop(key, None)
            log.error("spool: %s is damaged; kept as %s", path.name, self._set_aside(path))
            return None
        return content

    def delete(self, key: str) -> None:
        self._path(key).unlink(missing_ok=True)
        self._sizes.pop(key, None)

    def _path(self, key: str) -> Path:
        return self._folder / checked(key).replace("/", _SLASH)

    def _set_aside(self, path: Path) -> Path:
        aside = self._folder / _ASIDE
        aside.mkdir(exist_ok=True)
        number = 1
        while (target := aside / f"{path.name}-{number}").exists():
            number += 1
        return path.rename(target)


def _key(path: Path) -> str:
    return path.name.replace(_SLASH, "/")
