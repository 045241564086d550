"""Where OCT pictures are read and results are written: buckets of any store, and which of them a request may name.

A picture is read as it was found or not at all: `version` is the store's own mark of its content, and a fetch of
another content says that it changed. Nothing of a store is known here; buckets_gcs, _azure and _s3 know one each.
"""

import os
import re
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Protocol
from urllib.parse import unquote_to_bytes

from imaging.errors import InputForbidden, InputInvalid, InputMissing, InputTooLarge, InputUnsupported, Unclear

IMAGE_SUFFIXES = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".dcm": "application/dicom",
    ".dicom": "application/dicom",
}
_IMAGE_TYPES = frozenset(IMAGE_SUFFIXES.values())
# Objects of a folder that are looked at, pictures or not.
LISTED_MAX = 100_000
_LOCATION_BYTES_MAX = 1024
_SHOWN_MAX = 80
_UNWRITABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]{0,31})://")
INPUT_BUCKET, OUTPUT_BUCKET, LOCATION = "Input-Bucket-Name", "Output-Bucket-Name", "Input-Location"


@dataclass(frozen=True, slots=True, kw_only=True)
class BucketObject:
    """version: generation or ETag; a later fetch gets this content or says that it changed."""

    key: str
    size: int
    media_type: str
    version: str


class Buckets(Protocol):
    """One store. Blocking, from any thread; each call ends in time."""

    name: str

    def find(self, bucket: str, location: str, *, files_max: int) -> list[BucketObject]:
        """One object, or the pictures of a folder in natural order (slice_2 before slice_10), none of deeper folders.

        location: as checked_location gives it; it is a folder if it ends at a /, or if nothing has just this name.
        Raises InputMissing, InputUnsupported, InputTooLarge (more than files_max), InputInvalid (the configuration),
        NotConfigured, Unreachable, Unclear, Unauthorized, Refused.
        """

    def fetch(self, bucket: str, found: BucketObject, to: Path, *, bytes_max: int) -> None:
        """Write it to a file that is whole once it has this name.

        Raises what find raises; InputTooLarge for more than bytes_max, InputInvalid if it changed since it was found,
        OSError of a folder that cannot be written to.
        """

    def put(self, bucket: str, key: str, content: Path | bytes, media_type: str) -> None:
        """Write an object, over the one of this key if there is one: it may be repeated.

        Raises what find raises; OSError of a file that cannot be read.
        """

    def check(self, bucket: str) -> None:
        """That it is there and may be read. Raises what find raises."""

    def close(self) -> None: ...


# --- what a request may name ---


def checked_location(location: str | None) -> str:
    """A key or a folder, of the header Input-Location: decoded from percent signs, and from UTF-8 read as latin-1.

    A % that stands for itself is written %25. Raises InputInvalid.
    """
    if location is None or not location.strip():
        raise _location_invalid("缺少；应为桶内的图像或文件夹路径", "")
    if len(location) > 4 * _LOCATION_BYTES_MAX:
        raise _location_invalid(f"超过 {_LOCATION_BYTES_MAX} 字节", location)
    if url := _URL.match(location.strip()):
        # What follows may hold a signature.
        raise _location_invalid(
            "不要写完整网址，只写桶内路径（如 exams/42/）；桶名放在 Input-Bucket-Name", f"{url[1]}://…"
        )
    try:
        decoded = unquote_to_bytes(utf8_header(location.strip()).encode(errors="replace")).decode()
    except UnicodeDecodeError:
        raise _location_invalid("百分号编码应为 UTF-8", location) from None
    if len(decoded.encode()) > _LOCATION_BYTES_MAX:
        raise _location_invalid(f"超过 {_LOCATION_BYTES_MAX} 字节", decoded)
    if _UNWRITABLE.search(decoded) or "\\" in decoded:
        raise _location_invalid("不能含控制字符或反斜杠", decoded)
    if decoded.startswith("/") or {".", ".."} & set(decoded.split("/")):
        raise _location_invalid("不能以 / 开头，也不能含 . 或 .. 路径段", decoded)
    return decoded


def allowed_bucket(asked: str | None, *, default: str | None, allowed: Collection[str], field: str) -> str:
    """The bucket that a header names, or the one of the configuration where it names none.

    allowed: besides the default. Raises InputForbidden, which tells no name that was not asked for, and InputInvalid.
    """
    named = (asked or "").strip()
    if not named:
        if default:
            return default
        raise InputInvalid(f"{field}：没有给出存储桶，配置里也没有默认的。", field=field)
    if named != default and named not in allowed:
        shown = _shown(named)
        raise InputForbidden(f"{field}：不允许使用存储桶 {shown!r}。", field=field, value=shown)
    return named


def utf8_header(value: str) -> str:
    """HTTP headers are read as latin-1, whatever they were written in; a client that writes Chinese sends UTF-8."""
    try:
        return value.encode("latin-1").decode()
    except UnicodeError:
        return value


def _location_invalid(why: str, value: str) -> InputInvalid:
    shown = _shown(value)
    return InputInvalid(f"{LOCATION}：{why}{f'：{shown!r}' if shown else ''}。", field=LOCATION, value=shown)


def _shown(value: str) -> str:
    return value[:_SHOWN_MAX].encode(errors="replace").decode()


# --- what the stores share ---


