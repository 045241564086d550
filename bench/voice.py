"""Time of a voice: from the end of an upload to its answer, and of a question's sound; beside an empty request.

    python -m bench.voice [--answers 40] [--out FILE]

A whole daemon on loopback with its defaults (espeak, pocketsphinx). A ratio says how many times an empty request of the
same minute an answer takes: most of it is the recognizer's work.
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import numpy as np

from daemon.assembly.speech import espeak_rules_of
from daemon.config.speech import EspeakSettings, SpeechSettings
from speech.espeak import EspeakSynthesizer
from tests.daemon.harness import Daemon, serving, settings_for
from tests.daemon.scenes import SCENES, colour_model, film
from tests.spoken import spoken

SURGERY = "100002"
QUESTIONS = {
    "one option": "请确认：刚才使用的是可吸收缝线吗？",
    "three options": (
        "请确认刚才使用的耗材：第一个，医用纱布块，第二个，可吸收缝线，第三个，一次性注射器。如果都不是，请说都不是。"
    ),
}


def timed_speaking(times: int = 10) -> list[str]:
    voice = EspeakSynthesizer(espeak_rules_of(EspeakSettings()))
    rows = []
    for name, text in QUESTIONS.items():
        took, sound_s = [], 0.0
        for _ in range(times):
            began_s = time.perf_counter()
            sound_s = voice.synthesize(text).duration_s
            took.append(time.perf_counter() - began_s)
        rows.append(f"| question, {name} ({sound_s:.1f} s of sound) | {_ms(took, 50)} | {_ms(took, 95)} | |")
    return rows


async def timed_answers(folder: Path, answers: int) -> list[str]:
    model = colour_model(folder / "colours.onnx")
    clip = film(folder / "doubtful.mp4", SCENES["doubtful"])
    default = SpeechSettings()
    speech = {"speech": {"tts": list(default.tts), "asr": list(default.asr)}, "server": {"rate_per_minute": 100_000}}
    async with serving(settings_for(folder, model, {"doubtful": clip}, speech)) as daemon:
        await daemon.started(SURGERY, "doubtful")
        question = await daemon.question(SURGERY)
        # Not understood: the same work, and the question stays for the next one.
        other = spoken("今天天气不错")
        nothing = await _each(answers, lambda: daemon.http.get("/health"))
        took = await _each(answers, lambda: _answer(daemon, question, other))
        ratio = np.percentile(took, 50) / np.percentile(nothing, 50)
        return [
            f"| empty request | {_ms(nothing, 50)} | {_ms(nothing, 95)} | 1 |",
            f"| answer, to 422 | {_ms(took, 50)} | {_ms(took, 95)} | {ratio:.0f} |",
        ]


async def _answer(daemon: Daemon, question: str, wav: bytes) -> None:
    path = f"/client/surgeries/{SURGERY}/pending-confirmation/{question}/resolve"
    answer = await daemon.http.post(path, files={"audio": ("answer.wav", wav, "audio/wav")})
    assert answer.status_code == 422, answer.text


async def _each(times: int, call: Callable[[], Awaitable[object]]) -> list[float]:
    took = []
    for _ in range(times):
        began_s = time.perf_counter()
        await call()
        took.append(time.perf_counter() - began_s)
    return took


def _ms(took: list[float], percent: int) -> str:
    return f"{np.percentile(took, percent) * 1000:.0f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--answers", type=int, default=40)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = [*timed_speaking(), *asyncio.run(timed_answers(Path(folder), asked.answers))]
    table = "\n".join(["| what | p50, ms | p95, ms | times an empty request |", "|---|---|---|---|", *rows])
    print(table)
    if asked.out:
        asked.out.write_text(table + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
