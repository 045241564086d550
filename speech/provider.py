"""What every voice and every ear is to the rest: text to MP3, and a short recording to one of the words valid now.

All calls block and may come from several threads at once; a provider keeps what is not re-entrant to one thread at a
time by itself, and bounds each call by its own deadline.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

RATE_HZ = 16_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Spoken:
    """mp3: a whole file. provider: who said it."""

    mp3: bytes
    provider: str
    duration_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """confidence: 0 to 1 where the provider gives one."""

    text: str
    confidence: float | None
    provider: str


class Synthesizer(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def voice(self) -> str:
        """Whatever changes the sound of the same text: the key of a cache, with the text."""

    def synthesize(self, text: str) -> Spoken:
        """Raises TextEmpty, TextNotSpeakable, ProviderFailed."""


class Recognizer(Protocol):
    @property
    def name(self) -> str: ...

    def recognize(self, pcm: np.ndarray, phrases: Sequence[str]) -> Heard:
        """One answer.

        pcm: (samples,) int16, 16 kHz, mono, trimmed to the speech; not changed. phrases: everything that is a valid
        answer now, in Chinese; a recognizer may hear other words too, unless it works by a closed grammar.
        Raises NotUnderstood, ProviderFailed.
        """
