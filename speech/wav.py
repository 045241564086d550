"""WAV files as people's recorders write them: what the header says, checked before anything is decoded.

Written by hand where libav would guess: its demuxer looks for MP3 and AC-3 inside a WAV, and takes the size fields at
their word. What is left to libav is to turn samples of a checked encoding into numbers.
"""

import struct
from dataclasses import dataclass

import av
import numpy as np

from speech.errors import AudioInvalid, AudioProblem

RATES_HZ = (8_000, 96_000)
CHANNELS_MAX = 8

_PCM, _FLOAT, _ALAW, _MULAW, _EXTENSIBLE = 1, 3, 6, 7, 0xFFFE
# The end of every sub-format GUID of WAVE_FORMAT_EXTENSIBLE; its first two bytes are a tag as above.
_GUID_TAIL = bytes.fromhex("000000001000800000aa00389b71")
_CODECS = {
    (_PCM, 8): "pcm_u8",
    (_PCM, 16): "pcm_s16le",
    (_PCM, 24): "pcm_s24le",
    (_PCM, 32): "pcm_s32le",
    (_FLOAT, 32): "pcm_f32le",
    (_FLOAT, 64): "pcm_f64le",
    (_ALAW, 8): "pcm_alaw",
    (_MULAW, 8): "pcm_mulaw",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sound:
    """samples: (channels, n) float32, full scale is 1."""

    samples: np.ndarray
    rate_hz: int

    @property
    def duration_s(self) -> float:
        return int(self.samples.shape[1]) / self.rate_hz


def read_wav(content: bytes, *, seconds_max: float) -> Sound:
    """Decode a WAV of PCM, float, A-law or mu-law. A size field of a stream and a last block cut off are forgiven.

    Raises AudioInvalid: NOT_WAV, EMPTY, TOO_LONG; the length is checked before anything is decoded.
    """
    layout, data = _chunks(content)
    block = layout.channels * layout.sample_bytes
    data = data[: len(data) // block * block]
    if not data:
        raise AudioInvalid(AudioProblem.EMPTY, "the header is followed by no samples")
    seconds = len(data) / block / layout.rate_hz
    if seconds > seconds_max:
        raise AudioInvalid(AudioProblem.TOO_LONG, f"expected at most {seconds_max:g} s, got {seconds:.1f} s")
    # To the decoder the channels are one after the other in time: it need not know their layout.
    decoder = av.CodecContext.create(layout.codec, "r")
    assert isinstance(decoder, av.AudioCodecContext)
    decoder.sample_rate, decoder.layout = layout.rate_hz, "mono"
    frames = [*decoder.decode(av.Packet(bytes(data))), *decoder.decode(None)]
    to_float = av.AudioResampler(format="flt", layout="mono", rate=layout.rate_hz)
    flat = np.concatenate([out.to_ndarray()[0] for frame in frames for out in to_float.resample(frame)])
    samples = np.nan_to_num(flat.reshape(-1, layout.channels).T, posinf=1, neginf=-1)
    return Sound(samples=np.clip(samples, -1, 1), rate_hz=layout.rate_hz)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layout:
    codec: str
    channels: int
    sample_bytes: int
    rate_hz: int


def _chunks(content: bytes) -> tuple[_Layout, memoryview]:
    """The format, and the bytes of the first data chunk as far as they are there."""
    if content[:4] != b"RIFF" or content[8:12] != b"WAVE":
        raise _not_wav("the file does not begin as RIFF/WAVE")
    layout, at = None, 12
    while at + 8 <= len(content):
        name, size = struct.unpack_from("<4sI", content, at)
        body = memoryview(content)[at + 8 :]
        if name == b"fmt ":
            layout = _layout(bytes(body[:size]))
        elif name == b"data":
            if layout is None:
                raise _not_wav("the samples come before their format")
            # Who writes to a pipe cannot go back to fill the size in, and leaves 0 or something huge.
            return layout, body[:size] if size else body
        at += 8 + size + size % 2
    if layout is None:
        raise _not_wav("there is no format")
    raise AudioInvalid(AudioProblem.EMPTY, "the header is followed by no samples")


def _layout(fmt: bytes) -> _Layout:
    if len(fmt) < 16:
        raise _not_wav(f"the format has {len(fmt)} bytes, expected at least 16")
    tag, channels, rate_hz, _, block, bits = struct.unpack_from("<HHIIHH", fmt)
    if tag == _EXTENSIBLE and fmt[26:40] == _GUID_TAIL:
        tag = int.from_bytes(fmt[24:26], "little")
    codec = _CODECS.get((tag, bits))
    if codec is None:
        raise _not_wav(f"encoding {tag:#x} with {bits} bits is none of PCM, float, A-law, mu-law")
    if not 1 <= channels <= CHANNELS_MAX:
        raise _not_wav(f"expected 1 to {CHANNELS_MAX} channels, got {channels}")
    if not RATES_HZ[0] <= rate_hz <= RATES_HZ[1]:
        raise _not_wav(f"expected {RATES_HZ[0]} to {RATES_HZ[1]} Hz, got {rate_hz}")
    if block != channels * bits // 8:
        raise _not_wav(f"expected blocks of {channels * bits // 8} bytes, got {block}")
    return _Layout(codec=codec, channels=channels, sample_bytes=bits // 8, rate_hz=rate_hz)


def _not_wav(told: str) -> AudioInvalid:
    return AudioInvalid(AudioProblem.NOT_WAV, told)
