"""Deletes what has lain too long in the folders of the ultrasound gateway, and the oldest where it is too much."""

import logging
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kept:
    """An upload, or the folder of an answer. changed_s: since the epoch."""

    path: Path
    changed_s: float
    size: int

    @property
    def is_underway(self) -> bool:
        """Its name begins with a dot until it is whole."""
        return self.path.name.startswith(".")


def sweep(uploads: Path, answers: Sequence[Path], now: datetime, *, keep: timedelta, bytes_max: int) -> int:
    """Only what lies directly in these folders; links are not followed. Returns how many uploads and answers went.

    What begins with a dot among the uploads is on its way there and belongs to whoever receives it.
    """
    found = [each for each in _in(uploads) if not each.is_underway]
    found += [each for folder in answers for each in _in(folder)]
    kept = sorted(found, key=lambda each: each.changed_s)
    limit_s = (now - keep).timestamp()
    total, gone = sum(each.size for each in kept), 0
    for each in kept:
        is_too_much = total > bytes_max and not each.is_underway
        if (each.changed_s < limit_s or is_too_much) and _deleted(each.path):
            total -= each.size
            gone += 1
    return gone


def _in(folder: Path) -> Iterator[_Kept]:
    if not folder.is_dir():
        return
    for path in folder.iterdir():
        try:
            is_folder = path.is_dir() and not path.is_symlink()
            found = [each.lstat() for each in ([path, *path.iterdir()] if is_folder else [path])]
        except FileNotFoundError:  # whoever made it has just named or deleted it
            continue
        yield _Kept(path=path, changed_s=max(each.st_mtime for each in found), size=sum(each.st_size for each in found))


def _deleted(path: Path) -> bool:
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    except OSError as error:
        log.warning("%s cannot be deleted: %s", path.name, error.strerror)
        return False
    return True
