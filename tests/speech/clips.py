"""Spoken answers: by espeak-ng, and by people where the shared recordings are there."""

import io
import subprocess
import wave
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np

from speech.audio import read_answer, resampled
from speech.provider import RATE_HZ
from tests import rules
from tests.waiting import DEADLINE_S

SHARED = Path(__file__).parents[3] / "shared"
RECORDINGS = SHARED / "media" / "speech"
MANDARIN = SHARED / "models" / "pocketsphinx-zh-tdt"


@dataclass(frozen=True, slots=True, kw_only=True)
class Clip:
    """pcm: trimmed, as a recognizer gets it."""

    text: str
    kind: str
    pcm: np.ndarray


def spoken(text: str, *, variant: str = "", words_per_minute: int = 165, pitch: int = 50) -> np.ndarray:
    """Trimmed, as a recognizer gets it. variant: one of espeak-ng's voices, like f2."""
    voice = "cmn-latn-pinyin" + (f"+{variant}" if variant else "")
    command = ["espeak-ng", "-v", voice, "-s", str(words_per_minute), "-p", str(pitch), "--stdout", text]
    return _trimmed(subprocess.run(command, check=True, capture_output=True, timeout=DEADLINE_S).stdout)


def recorded(*, stretched: float = 1.0) -> list[Clip]:
    """What people said; none where the recordings are not there. stretched: slower and deeper above 1."""
    manifest = RECORDINGS / "manifest.tsv"
    if not manifest.is_file():
        return []
    lines = [line.split("\t") for line in manifest.read_text(encoding="utf-8").splitlines()[1:]]
    return [
        Clip(
            text=text, kind="syllables" if "syllables" in kind else "sentence", pcm=_read(RECORDINGS / name, stretched)
        )
        for name, text, kind in lines
    ]


def with_noise(pcm: np.ndarray, ratio_db: float, seed: int) -> np.ndarray:
    """With noise that has as much of each octave, so much quieter than the speech."""
    white = np.fft.rfft(np.random.default_rng(seed).normal(size=len(pcm)))
    pink = np.fft.irfft(white / np.sqrt(np.arange(1, len(white) + 1)), len(pcm))
    level = np.sqrt(np.mean(pcm.astype(np.float64) ** 2)) / 10 ** (ratio_db / 20)
    return np.clip(pcm + pink * level / pink.std(), -32768, 32767).astype(np.int16)


def _read(path: Path, stretched: float) -> np.ndarray:
    with av.open(str(path)) as container:
        resampler = av.AudioResampler(format="flt", layout="mono", rate=RATE_HZ)
        frames = [out for frame in container.decode(audio=0) for out in resampler.resample(frame)]
        frames += resampler.resample(None)
    heard = np.concatenate([frame.to_ndarray()[0] for frame in frames])
    return _trimmed(_wav(resampled(heard, RATE_HZ, round(RATE_HZ * stretched))))


def _wav(samples: np.ndarray) -> bytes:
    quiet = np.zeros(RATE_HZ * 3 // 10, np.float32)
    file = io.BytesIO()
    with wave.open(file, "wb") as wav:
        wav.setnchannels(1)
        wav.setsampwidth(2)
        wav.setframerate(RATE_HZ)
        wav.writeframes((np.concatenate([quiet, samples, quiet]).clip(-1, 1) * 32767).astype("<i2").tobytes())
    return file.getvalue()


def _trimmed(wav: bytes) -> np.ndarray:
    return read_answer(wav, rules.audio()).pcm
