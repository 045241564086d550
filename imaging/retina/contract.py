"""What a retina model takes and gives, whoever runs it: read from what it declares, and held against every answer.

One picture input (batch, 1 or 3, height, width) of float32, float16 or uint8. One score output (batch, labels), one
map output (batch, labels, height, width), or both. Maps may have one channel more than there are labels: the first is
then none of them. Nothing else of the model is looked at.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from imaging.errors import Failed, NotConfigured
from inference.runtime import Device

SECTION = "imaging.retina"
# A batch is as large as fits into this, as a request and as its answer; several are on their way at once.
_BATCH_MAX = 32 * 2**20
# An answer, and a request to a model that takes no less, may have so many bytes.
ANSWER_MAX = 256 * 2**20

Arrays = Mapping[str, npt.NDArray[Any]]
Activation = Literal["none", "sigmoid", "softmax"]

_DTYPES = {"FP32": np.float32, "FP16": np.float16, "UINT8": np.uint8}
_FLOATS = ("FP32", "FP16", "FP64")
# What rounding may add to a probability.
_SLACK = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class RetinaRules:
    """The model's part of [imaging.retina]; labels: one for each score, in its order."""

    server_url: str | None
    protocol: Literal["grpc", "http"]
    model_name: str | None
    model_version: str
    model_path: Path | None
    device: Device
    allow_http: bool
    ca_file: Path | None
    timeout_s: float
    connect_timeout_s: float
    labels: tuple[str, ...]
    width: int | None
    height: int | None
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    activation: Activation
    batch_max: int
    requests_max: int
    slices_max: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """As a model declares it. dtype: in KServe's words. None in shape: left open."""

    name: str
    dtype: str
    shape: tuple[int | None, ...]

    def __str__(self) -> str:
        return f"{self.name} {self.dtype} [{', '.join('?' if size is None else str(size) for size in self.shape)}]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Contract:
    """A model that fits our configuration. batch: the most pictures of a run; is_fixed: every run has so many.

    scores, maps: names of its outputs. labels: ours.
    """

    name: str
    version: str
    input: Tensor
    channels: int
    width: int
    height: int
    batch: int
    is_fixed: bool
    scores: str | None
    maps: str | None
    labels: tuple[str, ...]

    @property
    def outputs(self) -> tuple[str, ...]:
        return tuple(name for name in (self.scores, self.maps) if name is not None)


class Runner(Protocol):
    """Whoever runs the model. at_once: how many runs may be on their way together."""

    at_once: int

    async def contract(self, *, within_s: float | None = None) -> Contract:
        """What the model is now. within_s: instead of the usual deadline."""

    async def run(self, contract: Contract, pictures: npt.NDArray[Any]) -> Arrays:
        """The outputs for (batch, channels, height, width)."""

    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Opinion:
    """What a model says of one picture.

    probabilities: one for each label. maps: (labels, height, width), or with none of them first.
    """

    probabilities: tuple[float, ...]
    maps: npt.NDArray[np.float32] | None


