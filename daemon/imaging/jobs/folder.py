"""The folder of the jobs: one folder a job, named for it. What is received lies there before a row speaks of it."""

import os
import re
import shutil
import threading
import time
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from uuid import UUID

from daemon.domain.errors import ImagingPathForbidden, ImagingStorageFull

# In a job's folder, what its steps made; the rest was received.
MADE = "made"

_NAME_BYTES_MAX = 120
# Beyond what may be received: the ledger must be able to write on.
_DISK_RESERVE_BYTES = 512 << 20
_MEASURED_EVERY_S = 30.0


class JobFolder:
    """Blocking."""

    def __init__(self, root: Path, *, bytes_max: int) -> None:
        self.root = root
        self._bytes_max = bytes_max
        self._lock = threading.Lock()
        # As it was measured, and what was let in since.
        self._held = 0
        self._measure_at_mono_s = 0.0

    def of(self, job_id: UUID) -> Path:
        return self.root / str(job_id)

    def make(self, job_id: UUID) -> Path:
        """Raises OSError."""
        path = self.of(job_id)
        path.mkdir(parents=True, mode=0o700)
        return path

    def drop(self, job_id: UUID) -> None:
        shutil.rmtree(self.of(job_id), ignore_errors=True)

    def sweep(self, known: Collection[UUID]) -> list[str]:
        """After a start: what was being received when the process ended was never promised. Returns what is gone."""
        if not self.root.is_dir():
            return []
        names = {str(each) for each in known}
        stray = [path for path in self.root.iterdir() if path.is_dir() and path.name not in names and _is_id(path.name)]
        for path in stray:
            shutil.rmtree(path, ignore_errors=True)
        return sorted(path.name for path in stray)

    def ids(self) -> list[UUID]:
        """The ids of the jobs that have a folder here."""
        if not self.root.is_dir():
            return []
        return [UUID(path.name) for path in self.root.iterdir() if path.is_dir() and _is_id(path.name)]

    def held_bytes(self) -> int:
        held = 0
        for folder, _, names in os.walk(self.root):
            for name in names:
                with suppress(FileNotFoundError):  # a job ends, another is received: the folder is never still
                    held += os.lstat(os.path.join(folder, name)).st_size
        return held

    def check_room(self, more: int) -> None:
        """Raises ImagingStorageFull.

        A look through the files of thousands of jobs takes as long as all else of a request, so that it is taken now
        and then, and before anything is refused.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        with self._lock:
            if time.monotonic() >= self._measure_at_mono_s or self._held + more > self._bytes_max:
                self._held = self.held_bytes()
                self._measure_at_mono_s = time.monotonic() + _MEASURED_EVERY_S
            held = self._held
            if held + more <= self._bytes_max:
                self._held += more
        if held + more > self._bytes_max:
            raise ImagingStorageFull(
                f"影像暂存目录已用 {held} 字节，上限 {self._bytes_max} 字节（imaging.folder_gib_max），请稍后重试。"
            )
        free = shutil.disk_usage(self.root).free
        if free - more < _DISK_RESERVE_BYTES:
            raise ImagingStorageFull("影像暂存目录所在磁盘空间不足，请联系运维。")


def _is_id(name: str) -> bool:
    try:
        return str(UUID(name)) == name
    except ValueError:
        return False


def safe_name(name: str) -> str:
    """The last part of what a client called its file, without what a file system or a key could stumble over."""
    last = re.split(r"[/\\]", name)[-1]
    clean = re.sub(r"[^\w.()（）-]", "_", last).strip(". ") or "file"
    stem, dot, suffix = clean.rpartition(".")
    if not dot or len(suffix) > 10:
        stem, suffix = clean, ""
    while len(stem.encode()) + len(suffix) + 1 > _NAME_BYTES_MAX:
        stem = stem[:-1]
    return f"{stem}.{suffix}" if suffix else stem


def inside(root: Path | None, asked: str, field: str) -> Path:
    """A path that a client named, if it lies in the folder that clients may name; links are followed first.

    Raises ImagingPathForbidden; whether there is such a file is not told.
    """
    forbidden = ImagingPathForbidden(
        f"{field}：{asked[:200]!r} 不在允许的目录内（imaging.pathology.slides_dir）。", field=field, value=asked[:200]
    )
    if root is None or "\0" in asked:
        raise forbidden
    try:
        found = (root / asked).resolve(strict=True)
    except (OSError, RuntimeError):
        raise forbidden from None
    if not found.is_relative_to(root.resolve()) or not os.access(found, os.R_OK) or not found.is_file():
        raise forbidden
    return found
