"""Ultrasound pictures through local ONNX models: classes and masks, for several records at a time.

Which model serves a record: the data set's own, else the task's, else the one for everything. Pictures are decoded one
after the other and seen through windows (ultrasound_geometry); windows of different pictures share a run of a model.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from imaging.errors import Failed, InputInvalid, InputTooLarge, NotConfigured
from imaging.ultrasound.geometry import Floats, Mosaic, Plan, middle, stretched, whole, windows
from imaging.ultrasound.network import CLS_2, CLS_4, SEG, Network
from imaging.ultrasound.pictures import open_bounded, size_of
from imaging.ultrasound.record import Record
from imaging.ultrasound.terms import DATASETS, PROMPTS, UNSUPPORTED_TASK, Dataset, Task, dataset_of, prompts_of, task_of
from inference.errors import ModelError
from inference.runtime import CPU, CUDA, Device

SECTION = "imaging.ultrasound"

_MASKS_PIXELS_MAX = 500_000_000  # of all masks of a call
_SEEN_MIN = 0.7


@dataclass(frozen=True, slots=True, kw_only=True)
class UltrasoundRules:
    """model: one for everything. models: of one data set, its segmentation and its classification."""

    model: Path | None
    segmentation_model: Path | None
    classification_model: Path | None
    classification_model_4: Path | None
    models: Mapping[str, tuple[Path | None, Path | None]]
    device: Device
    threads: int
    batch_max: int
    pixels_max: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """dataset: its exact name. mask: (height, width) of the picture, 0 or 255. note: what to tell a person, in Chinese.

    probability, prediction, labels, labels_zh: of a classification. seconds: of wall time, with reading the picture; of
    a call with several, its share.
    """

    task: Task
    dataset: str
    organ: str
    probability: tuple[float, ...] | None = None
    prediction: int | None = None
    labels: tuple[str, ...] = ()
    labels_zh: tuple[str, ...] = ()
    mask: npt.NDArray[np.uint8] | None = None
    seconds: float
    note: str = ""


class Ultrasound:
    """All configured models. Blocking; any thread, one call at a time."""

    def __init__(self, rules: UltrasoundRules) -> None:
        """Checks nothing and loads nothing."""
        self._rules = rules
        self._served: dict[tuple[Task, str], tuple[Network, str]] = {}

    @property
    def provider(self) -> str:
        """The execution provider of ONNX Runtime: CUDA's where any model runs there."""
        used = {network.provider for network, _ in self._served.values()}
        return CUDA if CUDA in used else CPU

    def load(self) -> None:
        """Load every configured model, each file once. Raises NotConfigured, and the ModelErrors that name the key."""
        wanted = list(_wanted(self._rules))
        if not wanted:
            keys = "model、segmentation_model、classification_model、classification_model_4、models"
            raise NotConfigured(f"没有配置超声模型：请设置 {SECTION} 的 {keys} 之一。")
        loaded: dict[Path, Network] = {}
        served: dict[tuple[Task, str], tuple[Network, str]] = {}
        for key, path, heads, uses in wanted:
            network = loaded.get(path.resolve())
            if network is None or not set(heads) & set(network.heads):
                device, threads = self._rules.device, self._rules.threads
                network = Network.load(path, key, device=device, threads=threads, heads=heads)
                loaded[path.resolve()] = network
            for task, dataset in uses:
                head = _head(task, dataset)
                if head in network.heads:
                    served.setdefault((task, dataset.name), (network, head))
        self._served = served

    def can(self) -> list[tuple[str, str]]:
        """The pairs of task and data set that have a model."""
        return [
            (task.value, dataset.name) for task in Task for dataset in DATASETS if (task, dataset.name) in self._served
        ]

    def predict(self, records: Sequence[Record], paths: Sequence[Path]) -> list[Prediction]:
        """One prediction for each record, in their order. paths: the pictures.

        Raises InputInvalid of a field like records[3].dataset_name, NotConfigured where there is no model, Failed.
        """
        works = [
            self._work(index, record, path) for index, (record, path) in enumerate(zip(records, paths, strict=True))
        ]
        if sum(work.pixels for work in works) > max(_MASKS_PIXELS_MAX, self._rules.pixels_max):
            message = f"一次请求的分割图像合计超过 {_MASKS_PIXELS_MAX // 1_000_000} 百万像素，请分几次提交。"
            raise InputTooLarge(message, field="records", value=str(len(records)))
        groups: dict[tuple[int, str], list[_Work]] = {}
        for work in works:
            groups.setdefault((id(work.network), work.head), []).append(work)
        for group in groups.values():
            self._run_all(group)
        return [work.prediction() for work in works]

    def _work(self, index: int, record: Record, path: Path) -> "_Work":
        place = f"records[{index}]"
        task, dataset = known(record.task, record.dataset_name, place=f"{place}.")
        if (task, dataset.name) not in self._served:
            raise NotConfigured(f"没有配置可用于 {dataset.name} {task.zh}的超声模型（{SECTION}）。")
        network, head = self._served[task, dataset.name]
        began = time.perf_counter()
        width, height = size_of(path, field=f"{place}.img_path_relative", pixels_max=self._rules.pixels_max)
        return _Work(
            place=place,
            path=path,
            task=task,
            dataset=dataset,
            network=network,
            head=head,
            plan=_plan(network, task, height, width),
            seconds=time.perf_counter() - began,
        )

    def _run_all(self, works: "Sequence[_Work]") -> None:
        """Run the works of one model and one output, in batches."""
        batch: list[tuple[_Work, int, Floats]] = []
        for work in works:
            for index, window in enumerate(self._seen(work)):
                batch.append((work, index, window))
                if len(batch) == self._rules.batch_max:
                    _run(batch)
                    batch.clear()
        if batch:
            _run(batch)

    def _seen(self, work: "_Work") -> Iterator[Floats]:
        began = time.perf_counter()
        rgb = open_bounded(work.path, field=f"{work.place}.img_path_relative", pixels_max=self._rules.pixels_max)
        if rgb.shape[:2] != work.plan.size:
            message = f"{work.place}.img_path_relative：{work.path.name} 在读取时被改动了。"
            raise InputInvalid(message, field=f"{work.place}.img_path_relative", value=work.path.name)
        for window in windows(rgb, work.plan):
            work.seconds += time.perf_counter() - began
            yield window
            began = time.perf_counter()