def contract_of(
    rules: RetinaRules,
    *,
    name: str,
    version: str,
    inputs: Sequence[Tensor],
    outputs: Sequence[Tensor],
    batch_max: int | None = None,
) -> Contract:
    """batch_max: of the server. Raises NotConfigured: the model is none of this kind, or does not fit the keys."""
    if not rules.labels:
        raise _misfit("labels", f"没有设置；模型 {name} 的每个分数需要一个标签")
    if len(set(rules.labels)) < len(rules.labels):
        raise _misfit("labels", f"含有相同的标签：{'、'.join(rules.labels)[:120]}")
    picture = _picture(name, inputs)
    channels = picture.shape[1] or 1
    height = _agreed(name, "height", picture.shape[2], rules.height)
    width = _agreed(name, "width", picture.shape[3], rules.width)
    scores = _one(name, [tensor for tensor in outputs if len(tensor.shape) == 2], "分数")
    maps = _one(name, [tensor for tensor in outputs if len(tensor.shape) == 4], "概率图")
    if scores is None and maps is None:
        raise _misfit(
            "model_name", f"模型 {name} 应有分数输出（批, 标签）或概率图输出（批, 标签, 高, 宽），{_told(outputs)}"
        )
    _check_labels(name, rules.labels, scores, maps)
    if picture.dtype == "UINT8" and (set(rules.mean) != {0.0} or set(rules.std) != {1.0}):
        raise _misfit("mean", f"模型 {name} 的输入是 UINT8 像素，不能再做归一化：请去掉 mean 和 std")
    one = channels * height * width * np.dtype(_DTYPES[picture.dtype]).itemsize
    answer = (len(rules.labels) + 1) * (_pixels(maps, height, width) if maps else 1) * 4
    fixed = picture.shape[0]
    if max(one, answer) * (fixed or 1) > ANSWER_MAX:
        raise _misfit("model_name", f"模型 {name} 一次运行的输入或输出超过 {ANSWER_MAX // 2**20} MiB")
    fits = max(1, _BATCH_MAX // max(one, answer))
    return Contract(
        name=name,
        version=version,
        input=picture,
        channels=channels,
        width=width,
        height=height,
        batch=fixed or min(fits, rules.batch_max, batch_max or rules.batch_max),
        is_fixed=fixed is not None,
        scores=scores.name if scores else None,
        maps=maps.name if maps else None,
        labels=rules.labels,
    )


def prepared(grey: npt.NDArray[np.uint8], contract: Contract, rules: RetinaRules) -> npt.NDArray[Any]:
    """A cut as the model takes it, (channels, height, width)."""
    import cv2

    is_smaller = contract.width <= grey.shape[1] and contract.height <= grey.shape[0]
    how = cv2.INTER_AREA if is_smaller else cv2.INTER_LINEAR
    sized = np.asarray(cv2.resize(grey, (contract.width, contract.height), interpolation=how), np.uint8)
    planes = np.repeat(sized[None], contract.channels, axis=0)
    if contract.input.dtype == "UINT8":
        return planes
    mean = np.array(rules.mean[: contract.channels], np.float32)[:, None, None]
    std = np.array(rules.std[: contract.channels], np.float32)[:, None, None]
    return ((planes.astype(np.float32) / 255 - mean) / std).astype(_DTYPES[contract.input.dtype])


def batched(pictures: Sequence[npt.NDArray[Any]], contract: Contract) -> npt.NDArray[Any]:
    """Stacked, and where the model takes no fewer, filled up with nothing."""
    missing = contract.batch - len(pictures) if contract.is_fixed else 0
    return np.stack([*pictures, *[np.zeros_like(pictures[0])] * missing])


def opinions(answer: Arrays, contract: Contract, rules: RetinaRules, count: int) -> list[Opinion]:
    """The opinions on the first `count` pictures of a run.

    Raises Failed where they are no probabilities of our labels.
    """
    scores = maps = None
    if contract.scores is not None:
        scores = _probable(answer, contract.scores, contract, rules, count)
    if contract.maps is not None:
        maps = _probable(answer, contract.maps, contract, rules, count)
    found = []
    for number in range(count):
        of_one = None if maps is None else maps[number]
        if scores is not None:
            best = scores[number]
        else:
            assert of_one is not None
            best = of_one[len(of_one) - len(contract.labels) :].max(axis=(1, 2))
        found.append(Opinion(probabilities=tuple(float(each) for each in best), maps=of_one))
    return found


def one_line(text: str) -> str:
    """A server's own words, for a message."""
    return "".join(each if each.isprintable() else " " for each in text[:200])


def _probable(
    answer: Arrays, output: str, contract: Contract, rules: RetinaRules, count: int
) -> npt.NDArray[np.float32]:
    raw, labels = answer.get(output), len(contract.labels)
    rank, most = (2, labels) if output == contract.scores else (4, labels + 1)
    if raw is None or raw.ndim != rank or len(raw) < count or not labels <= raw.shape[1] <= most or 0 in raw.shape:
        got = "没有" if raw is None else f"形状 {list(raw.shape)}"
        raise Failed(f"模型 {contract.name} 的输出 {output} 与 {count} 张图、{labels} 个标签不符：{got}。")
    values = _activated(raw[:count].astype(np.float32), rules.activation)
    if not np.isfinite(values).all():
        raise Failed(f"模型 {contract.name} 的输出 {output} 含有 NaN 或无穷大，结果不可用。")
    low, high = float(values.min()), float(values.max())
    if low < -_SLACK or high > 1 + _SLACK:
        raise Failed(
            f"模型 {contract.name} 的输出 {output} 不是概率：{low:.4g} 到 {high:.4g}，应为 0 到 1"
            f"（{SECTION}.activation 现为 {rules.activation}）。"
        )
    return np.clip(values, 0, 1)


def _activated(raw: npt.NDArray[np.float32], activation: Activation) -> npt.NDArray[np.float32]:
    if activation == "none":
        return raw
    with np.errstate(over="ignore", invalid="ignore"):
        if activation == "sigmoid":
            return np.asarray(1 / (1 + np.exp(-raw)), np.float32)
        powers = np.exp(raw - raw.max(axis=1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=1, keepdims=True), np.float32)


def _picture(name: str, inputs: Sequence[Tensor]) -> Tensor:
    if len(inputs) == 1:
        (found,) = inputs
        if len(found.shape) == 4 and found.shape[1] in (1, 3) and found.dtype in _DTYPES:
            return found
    expected = f"应有一个图像输入（批, 1 或 3, 高, 宽），类型 {'、'.join(_DTYPES)}"
    raise _misfit("model_name", f"模型 {name} {expected}，{_told(inputs)}")


def _one(name: str, tensors: Sequence[Tensor], what: str) -> Tensor | None:
    if len(tensors) > 1 or any(tensor.dtype not in _FLOATS for tensor in tensors):
        raise _misfit("model_name", f"模型 {name} 应最多有一个浮点的{what}输出，{_told(tensors)}")
    return tensors[0] if tensors else None


def _check_labels(name: str, labels: Sequence[str], scores: Tensor | None, maps: Tensor | None) -> None:
    for tensor, allowed in ((scores, (len(labels),)), (maps, (len(labels), len(labels) + 1))):
        if tensor is not None and tensor.shape[1] not in (None, *allowed):
            raise _misfit(
                "labels", f"有 {len(labels)} 个（{'、'.join(labels)[:120]}），而模型 {name} 的输出是 {tensor}"
            )


def _agreed(name: str, key: str, declared: int | None, configured: int | None) -> int:
    if declared is None and configured is None:
        raise _misfit(key, f"没有设置，而模型 {name} 也没有固定输入的尺寸")
    if declared is not None and configured not in (None, declared):
        raise _misfit(key, f"是 {configured}，而模型 {name} 的输入是 {declared}")
    found = declared or configured
    assert found is not None
    return found


def _pixels(maps: Tensor, height: int, width: int) -> int:
    return (maps.shape[2] or height) * (maps.shape[3] or width)


def _told(tensors: Sequence[Tensor]) -> str:
    return f"实际是 {'；'.join(map(str, tensors))[:300] or '没有'}"


def _misfit(key: str, why: str) -> NotConfigured:
    return NotConfigured(f"{SECTION}.{key}：{why}。")
