"""PocketSphinx as an ear without any download: is it one of the phrases that are valid now, and which?

What anybody says besides is to be refused, and refusing costs only another question: see `speech/sphinx_decoder.py` for
how that is judged and `bench/speech_ears.py` for how often it is right.
"""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from speech.errors import NotUnderstood, ProviderUnusable, TextNotSpeakable
from speech.phones import said, syllables
from speech.process import ProcessPool
from speech.provider import RATE_HZ, Heard
from speech.sphinx_decoder import Ask, Ears, Guess, Sound

log = logging.getLogger(__name__)

NAME = "pocketsphinx"

_SECONDS_MIN = 0.1

# What an acoustic model cannot be loaded without; each of the last two stands for the other.
_FILES = (("mdef",), ("means",), ("variances",), ("transition_matrices",), ("sendump", "mixture_weights"))


@dataclass(frozen=True, slots=True, kw_only=True)
class SphinxModel:
    """A Mandarin acoustic model: its folder, and its dictionary in the CMU format."""

    folder: Path
    dictionary: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class SphinxRules:
    """models: must hear the same as the bundled one."""

    models: tuple[SphinxModel, ...]
    workers: int
    timeout_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SphinxLimits:
    """What is taken for said. fit_min: nats per frame, see `fit`; with models, agreed_fit_min.
    ahead_min_nats: of the next valid phrase, per frame; where 是可吸收缝线 is taken for 不可吸收缝线, it is less.
    outside_max: share of what is loud that may lie outside of the phrase. syllable_min_s: shorter ones are not spoken.
    utterance_max_s: nothing that is valid takes longer, and the time to decode grows with it.
    """

    fit_min: float
    agreed_fit_min: float
    ahead_min_nats: float
    outside_max: float
    syllable_min_s: float
    utterance_max_s: float


# Found on the tuning set of `bench/speech_ears.py`, as what `fit` weighs.
TUNED = SphinxLimits(
    fit_min=-0.1,
    agreed_fit_min=-0.2,
    ahead_min_nats=0.25,
    outside_max=0.4,
    syllable_min_s=0.08,
    utterance_max_s=8.0,
)
_AHEAD_WEIGHT, _AHEAD_MAX_NATS = 0.6, 3.0
_OUTSIDE_NATS = 4.0


class SphinxRecognizer:
    name = NAME

    def __init__(self, rules: SphinxRules, limits: SphinxLimits = TUNED) -> None:
        """Raises ProviderUnusable naming the folder and the file."""
        for model in rules.models:
            _check(model)
        mandarin = [(model.folder, model.dictionary) for model in rules.models]
        try:
            ears = partial(Ears, mandarin)
            self._ears: ProcessPool[Ask, Guess | None] = ProcessPool(NAME, ears, workers=rules.workers)
        except ProviderUnusable as error:
            loaded = ", ".join(str(model.folder) for model in rules.models) or "only the bundled model"
            raise ProviderUnusable(f"{error} (with {loaded})") from error
        self._rules, self._limits = rules, limits
        self._fit_min = limits.agreed_fit_min if rules.models else limits.fit_min

    def recognize(self, pcm: np.ndarray, phrases: Sequence[str]) -> Heard:
        """Never returns one of two phrases that sound the same but for the tones: they are another question."""
        if len(pcm) < _SECONDS_MIN * RATE_HZ:
            raise NotUnderstood(NAME, f"shorter than {_SECONDS_MIN:g} s")
        if len(pcm) > self._limits.utterance_max_s * RATE_HZ:
            raise NotUnderstood(NAME, f"longer than {self._limits.utterance_max_s:g} s")
        by_sound = _by_sound(phrases)
        if not by_sound:
            raise NotUnderstood(NAME, "no phrase is valid now that can be spelled")
        guess = self._ears.ask(Ask(np.ascontiguousarray(pcm, np.int16), tuple(by_sound)), self._rules.timeout_s)
        if guess is None:
            raise NotUnderstood(NAME, "nothing like speech")
        if not self._is_said(guess) or (len(by_sound) > 1 and guess.ahead_nats < self._limits.ahead_min_nats):
            raise NotUnderstood(NAME, "none of the phrases that are valid now")
        if not guess.sounds:
            raise NotUnderstood(NAME, "the models do not agree")
        texts = [text for sound in guess.sounds for text in by_sound[sound]]
        if len(texts) > 1:
            raise NotUnderstood(NAME, "several valid phrases sound like this")
        return Heard(text=texts[0], confidence=_confidence(fit(guess)), provider=NAME)

    def _is_said(self, guess: Guess) -> bool:
        return (
            fit(guess) >= self._fit_min
            and guess.outside <= self._limits.outside_max
            and guess.shortest_s >= self._limits.syllable_min_s
        )

    def unspellable(self, phrases: Sequence[str]) -> tuple[str, ...]:
        """Those that this ear can never hear."""
        return tuple(phrase for phrase in phrases if _sound(phrase) is None)

    def close(self) -> None:
        self._ears.close()


def fit(guess: Guess) -> float:
    """How well the phrase explains the recording, in nats per frame: beside anything else and beside the next phrase;
    what is loud outside of it counts against it."""
    return guess.gap_nats + _AHEAD_WEIGHT * min(guess.ahead_nats, _AHEAD_MAX_NATS) - _OUTSIDE_NATS * guess.outside


def _by_sound(phrases: Sequence[str]) -> dict[Sound, list[str]]:
    """The phrases of each sound; of several ways to write the same words (第4个, 第四个) the first."""
    found: dict[Sound, dict[str, str]] = {}
    for phrase in phrases:
        sound = _sound(phrase)
        if sound is not None:
            found.setdefault(sound, {}).setdefault(said(phrase), phrase)
    return {sound: list(texts.values()) for sound, texts in found.items()}


def _sound(phrase: str) -> Sound | None:
    try:
        return syllables(phrase)
    except TextNotSpeakable:
        return None


def _confidence(fit_nats: float) -> float:
    """How many in a hundred were right at this fit, if as many answers as other words are spoken: see the bench."""
    return 1 / (1 + math.exp(-(fit_nats - _EVEN_NATS) / _SPREAD_NATS))


_EVEN_NATS, _SPREAD_NATS = -0.86, 1.29


def _check(model: SphinxModel) -> None:
    if not model.folder.is_dir():
        raise ProviderUnusable(f"{NAME}: {model.folder} is not a folder")
    for names in _FILES:
        if not any(_has_content(model.folder / name) for name in names):
            raise ProviderUnusable(f"{NAME}: {model.folder} has no {' or '.join(names)}, or it is empty")
    if not _has_content(model.dictionary):
        raise ProviderUnusable(f"{NAME}: the dictionary {model.dictionary} is missing or empty")


def _has_content(file: Path) -> bool:
    return file.is_file() and file.stat().st_size > 0