def known(task: str, dataset_name: str, *, place: str = "") -> tuple[Task, Dataset]:
    """Task and data set by their names. place: what to put before the field. Raises InputInvalid."""
    wanted = task_of(task)
    if wanted is None:
        raise InputInvalid(UNSUPPORTED_TASK, field=f"{place}task", value=task[:64])
    dataset = dataset_of(dataset_name)
    if dataset is None or wanted not in dataset.tasks:
        field, names = f"{place}dataset_name", "、".join(each.name for each in DATASETS if wanted in each.tasks)
        message = f"{field}：{wanted.zh}任务没有数据集 {dataset_name[:64]}；可用：{names}。"
        raise InputInvalid(message, field=field, value=dataset_name[:64])
    return wanted, dataset


@dataclass(slots=True, kw_only=True)
class _Work:
    """One record on its way. place: of the record, in messages."""

    place: str
    path: Path
    task: Task
    dataset: Dataset
    network: Network
    head: str
    plan: Plan
    seconds: float
    mosaic: Mosaic | None = None
    mask: npt.NDArray[np.uint8] | None = None
    scores: Floats | None = None

    @property
    def pixels(self) -> int:
        """How many pixels the mask has."""
        return self.plan.size[0] * self.plan.size[1] if self.head == SEG else 0

    def take(self, index: int, found: Floats) -> None:
        """What the model said of one window."""
        if self.head != SEG:
            self.scores = found
            return
        self.mosaic = self.mosaic or Mosaic(self.plan)
        self.mosaic.add(index, found)
        if index == len(self.plan.starts) - 1:
            self.mask, self.mosaic = self.mosaic.mask(), None

    def prediction(self) -> Prediction:
        organ = self.dataset.organ.name
        if self.head == SEG:
            return Prediction(
                task=self.task, dataset=self.dataset.name, organ=organ, mask=self.mask, seconds=self.seconds
            )
        assert self.scores is not None
        return Prediction(
            task=self.task,
            dataset=self.dataset.name,
            organ=organ,
            probability=tuple(float(score) for score in self.scores),
            prediction=int(self.scores.argmax()),
            labels=self.dataset.labels,
            labels_zh=self.dataset.labels_zh,
            seconds=self.seconds,
            note=" ".join(note for note in (self.dataset.note, _seen_note(self.plan)) if note),
        )


