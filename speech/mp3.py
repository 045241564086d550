"""MP3 in and out: whole files, mono, by PyAV's libmp3lame."""

import io

import av
import numpy as np

_FRAME = 1152  # samples of an MPEG-1 Layer III frame
_BIT_RATE = 48_000
# A question lasts seconds; nothing that is minutes long is one.
_SECONDS_MAX = 300.0


class NotMp3(ValueError):
    """The bytes are not an MP3 that decodes to its end."""


def encode(pcm: np.ndarray, rate_hz: int, *, bit_rate: int = _BIT_RATE) -> bytes:
    """pcm: (n,) int16, mono. rate_hz: one that MP3 has (16,000, 22,050, 24,000, 44,100 ...)."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp3") as container:
        stream = container.add_stream("libmp3lame", rate=rate_hz)
        stream.bit_rate = bit_rate
        stream.layout = "mono"
        stream.format = "s16p"
        resampler = av.AudioResampler(format="s16p", layout="mono", rate=rate_hz, frame_size=_FRAME)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(pcm, np.int16)[None], format="s16", layout="mono")
        frame.sample_rate = rate_hz
        for part in (*resampler.resample(frame), *resampler.resample(None)):
            container.mux(stream.encode(part))
        container.mux(stream.encode(None))
    return file.getvalue()


def decode(content: bytes) -> tuple[np.ndarray, int]:
    """(n,) int16, mono, and its rate in Hz. Raises NotMp3."""
    if not (content[:3] == b"ID3" or (content[:1] == b"\xff" and content[1:2] and content[1] & 0xE0 == 0xE0)):
        raise NotMp3(f"begins with {content[:4]!r}, expected ID3 or an MPEG frame")
    parts: list[np.ndarray] = []
    rate_hz = 0
    try:
        # Titles in GBK are common: what a tag says does not matter here.
        with av.open(io.BytesIO(content), "r", format="mp3", metadata_errors="ignore") as container:
            for frame in container.decode(audio=0):
                rate_hz = frame.sample_rate
                samples = frame.to_ndarray().astype(np.float32)
                parts.append((samples if frame.format.name.startswith("flt") else samples / 32768).mean(axis=0))
                if sum(map(len, parts)) > _SECONDS_MAX * rate_hz:
                    raise NotMp3(f"longer than {_SECONDS_MAX:g} s")
    except (av.FFmpegError, IndexError) as error:
        raise NotMp3(f"does not decode: {type(error).__name__}") from error
    if not parts:
        raise NotMp3("holds no sound")
    whole = np.concatenate(parts)
    return np.clip(np.round(whole * 32767), -32768, 32767).astype(np.int16), rate_hz


def is_mp3(content: bytes) -> bool:
    try:
        decode(content)
    except NotMp3:
        return False
    return True


def duration_s(content: bytes) -> float:
    """Raises NotMp3."""
    pcm, rate_hz = decode(content)
    return len(pcm) / rate_hz
