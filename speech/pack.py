"""The recorded voice: MP3s of fixed phrases and item names, joined to the question.

A folder holds the recordings, and its `pack.toml` says what each of them says:

    [phrases]
    "请确认：刚才使用的是" = "confirm-one.mp3"
    "吗" = "ma.mp3"
    "可吸收缝线" = "items/14764-2-4.mp3"

File names are free: what is said is full of signs that file systems refuse. Punctuation, spaces and the width and case
of letters do not count in a phrase; - / . # do, because 2-0 is not 20. Between two recordings there is a pause where
the text has punctuation, longer at the end of a sentence. A text is covered with as few recordings as possible, the
longest first; one that cannot be covered whole is not spoken at all. Numbers and Latin words are never put together
from parts.
"""

import hashlib
import os
import re
import tomllib
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from speech import mp3
from speech.audio import resampled
from speech.errors import ProviderUnusable, TextEmpty, TextNotSpeakable
from speech.provider import Spoken

_INDEX = "pack.toml"
_RATE_HZ = 24_000
_BYTES_MAX = 4 * 2**20
_JOIN_S, _PAUSE_S, _STOP_S = 0.04, 0.25, 0.45
# Root mean square of what is loud of a recording, and the highest that its peak is brought to; full scale is 1.
_LOUDNESS, _PEAK_MAX = 0.12, 0.9
_STOPS = "。？！?!"
# A point between digits is part of the number.
_UNSAID = r"\.(?!\d)|(?<!\d)\.|[\s，。？！、；：,?!;:“”‘’\"'（）()《》〈〉【】「」\[\]…—·]"


class _Index(BaseModel):
    """`pack.toml`"""

    model_config = ConfigDict(extra="forbid", strict=True)

    phrases: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """A stretch of what is to be said: with a recording, or without."""

    begin: int
    end: int
    is_recorded: bool


class PackSynthesizer:
    name = "pack"

    def __init__(self, folder: Path) -> None:
        """Reads and decodes every recording. Raises ProviderUnusable naming the file."""
        self._sounds: dict[str, np.ndarray] = {}
        digest = hashlib.sha256()
        for phrase, file in sorted(_phrases(folder / _INDEX).items()):
            key = _said(phrase)[0]
            if not key or key in self._sounds:
                why = "is said twice" if key else "has nothing to say"
                raise ProviderUnusable(f"pack.folder: {folder / _INDEX}: {phrase!r} {why}")
            content = _content(folder, file)
            digest.update(key.encode() + b"\0" + hashlib.sha256(content).digest())
            try:
                self._sounds[key] = _evened(*mp3.decode(content))
            except mp3.NotMp3 as error:
                raise ProviderUnusable(f"pack.folder: {folder / file}: {error}") from error
        self._longest = max(map(len, self._sounds))
        self._voice = digest.hexdigest()[:16]

    @property
    def voice(self) -> str:
        return self._voice

    def synthesize(self, text: str) -> Spoken:
        """Raises TextEmpty, TextNotSpeakable."""
        said, pauses = _said(text)
        if not said:
            raise TextEmpty("there is nothing to say")
        parts = self._parts(said, pauses)
        if lost := sum(part.end - part.begin for part in parts if not part.is_recorded):
            raise TextNotSpeakable(f"{lost} of {len(said)} characters are in no recording")
        sounds = []
        for part in parts:
            pause_s = pauses.get(part.end, _JOIN_S) if part.end < len(said) else 0
            sounds += [self._sounds[said[part.begin : part.end]], np.zeros(round(pause_s * _RATE_HZ), np.int16)]
        pcm = np.concatenate(sounds)
        return Spoken(mp3=mp3.encode(pcm, _RATE_HZ), provider=self.name, duration_s=len(pcm) / _RATE_HZ)

    def missing(self, texts: Iterable[str]) -> list[str]:
        """What is to be recorded before the pack can say all of these texts: each stretch once."""
        found: dict[str, None] = {}
        for text in texts:
            said, pauses = _said(text)
            begin: int | None = None
            for part in self._parts(said, pauses):
                if begin is not None and (part.is_recorded or part.begin in pauses):
                    found[said[begin : part.begin]] = None
                    begin = None
                if not part.is_recorded and begin is None:
                    begin = part.begin
            if begin is not None:
                found[said[begin:]] = None
        return list(found)

    def _parts(self, said: str, pauses: dict[int, float]) -> list[_Part]:
        """The fewest characters without a recording, then the fewest recordings, then the longest first."""
        # From the end: what the rest costs from each place on, and the first part of the best way to say it.
        joints = {at for at in range(len(said) + 1) if at in pauses or not _is_inside(said, at)}
        cost = {len(said): (0, 0)}
        first: dict[int, _Part] = {}
        for begin in reversed(range(len(said))):
            lost, count = cost[begin + 1]
            best = (lost + 1, count), _Part(begin=begin, end=begin + 1, is_recorded=False)
            for end in range(begin + 1, min(begin + self._longest, len(said)) + 1):
                if {begin, end} <= joints and said[begin:end] in self._sounds:
                    lost, count = cost[end]
                    if (lost, count + 1) <= best[0]:
                        best = (lost, count + 1), _Part(begin=begin, end=end, is_recorded=True)
            cost[begin], first[begin] = best
        parts, at = [], 0
        while at < len(said):
            parts.append(first[at])
            at = first[at].end
        return parts


