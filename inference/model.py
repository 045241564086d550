"""An image classifier from an ONNX file, checked when it is loaded, so that it cannot be wrong quietly later.

Who says what: labels come from the caller, else the model file, else the ONNX metadata; sizes from the ONNX itself,
and whoever else names them must agree. An ONNX with Ultralytics metadata (`names`) is taken as Ultralytics exports
it: RGB 0..1, centre crop, probabilities. Any other needs a model file: guessing mean and std gives a model that runs,
passes every shape check and recognises nothing.

Pictures that have nothing in common go through the model before `load` returns (`inference.trial`): the scores must be
what is said of them, one per label, and depend on the picture.

Threads: `classify` may be called from several at once; each has its own input buffer, made once.
"""

import hashlib
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from inference import trial
from inference.errors import ModelFailed, ModelMismatch
from inference.labels import check_order, checked, cleaned
from inference.metadata import OnnxMetadata, read_metadata
from inference.modelfile import Located, locate, read_labels
from inference.onnxfile import OnnxFile, read_onnx
from inference.prepared import Prepared, prepare
from inference.preprocess import Fit, Preprocessor, Rgb
from inference.runtime import Device, failures, onnxruntime, open_session
from inference.shapes import Picture, Scores, read_input, read_output

BATCH_MAX = 32  # the most pictures in one run of a model that leaves its batch open: bounds the memory of a call
_CHANGE_MAX = 0.02  # of a score, by what has nothing to do with the picture

Probabilities = npt.NDArray[np.float32]  # (pictures, labels)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Loaded:
    """All that `load` found out, agreed and checked."""

    path: Path
    sha256: str
    session: Any
    picture: Picture
    scores: Scores
    prepared: Prepared
    labels: tuple[str, ...]
    background: frozenset[str]
    fit: Fit
    ending: trial.Ending


class Model:
    """One ONNX classifier: RGB pictures in, one probability per label out."""

    def __init__(self, loaded: _Loaded) -> None:
        """Use `Model.load`."""
        self.path = loaded.path
        self.sha256 = loaded.sha256
        self.labels = loaded.labels
        self.background = loaded.background
        self.prepared = loaded.prepared
        self.width = loaded.prepared.preparation.width
        self.height = loaded.prepared.preparation.height
        self.fit: Fit = loaded.fit
        self.tried: tuple[trial.Tried, ...] = ()
        self.unscored: tuple[str, ...] = ()
        self.spread = 0.0
        self._loaded = loaded
        self._prepare = Preprocessor(loaded.prepared.preparation)
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

        Raises a ModelError of any kind.
        """
        located = locate(Path(path))
        session = open_session(located.onnx, device=device, threads=threads)
        metadata = read_metadata(located.onnx, session.get_modelmeta().custom_metadata_map)
        loaded = _describe(located, session, metadata, read_onnx(located.onnx), cleaned(labels) if labels else None)
        model = cls(loaded)
        model._try()
        return model

    @property
    def provider(self) -> str:
        """The ONNX Runtime provider really in use, asked of the session itself."""
        return str(self._loaded.session.get_providers()[0])

    def classify(self, pictures: Sequence[Rgb]) -> Probabilities:
        """Classify RGB pictures, (height, width, 3) uint8 each, into (pictures, labels) probabilities.

        Raises ModelMismatch on a picture of another size, ModelFailed when the model does not run.
        """
        raw = self._scores(pictures)
        return _softmax(raw) if self._loaded.ending.output == "logits" else raw

    def _scores(self, pictures: Sequence[Rgb]) -> Probabilities:
        """As the model gives them."""
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
        if set(scores.shape[2:]) == {1}:
            scores = scores.reshape(scores.shape[:2])
        if scores.shape != (len(pictures), len(self.labels)):
            raise ModelMismatch(
                f"{self.path}: expected scores of shape ({len(pictures)}, {len(self.labels)}), got {scores.shape}"
            )
        return scores

    def _buffer(self, size: int) -> npt.NDArray[Any]:
        """This thread's input buffer, made once and larger only when a larger batch comes."""
        buffer: npt.NDArray[Any] | None = getattr(self._own, "batch", None)
        if buffer is None or len(buffer) < size:
            buffer = self._own.batch = self._prepare.batch(self._loaded.picture.batch or size)
        return buffer

    def _try(self) -> None:
        pictures = trial.pictures(self.width, self.height)
        noise = pictures["noise"]
        try:
            alone = self.classify([noise])[0]
        except ModelFailed as cause:
            taken = self._loaded.picture
            raise ModelMismatch(
                f"{self.path}: does not run on a picture of {self.width}x{self.height}, {taken.layout} {taken.dtype}: "
                f"{cause.__cause__}",
                hint=f"{ModelFailed.hint} Else compare width, height and layout with the training.",
            ) from cause
        if (difference := _change(self.classify([noise])[0], alone)) > _CHANGE_MAX:
            raise ModelMismatch(
                f"{self.path}: the scores of one and the same picture change by {difference:.2g} from run to run",
                hint="It was exported as it trains (dropout): export it again in evaluation mode.",
            )
        if self._loaded.picture.batch is None:
            self._try_pair(noise, alone)
        raw = self._scores(list(pictures.values()))
        trial.check_scores(self.path, list(pictures), raw, self._loaded.ending)
        scores = _softmax(raw) if self._loaded.ending.output == "logits" else raw
        self.tried = trial.tried(self.labels, dict(zip(pictures, scores, strict=True)))
        self.unscored = tuple(sorted(pictures.keys() - {each.picture for each in self.tried}))
        self.spread = float(np.ptp(scores[np.isfinite(scores).all(axis=1)], axis=0).max())

    def _try_pair(self, rgb: Rgb, alone: Probabilities) -> None:
        """Some exports declare an open batch but carry a fixed one inside: found here, not in a surgery."""
        hint = "Export it again with a working dynamic batch, or with the fixed batch 1."
        try:
            pair = self.classify([255 - rgb, rgb])
        except (ModelFailed, ModelMismatch) as cause:
            raise ModelMismatch(
                f"{self.path}: declares an open batch, but fails on two pictures: {cause}", hint=hint
            ) from cause
        if (difference := _change(pair[1], alone)) > _CHANGE_MAX:
            raise ModelMismatch(
                f"{self.path}: one picture's scores change by {difference:.2g} when another is beside it", hint=hint
            )


