"""PocketSphinx in its process: which of the given sounds a recording is, and how much better anything else would fit.

A grammar always answers with one of its phrases. Whether the phrase was said is judged by four things:
- how well the best phrase fits beside a free loop of all phones on the same audio (in nats per frame of 10 ms);
- how much better it fits than the next phrase: a voice that the model does not know worsens all of them alike;
- how much of what is loud in the recording lies outside of the phrase, where the grammar heard a pause;
- whether its shortest syllable is as long as one can be spoken.
Each syllable is a word of its own: that fits better than whole phrases, and allows pauses.
"""

import math
import tempfile
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pocketsphinx import Decoder, get_model_path

from speech.errors import TextNotSpeakable
from speech.phones import ENGLISH_PHONES, MandarinPhones, Phones, english_phones
from speech.provider import RATE_HZ

Sound = tuple[str, ...]

_FRAME = RATE_HZ // 100
# Kept wide: with the library's defaults some recordings have no path at all. (facts: 68-74 of 108 against 83-90)
_BEAMS = {"beam": 1e-80, "pbeam": 1e-80, "wbeam": 1e-60, "bestpath": False}
# The library keeps scores as logarithms, a 1024th of their size.
_NATS = 1024
_GRAMMARS_MAX = 64
_LOUD_DB = 25
_LOOP = "loop"