def _run(batch: "Sequence[tuple[_Work, int, Floats]]") -> None:
    began = time.perf_counter()
    first = batch[0][0]
    prompts = [prompts_of(work.dataset, work.task) for work, _, _ in batch]
    try:
        found = first.network.run(
            first.head,
            np.stack([window for _, _, window in batch]),
            {name: np.array([each[name] for each in prompts], np.float32) for name in PROMPTS},
        )
    except ModelError as error:
        raise Failed(f"超声模型 {first.network.path.name} 运行失败：{error}") from error
    share = (time.perf_counter() - began) / len(batch)
    for (work, index, _), answer in zip(batch, found, strict=True):
        began = time.perf_counter()
        work.take(index, answer)
        work.seconds += share + time.perf_counter() - began


def _plan(network: Network, task: Task, height: int, width: int) -> Plan:
    if network.is_stretching:
        return stretched(height, width, network.side)
    return (whole if task is Task.SEGMENTATION else middle)(height, width, network.side)


def _seen_note(plan: Plan) -> str:
    if plan.seen >= _SEEN_MIN:
        return ""
    return f"图像较长，分类只看了正中的正方形区域（占全图 {plan.seen:.0%}），可先裁剪再分类。"


def _head(task: Task, dataset: Dataset) -> str:
    if task is Task.SEGMENTATION:
        return SEG
    return CLS_4 if len(dataset.labels) == 4 else CLS_2


_Use = tuple[Task, Dataset]


def _wanted(rules: UltrasoundRules) -> Iterator[tuple[str, Path, tuple[str, ...], list[_Use]]]:
    """Key, file, the outputs of which it needs one, and what it is for; who comes first, serves."""
    uses = [(task, dataset) for task in Task for dataset in DATASETS if task in dataset.tasks]
    for name, paths in rules.models.items():
        dataset = dataset_of(name)
        if dataset is None:
            known = "、".join(each.name for each in DATASETS)
            raise NotConfigured(f"{SECTION}.models.{name}：没有这个数据集；可用：{known}。")
        for task, path in zip(Task, paths, strict=True):
            key = f"{SECTION}.models.{name}.{task}"
            if path is not None and task not in dataset.tasks:
                raise NotConfigured(f"{key}：{dataset.name} 没有{task.zh}任务，请删去这一项。")
            if path is not None:
                yield key, path, (_head(task, dataset),), [(task, dataset)]
    for key, path, heads in (
        ("segmentation_model", rules.segmentation_model, (SEG,)),
        ("classification_model_4", rules.classification_model_4, (CLS_4,)),
        ("classification_model", rules.classification_model, (CLS_2,)),
        ("model", rules.model, (SEG, CLS_2, CLS_4)),
    ):
        if path is not None:
            task_uses = [use for use in uses if key == "model" or use[0] is _task_of_key(key)]
            served = [use for use in task_uses if key != "classification_model_4" or _head(*use) == CLS_4]
            yield f"{SECTION}.{key}", path, heads, served


def _task_of_key(key: str) -> Task:
    return Task.SEGMENTATION if key == "segmentation_model" else Task.CLASSIFICATION
