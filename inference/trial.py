"""The pictures that a model answers before it is trusted with an operation, and what its answers give away.

A model that is wrong about its own last step runs and passes every check of shapes: a softmax on probabilities leaves
no label of nine above 0.25, so nothing is ever booked; one label alone is always sure, so everything is. Refused is
what is certain: what the last operator can give at all, and what holds for every one of very different pictures.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from inference.errors import ModelBlind, ModelMismatch
from inference.onnxfile import OnnxFile
from inference.preprocess import Rgb

Scores = npt.NDArray[np.float32]  # (pictures, labels), as the model gives them

_SLACK = 0.02  # of a sum of scores: float16, and exports that round
_ROUNDING = 1e-3  # of one score
_STEPS = (1 / 127, 1 / 128, 1 / 255, 1 / 256)  # between two probabilities of a model of 8 bits
_SAME = 1e-6
_SURE = 0.999
_PLAIN = {"black": (0, 0, 0), "white": (255, 255, 255), "red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}
# operator -> what its results lie between
_BOUNDED = {"Softmax": 1.0, "Sigmoid": 1.0, "HardSigmoid": 1.0, "Tanh": 2.0, "Softsign": 2.0}
_BOUNDED |= {"QLinearSoftmax": 1.0, "QLinearSigmoid": 1.0}
_OF_ITS_OWN = ("Sigmoid", "HardSigmoid", "QLinearSigmoid", "Tanh", "Softsign")
_WHOLE = ("Softmax", "QLinearSoftmax")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How a model ends. said_in: who says `output`. file: the model file that says it, or would. last: operators."""

    output: Literal["logits", "probabilities"]
    said_in: str
    file: Path
    last: str
    before: str

    @classmethod
    def of(cls, onnx: OnnxFile | None, name: str, *, output: str, said_in: str, file: Path) -> "Ending":
        last = onnx.last(name) if onnx else None
        before = onnx.last(last.inputs[0]) if onnx and last and last.inputs else None
        return cls(
            output="logits" if output == "logits" else "probabilities",
            said_in=said_in,
            file=file,
            last=last.op if last else "",
            before=before.op if before else "",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """What the model makes of one of the pictures."""

    picture: str
    label: str
    score: float


def pictures(width: int, height: int) -> dict[str, Rgb]:
    """Pictures that have nothing in common, (height, width, 3) uint8 each, the same at every start."""
    found = {name: np.full((height, width, 3), colour, np.uint8) for name, colour in _PLAIN.items()}
    found["noise"] = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    across = np.linspace(0, 255, width).astype(np.uint8)
    found["gradient"] = np.repeat(np.broadcast_to(across, (height, width))[..., None], 3, axis=2)
    board = np.indices((height, width)).sum(axis=0) // max(1, width // 8) % 2 * 255
    found["checks"] = np.repeat(board.astype(np.uint8)[..., None], 3, axis=2)
    return found


def check_scores(path: Path, names: Sequence[str], raw: Scores, ending: Ending) -> None:
    """Raise ModelMismatch where the scores are not what is said of them, ModelBlind where they can decide nothing."""
    if raw.shape[1] == 1:
        raise ModelBlind(
            f"{path}: has one label only: its score is compared with no other, so every picture would be taken for it",
            hint="Train it with what is not the item as a second label, and name that as `background`.",
        )
    _check_finite(path, names, raw, ending)
    are_finite = [bool(np.isfinite(row).all()) for row in raw]
    names, raw = [name for name, is_finite in zip(names, are_finite, strict=True) if is_finite], raw[are_finite]
    # 8 bits and float16 may well be all alike where one label is nearly certain.
    is_saturated = _are_probabilities(raw, ending.last) and raw[0].max() >= _SURE
    if not is_saturated and np.abs(raw - raw[0]).max() <= _SAME * max(1.0, float(np.abs(raw).max())):
        raise ModelBlind(
            f"{path}: gives the same scores for {', '.join(names)}: it does not see the picture",
            hint="Its weights are missing or zero, or its scores are not made from the picture: export it again.",
        )
    if ending.output == "logits":
        _check_logits(path, raw, ending)
    else:
        _check_probabilities(path, names, raw, ending)


def best_possible(between: float, labels: int) -> float:
    """The highest probability that a softmax can give to scores which differ by `between` at most."""
    return 1 / (1 + (labels - 1) * math.exp(-between))


def _check_finite(path: Path, names: Sequence[str], raw: Scores, ending: Ending) -> None:
    """One colour alone may divide by zero where a model evens out contrast: `orwatch check` tells it, no more."""
    for name, row in zip(names, raw, strict=True):
        if name not in _PLAIN and not np.isfinite(row).all():
            raise ModelMismatch(
                f"{path}: expected {ending.output}, got {row[~np.isfinite(row)][0]} for a picture of {name}",
                hint="It divides by zero or is out of the range of its numbers: export it again, as float32.",
            )


def _check_logits(path: Path, raw: Scores, ending: Ending) -> None:
    labels = raw.shape[1]
    said = f"{ending.file}: output: {ending.output!r}"
    if ending.last in _WHOLE or _are_probabilities(raw, ending.last):
        why = f"it ends in {ending.last}" if ending.last in _WHOLE else "each row is 0..1 and sums to 1"
        raise ModelMismatch(
            f"{said}, but the scores of {path} are probabilities already ({why}); expected 'probabilities': "
            f"a second softmax leaves no label of {labels} above {best_possible(1, labels):.2f}",
            hint=f"Set `output: probabilities` in {ending.file}.",
        )
    if (between := _BOUNDED.get(ending.last)) is not None:
        raise ModelMismatch(
            f"{said}, but {path} ends in {ending.last}: expected raw scores, got some within {between:g} "
            f"of each other: a softmax leaves no label of {labels} above {best_possible(between, labels):.2f}",
            hint=f"Export it without the {ending.last}, or train it with a softmax over the labels.",
        )


def _check_probabilities(path: Path, names: Sequence[str], raw: Scores, ending: Ending) -> None:
    labels = raw.shape[1]
    if ending.last in _WHOLE and (between := _BOUNDED.get(ending.before)) is not None:
        raise ModelBlind(
            f"{path}: ends in {ending.before} and then {ending.last}: "
            f"no label of {labels} can have more than {best_possible(between, labels):.2f}",
            hint=f"Export it without the last {ending.last}.",
        )
    if _are_probabilities(raw, ending.last):
        return
    low, high = float(raw.min()), float(raw.max())
    totals = raw.sum(axis=1)
    worst = int(np.abs(totals - 1).argmax())
    got = f"got {low:.3g}..{high:.3g}, sum {totals[worst]:.3g} for a picture of {names[worst]}"
    what, hint = _instead(raw, ending)
    raise ModelMismatch(f"{path}: expected probabilities (0..1, sum 1) by {ending.said_in}, {got}: {what}", hint=hint)


def _instead(raw: Scores, ending: Ending) -> tuple[str, str]:
    """What scores are that are no probabilities, and what to do."""
    logits = f"Set `output: logits` in {ending.file}."
    if not ending.file.exists():
        logits = f"Write {ending.file} with the line `output: logits`."
    totals = raw.sum(axis=1)
    if ending.last == "LogSoftmax" or (raw.max() <= _ROUNDING and _are_probabilities(np.exp(raw), ending.last)):
        return "these are log-probabilities, of which a softmax makes probabilities", logits
    if raw.min() >= -_ROUNDING and float(np.ptp(totals)) <= _SLACK * float(totals.max()):
        return "they always have this sum", "Export it with a softmax as its last step."
    if ending.last in _OF_ITS_OWN or (raw.min() >= -_ROUNDING and raw.max() <= 1 + _ROUNDING):
        why = f"it ends in {ending.last}, " if ending.last in _OF_ITS_OWN else ""
        return f"{why}each label has a score of its own (several may be true at once)", (
            "orwatch needs one label per picture: train and export it with a softmax over the labels."
        )
    return "these look like raw scores", logits


def _are_probabilities(raw: Scores, last: str) -> bool:
    if not (np.isfinite(raw).all() and raw.min() >= -_ROUNDING and raw.max() <= 1 + _ROUNDING):
        return False
    slack = max(_SLACK, _step(raw) * raw.shape[1] / 2) if last in ("", *_WHOLE) else _SLACK
    return bool((np.abs(raw.sum(axis=1) - 1) <= slack).all())


def _step(raw: Scores) -> float:
    """The step between the scores of a model of 8 bits; 0 where they lie on no such grid."""
    if not np.logical_and(raw > 0, raw < 1).any():
        return 0.0
    return next((step for step in _STEPS if np.abs(raw / step - np.rint(raw / step)).max() < 0.01), 0.0)


def tried(labels: Sequence[str], scores: Mapping[str, Scores]) -> tuple[Tried, ...]:
    """The best label of each picture. scores: probabilities, (labels,) each; what is not finite has none."""
    return tuple(
        Tried(picture=name, label=labels[int(row.argmax())], score=float(row.max()))
        for name, row in scores.items()
        if np.isfinite(row).all()
    )
