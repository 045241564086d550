"""Objects as files below one folder."""

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

from daemon.storage.objects.store import ObjectMissing, StoreUnavailable, checked

_BLOCK = 1 << 20


class FolderStore:
    def __init__(self, root: Path) -> None:
        self._root = root

    def put(self, key: str, content: bytes, content_type: str) -> None:
        path = self._path(key)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_durably(path, content)
        except OSError as error:
            raise StoreUnavailable(f"{path}: {error.strerror}") from error

    def put_file(self, key: str, path: Path, content_type: str) -> None:
        target = self._path(key)
        with path.open("rb") as source:
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                _written_durably(target, lambda file: shutil.copyfileobj(source, file, _BLOCK))
            except OSError as error:
                raise StoreUnavailable(f"{target}: {error.strerror}") from error

    def get(self, key: str, *, bytes_max: int) -> bytes:
        path = self._path(key)
        try:
            with path.open("rb") as file:
                return file.read(bytes_max + 1)
        except FileNotFoundError as error:
            raise ObjectMissing(key) from error
        except OSError as error:
            raise StoreUnavailable(f"{path}: {error.strerror}") from error

    def delete(self, key: str) -> None:
        path = self._path(key)
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise StoreUnavailable(f"{path}: {error.strerror}") from error

    def check(self) -> None:
        try:
            self._root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreUnavailable(f"{self._root}: {error.strerror}") from error
        if not os.access(self._root, os.W_OK):
            raise StoreUnavailable(f"{self._root}: not writable")

    def _path(self, key: str) -> Path:
        return self._root / checked(key)


def write_durably(path: Path, content: bytes) -> None:
    """All of it under its name after a power cut, or nothing. Raises OSError.

    Where there is no room for it, nothing is written at all: half of it would take the room of what is small.
    """
    disk = os.statvfs(path.parent)
    if disk.f_blocks and disk.f_bavail * disk.f_frsize < len(content):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    _written_durably(path, lambda file: file.write(content))


def _written_durably(path: Path, write: Callable[[BinaryIO], object]) -> None:
    unfinished = path.with_name(f".{path.name}.{uuid4().hex}")
    try:
        with unfinished.open("xb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
