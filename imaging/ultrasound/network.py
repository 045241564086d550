"""An ONNX of the ultrasound gateway: named inputs and outputs, checked and warmed up when it is loaded.

docs/onnx-models.zh-CN.md is the contract: input `image` (N, 3, S, S), RGB 0..1; any of the inputs `position`, `task`,
`nature`, `type`; one or more of the outputs `seg`, `cls_2`, `cls_4`. What the outputs are, and how pictures of other
shapes are made square, stands in the ONNX metadata: `orwatch.seg`, `orwatch.cls`, `orwatch.fit`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from imaging.ultrasound.terms import PROMPTS
from inference.errors import ModelError, ModelFailed, ModelMismatch, ModelNotFound
from inference.runtime import Device, failures, onnxruntime, open_session, probabilities_by

Floats = npt.NDArray[np.float32]

IMAGE = "image"
SEG, CLS_2, CLS_4 = "seg", "cls_2", "cls_4"
CLASSES = {CLS_2: 2, CLS_4: 4}
HEADS = (SEG, *CLASSES)
# ONNX metadata: key -> what it may say, its default first.
METADATA = {
    "orwatch.seg": ("logits", "probabilities"),
    "orwatch.cls": ("logits", "probabilities"),
    "orwatch.fit": ("crop", "stretch"),
}
SIDE = 224  # of a model that leaves it open
_SIDES = range(32, 1025)
_DTYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
_EXPORT = "See docs/onnx-models.zh-CN.md for the names and shapes to export."


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """What an ONNX declares. batch: None where it is open. prompts: the names of those it takes."""

    side: int
    batch: int | None
    dtype: Any
    prompts: tuple[str, ...]
    heads: tuple[str, ...]
    seg: str
    cls: str
    fit: str


class Network:
    """One loaded ONNX. `run` may be called by one thread at a time."""

    def __init__(self, path: Path, session: Any, signature: Signature) -> None:
        """Use `Network.load`."""
        self.path = path
        self.heads = signature.heads
        self.side = signature.side
        self.batch = signature.batch
        self.is_stretching = signature.fit == "stretch"
        self._session = session
        self._signature = signature
        self._failures = failures(onnxruntime())

    @classmethod
    def load(cls, path: Path, key: str, *, device: Device, threads: int, heads: Sequence[str]) -> "Network":
        """Load, check and warm up. key: of the configuration, for messages. heads: at least one of them is needed.

        Raises ModelNotFound, ModelBroken, ModelMismatch, ModelFailed, DeviceUnavailable, RuntimeMissing,
        RuntimeConflict.
        """
        if not path.is_file():
            raise ModelNotFound(f"{key}: there is no file {path}", hint=f"Set {key} to an ONNX file. {_EXPORT}")
        try:
            session = open_session(path, device=device, threads=threads)
        except ModelError as error:
            raise type(error)(f"{key}: {error}", hint=error.hint.replace("model.device", _device_key(key))) from error
        where = f"{key}: {path}"
        network = cls(path, session, _signature(where, session))
        if not set(heads) & set(network.heads):
            raise _mismatch(where, f"expected an output {' or '.join(heads)}, found {', '.join(network.heads)}")
        network._check_ends(where)
        network._warm_up(where)
        return network

    @property
    def provider(self) -> str:
        """The ONNX Runtime provider really in use."""
        return str(self._session.get_providers()[0])

    def run(self, head: str, pictures: Floats, prompts: Mapping[str, Floats]) -> Floats:
        """Probabilities of pictures (n, 3, side, side): (n, side, side) of the foreground for `seg`, else (n, classes).

        prompts: (n, length) each; those that the model does not take are left out. Raises ModelFailed, ModelMismatch.
        """
        step = self.batch or len(pictures)
        parts = []
        for start in range(0, len(pictures), step):
            some = slice(start, start + step)
            parts.append(
                self._run(head, pictures[some], {name: prompts[name][some] for name in self._signature.prompts})
            )
        return np.concatenate(parts)

    def _run(self, head: str, pictures: Floats, prompts: Mapping[str, Floats]) -> Floats:
        feed = {
            name: _filled(np.asarray(values, self._signature.dtype if name == IMAGE else np.float32), self.batch)
            for name, values in {IMAGE: pictures, **prompts}.items()
        }
        try:
            (raw,) = self._session.run([head], feed)
        except self._failures as cause:
            words = " ".join(str(cause).split())[:300]
            raise ModelFailed(f"{self.path}: failed on {len(pictures)} picture(s): {words}") from cause
        found = np.asarray(raw, np.float32)[: len(pictures)]
        if not np.isfinite(found).all():
            raise ModelFailed(f"{self.path}: {head} holds numbers that are not finite", hint="Export it as float32.")
        return self._foreground(found) if head == SEG else self._scores(head, found)

    def _foreground(self, found: Floats) -> Floats:
        side = self.side
        if found.ndim != 4 or found.shape[1] not in (1, 2) or found.shape[2:] != (side, side):
            raise _mismatch(self.path, f"expected {SEG} of shape (N, 1 or 2, {side}, {side}), got {found.shape}")
        if self._signature.seg == "probabilities":
            return found[:, -1]
        # Two channels mean a softmax, one a sigmoid: the same of their difference.
        return _sigmoid(found[:, 1] - found[:, 0] if found.shape[1] == 2 else found[:, 0])

    def _scores(self, head: str, found: Floats) -> Floats:
        if found.shape[1:] != (CLASSES[head],):
            raise _mismatch(self.path, f"expected {head} of shape (N, {CLASSES[head]}), got {found.shape}")
        if self._signature.cls == "probabilities":
            return found
        powers = np.exp(found - found.max(axis=1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=1, keepdims=True), np.float32)

    def _check_ends(self, where: str) -> None:
        """A sigmoid on probabilities leaves all of them at 0.5 and more: everything would be foreground."""
        for head in self.heads:
            key, said = ("orwatch.seg", self._signature.seg) if head == SEG else ("orwatch.cls", self._signature.cls)
            if said == "logits" and (last := probabilities_by(self.path, head)):
                raise ModelMismatch(
                    f"{where}: metadata {key} is 'logits' (said or by default), but {head} ends in {last}; "
                    "expected 'probabilities'",
                    hint=f"Export it with the metadata {key} = probabilities, or without the {last}. {_EXPORT}",
                )

    def _warm_up(self, where: str) -> None:
        """Noise through every output, alone and in company: the answers must be probabilities, and stay the same."""
        pair = np.random.default_rng(0).random((2, 3, self.side, self.side), np.float32)
        pair[0] *= 0.25
        prompts = {name: np.eye(2, size, dtype=np.float32) for name, size in PROMPTS.items()}
        second = {name: values[1:] for name, values in prompts.items()}
        for head in self.heads:
            try:
                together, alone = self.run(head, pair, prompts)[1], self.run(head, pair[1:], second)[0]
            except ModelFailed as error:
                raise ModelMismatch(f"{where}: fails on one or two pictures of noise: {error}", hint=_EXPORT) from error
            total = 1.0 if head == SEG else float(alone.sum())
            if alone.min() < -1e-3 or alone.max() > 1.001 or abs(total - 1) > 0.02:
                raise _mismatch(
                    where,
                    f"{head}: expected probabilities, got {alone.min():.3g}..{alone.max():.3g}, sum {total:.3g}",
                )
            if (difference := float(np.abs(together - alone).max())) > 0.02:
                raise _mismatch(where, f"{head}: changes by {difference:.2g} when another picture is beside it")


def _signature(where: str, session: Any) -> Signature:
    inputs = {node.name: node for node in session.get_inputs()}
    outputs = {node.name: node for node in session.get_outputs()}
    expected = f"input {IMAGE}, and of {', '.join(PROMPTS)} those it needs; outputs of {', '.join(HEADS)}"
    if IMAGE not in inputs or not inputs.keys() <= {IMAGE, *PROMPTS} or not outputs.keys() <= set(HEADS):
        raise _mismatch(where, f"expected {expected}; found inputs {_named(inputs)}; outputs {_named(outputs)}")
    for name in PROMPTS.keys() & inputs.keys():
        node = inputs[name]
        if node.type != "tensor(float)" or len(node.shape) != 2 or node.shape[1] != PROMPTS[name]:
            raise _mismatch(where, f"expected {name} (N, {PROMPTS[name]}) of tensor(float), found {_node(node)}")
    batch, side = _image(where, inputs[IMAGE])
    said = _metadata(where, session.get_modelmeta().custom_metadata_map)
    return Signature(
        side=side,
        batch=batch,
        dtype=_DTYPES[inputs[IMAGE].type],
        prompts=tuple(name for name in PROMPTS if name in inputs),
        heads=tuple(head for head in HEADS if head in outputs),
        seg=said["orwatch.seg"],
        cls=said["orwatch.cls"],
        fit=said["orwatch.fit"],
    )


def _image(where: str, node: Any) -> tuple[int | None, int]:
    """Batch and side."""
    shape = [size if isinstance(size, int) and size > 0 else None for size in node.shape]
    if len(shape) == 4 and node.type in _DTYPES and shape[1] in (3, None):
        batch, _, height, width = shape
        side = height or width or SIDE
        if (width or side) == side and side in _SIDES:
            return batch, side
    kinds = " or ".join(_DTYPES)
    raise _mismatch(
        where, f"expected {IMAGE} (N, 3, S, S) of {kinds}, S {_SIDES[0]} to {_SIDES[-1]}, found {_node(node)}"
    )


def _metadata(where: str, properties: Mapping[str, str]) -> dict[str, str]:
    for key, value in properties.items():
        if key.startswith("orwatch.") and value not in METADATA.get(key, ()):
            raise _mismatch(where, f"metadata {key} = {value[:40]!r}; expected of {METADATA}")
    return {key: properties.get(key, values[0]) for key, values in METADATA.items()}


def _filled(values: npt.NDArray[Any], batch: int | None) -> npt.NDArray[Any]:
    """As many rows as a fixed batch needs; nobody reads what is added."""
    missing = (batch or len(values)) - len(values)
    return values if missing <= 0 else np.concatenate([values, np.repeat(values[-1:], missing, axis=0)])


def _sigmoid(values: Floats) -> Floats:
    return np.asarray(0.5 * (1 + np.tanh(0.5 * values)), np.float32)


def _mismatch(where: str | Path, what: str) -> ModelMismatch:
    return ModelMismatch(f"{where}: {what}", hint=_EXPORT)


def _named(nodes: Mapping[str, Any]) -> str:
    return ", ".join(_node(node) for node in nodes.values()) or "none"


def _node(node: Any) -> str:
    return f"{node.name} {node.shape} {node.type}"


def _device_key(key: str) -> str:
    return f"{key.partition('.ultrasound.')[0]}.ultrasound.device"