def _said(text: str) -> tuple[str, dict[int, float]]:
    """What is said of a text, and the pauses in it: place -> seconds."""
    said = ""
    pauses: dict[int, float] = {}
    for found in re.finditer(rf"({_UNSAID})|.", unicodedata.normalize("NFKC", text).casefold(), re.DOTALL):
        sign = found[1]
        if sign:
            pause_s = _STOP_S if sign in _STOPS else _JOIN_S if sign.isspace() else _PAUSE_S
            pauses[len(said)] = max(pauses.get(len(said), 0), pause_s)
        else:
            said += found[0]
    return said, pauses


def _is_inside(said: str, at: int) -> bool:
    """Whether a number or a Latin word goes on across this place."""
    return 0 < at < len(said) and all(char.isascii() for char in said[at - 1 : at + 1])


def _phrases(index: Path) -> dict[str, str]:
    try:
        phrases = _Index.model_validate(tomllib.loads(index.read_text(encoding="utf-8"))).phrases
    except OSError as error:
        raise ProviderUnusable(f"pack.folder: {index}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ProviderUnusable(f"pack.folder: {index}: no TOML: {error}") from error
    except ValidationError as error:
        wrong = ".".join(map(str, error.errors()[0]["loc"]))
        told = f"expected a table [phrases] of phrase = file, got something else at {wrong}"
        raise ProviderUnusable(f"pack.folder: {index}: {told}") from error
    if not phrases:
        raise ProviderUnusable(f"pack.folder: {index}: [phrases] is empty")
    return phrases


def _content(folder: Path, file: str) -> bytes:
    path = folder / file
    if "\0" in file:
        raise ProviderUnusable(f"pack.folder: {str(path)!r} is no path")
    try:
        real = Path(os.path.realpath(path, strict=True))
        if not real.is_relative_to(folder.resolve()):
            raise ProviderUnusable(f"pack.folder: {path}: is not below the folder")
        if real.stat().st_size > _BYTES_MAX:
            raise ProviderUnusable(f"pack.folder: {path}: is larger than {_BYTES_MAX} bytes")
        return real.read_bytes()
    except OSError as error:
        raise ProviderUnusable(f"pack.folder: {path}: {error.strerror}") from error


def _evened(pcm: np.ndarray, rate_hz: int) -> np.ndarray:
    """At our rate, without the silence around it, as loud as the others as far as that does not clip."""
    sound = resampled(pcm.astype(np.float32) / 32768, rate_hz, _RATE_HZ)
    peak = float(np.abs(sound).max(initial=0))
    if peak < 1e-3:
        raise mp3.NotMp3("is silent")
    heard = np.flatnonzero(np.abs(sound) > peak / 100)
    edge = _RATE_HZ // 50
    sound = sound[max(int(heard[0]) - edge, 0) : int(heard[-1]) + edge]
    loud = float(np.sqrt(np.mean(np.square(sound[np.abs(sound) > peak / 10]))))
    return np.round(sound * min(_LOUDNESS / loud, _PEAK_MAX / peak) * 32767).astype(np.int16)
