"""The folders of the ultrasound gateway: the site's data, what was uploaded, and the answers.

A client names a picture as the seed does: `api_in/<name>` an upload, `classification/...` or `segmentation/...` (with
`data/` before it or not) the site's data, or by its whole path. Links are resolved first; what then lies outside the
two folders is refused. Nothing of a client becomes a path of ours but a name that was made safe.
"""

import os
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path, PurePosixPath
from random import Random
from typing import Any

from imaging.errors import InputForbidden, InputMissing, InputTooLarge, NotConfigured
from imaging.pictures import Kind
from imaging.ultrasound.answers import FOLDERS, safe_stem, write_answer
from imaging.ultrasound.memory import Usage
from imaging.ultrasound.models import SECTION, Prediction
from imaging.ultrasound.pictures import check_whole
from imaging.ultrasound.record import Record
from imaging.ultrasound.samples import sample
from imaging.ultrasound.sweep import sweep
from imaging.ultrasound.terms import Task

UPLOADS, DATA = "api_in", "data"
_KINDS = tuple(task.value for task in Task)
_SUFFIXES = {Kind.JPEG: ("jpg", "jpeg"), Kind.PNG: ("png",)}
_NAMED = "img_path_relative"


@dataclass(frozen=True, slots=True, kw_only=True)
class Roots:
    """data: None where the site has none. uploads, outputs: made when they are needed, and cleaned."""

    data: Path | None
    uploads: Path
    outputs: Path


class UltrasoundFiles:
    """Blocking."""

    def __init__(self, roots: Roots, *, bytes_max: int, pixels_max: int) -> None:
        """bytes_max, pixels_max: of a picture. Raises NotConfigured where one folder holds another: two are cleaned."""
        self.roots = roots
        self._bytes_max, self._pixels_max = bytes_max, pixels_max
        _check_apart(roots)

    def resolve(self, img_path_relative: str) -> Path:
        """The picture that a record names. Raises InputForbidden, InputMissing, NotConfigured."""
        named = PurePosixPath(img_path_relative)
        if "\0" in img_path_relative or not named.parts:
            raise _forbidden(img_path_relative)
        if named.is_absolute():
            return self._of_any_root(img_path_relative)
        first, *rest = named.parts
        if first == UPLOADS:
            return confined(self.roots.uploads, PurePosixPath(*rest), told=img_path_relative)
        inside = PurePosixPath(*rest) if first == DATA else named
        if not inside.parts or inside.parts[0] not in _KINDS:
            raise _forbidden(img_path_relative)
        if self.roots.data is None:
            raise NotConfigured(f"没有配置 {SECTION}.data_dir，不能读取 {img_path_relative}。")
        return confined(self.roots.data, inside, told=img_path_relative)

    def take(self, received: Path, name: str) -> dict[str, Any]:
        """Keep an upload. received: a file of ours on the same file system, gone afterwards. name: the client's.

        Raises InputInvalid, InputTooLarge of field file; then nothing is kept, and `received` stays.
        """
        shown = _readable(name)
        size = received.stat().st_size
        if size > self._bytes_max:
            message = f"file：{shown} 有 {size / 2**20:.1f} MB，上限 {self._bytes_max / 2**20:g} MB。"
            raise InputTooLarge(message, field="file", value=shown)
        kind, width, height = check_whole(received, field="file", name=shown, pixels_max=self._pixels_max)
        target = _moved(received, self.roots.uploads, *_safe(name, kind))
        return {
            "img_name": target.name,
            "img_path_relative": f"{UPLOADS}/{target.name}",
            "img_size_bytes": size,
            "img_dimensions": [width, height],
            "img_format": target.suffix[1:],
        }

    def sample(self, task: str, dataset_name: str, *, rng: Random) -> dict[str, Any]:
        """A random picture of the site's data as the 14 fields of a record. Raises InputInvalid, InputMissing."""
        return sample(self.roots.data, task, dataset_name, rng=rng, pixels_max=self._pixels_max)

    def write(self, record: Record, prediction: Prediction, usage: Usage) -> dict[str, Any]:
        """Write mask and JSON of one prediction; the answer. Raises OSError."""
        return write_answer(self.roots.outputs, record, prediction, usage)

    def clean(self, now: datetime, *, keep: timedelta, bytes_max: int) -> int:
        """Delete uploads and answers that are too old, then the oldest while they are too much; how many went."""
        answers = [self.roots.outputs / folder for folder in FOLDERS.values()]
        return sweep(self.roots.uploads, answers, now, keep=keep, bytes_max=bytes_max)

    def _of_any_root(self, named: str) -> Path:
        real = Path(named).resolve()
        for root in (self.roots.uploads, self.roots.data):
            if root is not None and real.is_relative_to(root.resolve()):
                return confined(root, PurePosixPath(real.relative_to(root.resolve())), told=named)
        raise _forbidden(named)


def confined(root: Path, relative: PurePosixPath, *, told: str, field: str = _NAMED) -> Path:
    """A file below root, whatever links and dots say. told: for messages. Raises InputForbidden, InputMissing."""
    top = root.resolve()
    try:
        real = (top / relative).resolve()
        is_file = real.is_file()
    except (OSError, RuntimeError, ValueError):  # a name that is too long, a loop of links, a zero byte
        raise InputMissing(f"{field}：没有图像 {_readable(told)}。", field=field, value=_readable(told)) from None
    # What begins with a dot is on its way in or out.
    if not real.is_relative_to(top) or any(part.startswith(".") for part in real.relative_to(top).parts):
        raise _forbidden(told, field)
    if not is_file:
        raise InputMissing(f"{field}：没有图像 {_readable(told)}。", field=field, value=_readable(told))
    return real


def _check_apart(roots: Roots) -> None:
    named = {"upload_dir": roots.uploads, "output_dir": roots.outputs, "data_dir": roots.data}
    real = [(key, path.resolve()) for key, path in named.items() if path is not None]
    for key, path in real:
        for other, outer in real:
            if key != other and path.is_relative_to(outer):
                message = f"{SECTION}.{key}（{path}）在 {other}（{outer}）之内：其中的旧文件会被清理，三者须互不包含。"
                raise NotConfigured(message)


def _safe(name: str, kind: Kind) -> tuple[str, str]:
    """Stem and suffix: the client's, where it says what the content is."""
    suffix = name.rpartition(".")[2].lower()
    return safe_stem(name), suffix if suffix in _SUFFIXES[kind] else _SUFFIXES[kind][0]


def _moved(received: Path, folder: Path, stem: str, suffix: str) -> Path:
    """Under the name, or where that is taken under another; a name is taken before anything is moved onto it."""
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{stem}.{suffix}"
    while True:
        try:
            os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640))
            break
        except FileExistsError:
            target = folder / f"{stem}-{secrets.token_hex(4)}.{suffix}"
    try:
        received.replace(target)
    except OSError:
        target.unlink(missing_ok=True)
        raise
    return target


def _readable(name: str) -> str:
    """Cut short and without control characters."""
    return "".join(letter if letter.isprintable() else "?" for letter in name)[:200]


def _forbidden(named: str, field: str = _NAMED) -> InputForbidden:
    shown = _readable(named)
    message = f"{field}：{shown} 不在允许的目录内；应以 {UPLOADS}/、{'/、'.join(_KINDS)}/ 开头。"
    return InputForbidden(message, field=field, value=shown)
