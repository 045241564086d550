"""A local file as COS is to get it: its parts and their MD5, known before anything is sent."""

import base64
import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from imaging.errors import InputInvalid, InputTooLarge, Stopped

_BLOCK = 2**20
# The bounds of COS.
_PARTS_MAX = 10_000
_PART_MAX = 5 * 2**30


@dataclass(frozen=True, slots=True)
class Part:
    """number: from 1. md5: in hex; what COS gives as the part's ETag."""

    number: int
    offset: int
    size: int
    md5: str

    @property
    def content_md5(self) -> str:
        """As the header has it: COS refuses a part that arrived otherwise."""
        return base64.b64encode(bytes.fromhex(self.md5)).decode()


class Slide:
    """An open file, read at offsets from any thread: one that is replaced meanwhile is still this one."""

    def __init__(self, path: Path) -> None:
        """Raises InputInvalid of what is no readable file, or an empty one."""
        self.name = path.name
        try:
            if not path.is_file():
                raise InputInvalid(f"文件不存在或不是普通文件：{self.name}", field="file", value=self.name)
            self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except (OSError, ValueError) as error:
            if isinstance(error, InputInvalid):
                raise
            raise self._unreadable(error) from None
        self.size = os.fstat(self._descriptor).st_size
        if self.size == 0:
            self.close()
            raise InputInvalid(f"文件为空：{self.name}", field="file", value=self.name)

    def close(self) -> None:
        os.close(self._descriptor)

    def read(self, size: int, offset: int) -> bytes:
        """1 to size bytes. Raises InputInvalid where there are none any more."""
        try:
            block = os.pread(self._descriptor, min(size, _BLOCK), offset)
        except OSError as error:
            raise self._unreadable(error) from None
        if not block:
            raise self.changed()
        return block

    def changed(self) -> InputInvalid:
        return InputInvalid(
            f"文件在上传期间被修改：{self.name}，请重新计算 MD5 后再上传。", field="file", value=self.name
        )

    def part_size(self, wanted: int) -> int:
        """More than wanted where the file would have more parts than COS takes."""
        needed = -(-self.size // _PARTS_MAX)
        if needed > _PART_MAX:
            raise InputTooLarge(
                f"文件超过对象存储的上限：{self.name}（{self.size} 字节）", field="file", value=self.name
            )
        return max(wanted, -(-needed // 2**20) * 2**20)

    def survey(self, part_size: int, md5: str, *, stop: threading.Event) -> tuple[Part, ...]:
        """Read all of it. What is sent later is held against these parts, and these are the file of that md5.

        Raises InputInvalid where the file has another one, Stopped.
        """
        whole = hashlib.md5(usedforsecurity=False)
        parts: list[Part] = []
        for offset in range(0, self.size, part_size):
            size = min(part_size, self.size - offset)
            part = hashlib.md5(usedforsecurity=False)
            for block in self._blocks(offset, size, stop):
                whole.update(block)
                part.update(block)
            parts.append(Part(len(parts) + 1, offset, size, part.hexdigest()))
        if whole.hexdigest() != md5:
            raise self.changed()
        return tuple(parts)

    def md5(self, stop: threading.Event, progress: Callable[[int, int], None]) -> str:
        whole, done = hashlib.md5(usedforsecurity=False), 0
        for block in self._blocks(0, self.size, stop):
            whole.update(block)
            done += len(block)
            progress(done, self.size)
        return whole.hexdigest()

    def _blocks(self, offset: int, size: int, stop: threading.Event) -> Iterator[bytes]:
        ends = offset + size
        while offset < ends:
            if stop.is_set():
                raise Stopped("已停止。")
            block = self.read(ends - offset, offset)
            yield block
            offset += len(block)

    def _unreadable(self, error: Exception) -> InputInvalid:
        reason = (isinstance(error, OSError) and error.strerror) or type(error).__name__
        return InputInvalid(f"无法读取文件：{self.name}（{reason}）", field="file", value=self.name)


class PartBody:
    """One part as the body of one request, read as it is sent; a few blocks of it are in memory at a time.

    The last block of a part that is no longer what it was is never handed out, so that COS cannot have the whole.
    """

    def __init__(self, slide: Slide, part: Part) -> None:
        self._slide, self._part = slide, part
        self._done = 0
        self._hash = hashlib.md5(usedforsecurity=False)

    def __len__(self) -> int:
        return self._part.size

    def __iter__(self) -> Iterator[bytes]:
        while block := self.read(_BLOCK):
            yield block

    def read(self, size: int = _BLOCK) -> bytes:
        """Raises InputInvalid when the part has changed."""
        if (left := self._part.size - self._done) == 0:
            return b""
        block = self._slide.read(min(size, left), self._part.offset + self._done)
        self._hash.update(block)
        self._done += len(block)
        if self._done == self._part.size and self._hash.hexdigest() != self._part.md5:
            raise self._slide.changed()
        return block


def file_md5(
    path: Path, *, stop: threading.Event, progress: Callable[[int, int], None] = lambda done, total: None
) -> str:
    """progress(bytes done, bytes in all). Raises InputInvalid, Stopped."""
    slide = Slide(path)
    try:
        return slide.md5(stop, progress)
    finally:
        slide.close()
