"""How often pocketsphinx hears right, wrong, or asks again; and what it takes for words that are no answer.

    python -m bench.speech_ears                 # all of it: about 10 minutes
    python -m bench.speech_ears --set tuning    # the clips on which the limits were found

The clips of the two sets share no voice, no speed and no word that is not an answer; the answers are the same. No
recordings of operating rooms are among them, and the human ones are syllables of one speaker, joined: read the table as
a comparison, not as a promise.
"""

import argparse
import random
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from daemon.assembly.speech import sphinx_rules_of
from daemon.config.speech import SphinxSettings
from speech.errors import NotUnderstood
from speech.pocketsphinx import SphinxModel, SphinxRecognizer
from tests.speech.clips import MANDARIN, Clip, recorded, spoken, with_noise

COMMANDS = (
    *("第一个", "第二个", "第三个", "一号", "二号", "三号", "是", "是的", "对", "确认", "不是", "不对"),
    *("都不是", "都不对", "不知道", "不确定", "再说一遍", "没听清", "取消"),
)
OPTIONS = (
    ("纱布", "缝线", "止血钳"),
    ("剪刀", "镊子", "手套"),
    ("注射器", "刀片", "纱布"),
    ("可吸收缝线", "吸引器头", "止血海绵"),
    ("止血钳", "持针钳", "缝合针"),
)
# What is settled in the same way, whichever of them is heard.
ALIKE = (
    {"是", "是的", "对", "确认"},
    {"不是", "不对"},
    {"都不是", "都不对"},
    {"不知道", "不确定"},
    {"再说一遍", "没听清"},
    *({f"第{n}个", f"{n}号"} for n in "一二三"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Voices:
    variants: tuple[str, ...]
    speeds: tuple[int, ...]
    pitches: tuple[int, ...]
    others: list[str]


def _words(name: str) -> list[str]:
    """What is said that is no answer."""
    parts = Path(__file__).with_name("speech_words.txt").read_text(encoding="utf-8").split("\n\n")
    return next(words for title, *words in (part.split() for part in parts) if title == name)


SETS = {
    "tuning": Voices(
        variants=("", "f2", "m3", "f4", "m7"), speeds=(120, 165, 205), pitches=(35, 50, 65), others=_words("tuning")
    ),
    "held-out": Voices(
        variants=("m5", "linda", "Michael", "f3", "edward", "belinda"),
        speeds=(135, 155, 180),
        pitches=(40, 55, 60),
        others=_words("held-out"),
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    clip: Clip
    phrases: tuple[str, ...]

    @property
    def valid(self) -> bool:
        return self.clip.text in self.phrases


def trials(voices: Voices) -> list[Trial]:
    chosen = random.Random(11)
    found = []
    for clip in [*_answers(voices, chosen), *_human()]:
        with_it = [options for options in OPTIONS if clip.text in options]
        if clip.kind != "sentence":
            options = chosen.choice(with_it or OPTIONS)
            found.append(Trial(clip=clip, phrases=(*COMMANDS, *options)))
        # The same recording where it is no answer: another question is open, and whatever means the same is left out.
        alike = next((words for words in ALIKE if clip.text in words), {clip.text})
        options = chosen.choice([options for options in OPTIONS if clip.text not in options])
        found.append(Trial(clip=clip, phrases=tuple(p for p in (*COMMANDS, *options) if p not in alike)))
    for word in voices.others:
        for _ in range(2):
            clip = Clip(text=word, kind="word", pcm=_say(word, voices, chosen))
            found.append(Trial(clip=clip, phrases=(*COMMANDS, *chosen.choice(OPTIONS))))
    return found


def _answers(voices: Voices, chosen: random.Random) -> Iterator[Clip]:
    for text in (*COMMANDS, *sorted({name for options in OPTIONS for name in options})):
        for _ in range(5):
            yield Clip(text=text, kind="espeak", pcm=_say(text, voices, chosen))


def _human() -> Iterator[Clip]:
    for stretched in (1.0, 0.92, 1.08):
        for clip in recorded(stretched=stretched):
            yield clip
            if clip.kind == "syllables":
                noisy = with_noise(clip.pcm, 20, seed=len(clip.pcm))
                yield Clip(text=clip.text, kind="syllables, 20 dB noise", pcm=noisy)


def _say(text: str, voices: Voices, chosen: random.Random) -> np.ndarray:
    return spoken(
        text,
        variant=chosen.choice(voices.variants),
        words_per_minute=chosen.choice(voices.speeds),
        pitch=chosen.choice(voices.pitches),
    )


def outcome(ear: SphinxRecognizer, trial: Trial) -> str:
    try:
        heard = ear.recognize(trial.clip.pcm, trial.phrases).text
    except NotUnderstood:
        return "again"
    if not trial.valid:
        return "taken"
    same = heard == trial.clip.text or any({heard, trial.clip.text} <= words for words in ALIKE)
    return "right" if same else "wrong"


def measured(ear: SphinxRecognizer, all_trials: Sequence[Trial]) -> tuple[Counter[tuple[str, bool, str]], list[float]]:
    """Outcomes by kind of clip and whether it is an answer, and milliseconds of each."""
    counts: Counter[tuple[str, bool, str]] = Counter()
    took_ms = []
    for trial in all_trials:
        began = time.perf_counter()
        counts[trial.clip.kind, trial.valid, outcome(ear, trial)] += 1
        took_ms.append((time.perf_counter() - began) * 1000)
    return counts, took_ms


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", choices=SETS, default="held-out")
    all_trials = trials(SETS[parser.parse_args().set])
    ears: dict[str, tuple[SphinxModel, ...]] = {"bundled": ()}
    if MANDARIN.is_dir():
        sc, ptm = (SphinxModel(folder=MANDARIN / n, dictionary=MANDARIN / "mandarin_notone.dic") for n in ("sc", "ptm"))
        ears |= {"bundled + sc": (sc,), "bundled + ptm": (ptm,), "bundled + sc + ptm": (sc, ptm)}
    print("| models | clips | answers: right / again / wrong | no answers: taken | p50 ms | p95 ms |")
    print("|---|---|---|---|---|---|")
    for name, models in ears.items():
        ear = SphinxRecognizer(replace(sphinx_rules_of(SphinxSettings()), models=models, workers=1))
        counts, took_ms = measured(ear, all_trials)
        ear.close()
        p50, p95 = np.percentile(took_ms, (50, 95))
        for kind in dict.fromkeys(trial.clip.kind for trial in all_trials):
            _print_row(name, kind, {key[1:]: n for key, n in counts.items() if key[0] == kind}, "|  |  |")
        total: Counter[tuple[bool, str]] = Counter()
        for (_, valid, result), n in counts.items():
            total[valid, result] += n
        _print_row(name, "**all**", total, f"| {p50:.0f} | {p95:.0f} |")


def _print_row(name: str, kind: str, counts: dict[tuple[bool, str], int], times: str) -> None:
    right, again, wrong = (counts.get((True, result), 0) for result in ("right", "again", "wrong"))
    taken, refused = counts.get((False, "taken"), 0), counts.get((False, "again"), 0)
    answers = f"{right} / {again} / {wrong} of {right + again + wrong}" if right + again + wrong else "-"
    share = f"{taken} of {taken + refused} ({taken / (taken + refused):.1%})"
    print(f"| {name} | {kind} | {answers} | {share} {times}", flush=True)


if __name__ == "__main__":
    main()
