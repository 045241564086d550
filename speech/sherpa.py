"""sherpa-onnx with the model in a site's folder: the recommended ear without internet.

It hears free text; where the kind of model allows, the phrases that are valid now are made likelier.
"""

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from speech.errors import NotUnderstood, ProviderUnusable
from speech.process import ProcessPool
from speech.provider import Heard
from speech.sherpa_model import Engine, SherpaKind, SherpaModel, find_model, load

NAME = "sherpa"

_WORKERS = 1

Question = tuple[np.ndarray, str]
Transcript = tuple[str, float | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class SherpaRules:
    """threads: of the one worker. hotwords_score: added to the log probability of each token of a valid phrase."""

    folder: Path
    kind: SherpaKind
    threads: int
    timeout_s: float
    hotwords_score: float


class SherpaRecognizer:
    name = NAME

    def __init__(self, rules: SherpaRules) -> None:
        """Loads the model, which takes seconds. Raises ProviderUnusable."""
        if importlib.util.find_spec("sherpa_onnx") is None:
            raise ProviderUnusable(f"{NAME}: sherpa-onnx is not installed; it is in the extra offline-speech")
        self._model = find_model(rules.folder, rules.kind)
        make = partial(_Hearing, self._model, rules.threads, rules.hotwords_score)
        try:
            self._hearing: ProcessPool[Question, Transcript] = ProcessPool(NAME, make, workers=_WORKERS)
        except ProviderUnusable as error:
            raise ProviderUnusable(f"{error} (with {rules.folder} as {self._model.kind})") from error
        self._timeout_s = rules.timeout_s

    @property
    def kind(self) -> SherpaKind:
        return self._model.kind

    def recognize(self, pcm: np.ndarray, phrases: Sequence[str]) -> Heard:
        hotwords = self._model.hotwords(tuple(phrases))
        text, confidence = self._hearing.ask((np.ascontiguousarray(pcm, np.int16), hotwords), self._timeout_s)
        if not text:
            raise NotUnderstood(NAME, "no words")
        return Heard(text=text, confidence=confidence, provider=NAME)

    def close(self) -> None:
        self._hearing.close()


class _Hearing:
    """In the process of its own."""

    def __init__(self, model: SherpaModel, threads: int, hotwords_score: float) -> None:
        self._engine: Engine = load(model, threads=threads, hotwords_score=hotwords_score)
        # Half a second of silence shows at the start what a first answer would.
        self._engine.hear(np.zeros(8000, np.int16), "")

    def __call__(self, question: Question) -> Transcript:
        pcm, hotwords = question
        return self._engine.hear(pcm, hotwords)
