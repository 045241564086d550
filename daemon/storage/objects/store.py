"""What the daemon needs of a store of objects. Blocking: called off the event loop."""

import re
from pathlib import Path
from typing import Protocol

_KEY = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*(?:/[A-Za-z0-9_-][A-Za-z0-9._-]*)*")
KEY_MAX = 300


class StoreUnavailable(OSError):
    """The store does not take or give objects right now."""

    hint = "Look at the server and the bucket, or at the disk, of [objects]; evidence waits in the spool."


class ObjectMissing(FileNotFoundError):
    """The store has no object under this key."""

    hint = "Somebody else deleted it: is a lifecycle rule set on the bucket?"


class ObjectStore(Protocol):
    def put(self, key: str, content: bytes, content_type: str) -> None:
        """Whole and durable when this returns; the same key again replaces it. Raises StoreUnavailable."""

    def put_file(self, key: str, path: Path, content_type: str) -> None:
        """The same for a file of any size, which is not read into memory. Raises StoreUnavailable, OSError of path."""

    def get(self, key: str, *, bytes_max: int) -> bytes:
        """What was put, cut off after bytes_max and one more. Raises ObjectMissing, StoreUnavailable."""

    def delete(self, key: str) -> None:
        """What is not there is deleted. Raises StoreUnavailable."""

    def check(self) -> None:
        """Raises StoreUnavailable with why."""


def checked(key: str) -> str:
    """The key, which stays below where it is put. Raises ValueError."""
    if len(key) > KEY_MAX or not _KEY.fullmatch(key):
        raise ValueError(f"object key {key!r}: expected parts of letters, digits and . _ -, joined by /, none hidden")
    return key
