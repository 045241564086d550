"""The labels of a model: in the order of its scores, each once, and the same whoever says them."""

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from inference.errors import ModelMismatch

# What editors and exports leave at the ends of a name and nobody sees.
_UNSEEN = "\ufeff\u200b\u200c\u200d\u2060"
_NUMBERED = re.compile(r"(\d+)[\s:,;\t]+\S")


def in_order(names: Any) -> Any:
    """`{0: 'gauze', 1: 'suture'}` as a list, the numbers also as text (JSON); anything else as it is.

    Raises ValueError where the numbers do not run from 0 without a hole.
    """
    if not isinstance(names, dict):
        return names
    expected = f"expected the numbers 0..{len(names) - 1}, each with a name"
    try:
        by_number = {int(str(number)): name for number, name in names.items()}
    except ValueError:
        raise ValueError(f"{expected}, got {str(next(iter(names.items())))[:80]}") from None
    if sorted(by_number) != list(range(len(names))):
        raise ValueError(f"{expected}, got {sorted(by_number)[:8]}...")
    return [by_number[number] for number in range(len(names))]


def cleaned(labels: Sequence[str]) -> tuple[str, ...]:
    """Without blanks and invisible characters at the ends: they would be booked and printed."""
    return tuple(label.strip().strip(_UNSEEN).strip() for label in labels)


def checked(path: Path, labels: tuple[str, ...], width: int | None, whose: str) -> tuple[str, ...]:
    """As many as there are scores, none empty, none twice. whose: who says them. Raises ModelMismatch."""
    if not labels:
        raise ModelMismatch(f"{path}: has no labels", hint="List them as `labels` in a model file beside the ONNX.")
    if width is not None and len(labels) != width:
        raise ModelMismatch(f"{path}: expected {width} labels, one per score, got {len(labels)} in {whose}")
    if empty := [number for number, label in enumerate(labels) if not label]:
        raise ModelMismatch(f"{path}: labels {empty} are empty in {whose}")
    if twice := [label for label, count in Counter(labels).items() if count > 1]:
        raise ModelMismatch(f"{path}: labels stand twice: {', '.join(twice)}, in {whose}")
    same: dict[str, list[str]] = {}
    for label in labels:
        same.setdefault(_folded(label), []).append(label)
    if alike := [" and ".join(map(repr, each)) for each in same.values() if len(each) > 1]:
        raise ModelMismatch(
            f"{path}: labels differ only in blanks, case or width: {'; '.join(alike)}, in {whose}",
            hint="The catalogue takes them for one name: give each a name of its own.",
        )
    if len(labels) > 1 and all((m := _NUMBERED.match(each)) and int(m[1]) == n for n, each in enumerate(labels)):
        raise ModelMismatch(
            f"{path}: the labels begin with their own numbers: {labels[0]!r}, {labels[1]!r}, in {whose}",
            hint="Write the names alone, in the order of the scores.",
        )
    return labels


def check_order(path: Path, labels: tuple[str, ...], whose: str, own: tuple[str, ...]) -> None:
    """Other names than the ONNX has may be given, not the same ones in other places. Raises ModelMismatch."""
    places = {_folded(label): number for number, label in enumerate(cleaned(own))}
    moved = [(n, label, places.get(_folded(label), n)) for n, label in enumerate(labels)]
    for number, label, place in moved:
        if place != number:
            raise ModelMismatch(
                f"{path}: {whose}: {label!r} is label {number}; the ONNX metadata `names` says {place}",
                hint="Labels stand in the order of the scores. Take the order of the ONNX, or leave `labels` out.",
            )


def _folded(label: str) -> str:
    """As the catalogue compares names."""
    return "".join(unicodedata.normalize("NFKC", label).split()).casefold()
