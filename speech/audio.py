"""From the bytes of an uploaded file to what a recognizer gets."""

import io
import wave
from dataclasses import dataclass

import av
import numpy as np

from speech.errors import AudioInvalid, AudioProblem
from speech.provider import RATE_HZ
from speech.vad import CHUNK, speaking
from speech.wav import read_wav

# Within 2 per mille of the speech's own peak: a converter's flat top, also where a gain was turned down behind it.
_TOP = 0.998
# A wave below this is not said to be clipped: its few steps are alike.
_PEAK_MIN = 0.05
# What no site chooses of the rules.
SPEECH_MIN_S = 0.1
PAD_S = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class AudioRules:
    """speech_min_s: less speech than this in total is none. clipped_share_max: of the samples of the speech, those at
    the flat top of the wave. pad_s: what is kept around the speech.

    Of 40 words that were clipped on purpose, pocketsphinx heard about as many as before up to a share of 0.23, 60 %
    of them at 0.32, 40 % at 0.5, one at 0.67.
    """

    bytes_max: int
    seconds_max: float
    speech_min_s: float
    clipped_share_max: float
    pad_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """pcm: (n,) int16, 16 kHz, mono, trimmed to the speech. speech_s: of it, speech. duration_s: of the whole file."""

    pcm: np.ndarray
    speech_s: float
    duration_s: float


def read_answer(content: bytes, rules: AudioRules) -> Recording:
    """Check and decode one uploaded answer. Of several channels the one with the most speech is kept.

    Raises AudioInvalid.
    """
    if not content:
        raise AudioInvalid(AudioProblem.EMPTY, "the file has no bytes")
    if len(content) > rules.bytes_max:
        raise AudioInvalid(AudioProblem.TOO_LARGE, f"expected at most {rules.bytes_max} bytes, got {len(content)}")
    sound = read_wav(content, seconds_max=rules.seconds_max)
    # Mixed, a dead channel would halve the voice, and one with its wires crossed would cancel it.
    voices = [_Voice.of(channel, sound.rate_hz) for channel in sound.samples]
    best = max(voices, key=lambda voice: voice.speech_s)
    is_speech = best.speech_s >= rules.speech_min_s
    # A voice that is far too loud is none any more to the detector; "no speech" would have it speak up.
    share = best.clipped_share() if is_speech else max(voice.clipped_share() for voice in voices)
    if share > rules.clipped_share_max:
        told = f"expected at most {rules.clipped_share_max:.0%} of the speech clipped, got {share:.0%}"
        raise AudioInvalid(AudioProblem.CLIPPED, told)
    if not is_speech:
        told = f"expected at least {rules.speech_min_s:g} s of speech, got {best.speech_s:.2f} s"
        raise AudioInvalid(AudioProblem.NO_SPEECH, told)
    return Recording(pcm=best.trimmed(rules.pad_s), speech_s=best.speech_s, duration_s=sound.duration_s)


def wav_bytes(pcm: np.ndarray) -> bytes:
    """A WAV file of (n,) int16, 16 kHz, for providers that take a file."""
    file = io.BytesIO()
    with wave.open(file, "wb") as wav:
        wav.setnchannels(1)
        wav.setsampwidth(2)
        wav.setframerate(RATE_HZ)
        wav.writeframes(pcm.astype("<i2").tobytes())
    return file.getvalue()


def resampled(samples: np.ndarray, rate_hz: int, to_hz: int) -> np.ndarray:
    """(n,) float32 at another rate."""
    if rate_hz == to_hz:
        return samples
    resampler = av.AudioResampler(format="flt", layout="mono", rate=to_hz)
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples, np.float32)[None], format="flt", layout="mono")
    frame.sample_rate = rate_hz
    out = [*resampler.resample(frame), *resampler.resample(None)]
    return np.concatenate([np.zeros(0, np.float32), *(part.to_ndarray()[0] for part in out)])


@dataclass(frozen=True, slots=True, kw_only=True)
class _Voice:
    """One channel. source: at its own rate, without its direct current; heard: at 16 kHz; spoken: per
    chunk of heard."""

    source: np.ndarray
    source_hz: int
    heard: np.ndarray
    spoken: np.ndarray

    @classmethod
    def of(cls, channel: np.ndarray, rate_hz: int) -> "_Voice":
        source = channel - channel.mean()
        heard = resampled(source, rate_hz, RATE_HZ)
        return cls(source=source, source_hz=rate_hz, heard=heard, spoken=speaking(heard))

    @property
    def speech_s(self) -> float:
        return int(self.spoken.sum()) * CHUNK / RATE_HZ

    def clipped_share(self) -> float:
        """Which share of the speech's samples, as they came from the converter, is clipped; of all, without speech."""
        of_chunk = np.arange(len(self.source)) * RATE_HZ // (self.source_hz * CHUNK)
        speech = (
            self.source[self.spoken[np.minimum(of_chunk, len(self.spoken) - 1)]] if self.spoken.any() else self.source
        )
        high, low = speech.max(), speech.min()
        is_top = (speech >= _TOP * high) & (high > _PEAK_MIN) | (speech <= _TOP * low) & (low < -_PEAK_MIN)
        return float(np.mean(is_top))

    def trimmed(self, pad_s: float) -> np.ndarray:
        chunks = np.flatnonzero(self.spoken)
        pad = round(pad_s * RATE_HZ)
        first, last = max(int(chunks[0]) * CHUNK - pad, 0), (int(chunks[-1]) + 1) * CHUNK + pad
        return np.clip(np.round(self.heard[first:last] * 32767), -32768, 32767).astype(np.int16)
