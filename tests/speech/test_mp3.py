import io
from concurrent.futures import ThreadPoolExecutor

import av
import numpy as np
import pytest

from speech import mp3


def tone(rate_hz: int, duration_s: float, pitch_hz: float = 440) -> np.ndarray:
    return (np.sin(np.arange(round(rate_hz * duration_s)) / rate_hz * 2 * np.pi * pitch_hz) * 8000).astype(np.int16)


def pitch_hz(pcm: np.ndarray, rate_hz: int) -> float:
    return float(np.argmax(np.abs(np.fft.rfft(pcm)))) * rate_hz / len(pcm)


@pytest.mark.parametrize("rate_hz", [16_000, 22_050, 24_000, 44_100])
@pytest.mark.parametrize("duration_s", [0.01, 0.5, 4.0])
def test_a_sound_comes_back_as_long_and_as_high_as_it_was(rate_hz: int, duration_s: float) -> None:
    content = mp3.encode(tone(rate_hz, duration_s), rate_hz)

    pcm, rate = mp3.decode(content)

    assert rate == rate_hz
    assert pcm.dtype == np.int16
    assert len(pcm) / rate == pytest.approx(duration_s, abs=0.01) == mp3.duration_s(content)
    if duration_s >= 0.5:
        assert pitch_hz(pcm, rate) == pytest.approx(440, abs=3)
        assert np.abs(pcm).max() == pytest.approx(8000, rel=0.2)
        assert len(content) == pytest.approx(48_000 / 8 * duration_s, rel=0.25)


def test_less_bits_make_a_smaller_file() -> None:
    pcm = tone(16_000, 4)

    assert len(mp3.encode(pcm, 16_000, bit_rate=16_000)) < len(mp3.encode(pcm, 16_000)) / 2


def stereo(left: np.ndarray, right: np.ndarray) -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format="mp3") as container:
        stream = container.add_stream("libmp3lame", rate=44_100)
        frame = av.AudioFrame.from_ndarray(np.stack([left, right]), format="s16p", layout="stereo")
        frame.sample_rate = 44_100
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file.getvalue()


def test_both_sides_of_a_stereo_recording_are_heard() -> None:
    voice, silence = tone(44_100, 1), np.zeros(44_100, np.int16)

    for sides in ((voice, silence), (silence, voice)):
        pcm, rate = mp3.decode(stereo(*sides))
        assert pcm.ndim == 1
        assert pitch_hz(pcm, rate) == pytest.approx(440, abs=3)


SOUND = mp3.encode(tone(22_050, 1), 22_050)
# What recorders in China write: a title in GBK where UTF-8 is promised.
TITLE = b"\x03" + "纱布".encode("gbk")
TAG = (
    b"ID3\x03\x00\x00\x00\x00\x00"
    + bytes([10 + len(TITLE)])
    + b"TIT2"
    + len(TITLE).to_bytes(4, "big")
    + b"\0\0"
    + TITLE
)


@pytest.mark.parametrize(
    "content",
    [SOUND, TAG + SOUND, SOUND + b"TAG" + bytes(125)],
    ids=["plain", "a tag that is no UTF-8", "an old tag behind"],
)
def test_tags_do_not_matter(content: bytes) -> None:
    assert mp3.is_mp3(content)
    assert mp3.duration_s(content) == pytest.approx(1, abs=0.06)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff",
        b"<html><body>502</body></html>" * 100,
        b'{"err_no": 502, "err_msg": "token"}',
        b"ID3" + b"<html>" * 400,
        b"\xff\xfb" + b"<html>" * 400,
        b"ID3" + bytes(3000),
        b"\xff\xe0" * 2000,
        SOUND + b"<html>" * 100,
        SOUND[:2000] + b"<html>" * 300 + SOUND[4000:],
        b"RIFF" + bytes(3000),
    ],
    ids=lambda content: repr(content[:6] + content[-6:]),
)
def test_what_is_no_mp3_to_its_end_is_told_so(content: bytes) -> None:
    assert not mp3.is_mp3(content)
    with pytest.raises(mp3.NotMp3):
        mp3.decode(content)


def test_a_recording_of_many_minutes_is_refused() -> None:
    with pytest.raises(mp3.NotMp3, match="longer"):
        mp3.decode(mp3.encode(np.zeros(8_000 * 302, np.int16), 8_000, bit_rate=8_000))


def test_damaged_files_decode_or_are_no_mp3_and_nothing_else() -> None:
    chance = np.random.default_rng(5)
    outcomes = []
    for _ in range(300):
        damaged = bytearray((TAG + SOUND)[: chance.integers(20, len(SOUND))])
        for _ in range(chance.integers(1, 15)):
            damaged[chance.integers(len(damaged))] ^= 1 << chance.integers(8)
        outcomes.append(mp3.is_mp3(bytes(damaged)))

    assert 0 < sum(outcomes) < len(outcomes)


def test_several_at_once_are_made_as_one_by_one() -> None:
    sounds = [tone(22_050, 1, pitch) for pitch in (300, 400, 500, 600)] * 4
    alone = [mp3.encode(sound, 22_050) for sound in sounds]

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda sound: mp3.encode(sound, 22_050), sounds)) == alone