@dataclass(frozen=True, slots=True)
class Ask:
    """pcm: (n,) int16, 16 kHz, mono. sounds: the syllables of each phrase."""

    pcm: np.ndarray
    sounds: tuple[Sound, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Guess:
    """The sounds that the best path of every model may be; several where the models cannot tell them apart, none where
    they disagree. gap_nats: how much better than anything at all, per frame; mostly below 0. ahead_nats: how much
    better than the next phrase, 0 if there is none. outside: share, 0 to 1, of what is loud that is not in the phrase.
    shortest_s: of its syllables."""

    sounds: tuple[Sound, ...]
    gap_nats: float
    ahead_nats: float
    outside: float
    shortest_s: float


class Ears:
    """The bundled model, which also judges, and a site's Mandarin ones, which must agree."""

    def __init__(self, mandarin: Sequence[tuple[Path, Path]]) -> None:
        """mandarin: folder and dictionary of each. Raises OSError, RuntimeError, ValueError."""
        self._bundled = _Model(Path(get_model_path("en-us/en-us")), english_phones, batch=False)
        self._bundled.add_loop(ENGLISH_PHONES)
        self._mandarin = [_mandarin(folder, dictionary) for folder, dictionary in mandarin]

    def __call__(self, ask: Ask) -> Guess | None:
        """None: no path at all, as of a recording that is too short."""
        best, free = self._bundled.best(ask), self._bundled.free(ask.pcm)
        if best is None or free is None:
            return None
        others = tuple(sound for sound in ask.sounds if sound not in best.sounds)
        second = self._bundled.best(Ask(ask.pcm, others))
        found = set(best.sounds)
        for model in self._mandarin:
            other = model.best(ask)
            found &= set(other.sounds) if other else set()
        frames = sum(last - first + 1 for first, last in best.syllables)
        return Guess(
            sounds=tuple(sound for sound in best.sounds if sound in found),
            gap_nats=(best.score - free) * _NATS / frames,
            ahead_nats=(best.score - second.score) * _NATS / frames if second else 0.0,
            outside=_outside(ask.pcm, best.syllables),
            shortest_s=min(last - first + 1 for first, last in best.syllables) / 100,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Path:
    """syllables: first and last frame of each."""

    sounds: tuple[Sound, ...]
    score: float
    syllables: tuple[tuple[int, int], ...]


class _Model:
    """One acoustic model with its grammars, the last few of which are kept."""

    def __init__(self, folder: Path, phones_of: Callable[[str], Phones], *, batch: bool) -> None:
        """batch: for models that do not say themselves how their features are normalised."""
        normalised = {"cmn": "batch", "remove_noise": True} if batch else {}
        with tempfile.NamedTemporaryFile(suffix=".dict") as empty:
            self._decoder = Decoder(
                hmm=str(folder), lm=None, dict=empty.name, samprate=RATE_HZ, loglevel="ERROR", **_BEAMS, **normalised
            )
        self._phones_of = phones_of
        self._words: dict[str, str] = {}
        self._grammars: OrderedDict[tuple[Sound, ...], tuple[str, dict[str, tuple[Sound, ...]]]] = OrderedDict()
        self._made = 0

    def add_loop(self, phones: Iterable[str]) -> None:
        words = [self._word((phone,)) for phone in phones]
        self._decoder.add_jsgf_string(_LOOP, _jsgf(_LOOP, f"( {' | '.join(words)} )+"))

    def add_syllables(self, syllables: Iterable[str]) -> None:
        """Raises RuntimeError, TextNotSpeakable."""
        for syllable in syllables:
            self._word(self._phones_of(syllable))

    def best(self, ask: Ask) -> _Path | None:
        name, sounds_of = self._grammar(ask.sounds)
        if not sounds_of:
            return None
        score = self._search(name, ask.pcm)
        if score is None:
            return None
        heard = [part for part in self._decoder.seg() if part.word.startswith("w")]
        sounds = sounds_of.get(" ".join(part.word for part in heard))
        if sounds is None:
            return None
        return _Path(sounds=sounds, score=score, syllables=tuple((part.start_frame, part.end_frame) for part in heard))

    def free(self, pcm: np.ndarray) -> float | None:
        return self._search(_LOOP, pcm)

    def _search(self, name: str, pcm: np.ndarray) -> float | None:
        # What the front end has learned of the noise would go on from one recording to the next, worth 0.3 nats.
        self._decoder.reinit_feat()
        self._decoder.activate_search(name)
        self._decoder.start_utt()
        self._decoder.process_raw(pcm.tobytes(), no_search=False, full_utt=True)
        self._decoder.end_utt()
        found = self._decoder.hyp()
        return math.log(found.best_score) if found and found.best_score > 0 else None

    def _grammar(self, sounds: tuple[Sound, ...]) -> tuple[str, dict[str, tuple[Sound, ...]]]:
        """Its name, and the sounds by the words of a path; without those that this model cannot spell."""
        if sounds in self._grammars:
            self._grammars.move_to_end(sounds)
            return self._grammars[sounds]
        paths: dict[str, tuple[Sound, ...]] = {}
        for sound in sounds:
            try:
                path = " ".join(self._word(self._phones_of(syllable)) for syllable in sound)
            except TextNotSpeakable:
                continue
            paths[path] = (*paths.get(path, ()), sound)
        self._made += 1
        name = f"g{self._made}"
        if paths:
            self._decoder.add_jsgf_string(name, _jsgf(name, " | ".join(paths)))
        self._grammars[sounds] = name, paths
        if len(self._grammars) > _GRAMMARS_MAX:
            old, paths_of_old = self._grammars.popitem(last=False)[1]
            if paths_of_old:
                self._decoder.remove_search(old)
        return self._grammars[sounds]

    def _word(self, phones: Phones) -> str:
        """One word per sequence of phones, so that syllables which this model cannot tell apart are one word."""
        spelling = " ".join(phones)
        if spelling not in self._words:
            word = f"w{len(self._words)}"
            self._decoder.add_word(word, spelling, False)
            self._words[spelling] = word
        return self._words[spelling]


def _jsgf(name: str, rule: str) -> str:
    return f"#JSGF V1.0;\ngrammar {name};\npublic <heard> = {rule} ;\n"


def _mandarin(folder: Path, dictionary: Path) -> _Model:
    try:
        with dictionary.open(encoding="utf-8") as lines:
            phones = MandarinPhones(lines)
        model = _Model(folder, phones, batch=True)
        model.add_syllables(_COMMON)
    except (RuntimeError, ValueError) as error:
        raise ValueError(f"{folder} with {dictionary}: {error}") from error
    return model


# Syllables of words that nearly every question allows: a dictionary without them is of something else.
_COMMON = ("di", "yi", "er", "san", "ge", "shi", "de", "dui", "que", "ren", "bu", "dou", "zhi", "dao", "qu", "xiao")


def _outside(pcm: np.ndarray, syllables: Sequence[tuple[int, int]]) -> float:
    """Share of the loud frames that are in no syllable."""
    frames = len(pcm) // _FRAME
    power = (pcm[: frames * _FRAME].astype(np.float64).reshape(frames, _FRAME) ** 2).mean(axis=1)
    level_db = 10 * np.log10(np.convolve(power, np.ones(3) / 3, "same") + 1)
    loud = level_db > level_db.max() - _LOUD_DB
    inside = np.zeros(frames, bool)
    for first, last in syllables:
        inside[first : last + 1] = True
    return float((loud & ~inside).sum() / loud.sum())
