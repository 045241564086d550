"""`orwatch ultrasound score`: figures as tables, or as JSON."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any

import typer
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from rich import box
from rich.markup import escape
from rich.table import Table

from daemon.cli.options import console
from daemon.cli.ultrasound.batch import read_json, read_list
from imaging.errors import InputInvalid
from imaging.ultrasound.scores import ClassScore, MaskScore, score_classes, score_masks
from imaging.ultrasound.terms import dataset_of


class _Truth(BaseModel):
    model_config = ConfigDict(extra="ignore")

    img_path_relative: str
    dataset_name: str
    class_label_index: int | None = None


class _Found(BaseModel):
    model_config = ConfigDict(extra="ignore")

    probability: Annotated[list[Annotated[float, Field(allow_inf_nan=False)]], Field(min_length=2)]
    prediction: int


def score(
    *, truth: Path | None, masks: Path | None, truth_json: Path | None, predictions: Path | None, as_json: bool
) -> None:
    """Print what can be told of what was given: masks, classes, or both."""
    if (truth is None) != (masks is None) or (truth_json is None) != (predictions is None):
        raise typer.BadParameter("--truth 与 --masks、--truth-json 与 --predictions 应成对给出")
    if truth is None and truth_json is None:
        raise typer.BadParameter("请给出 --truth 与 --masks，或 --truth-json 与 --predictions")
    of_masks = score_masks(truth, masks) if truth and masks else None
    of_classes = None
    if truth_json and predictions:
        of_classes = score_classes(_labels(truth_json), _predictions(predictions))
    if as_json:
        content = ({"masks": _masks_dict(of_masks)} if of_masks else {}) | (
            {"classes": _classes_dict(of_classes)} if of_classes else {}
        )
        typer.echo(json.dumps(content, ensure_ascii=False, indent=2, allow_nan=False))
        return
    for table in (_masks_table(of_masks) if of_masks else None, _classes_table(of_classes) if of_classes else None):
        if table is not None:
            console().print(table)


def _labels(path: Path) -> dict[str, tuple[str, int]]:
    """By path: data set and true class, of the records that know it."""
    try:
        records = TypeAdapter(list[_Truth]).validate_python(read_list(path, "truth_json"))
    except ValidationError as error:
        raise _unusable(path, "truth_json", error) from None
    found = {}
    for record in records:
        if record.class_label_index is not None:
            dataset = dataset_of(record.dataset_name)
            found[record.img_path_relative] = (
                dataset.name if dataset else record.dataset_name,
                record.class_label_index,
            )
    if not found:
        message = f"truth_json：{path} 里没有带 class_label_index 的记录。"
        raise InputInvalid(message, field="truth_json", value=path.name)
    return found


def _predictions(path: Path) -> dict[str, tuple[list[float], int]]:
    try:
        found = TypeAdapter(dict[str, _Found]).validate_python(read_json(path, "predictions"))
    except ValidationError as error:
        raise _unusable(path, "predictions", error) from None
    return {name: (each.probability, each.prediction) for name, each in found.items()}


def _unusable(path: Path, field: str, error: ValidationError) -> InputInvalid:
    first = error.errors(include_url=False)[0]
    where = ".".join(map(str, first["loc"])) or "JSON"
    message = f"{field}：{path} 的 {where}：{first['msg']}，却是 {str(first['input'])[:80]}。"
    return InputInvalid(message, field=field, value=path.name)


def _grouped(scores: Sequence[MaskScore]) -> Mapping[str, list[MaskScore]]:
    groups: dict[str, list[MaskScore]] = {}
    for each in scores:
        groups.setdefault(each.group, []).append(each)
    return groups


def _mean(scores: Sequence[MaskScore]) -> dict[str, Any]:
    return {"count": len(scores), "dsc": fmean(each.dsc for each in scores), "nsd": fmean(each.nsd for each in scores)}


def _masks_dict(scores: Sequence[MaskScore]) -> dict[str, Any]:
    groups = {group: _mean(some) for group, some in _grouped(scores).items()}
    return {
        "datasets": groups,
        "macro": {name: fmean(each[name] for each in groups.values()) for name in ("dsc", "nsd")},
        "all": _mean(scores),
        "images": [{"name": each.name, "dsc": each.dsc, "nsd": each.nsd} for each in scores],
    }


def _classes_dict(scores: Sequence[ClassScore]) -> dict[str, Any]:
    known = [each.auc for each in scores if each.auc is not None]
    return {
        "datasets": {each.group: {"count": each.count, "accuracy": each.accuracy, "auc": each.auc} for each in scores},
        "macro": {"accuracy": fmean(each.accuracy for each in scores), "auc": fmean(known) if known else None},
    }


def _masks_table(scores: Sequence[MaskScore]) -> Table:
    content = _masks_dict(scores)
    table = _table("数据集", "图像", "DSC", "NSD（1 像素）")
    for group, each in content["datasets"].items():
        table.add_row(escape(group) or "-", str(each["count"]), f"{each['dsc']:.4f}", f"{each['nsd']:.4f}")
    table.add_section()
    macro, every = content["macro"], content["all"]
    table.add_row("各数据集平均", "", f"{macro['dsc']:.4f}", f"{macro['nsd']:.4f}")
    table.add_row("全部图像平均", str(every["count"]), f"{every['dsc']:.4f}", f"{every['nsd']:.4f}")
    return table


def _classes_table(scores: Sequence[ClassScore]) -> Table:
    macro = _classes_dict(scores)["macro"]
    table = _table("数据集", "图像", "准确率", "AUC")
    for each in scores:
        table.add_row(escape(each.group), str(each.count), f"{each.accuracy:.4f}", _shown(each.auc))
    table.add_section()
    table.add_row("各数据集平均", "", f"{macro['accuracy']:.4f}", _shown(macro["auc"]))
    return table


def _table(*headings: str) -> Table:
    table = Table(*headings, box=box.SIMPLE_HEAD)
    for column in table.columns[1:]:
        column.justify = "right"
    return table


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
