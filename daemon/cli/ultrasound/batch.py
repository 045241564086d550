"""`orwatch ultrasound batch`: the folder contract of the public challenge.

Its scorer looks for the mask of a picture where every "img" in the relative path, file name included, is "mask"; so
that is what is written unless told otherwise. A picture named img_01.png thus has its mask in mask_01.png.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from pydantic import ValidationError
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from daemon.cli.options import console
from daemon.cli.said import say
from daemon.config import Settings
from daemon.imaging.ultrasound.setup import ultrasound_rules_of
from imaging.errors import Failed, InputForbidden, InputInvalid, InputMissing, NotConfigured
from imaging.ultrasound.answers import png, write_whole
from imaging.ultrasound.files import confined
from imaging.ultrasound.models import Prediction, Ultrasound, known
from imaging.ultrasound.record import Record
from imaging.ultrasound.terms import Task

CLASSES = "classification.json"
_JSON_MAX = 256 * 2**20
_FIELD = "img_path_relative"


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One record that can be tried. number: in the list, from 1. target: of the mask."""

    number: int
    record: Record
    picture: Path
    target: Path


def run(settings: Settings, input_dir: Path, input_json: Path, output: Path, names: str) -> int:
    """Do all of them; how many could not be done, each of which was told."""
    raw = read_list(input_json, "input_json")
    items: list[Item] = []
    for number, each in enumerate(raw, start=1):
        try:
            items.append(_item(number, each, input_dir, output, names))
        except InputInvalid as error:
            say(f"第 {number} 条：{error.message}")
    _check_targets(items)
    engine = Ultrasound(ultrasound_rules_of(settings))
    engine.load()
    _check_models(engine, items)
    output.mkdir(parents=True, exist_ok=True)
    # What an earlier run left must not pass for what this one found.
    (output / CLASSES).unlink(missing_ok=True)
    classes: dict[str, Any] = {}
    done = 0
    for item, prediction in _predicted(engine, items, settings.imaging.ultrasound.batch_max):
        done += 1
        if prediction.mask is not None:
            write_whole(item.target, png(prediction.mask))
        else:
            found = {"probability": list(prediction.probability or ()), "prediction": prediction.prediction}
            classes[item.record.img_path_relative] = found
    write_whole(output / CLASSES, json.dumps(classes, ensure_ascii=False, indent=4, allow_nan=False).encode())
    say(f"完成 {done} / {len(raw)} 条，已写入 {output}。")
    return len(raw) - done


def mask_path(img_path_relative: str, names: str) -> PurePosixPath:
    """Where the mask of a picture goes: as the challenge's scorer looks for it, or by the folder's name only."""
    if names == "challenge":
        return PurePosixPath(img_path_relative.replace("img", "mask"))
    path = PurePosixPath(img_path_relative)
    return PurePosixPath(*("masks" if part == "imgs" else part for part in path.parts[:-1]), path.name).with_suffix(
        ".png"
    )


def read_list(path: Path, field: str) -> list[Any]:
    """The list in a JSON file, or in the only .json of a folder. Raises InputMissing, InputInvalid."""
    if path.is_dir():
        found = sorted(path.glob("*.json"))
        if len(found) != 1:
            raise InputMissing(
                f"{field}：{path} 里应恰有一个 .json，却有 {len(found)} 个。", field=field, value=str(path)
            )
        path = found[0]
    content = read_json(path, field)
    if not isinstance(content, list):
        raise InputInvalid(f"{field}：{path} 应为记录的列表（JSON 数组）。", field=field, value=path.name)
    return content


def read_json(path: Path, field: str) -> Any:
    try:
        with path.open("rb") as file:
            raw = file.read(_JSON_MAX + 1)
    except OSError as error:
        raise InputMissing(f"{field}：{path} 不可读（{error.strerror}）。", field=field, value=path.name) from None
    if len(raw) > _JSON_MAX:
        raise InputInvalid(f"{field}：{path} 超过 {_JSON_MAX >> 20} MB。", field=field, value=path.name)
    try:
        return json.loads(raw)
    except (ValueError, RecursionError):
        raise InputInvalid(f"{field}：{path} 不是有效的 JSON。", field=field, value=path.name) from None


def _item(number: int, raw: Any, input_dir: Path, output: Path, names: str) -> Item:
    try:
        record = Record.model_validate(raw)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(map(str, first["loc"])) or "record"
        message = f"字段 {field}：{first['msg']}，却是 {str(first['input'])[:80]}。"
        raise InputInvalid(message, field=field, value=str(first["input"])[:80]) from None
    known(record.task, record.dataset_name)
    named = PurePosixPath(record.img_path_relative)
    if named.is_absolute() or ".." in named.parts:
        message = f"{_FIELD}：{record.img_path_relative} 应为 --input 之内的相对路径。"
        raise InputForbidden(message, field=_FIELD, value=record.img_path_relative)
    picture = confined(input_dir, named, told=record.img_path_relative)
    return Item(number=number, record=record, picture=picture, target=output / mask_path(str(named), names))


def _check_targets(items: Sequence[Item]) -> None:
    """No mask may overwrite another, nor a picture."""
    pictures = {item.picture for item in items}
    targets: dict[Path, Item] = {}
    for item in items:
        if item.record.task != Task.SEGMENTATION:
            continue
        other = targets.setdefault(item.target, item)
        name = item.record.img_path_relative
        if other.picture != item.picture:
            both = f"第 {other.number} 条与第 {item.number} 条（{name}）"
            message = f"{both}的掩膜同为 {item.target}，请用 --mask-names folder。"
            raise InputInvalid(message, field=_FIELD, value=name)
        if item.target.resolve() in pictures:
            message = f"第 {item.number} 条的掩膜 {item.target} 会覆盖输入图像，请换一个 --output。"
            raise InputInvalid(message, field="output", value=str(item.target))


def _check_models(engine: Ultrasound, items: Sequence[Item]) -> None:
    """Before anything is done. Raises NotConfigured."""
    can = set(engine.can())
    for item in items:
        task, dataset = known(item.record.task, item.record.dataset_name)
        if (task.value, dataset.name) not in can:
            raise NotConfigured(f"第 {item.number} 条需要 {dataset.name} 的{task.zh}模型，没有配置。")


def _predicted(engine: Ultrasound, items: Sequence[Item], size: int) -> Iterator[tuple[Item, Prediction]]:
    """In batches, and one by one where a batch holds one that cannot be used; those are told and left out."""
    shown = console(err=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=shown, disable=not shown.is_terminal) as progress:
        bar = progress.add_task("超声", total=len(items))
        for start in range(0, len(items), size):
            some = items[start : start + size]
            try:
                found = engine.predict([item.record for item in some], [item.picture for item in some])
            except (InputInvalid, Failed):
                yield from _one_by_one(engine, some)
            else:
                yield from zip(some, found, strict=True)
            progress.advance(bar, len(some))


def _one_by_one(engine: Ultrasound, items: Sequence[Item]) -> Iterator[tuple[Item, Prediction]]:
    for item in items:
        try:
            [found] = engine.predict([item.record], [item.picture])
        except (InputInvalid, Failed) as error:
            say(f"第 {item.number} 条：{error.message.removeprefix('records[0].')}")
        else:
            yield item, found
