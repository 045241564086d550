"""What the commands of `orwatch ultrasound` share, and `predict`. They import it as they run: it loads OpenCV."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import typer

from daemon.cli.said import say
from daemon.config import Settings
from daemon.imaging.ultrasound.setup import ultrasound_rules_of
from imaging.pictures import Kind
from imaging.ultrasound.answers import write_answer
from imaging.ultrasound.memory import usage
from imaging.ultrasound.models import Ultrasound, known
from imaging.ultrasound.pictures import check_whole
from imaging.ultrasound.record import Record
from imaging.ultrasound.terms import dataset_of

_FORMATS = {Kind.PNG: ("png",), Kind.JPEG: ("jpg", "jpeg")}


def with_models(
    settings: Settings,
    *,
    model: Path | None,
    segmentation: Path | None,
    classification: Path | None,
    classification_4: Path | None,
    device: str | None,
) -> Settings:
    """What the command line names comes before all that is configured for the same."""
    ultrasound = settings.imaging.ultrasound
    changes: dict[str, Any] = {"device": device} if device else {}
    models: Mapping[str, Any] = ultrasound.models
    if model:
        changes |= {"model": model, "segmentation_model": None, "classification_model": None}
        changes["classification_model_4"], models = None, {}
    if segmentation:
        changes["segmentation_model"] = segmentation
        models = {name: each.model_copy(update={"segmentation": None}) for name, each in models.items()}
    for key, path in (("classification_model", classification), ("classification_model_4", classification_4)):
        if path:
            changes[key] = path
            # Those of two classes and of four do not take each other's place.
            is_4 = key.endswith("_4")
            models = {
                name: each.model_copy(update={"classification": None}) if _has_four(name) is is_4 else each
                for name, each in models.items()
            }
    changed = ultrasound.model_copy(update=changes | {"models": dict(models)})
    return settings.model_copy(update={"imaging": settings.imaging.model_copy(update={"ultrasound": changed})})


def predict(settings: Settings, images: Sequence[Path], *, task: str, dataset: str, out: Path | None) -> None:
    """Print the answer of one picture, or the list of several."""
    rules = ultrasound_rules_of(settings)
    _, chosen = known(task, dataset)
    records = [_record(path, task, dataset, chosen.organ.name, rules.pixels_max) for path in images]
    engine = Ultrasound(rules)
    engine.load()
    found = engine.predict(records, images)
    used = usage(engine.provider)
    outputs = out or settings.imaging.ultrasound.output_dir
    answers = [write_answer(outputs, record, each, used) for record, each in zip(records, found, strict=True)]
    for note in dict.fromkeys(each.note for each in found if each.note):
        say(f"提示：{note}")
    typer.echo(json.dumps(answers[0] if len(answers) == 1 else answers, ensure_ascii=False, indent=4, allow_nan=False))


def _record(path: Path, task: str, dataset: str, organ: str, pixels_max: int) -> Record:
    kind, width, height = check_whole(path, field="images", name=path.name, pixels_max=pixels_max)
    suffix = path.suffix[1:].lower()
    return Record(
        img_name=path.name,
        img_path_relative=str(path),
        img_size_bytes=path.stat().st_size,
        img_dimensions=[width, height],
        img_format=suffix if suffix in _FORMATS[kind] else _FORMATS[kind][0],
        task=task,
        dataset_name=dataset,
        organ=organ,
        data_partition_group="",
    )


def _has_four(name: str) -> bool:
    dataset = dataset_of(name)
    return dataset is not None and len(dataset.labels) == 4
