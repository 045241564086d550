"""The parts, data sets, labels and prompts that the ultrasound models were trained on, by their exact names.

People and older clients spell a data set in several ways ("BUS - BRA", "private_Breast_Luminal", "Breast_luminal"):
`dataset_of` knows them all. The organ follows from the data set; what a record says of it is never asked.
"""

import re
from dataclasses import dataclass
from enum import StrEnum

# As the seed's server says it.
UNSUPPORTED_TASK = "不支持的task类型"


class Task(StrEnum):
    SEGMENTATION = "segmentation"
    CLASSIFICATION = "classification"

    @property
    def zh(self) -> str:
        return {"segmentation": "分割", "classification": "分类"}[self.value]


@dataclass(frozen=True, slots=True, kw_only=True)
class Organ:
    """position: its number in the prompt of eight. is_tumor: what is looked for is a tumour, not the organ itself."""

    name: str
    zh: str
    position: int
    is_tumor: bool = False


BREAST = Organ(name="Breast", zh="乳腺", position=0, is_tumor=True)
HEART = Organ(name="Heart", zh="心脏", position=1)
THYROID = Organ(name="Thyroid", zh="甲状腺", position=2, is_tumor=True)
HEAD = Organ(name="Head", zh="胎儿头部", position=3)
KIDNEY = Organ(name="Kidney", zh="肾脏", position=4)
APPENDIX = Organ(name="Appendix", zh="阑尾", position=5)
LIVER = Organ(name="Liver", zh="肝脏", position=6)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """classes: their names in their order, as the seed writes them and in Chinese; () where it has none.

    note: what to tell with every classification.
    """

    name: str
    zh: str
    organ: Organ
    tasks: tuple[Task, ...]
    classes: tuple[tuple[str, str], ...] = ()
    note: str = ""

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(label for label, _ in self.classes)

    @property
    def labels_zh(self) -> tuple[str, ...]:
        return tuple(zh for _, zh in self.classes)


_SEG, _CLS, _BOTH = (Task.SEGMENTATION,), (Task.CLASSIFICATION,), (Task.SEGMENTATION, Task.CLASSIFICATION)
_TUMOR = (("benign", "良性"), ("malignant", "恶性"))
_STATE = (("normal", "正常"), ("abnormal", "异常"))
_SUBTYPE = (
    ("HER2", "HER2 型"),
    ("Luminal A", "管腔 A 型"),
    ("Luminal B", "管腔 B 型"),
    ("Triple Negative", "三阴性（乳腺癌）"),
)
LUMINAL = "private_Breast_luminal"
LUMINAL_NOTE = "分子分型（管腔亚型）的分类不可靠：公开挑战赛中最好的 AUC 仅 0.57，接近随机，只能作研究参考。"

DATASETS = (
    Dataset(name="BUS-BRA", zh="乳腺", organ=BREAST, tasks=_BOTH, classes=_TUMOR),
    Dataset(name="BUSI", zh="乳腺（BUSI）", organ=BREAST, tasks=_BOTH, classes=_TUMOR),
    Dataset(name="BUSIS", zh="乳腺（BUSIS）", organ=BREAST, tasks=_SEG),
    Dataset(name="CAMUS", zh="心脏", organ=HEART, tasks=_SEG),
    Dataset(name="DDTI", zh="甲状腺", organ=THYROID, tasks=_SEG),
    Dataset(name="Fetal_HC", zh="胎儿头部", organ=HEAD, tasks=_SEG),
    Dataset(name="KidneyUS", zh="肾脏", organ=KIDNEY, tasks=_SEG),
    Dataset(name="Appendix", zh="阑尾", organ=APPENDIX, tasks=_CLS, classes=_STATE),
    Dataset(name="Fatty-Liver", zh="脂肪肝", organ=LIVER, tasks=_CLS, classes=_STATE),
    Dataset(name="private_Thyroid", zh="甲状腺（私有）", organ=THYROID, tasks=_SEG),
    Dataset(name="private_Kidney", zh="肾脏（私有）", organ=KIDNEY, tasks=_SEG),
    Dataset(name="private_Fetal_Head", zh="胎儿头部（私有）", organ=HEAD, tasks=_SEG),
    Dataset(name="private_Cardiac", zh="心脏（私有）", organ=HEART, tasks=_SEG),
    Dataset(name="private_Breast", zh="乳腺（私有）", organ=BREAST, tasks=_BOTH, classes=_TUMOR),
    Dataset(
        name=LUMINAL,
        zh="乳腺管腔（私有）",
        organ=BREAST,
        tasks=_BOTH,
        classes=_SUBTYPE,
        note=LUMINAL_NOTE,
    ),
    Dataset(name="private_Liver", zh="肝脏（私有）", organ=LIVER, tasks=_CLS, classes=_STATE),
    Dataset(name="private_Appendix", zh="阑尾（私有）", organ=APPENDIX, tasks=_CLS, classes=_STATE),
)

# Inputs of a model that takes prompts, with their lengths.
PROMPTS = {"position": 8, "task": 2, "nature": 2, "type": 3}

_HYPHEN = re.compile(r"\s*[-‐‑–—]\s*")


def _key(name: str) -> str:
    return _HYPHEN.sub("-", name.strip()).casefold()


_BY_KEY = {_key(dataset.name): dataset for dataset in DATASETS}
# The challenge's own files write it so.
_BY_KEY[_key("Breast_luminal")] = _BY_KEY[_key(LUMINAL)]


def task_of(name: str) -> Task | None:
    """The task of exactly this name."""
    return next((task for task in Task if task == name), None)


def dataset_of(name: str) -> Dataset | None:
    """Without regard to case and to spaces around a hyphen; None for one that is not known."""
    return _BY_KEY.get(_key(name))


def prompts_of(dataset: Dataset, task: Task) -> dict[str, tuple[float, ...]]:
    """One-hot: position (breast, cardiac, thyroid, head, kidney, appendix, liver, any other), task (segmentation,
    classification), nature (tumour, organ), type (whole, local, location; always whole)."""
    chosen = {
        "position": dataset.organ.position,
        "task": int(task is Task.CLASSIFICATION),
        "nature": int(not dataset.organ.is_tumor),
        "type": 0,
    }
    return {name: tuple(float(index == chosen[name]) for index in range(size)) for name, size in PROMPTS.items()}
