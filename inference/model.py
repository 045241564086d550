"""An image classifier from an ONNX file, checked when it is loaded, so that it cannot be wrong quietly later.

Who says what: labels come from the caller, else the model file, else the ONNX metadata; sizes from the ONNX itself,
and whoever else names them must agree. An ONNX with Ultralytics metadata (`names`) is taken as Ultralytics exports
it: RGB 0..1, centre crop, probabilities. Any other needs a model file: guessing mean and std gives a model that runs,
passes every shape check and recognises nothing.

A warm-up picture goes through the model before `load` returns: its scores must be finite probabilities, one per label.

Threads: `classify` may be called from several at once; each has its own input buffer, made once.
"""

import hashlib
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from inference.errors import ModelFailed, ModelMismatch
from inference.metadata import OnnxMetadata, read_metadata
from inference.modelfile import Located, locate, read_labels
from inference.preprocess import Fit, Preparation, Preprocessor, Rgb
from inference.runtime import Device, failures, onnxruntime, open_session
from inference.shapes import Picture, Scores, agree, read_input, read_output

BATCH_MAX = 32  # the most pictures in one run of a model that leaves its batch open: bounds the memory of a call

Probabilities = npt.NDArray[np.float32]  # (pictures, labels)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Loaded:
    """All that `load` found out, agreed and checked."""

    path: Path
    sha256: str
    session: Any
    picture: Picture
    scores: Scores
    preparation: Preparation
    labels: tuple[str, ...]
    background: frozenset[str]
    fit: Fit
    is_logits: bool


class Model:
    """One ONNX classifier: RGB pictures in, one probability per label out."""

    def __init__(self, loaded: _Loaded) -> None:
        """Use `Model.load`."""
        self.path = loaded.path
        self.sha256 = loaded.sha256
        self.labels = loaded.labels
        self.background = loaded.background
        self.width = loaded.preparation.width
        self.height = loaded.preparation.height
        self.fit: Fit = loaded.fit
        self._loaded = loaded
        self._prepare = Preprocessor(loaded.preparation)
        self._own = threading.local()
        self._failures = failures(onnxruntime())

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        device: Device,
        labels: Sequence[str] | None,
        threads: int,
    ) -> Self:
        """Load, check and warm up. path: the ONNX, or a model file that names it. labels: instead of the model's own.

        Raises ModelNotFound, ModelBroken, ModelMismatch, ModelUnsupported, ModelFileInvalid, ModelFailed,
        DeviceUnavailable, RuntimeMissing, RuntimeConflict.
        """
        located = locate(Path(path))
        session = open_session(located.onnx, device=device, threads=threads)
        metadata = read_metadata(located.onnx, session.get_modelmeta().custom_metadata_map)
        loaded = _describe(located, session, metadata, tuple(labels) if labels else None)
        model = cls(loaded)
        model._warm_up()
        return model

    @property
    def provider(self) -> str:
        """The ONNX Runtime provider really in use, asked of the session itself."""
        return str(self._loaded.session.get_providers()[0])

    def classify(self, pictures: Sequence[Rgb]) -> Probabilities:
        """Classify RGB pictures, (height, width, 3) uint8 each, into (pictures, labels) probabilities.

        Raises ModelMismatch on a picture of another size, ModelFailed when the model does not run.
        """
        result = np.empty((len(pictures), len(self.labels)), np.float32)
        step = self._loaded.picture.batch or BATCH_MAX
        for start in range(0, len(pictures), step):
            some = pictures[start : start + step]
            result[start : start + len(some)] = self._run(some)
        return result

    def _run(self, pictures: Sequence[Rgb]) -> Probabilities:
        batch = self._buffer(len(pictures))
        for row, rgb in zip(batch, pictures, strict=False):
            self._prepare.write(rgb, row)
        if self._loaded.picture.batch is None:
            batch = batch[: len(pictures)]  # with a fixed batch the last rows stay what they were; nobody reads them
        try:
            (raw,) = self._loaded.session.run([self._loaded.scores.name], {self._loaded.picture.name: batch})
        except self._failures as cause:
            raise ModelFailed(f"{self.path}: failed on {len(pictures)} picture(s): {cause}") from cause
        scores = np.asarray(raw, np.float32)[: len(pictures)]
        if scores.shape != (len(pictures), len(self.labels)):
            raise ModelMismatch(
                f"{self.path}: expected scores of shape ({len(pictures)}, {len(self.labels)}), got {scores.shape}"
            )
        return _softmax(scores) if self._loaded.is_logits else scores

    def _buffer(self, size: int) -> npt.NDArray[Any]:
        """This thread's input buffer, made once and larger only when a larger batch comes."""
        buffer: npt.NDArray[Any] | None = getattr(self._own, "batch", None)
        if buffer is None or len(buffer) < size:
            buffer = self._own.batch = self._prepare.batch(self._loaded.picture.batch or size)
        return buffer

    def _warm_up(self) -> None:
        rgb = np.random.default_rng(0).integers(0, 256, (self.height, self.width, 3), np.uint8)
        scores = self.classify([rgb])[0]
        low, high, total = float(scores.min()), float(scores.max()), float(scores.sum())
        if not (np.isfinite(scores).all() and low >= -1e-3 and high <= 1.001 and abs(total - 1) <= 0.02):
            raise ModelMismatch(
                f"{self.path}: expected probabilities (0..1, sum 1), got {low:.3g}..{high:.3g}, sum {total:.3g}",
                hint="If the model ends in raw scores, say `output: logits` in a model file beside the ONNX.",
            )
        if self._loaded.picture.batch is None:
            self._warm_up_pair(rgb, scores)

    def _warm_up_pair(self, rgb: Rgb, alone: Probabilities) -> None:
        """Some exports declare an open batch but carry a fixed one inside: found here, not in a surgery."""
        hint = "Export it again with a working dynamic batch, or with the fixed batch 1."
        try:
            pair = self.classify([255 - rgb, rgb])
        except (ModelFailed, ModelMismatch) as cause:
            raise ModelMismatch(
                f"{self.path}: declares an open batch, but fails on two pictures: {cause}", hint=hint
            ) from cause
        difference = float(np.abs(pair[1] - alone).max())
        if difference > 0.02:
            raise ModelMismatch(
                f"{self.path}: one picture's scores change by {difference:.2g} when another is beside it", hint=hint
            )