def _describe(
    located: Located, session: Any, metadata: OnnxMetadata, onnx: OnnxFile | None, labels: tuple[str, ...] | None
) -> _Loaded:
    path, file = located.onnx, located.file
    if file is None and metadata.names is None:
        raise ModelMismatch(
            f"{path}: nothing says how to use it: no `names` in its ONNX metadata, no {path.stem}.yaml beside it",
            hint=f"Write {path.stem}.yaml with labels, mean, std and output (logits or probabilities).",
        )
    picture = read_input(path, session.get_inputs(), file.layout if file else None)
    scores = read_output(path, session.get_outputs(), file.output_name if file else None)
    prepared = prepare(located, picture, metadata, onnx)
    own = read_labels(located.file_path, file) if file and located.file_path else None
    whose = "model.labels" if labels else f"labels of {located.file_path}" if own else "names of its ONNX metadata"
    chosen = checked(path, labels or own or cleaned(metadata.names or ()), scores.labels, whose)
    if metadata.names:
        check_order(path, chosen, whose, metadata.names)
    said = file.background if file else None
    background = frozenset(cleaned(metadata.background if said is None else said))
    if unknown := sorted(background - set(chosen)):
        where = "its ONNX metadata" if said is None else located.file_path
        raise ModelMismatch(f"{path}: background labels {unknown} of {where} are none of the model's labels")
    return _Loaded(
        path=path,
        sha256=_sha256(path),
        session=session,
        picture=picture,
        scores=scores,
        prepared=prepared,
        labels=chosen,
        background=background,
        fit=file.fit if file else "crop",
        ending=trial.Ending.of(
            onnx,
            scores.name,
            output=file.output if file else "probabilities",
            said_in=f"`output` in {located.file_path}"
            if file
            else "its ONNX metadata (`names`, as Ultralytics exports)",
            file=located.described_in,
        ),
    )


def _change(scores: Probabilities, before: Probabilities) -> float:
    with np.errstate(invalid="ignore"):  # what is not finite is looked for afterwards, in all pictures
        return float(np.abs(scores - before).max())


def _softmax(logits: Probabilities) -> Probabilities:
    with np.errstate(invalid="ignore"):  # of what is not finite: whoever uses the scores looks
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=1, keepdims=True), np.float32)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
