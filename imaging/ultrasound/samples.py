"""A random picture of the site's data: `segmentation/<set>/imgs/`, `classification/<set>/<class or imgs>/`."""

from pathlib import Path
from random import Random
from typing import Any

from imaging.errors import InputInvalid, InputMissing
from imaging.ultrasound.pictures import size_of
from imaging.ultrasound.terms import UNSUPPORTED_TASK, Dataset, Task, dataset_of, task_of

_SUFFIXES = (".png", ".jpg", ".jpeg")
# Pictures that turn out to be broken, and folders that are empty, are passed by so often.
_TRIES_MAX = 20


def sample(data: Path | None, task: str, dataset_name: str, *, rng: Random, pixels_max: int) -> dict[str, Any]:
    """The 14 fields of its record; organ is the set's name, as the seed has it.

    Raises InputInvalid of an unknown task, InputMissing where there is no such set or no picture in it.
    """
    wanted = task_of(task)
    if wanted is None:
        raise InputInvalid(UNSUPPORTED_TASK, field="task", value=task[:64])
    dataset = dataset_of(dataset_name)
    if dataset is None or wanted not in dataset.tasks:
        raise _missing(f"没有{wanted.zh}数据集 {dataset_name[:64]}", dataset_name)
    folder = _folder(data, wanted, dataset)
    if data is None or folder is None:
        raise _missing(f"数据目录里没有{wanted.zh}数据集 {dataset.name}", dataset_name)
    for path in _candidates(folder, wanted, rng):
        try:
            width, height = size_of(path, field="dataset_name", pixels_max=pixels_max)
        except InputInvalid:
            continue
        return {
            "img_name": path.name,
            "img_path_relative": path.relative_to(data).as_posix(),
            "img_size_bytes": path.stat().st_size,
            "img_dimensions": [width, height],
            "img_format": path.suffix[1:].lower(),
            "task": wanted.value,
            "dataset_name": dataset.name,
            "organ": dataset.name,
            "data_partition_group": "public_all",
            "mask_name": None,
            "mask_path_relative": None,
            "seg_target_info": None,
            "class_label_index": None,
            "class_label_name": None,
        }
    raise _missing(f"{wanted.zh}数据集 {dataset.name} 里没有可用的图像", dataset_name)


def _folder(data: Path | None, task: Task, dataset: Dataset) -> Path | None:
    """The folder of a data set, however it is spelled; its exact name first."""
    if data is None:
        return None
    found = [path for path in _below(data / task.value) if path.is_dir() and dataset_of(path.name) is dataset]
    return min(found, key=lambda path: (path.name != dataset.name, path.name), default=None)


def _candidates(folder: Path, task: Task, rng: Random) -> list[Path]:
    """A picture of each of some folders in random order, then more of them."""
    if task is Task.SEGMENTATION:
        folders = [folder / "imgs"]
    else:
        folders = [path for path in _below(folder) if path.is_dir() and path.name != "masks"]
    rng.shuffle(folders)
    top = folder.parent.parent.resolve()
    chosen = []
    for each in folders:
        pictures = [path for path in _below(each) if path.suffix.lower() in _SUFFIXES]
        some = rng.sample(pictures, min(len(pictures), _TRIES_MAX))
        chosen += [path for path in some if path.is_file() and path.resolve().is_relative_to(top)]
        if len(chosen) >= _TRIES_MAX:
            break
    return chosen


def _below(folder: Path) -> list[Path]:
    """In a stable order, without what is hidden; nothing where there is no such folder."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def _missing(why: str, dataset_name: str) -> InputMissing:
    return InputMissing(f"dataset_name：{why}。", field="dataset_name", value=dataset_name[:64])