def _describe(located: Located, session: Any, metadata: OnnxMetadata, labels: tuple[str, ...] | None) -> _Loaded:
    path, file = located.onnx, located.file
    if file is None and metadata.names is None:
        raise ModelMismatch(
            f"{path}: nothing says how to use it: no `names` in its ONNX metadata, no {path.stem}.yaml beside it",
            hint=f"Write {path.stem}.yaml with labels, mean, std and output (logits or probabilities).",
        )
    picture = read_input(path, session.get_inputs(), file.layout if file else None)
    scores = read_output(path, session.get_outputs(), file.output_name if file else None)
    height, width = metadata.imgsz or (None, None)
    if file and file.dtype not in (None, picture.dtype):
        raise ModelMismatch(f"{path}: dtype: the model file says {file.dtype}, the ONNX says {picture.dtype}")
    preparation = Preparation(
        width=agree(path, "width", ONNX=picture.width, metadata=width, model_file=file.width if file else None),
        height=agree(path, "height", ONNX=picture.height, metadata=height, model_file=file.height if file else None),
        layout=picture.layout,
        dtype=picture.dtype,
        channels=file.channels if file else "rgb",
        scale=(file and file.scale) or 1 / 255,
        mean=(file and file.mean) or (0.0, 0.0, 0.0),
        std=(file and file.std) or (1.0, 1.0, 1.0),
    )
    own = read_labels(located.file_path, file) if file and located.file_path else None
    chosen = _checked_labels(path, labels or own or metadata.names or (), scores.labels)
    background = frozenset(file.background if file and file.background is not None else metadata.background)
    if unknown := sorted(background - set(chosen)):
        raise ModelMismatch(f"{path}: background labels {unknown} are none of the model's labels")
    return _Loaded(
        path=path,
        sha256=_sha256(path),
        session=session,
        picture=picture,
        scores=scores,
        preparation=preparation,
        labels=chosen,
        background=background,
        fit=file.fit if file else "crop",
        is_logits=file is not None and file.output == "logits",
    )


def _checked_labels(path: Path, labels: tuple[str, ...], width: int | None) -> tuple[str, ...]:
    if not labels:
        raise ModelMismatch(f"{path}: has no labels", hint="List them as `labels` in a model file beside the ONNX.")
    if width is not None and len(labels) != width:
        raise ModelMismatch(f"{path}: expected {width} labels, one per score, got {len(labels)}")
    if empty := [number for number, label in enumerate(labels) if not label.strip()]:
        raise ModelMismatch(f"{path}: labels {empty} are empty")
    if twice := [label for label, count in Counter(labels).items() if count > 1]:
        raise ModelMismatch(f"{path}: labels stand twice: {', '.join(twice)}")
    return labels


def _softmax(logits: Probabilities) -> Probabilities:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), np.float32)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
