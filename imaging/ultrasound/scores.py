"""The metrics of the challenge: DSC and NSD of masks, accuracy and AUC of classes.

DSC is 2 * intersection / (a + b + 1e-6). NSD is the share of both boundaries that lies within one pixel of the other;
a boundary is made of the pixels inside that touch, by a side, one outside (the edge of the picture is no boundary).
Where both masks are empty both are 1: nothing was there and nothing was found. Where one is, both are 0.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from imaging.errors import InputInvalid, InputMissing
from imaging.ultrasound.pictures import open_bounded

Mask = npt.NDArray[np.bool_]

TOLERANCE_PX = 1.0
_SUFFIXES = (".png", ".jpg", ".jpeg")
_PIXELS_MAX = 200_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskScore:
    """name: of the mask below its folder. group: its data set, as the folders have it."""

    name: str
    group: str
    dsc: float
    nsd: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassScore:
    """auc: of two classes, else the mean over the classes, each against the rest; None where only one class occurs."""

    group: str
    count: int
    accuracy: float
    auc: float | None


def dsc(truth: Mask, found: Mask) -> float:
    if not truth.any() and not found.any():
        return 1.0
    return float(2.0 * np.count_nonzero(truth & found) / (np.count_nonzero(truth) + np.count_nonzero(found) + 1e-6))


def nsd(truth: Mask, found: Mask, tolerance_px: float = TOLERANCE_PX) -> float:
    if truth.any() != found.any():
        return 0.0
    edges = _boundary(truth), _boundary(found)
    counts = np.count_nonzero(edges[0]), np.count_nonzero(edges[1])
    if min(counts) == 0:  # a mask that is empty, or full, has no boundary
        return float(np.array_equal(truth, found))
    near = [np.count_nonzero(edge & (_distance(other) <= tolerance_px + 1e-4)) for edge, other in (edges, edges[::-1])]
    return float(sum(near) / sum(counts))


def score_masks(truth: Path, masks: Path) -> list[MaskScore]:
    """Every mask below `truth` against the one of the same name below `masks`.

    Below `truth` only what lies in a folder `masks` counts, if there is any such. Raises InputMissing, InputInvalid.
    """
    names = _masks_below(truth)
    if absent := [name for name in names if not (masks / name).is_file()]:
        shown = f"{absent[0]} 等" if len(absent) > 1 else absent[0]
        raise InputMissing(f"masks：缺少 {len(absent)} 个掩膜：{shown}。", field="masks", value=str(absent[0]))
    found = []
    for name in names:
        true, ours = _mask(truth / name, "truth"), _mask(masks / name, "masks")
        if true.shape != ours.shape:
            sizes = [
                f"{path / name}（{mask.shape[1]}×{mask.shape[0]}）" for path, mask in ((truth, true), (masks, ours))
            ]
            message = f"masks：{sizes[0]} 与 {sizes[1]} 尺寸不同，应当相同。"
            raise InputInvalid(message, field="masks", value=str(name))
        found.append(MaskScore(name=name.as_posix(), group=_group(name), dsc=dsc(true, ours), nsd=nsd(true, ours)))
    return found


def score_classes(
    truth: Mapping[str, tuple[str, int]], found: Mapping[str, tuple[Sequence[float], int]]
) -> list[ClassScore]:
    """truth: by path, its data set and class. found: by path, the probabilities and the class. Per data set.

    Raises InputMissing where a path has no prediction, InputInvalid where its class has no probability.
    """
    groups: dict[str, list[tuple[int, Sequence[float], int]]] = {}
    for path, (group, label) in truth.items():
        if path not in found:
            raise InputMissing(f"predictions：缺少 {path} 的预测。", field="predictions", value=path)
        probability, prediction = found[path]
        if not 0 <= label < len(probability):
            message = f"predictions：{path} 有 {len(probability)} 个概率，而真实类别是 {label}。"
            raise InputInvalid(message, field="predictions", value=path)
        groups.setdefault(group, []).append((label, probability, prediction))
    return [_classes(group, rows) for group, rows in groups.items()]


def auc(scores: Sequence[float], is_positive: Sequence[bool]) -> float | None:
    """The chance that a positive scores above a negative, ties counting half; None where one kind is missing."""
    values, positive = np.asarray(scores, np.float64), np.asarray(is_positive, bool)
    count = int(positive.sum())
    if count in (0, len(values)):
        return None
    _, places, sizes = np.unique(values, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(sizes) - (sizes - 1) / 2)[places]
    return float((ranks[positive].sum() - count * (count + 1) / 2) / (count * (len(values) - count)))


def _classes(group: str, rows: Sequence[tuple[int, Sequence[float], int]]) -> ClassScore:
    sizes = {len(probability) for _, probability, _ in rows}
    if len(sizes) > 1:
        message = f"predictions：数据集 {group} 的概率个数不一致：{'、'.join(map(str, sorted(sizes)))}。"
        raise InputInvalid(message, field="predictions", value=group)
    size = sizes.pop()
    positives = [1] if size == 2 else list(range(size))
    each = [auc([row[1][index] for row in rows], [row[0] == index for row in rows]) for index in positives]
    known = [value for value in each if value is not None]
    return ClassScore(
        group=group,
        count=len(rows),
        accuracy=sum(label == prediction for label, _, prediction in rows) / len(rows),
        auc=sum(known) / len(known) if known else None,
    )


def _boundary(mask: Mask) -> Mask:
    import cv2

    cross = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]], np.uint8)
    return np.asarray(mask & (cv2.erode(mask.astype(np.uint8), cross) == 0), np.bool_)


def _distance(edge: Mask) -> npt.NDArray[np.float32]:
    """How far each pixel is from the nearest one of the edge."""
    import cv2

    return np.asarray(cv2.distanceTransform((~edge).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE), np.float32)


def _masks_below(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise InputMissing(f"truth：没有文件夹 {folder}。", field="truth", value=str(folder))
    names = [path.relative_to(folder) for path in sorted(folder.rglob("*")) if path.suffix.lower() in _SUFFIXES]
    chosen = [name for name in names if "masks" in name.parts[:-1]] or names
    if not chosen:
        raise InputMissing(f"truth：{folder} 里没有掩膜图像。", field="truth", value=str(folder))
    return chosen


def _mask(path: Path, field: str) -> Mask:
    """Raises InputInvalid where it holds other values than 0 and 255, or 0 and 1."""
    values = open_bounded(path, field=field, pixels_max=_PIXELS_MAX).max(axis=2)
    held = np.flatnonzero(np.bincount(values.ravel(), minlength=256))
    if not (set(held) <= {0, 255} or set(held) <= {0, 1}):
        message = f"{field}：{path} 的像素值应只有 0 和 255，却有 {'、'.join(map(str, held[:5]))} 等 {len(held)} 种。"
        raise InputInvalid(message, field=field, value=path.name)
    return np.asarray(values > 0, np.bool_)


def _size(mask: Mask) -> str:
    return f"{mask.shape[1]}×{mask.shape[0]}"


def _group(name: Path) -> str:
    """segmentation/CAMUS/masks/1.png -> CAMUS; "" for a mask that lies in no folder."""
    folders = [part for part in name.parts[:-1] if part != "masks"]
    return folders[-1] if folders else ""