def media_type_of(key: str, told: str | None) -> str | None:
    """By its name, else by what the store was told when it was written; None where it is no picture for us."""
    by_name = IMAGE_SUFFIXES.get(PurePosixPath(key).suffix.lower())
    kind = (told or "").partition(";")[0].strip().lower()
    return by_name or (kind if kind in _IMAGE_TYPES else None)


def is_unnamed(key: str) -> bool:
    """Whether its name does not say what it is, as those of many DICOM files: IM0001, or a UID."""
    suffix = PurePosixPath(key).suffix[1:]
    return not suffix or suffix.isdecimal()


def the_one(key: str, size: int | None, told: str | None, version: str | None) -> BucketObject:
    """An object that was asked for by its name. Raises InputUnsupported of one that is no picture."""
    media_type = media_type_of(key, told)
    if media_type is None:
        wanted = "、".join(suffix[1:] for suffix in IMAGE_SUFFIXES)
        why = f"{LOCATION}：不支持的内容类型（unsupported content type），应为 {wanted}：{_shown(key)!r}。"
        raise InputUnsupported(why, field=LOCATION, value=_shown(key))
    return BucketObject(key=key, size=size or 0, media_type=media_type, version=version or "")


class Folder:
    """Collects what a store lists of one folder, and gives it in the order that a person counts in."""

    def __init__(self, location: str, *, files_max: int) -> None:
        self._location, self._files_max = location, files_max
        self._seen = 0
        self._found: list[BucketObject] = []

    def add(self, key: str, size: int | None, told: Callable[[], str | None], version: str | None) -> None:
        """told: asked for only where the name does not say it. Raises InputTooLarge."""
        self._seen += 1
        if self._seen > LISTED_MAX:
            raise InputTooLarge(
                f"{LOCATION}：文件夹里超过 {LISTED_MAX} 个对象：{_shown(self._location)!r}。", field=LOCATION
            )
        # Stores and their web pages make folders of empty objects with a / at the end.
        if key.endswith("/") or "/" in key[len(self._location) :]:
            return
        media_type = media_type_of(key, None) or media_type_of(key, told())
        if media_type is None:
            return
        self._found.append(BucketObject(key=key, size=size or 0, media_type=media_type, version=version or ""))
        if len(self._found) > self._files_max:
            raise InputTooLarge(
                f"{LOCATION}：文件夹里的图像超过 {self._files_max} 个：{_shown(self._location)!r}。",
                field=LOCATION,
                value=_shown(self._location),
            )

    def pictures(self, asked: str) -> list[BucketObject]:
        """asked: as the request named it. Raises InputMissing where there is none."""
        if not self._found:
            raise missing_object(asked)
        return sorted(self._found, key=lambda found: natural(found.key))


def natural(key: str) -> tuple[list[tuple[int, int | str]], str]:
    """Sorts slice_2 before slice_10."""
    pieces = re.split("([0-9]+)", key.casefold())
    return [(0, int(each)) if at % 2 else (1, each) for at, each in enumerate(pieces)], key


def missing_bucket(bucket: str, field: str) -> InputMissing:
    return InputMissing(f"{field}：没有存储桶 {_shown(bucket)!r}。", field=field, value=_shown(bucket))


def missing_object(location: str) -> InputMissing:
    what = "文件夹里没有图像" if location.endswith("/") else "没有这个对象"
    return InputMissing(f"{LOCATION}：{what}：{_shown(location)!r}。", field=LOCATION, value=_shown(location))


def changed(key: str) -> InputInvalid:
    return _location_invalid("对象在读取前已被修改或删除，请重新提交", key)


def unusable(name: str) -> Unclear:
    """A success without the store's mark of the content: a page of a proxy or of a login comes with 200, too."""
    return Unclear(f"{name}的应答不是存储桶的应答（没有对象的版本标识）。")


def check_size(found: BucketObject, bytes_max: int) -> None:
    """Before anything is fetched. Raises InputTooLarge."""
    if found.size > bytes_max:
        raise InputTooLarge(
            f"{LOCATION}：{_shown(found.key)!r} 有 {found.size} 字节，上限 {bytes_max} 字节。",
            field=LOCATION,
            value=_shown(found.key),
        )


class Whole:
    """A file beside its target that gets its name when it has just the size that was found."""

    def __init__(self, file: IO[bytes], found: BucketObject) -> None:
        self._file, self._found = file, found
        self.written = 0

    def write(self, content: bytes) -> int:
        """Raises InputInvalid as soon as there is more than there should be."""
        self.written += len(content)
        if self.written > self._found.size:
            raise changed(self._found.key)
        return self._file.write(content)

    def write_all(self, chunks: Iterable[bytes]) -> None:
        for chunk in chunks:
            self.write(chunk)


@contextmanager
def whole_file(to: Path, found: BucketObject) -> Iterator[Whole]:
    """Nothing is left behind by what is raised in here. Raises InputInvalid of one that came out too short."""
    made, name = tempfile.mkstemp(prefix=".fetch-", dir=to.parent)
    try:
        with os.fdopen(made, "wb") as file:
            whole = Whole(file, found)
            yield whole
        if whole.written != found.size:
            raise changed(found.key)
        Path(name).replace(to)
    finally:
        Path(name).unlink(missing_ok=True)
