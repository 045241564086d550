"""What ultrasound clients get. What they send is the seed's record, `imaging.ultrasound.record.Record`."""

from collections.abc import Collection
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from imaging.ultrasound.terms import DATASETS, Task

# What the seed's page lists. Its thyroid is labelled private_Kidney, an evident slip.
_SHOWN = {
    Task.SEGMENTATION: ("BUS-BRA", "CAMUS", "Fetal_HC", "KidneyUS", "private_Thyroid"),
    Task.CLASSIFICATION: ("private_Appendix", "BUS-BRA", "Fatty-Liver", "private_Breast_luminal"),
}


class UploadedPicture(BaseModel):
    """What the next request's record takes over."""

    img_name: str
    img_path_relative: str
    img_size_bytes: int
    img_dimensions: list[int] = Field(description="[宽, 高]")
    img_format: str


class SampledRecord(UploadedPicture):
    """A whole record; what a request does not fill is null."""

    task: str
    dataset_name: str
    organ: str
    data_partition_group: str
    mask_name: None = None
    mask_path_relative: None = None
    seg_target_info: None = None
    class_label_index: None = None
    class_label_name: None = None


class Answer(UploadedPicture):
    """The request's own fields as they came, and what was found. 分割给出掩膜，分类给出概率。"""

    model_config = ConfigDict(extra="allow")
    task: str
    dataset_name: str
    organ: str
    data_partition_group: str
    inference_time_sec: float = Field(description="推理耗时（秒），含读图")
    memory_usage_mb: float = Field(description="进程内存（MB）")
    gpu_memory_usage_mb: float = Field(description="显存占用（MB），没有 GPU 时为 0")
    gpu_memory_reserved_mb: float = Field(description="分配显存（MB），没有 GPU 时为 0")
    json_path: str = Field(description="服务器上保存的同一份 JSON")
    mask_name: Any = Field(None, description="分割：掩膜文件名；分类：请求中的值")
    mask_path_relative: Any = None
    mask_path_absolute: str | None = Field(None, description="仅分割")
    probability: list[float] | None = Field(None, description="仅分类：各类概率")
    prediction: int | None = Field(None, description="仅分类：概率最大的类")
    label_names: list[str] | None = Field(None, description="仅分类：各类名称，按类别编号")
    label_names_zh: list[str] | None = Field(None, description="仅分类：各类中文名称")
    note: str | None = Field(None, description="对结果须知道的，如不可靠的分型、只看了图像的一部分；没有则无此项")


class Label(BaseModel):
    name: str
    name_zh: str


class Part(BaseModel):
    """One dataset as one task sees it."""

    task: str
    dataset_name: str
    name_zh: str
    organ: str
    labels: list[Label] = Field(description="仅分类，按类别编号")
    has_model: bool
    shown_as: str | None = Field(description="页面上的部位名称；null：页面不列出")
    note: str = Field(description="对结果须知道的；空：没有")


class Parts(BaseModel):
    """why_not: why nothing can be judged now."""

    tasks: list[str]
    parts: list[Part]
    why_not: str


def parts_of(can: Collection[tuple[str, str]], why_not: str) -> Parts:
    """can: the (task, dataset) pairs that have a model. Those of the page first, in its order."""
    parts = []
    for task in Task:
        shown = _SHOWN[task]
        for dataset in sorted(DATASETS, key=lambda each: shown.index(each.name) if each.name in shown else len(shown)):
            if task not in dataset.tasks:
                continue
            is_classes = task is Task.CLASSIFICATION
            pairs = zip(dataset.labels, dataset.labels_zh, strict=True) if is_classes else ()
            parts.append(
                Part(
                    task=task,
                    dataset_name=dataset.name,
                    name_zh=dataset.zh,
                    organ=dataset.organ.name,
                    labels=[Label(name=name, name_zh=zh) for name, zh in pairs],
                    has_model=(task.value, dataset.name) in can,
                    shown_as=dataset.zh.removesuffix("（私有）") if dataset.name in shown else None,
                    note=dataset.note if is_classes else "",
                )
            )
    return Parts(tasks=[*Task], parts=parts, why_not=why_not)
