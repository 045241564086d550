import io
import random
import struct
import subprocess
import wave
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speech import mp3
from speech.audio import AudioRules, read_answer, resampled, wav_bytes
from speech.errors import AudioInvalid, AudioProblem
from speech.provider import RATE_HZ
from speech.vad import CHUNK, speaking
from speech.wav import read_wav
from tests import rules
from tests.waiting import DEADLINE_S

RECORDINGS = Path(__file__).parents[3] / "shared" / "media" / "speech"
RULES = rules.audio()
HUMAN = sorted(RECORDINGS.glob("*.wav")) if RECORDINGS.is_dir() else []
rng = np.random.default_rng(7)


@cache
def said() -> np.ndarray:
    """(n,) float32 at 16 kHz: an answer with 0.5 s of quiet around it."""
    command = ["espeak-ng", "-v", "cmn-latn-pinyin", "-s", "150", "--stdout", "第二个，纱布"]
    sound = read_wav(
        subprocess.run(command, check=True, capture_output=True, timeout=DEADLINE_S).stdout, seconds_max=20
    )
    voice = resampled(sound.samples[0], sound.rate_hz, RATE_HZ)
    return np.pad(voice * 0.7 / np.abs(voice).max(), RATE_HZ // 2)


def container(fmt: bytes, data: bytes, *, before: bytes = b"", size: int | None = None, after: bytes = b"") -> bytes:
    """A RIFF/WAVE file. size: what its data chunk says of itself."""
    told = len(data) if size is None else size
    chunks = b"fmt " + struct.pack("<I", len(fmt)) + fmt + before + b"data" + struct.pack("<I", told) + data + after
    return b"RIFF" + struct.pack("<I", (4 + len(chunks)) & 0xFFFFFFFF) + b"WAVE" + chunks


def fmt(tag: int, channels: int, rate_hz: int, bits: int) -> bytes:
    block = channels * bits // 8
    return struct.pack("<HHIIHH", tag, channels, rate_hz, rate_hz * block, block, bits)


def file_of(channels: np.ndarray, rate_hz: int = RATE_HZ, **changed: object) -> bytes:
    """16-bit PCM. channels: (n,) or (channels, n), full scale 1."""
    channels = np.atleast_2d(channels)
    data = (np.clip(channels, -1, 1).T * 32767).astype("<i2").tobytes()
    return container(fmt(1, len(channels), rate_hz, 16), data, **changed)  # type: ignore[arg-type]


def problem(content: bytes, asked: AudioRules = RULES) -> AudioProblem:
    with pytest.raises(AudioInvalid) as caught:
        read_answer(content, asked)
    return caught.value.problem


def correlation(left: np.ndarray, right: np.ndarray) -> float:
    """How alike two recordings of nearly the same length are, at their best shift within 20 ms."""
    n = min(len(left), len(right)) - 640
    middle = left[320 : 320 + n].astype(float)
    return max(float(np.corrcoef(middle, right[at : at + n].astype(float))[0, 1]) for at in range(0, 640, 2))


def test_an_answer_is_trimmed_to_its_speech() -> None:
    long = np.pad(said(), RATE_HZ * 2)

    recording = read_answer(file_of(long), RULES)

    assert recording.pcm.dtype == np.int16
    assert recording.duration_s == pytest.approx(len(long) / RATE_HZ)
    assert 0.8 < recording.speech_s < len(said()) / RATE_HZ
    assert recording.speech_s <= len(recording.pcm) / RATE_HZ <= recording.speech_s + 1.0
    without_pad = read_answer(file_of(long), rules.audio(pad_s=0)).pcm
    assert len(recording.pcm) - len(without_pad) == round(2 * 0.2 * RATE_HZ)


@pytest.mark.parametrize("path", HUMAN, ids=lambda path: path.stem)
def test_what_people_said_is_heard_as_speech(path: Path) -> None:
    recording = read_answer(path.read_bytes(), RULES)

    assert recording.speech_s > 0.3
    with wave.open(str(path)) as wav:
        assert len(recording.pcm) <= wav.getnframes()


ENCODINGS = {
    "pcm8": (1, 8, lambda x: (np.round(x * 127) + 128).astype("u1").tobytes()),
    "pcm16": (1, 16, lambda x: (x * 32767).astype("<i2").tobytes()),
    "pcm24": (1, 24, lambda x: (x * 8388607).astype("<i4").view("u1").reshape(-1, 4)[:, :3].tobytes()),
    "pcm32": (1, 32, lambda x: (x.astype(float) * 2147483647).astype("<i4").tobytes()),
    "float32": (3, 32, lambda x: x.astype("<f4").tobytes()),
    "float64": (3, 64, lambda x: x.astype("<f8").tobytes()),
    "alaw": (6, 8, lambda x: by_libav(x, "pcm_alaw")),
    "mulaw": (7, 8, lambda x: by_libav(x, "pcm_mulaw")),
}


def by_libav(pcm: np.ndarray, codec: str) -> bytes:
    encoder = av.CodecContext.create(codec, "w")
    encoder.sample_rate, encoder.layout, encoder.format = RATE_HZ, "mono", "s16"
    frame = av.AudioFrame.from_ndarray((pcm * 32767).astype(np.int16)[None], format="s16", layout="mono")
    frame.sample_rate = RATE_HZ
    return b"".join(bytes(packet) for packet in (*encoder.encode(frame), *encoder.encode(None)))


@pytest.mark.parametrize("extensible", [False, True], ids=["plain", "extensible"])
@pytest.mark.parametrize("name", ENCODINGS)
def test_every_encoding_gives_the_same_sound(name: str, extensible: bool) -> None:
    tag, bits, encoded = ENCODINGS[name]
    header = fmt(tag, 1, RATE_HZ, bits)
    if extensible:
        tail = bytes.fromhex("000000001000800000aa00389b71")
        header = fmt(0xFFFE, 1, RATE_HZ, bits) + struct.pack("<HHIH", 22, bits, 4, tag) + tail

    recording = read_answer(container(header, encoded(said())), RULES)

    assert correlation(recording.pcm, read_answer(file_of(said()), RULES).pcm) > 0.99
    assert np.abs(recording.pcm).max() == pytest.approx(np.abs(said()).max() * 32767, rel=0.05)


@pytest.mark.parametrize("rate_hz", [8_000, 11_025, 22_050, 44_100, 48_000, 96_000])
def test_every_sane_rate_gives_the_same_sound(rate_hz: int) -> None:
    recording = read_answer(file_of(resampled(said(), RATE_HZ, rate_hz), rate_hz), RULES)

    assert recording.duration_s == pytest.approx(len(said()) / RATE_HZ, abs=0.01)
    assert correlation(recording.pcm, read_answer(file_of(said()), RULES).pcm) > (0.9 if rate_hz < RATE_HZ else 0.99)


@pytest.mark.parametrize("rate_hz", [8_000, 22_050, 48_000])
def test_at_another_rate_nothing_of_the_end_is_lost(rate_hz: int) -> None:
    samples = np.ones(1000, np.float32)

    assert len(resampled(samples, rate_hz, RATE_HZ)) == pytest.approx(1000 * RATE_HZ / rate_hz, abs=1)


CHANNELS = {
    "left dead": lambda x: np.stack([0 * x, x]),
    "right dead": lambda x: np.stack([x, 0 * x]),
    "wires crossed": lambda x: np.stack([x, -x]),
    "the other one hums": lambda x: np.stack([0.5 * np.sin(np.arange(len(x)) * 2 * np.pi * 50 / RATE_HZ), x]),
    "eight, one of them live": lambda x: np.stack([*[0 * x] * 5, x, 0 * x, 0 * x]),
}


@pytest.mark.parametrize("name", CHANNELS)
def test_the_channel_that_speaks_is_heard(name: str) -> None:
    recording = read_answer(file_of(CHANNELS[name](said())), RULES)

    assert abs(correlation(recording.pcm, read_answer(file_of(said()), RULES).pcm)) > 0.999


def test_a_direct_current_does_not_hide_the_speech() -> None:
    plain, shifted = (read_answer(file_of(said() * 0.5 + offset), RULES) for offset in (0, 0.4))

    assert shifted.speech_s == pytest.approx(plain.speech_s, abs=0.1)
    assert abs(int(np.round(shifted.pcm.mean()))) < 100


LIST = b"LIST" + struct.pack("<I", 5) + b"INFOx" + b"\0"


@pytest.mark.parametrize(
    "changed",
    [{"size": 0}, {"size": 0xFFFFFFFF}, {"size": 0x7FFFF000}, {"before": LIST}, {"after": LIST}],
    ids=["size 0", "size of all ones", "size of a pipe", "a chunk of odd size before", "a chunk after"],
)
def test_headers_of_streaming_recorders_and_strange_chunks_are_understood(changed: dict[str, object]) -> None:
    assert np.array_equal(read_answer(file_of(said(), **changed), RULES).pcm, read_answer(file_of(said()), RULES).pcm)


def test_a_last_block_that_is_cut_off_is_left_out() -> None:
    whole = file_of(np.stack([said(), said()]))

    assert read_answer(whole[:-3], RULES).duration_s == pytest.approx((len(said()) - 1) / RATE_HZ)


NOT_WAV = {
    "html": b"<html><body>413</body></html>" * 50,
    "zip": b"PK\x03\x04" + bytes(2000),
    "zeros": bytes(5000),
    "random": rng.bytes(5000),
    "riff of a film": b"RIFF" + struct.pack("<I", 2000) + b"AVI " + bytes(2000),
    "big endian": b"RIFX" + bytes(2000),
    "no format": b"RIFF" + struct.pack("<I", 2000) + b"WAVE" + b"data" + struct.pack("<I", 100) + bytes(100),
    "cut in the format": file_of(np.ones(100))[:30],
    "mp3 inside": container(fmt(0x55, 1, RATE_HZ, 16), bytes(2000)),
    "adpcm": container(fmt(2, 1, RATE_HZ, 4), bytes(2000)),
    "12 bits": container(fmt(1, 1, RATE_HZ, 12), bytes(2000)),
    "no channels": container(fmt(1, 0, RATE_HZ, 16), bytes(2000)),
    "nine channels": container(fmt(1, 9, RATE_HZ, 16), bytes(2000)),
    "rate 0": container(fmt(1, 1, 0, 16), bytes(2000)),
    "rate 192,000": container(fmt(1, 1, 192_000, 16), bytes(2000)),
    "blocks of 7": container(struct.pack("<HHIIHH", 1, 1, RATE_HZ, 32_000, 7, 16), bytes(2000)),
    "a foreign sub-format": container(
        fmt(0xFFFE, 1, RATE_HZ, 16) + struct.pack("<HHIH", 22, 16, 4, 1) + bytes(14), b""
    ),
}


@pytest.mark.parametrize("name", NOT_WAV)
def test_what_is_no_wav_is_told_so(name: str) -> None:
    assert problem(NOT_WAV[name]) is AudioProblem.NOT_WAV


def test_an_mp3_is_told_to_be_no_wav() -> None:
    assert problem(mp3.encode((said() * 32767).astype(np.int16), RATE_HZ)) is AudioProblem.NOT_WAV


def test_no_bytes_and_a_header_without_samples_are_empty() -> None:
    header_only = container(fmt(1, 2, RATE_HZ, 16), b"")

    assert [problem(content) for content in (b"", header_only, header_only[:-8], header_only + b"\1\2\3")] == (
        [AudioProblem.EMPTY] * 4
    )


def test_too_large_and_too_long_are_told_apart() -> None:
    content = file_of(said())

    assert problem(content, rules.audio(bytes_max=len(content) - 1)) is AudioProblem.TOO_LARGE
    assert problem(content, rules.audio(seconds_max=len(said()) / RATE_HZ - 0.01)) is AudioProblem.TOO_LONG
    read_answer(content, rules.audio(bytes_max=len(content), seconds_max=len(said()) / RATE_HZ))


def test_a_length_that_only_the_header_claims_is_not_believed() -> None:
    assert read_answer(file_of(said(), size=0x7FFFFFFF), RULES).duration_s == pytest.approx(len(said()) / RATE_HZ)


def seconds(n: float) -> np.ndarray:
    return np.arange(round(n * RATE_HZ)) / RATE_HZ


SILENT = {
    "zeros": 0 * seconds(2),
    "one level": 0 * seconds(2) + 0.3,
    "white noise": rng.normal(size=2 * RATE_HZ) * 0.03,
    "hum": 0.4 * np.sin(2 * np.pi * 50 * seconds(2)) + 0.1 * np.sin(2 * np.pi * 150 * seconds(2)),
    "beeps": 0.5 * np.sin(2 * np.pi * 1000 * seconds(3)) * (seconds(3) % 1 < 0.15),
    "clicks": np.where(np.arange(2 * RATE_HZ) % 4000 < 8, 0.8, 0.0),
    "one sample": np.array([0.5]),
    "a tenth of a chunk": np.full(51, 0.1),
}


@pytest.mark.parametrize("name", SILENT)
def test_what_is_no_speech_is_told_so(name: str) -> None:
    assert problem(file_of(SILENT[name])) is AudioProblem.NO_SPEECH


def test_less_speech_than_asked_for_is_none() -> None:
    speech_s = read_answer(file_of(said()), RULES).speech_s

    assert problem(file_of(said()), rules.audio(speech_min_s=speech_s + 0.01)) is AudioProblem.NO_SPEECH


def louder(decibels: float) -> np.ndarray:
    """Full scale is where 0 dB peaks."""
    return said() / np.abs(said()).max() * 10 ** (decibels / 20)


@pytest.mark.parametrize("turned_down", [1.0, 0.3], ids=["at full scale", "turned down behind the converter"])
def test_a_flat_wave_is_refused_and_a_loud_one_is_not(turned_down: float) -> None:
    for decibels in (-30, 0, 6):
        read_answer(file_of(np.clip(louder(decibels), -1, 1) * turned_down), RULES)

    for decibels in (24, 40, 80):
        assert problem(file_of(np.clip(louder(decibels), -1, 1) * turned_down)) is AudioProblem.CLIPPED


def test_a_voice_too_loud_to_be_one_is_told_to_be_clipped_beside_a_dead_channel_too() -> None:
    flat = np.sign(np.sin(2 * np.pi * 300 * seconds(2)))

    assert not speaking(flat).any()
    assert problem(file_of(np.stack([0 * flat, flat]))) is AudioProblem.CLIPPED


@pytest.mark.skipif(not HUMAN, reason="the recordings are not there")
def test_more_gain_never_clips_less_of_what_people_said() -> None:
    for path in HUMAN:
        with wave.open(str(path)) as wav:
            pcm = np.frombuffer(wav.readframes(wav.getnframes()), "<i2") / 32768
        loud = pcm / np.abs(pcm).max()
        outcomes = []
        for decibels in (0, 6, 24, 30):
            try:
                read_answer(file_of(np.clip(loud * 10 ** (decibels / 20), -1, 1)), RULES)
                outcomes.append(False)
            except AudioInvalid:
                outcomes.append(True)
        assert outcomes[:2] == [False, False]
        assert outcomes[-1]
        assert all(before <= after for before, after in pairwise(outcomes))


def test_infinite_and_undefined_floats_are_taken_for_sound() -> None:
    samples = said().astype("<f4")
    samples[::997], samples[5::997], samples[7::997] = np.nan, np.inf, -np.inf

    assert read_answer(container(fmt(3, 1, RATE_HZ, 32), samples.tobytes()), RULES).pcm.dtype == np.int16


def test_what_goes_to_a_provider_comes_back_unchanged() -> None:
    pcm = read_answer(file_of(said()), RULES).pcm

    with wave.open(io.BytesIO(wav_bytes(pcm))) as wav:
        assert (wav.getframerate(), wav.getnchannels(), wav.getsampwidth()) == (16_000, 1, 2)
        assert np.array_equal(np.frombuffer(wav.readframes(wav.getnframes()), "<i2"), pcm)


def test_several_answers_at_once_are_heard_as_one_by_one() -> None:
    contents = [file_of(said() * gain) for gain in (0.2, 0.4, 0.6, 0.8)] * 3
    alone = [read_answer(content, RULES).pcm for content in contents]

    with ThreadPoolExecutor(4) as pool:
        together = [recording.pcm for recording in pool.map(lambda content: read_answer(content, RULES), contents)]

    assert all(np.array_equal(one, other) for one, other in zip(alone, together, strict=True))


def test_the_detector_starts_anew_with_each_recording() -> None:
    first = speaking(said())
    speaking(rng.normal(size=RATE_HZ).astype(np.float32))

    assert np.array_equal(speaking(said()), first)
    assert len(first) == -(-len(said()) // CHUNK)


def outcome(content: bytes) -> bool:
    """Whether it is an answer. Anything but AudioInvalid goes through."""
    try:
        recording = read_answer(content, rules.audio(bytes_max=200_000, seconds_max=3))
    except AudioInvalid:
        return False
    assert len(recording.pcm) <= 3 * RATE_HZ + CHUNK
    return True


def test_damaged_files_are_answers_or_invalid_and_nothing_else() -> None:
    chance = random.Random(11)
    whole = file_of(np.stack([said(), said()])[:, : RATE_HZ * 2 // 2])
    answers = 0
    for _ in range(300):
        damaged = bytearray(whole[: chance.randrange(len(whole))] if chance.random() < 0.3 else whole)
        for _ in range(chance.randrange(1, 6)):
            if damaged:
                damaged[chance.randrange(min(60, len(damaged)))] ^= 1 << chance.randrange(8)
        answers += outcome(bytes(damaged))

    assert 0 < answers < 300


@settings(max_examples=200)
@given(header=st.binary(max_size=60), data=st.binary(max_size=400), size=st.integers(0, 2**32 - 1))
def test_random_bytes_are_invalid_and_nothing_else(header: bytes, data: bytes, size: int) -> None:
    for content in (data, b"RIFF" + header + data, container(header, data, size=size)):
        outcome(content)
