"""Uploads of slides to Tencent COS: resumable after a kill, with temporary credentials that are renewed on the way."""

import re
import threading
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from imaging.cos.credentials import CosCredentials, CosRules
from imaging.cos.parts import Slide, file_md5
from imaging.errors import InputInvalid

__all__ = ["CosCredentials", "CosRules", "Uploaded", "callback_path", "file_md5", "slide_key", "upload"]

_FOLDER = "SLIDES/"
_MD5 = re.compile("[0-9a-f]{32}")
# COS takes no longer key.
_KEY_BYTES_MAX = 850
# Control characters, half characters, and line ends of Unicode.
_UNWRITABLE = {"Cc", "Cs", "Zl", "Zp"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Uploaded:
    """parts_kept: found at COS from an earlier attempt."""

    key: str
    md5: str
    size: int
    parts_sent: int
    parts_kept: int


def slide_key(day: str, organization: str, md5: str, filename: str) -> str:
    """Where the back end looks for a slide. day: YYYYMMDD. filename: with its extension. Raises InputInvalid."""
    try:
        if not re.fullmatch("[0-9]{8}", day):
            raise ValueError
        datetime.strptime(day, "%Y%m%d")  # noqa: DTZ007
    except ValueError:
        raise InputInvalid(f"date：应为 8 位日期 YYYYMMDD：{day[:32]!r}", field="date", value=day[:32]) from None
    if not _MD5.fullmatch(md5):
        raise InputInvalid(f"md5：应为 32 位小写十六进制：{md5[:40]!r}", field="md5", value=md5[:40])
    _check_name(organization, "organization")
    _check_name(filename, "filename")
    key = f"{_FOLDER}chunked_uploads/{day}/{organization}/{md5}/{filename}"
    if len(key.encode()) > _KEY_BYTES_MAX:
        raise InputInvalid(f"filename：COS 路径超过 {_KEY_BYTES_MAX} 字节。", field="filename", value=filename[:64])
    return key


def callback_path(key: str) -> str:
    """The key as the file record has it, without SLIDES/. Raises InputInvalid."""
    if not key.startswith(_FOLDER) or key == _FOLDER:
        raise InputInvalid(f"key：应以 {_FOLDER} 开头：{key[:64]!r}", field="key", value=key[:64])
    return key.removeprefix(_FOLDER)


def upload(
    path: Path,
    key: str,
    md5: str,
    *,
    rules: CosRules,
    credentials: Callable[[], CosCredentials],
    record: Path,
    wait_s: Callable[[int], float],
    stop: threading.Event,
    progress: Callable[[int, int], None],
) -> Uploaded:
    """Blocking. The file that is at COS afterwards has this md5: it is read and compared before and while it is sent.

    credentials: called in this thread, at the start and again when those in hand expire or are refused: it fetches new
    ones then. record: a file that leads the next call to what this one has sent, deleted at the end; one upload at a
    time has it. wait_s(failed attempts at one request): until the next attempt; called in any of the threads.
    progress(bytes done, bytes in all): in this thread, with every part.
    Raises InputInvalid, Unreachable, Unclear, Refused, Stopped, and whatever credentials raises.
    """
    # The SDK takes a while to import, and most commands never upload.
    from imaging.cos.bucket import Bucket
    from imaging.cos.record import RecordFile
    from imaging.cos.upload import Access, Upload

    if not _MD5.fullmatch(md5):
        raise InputInvalid(f"md5：应为 32 位小写十六进制：{md5[:40]!r}", field="md5", value=md5[:40])
    slide = Slide(path)
    try:
        bucket = Bucket(rules)
        try:
            sent = Upload(
                slide=slide,
                key=key,
                md5=md5,
                rules=rules,
                access=Access(bucket, credentials),
                record=RecordFile(record),
                wait_s=wait_s,
                stop=stop,
                progress=progress,
            ).run()
        finally:
            bucket.close()
    finally:
        slide.close()
    return Uploaded(key=key, md5=md5, size=slide.size, parts_sent=sent.parts_sent, parts_kept=sent.parts_kept)


def _check_name(name: str, field: str) -> None:
    is_name = name.strip() and name not in (".", "..") and not set("/\\") & set(name)
    if not is_name or any(unicodedata.category(letter) in _UNWRITABLE for letter in name):
        shown = name[:64].encode(errors="replace").decode()
        raise InputInvalid(f"{field}：不能为空，且不含 /、\\ 和控制字符：{shown!r}", field=field, value=shown)
