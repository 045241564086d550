import shutil
from pathlib import Path

import numpy as np
import pytest

from speech import mp3
from speech.errors import ProviderUnusable, TextEmpty, TextNotSpeakable
from speech.pack import PackSynthesizer

# Each phrase is recorded as a tone of its own, so that what was joined can be heard apart.
TONES = {
    "请确认：刚才使用的是": 400,
    "吗": 520,
    "可吸收缝线": 640,
    "不可吸收缝线": 760,
    "请确认刚才使用的耗材": 880,
    "第一个": 1000,
    "第二个": 1120,
    "如果都不是，请说都不是": 1240,
    "3M胶带": 1360,
    "2-0": 1480,
    "医用": 1600,
    "纱布块": 1720,
    "纱布": 1840,
    "块": 1960,
    "1": 2080,
    "4号": 2200,
    "号": 2320,
    "第一": 2440,
    "个纱布": 2560,
}


def recorded(pitch_hz: float, *, duration_s: float = 0.5, level: float = 8000, rate_hz: int = 22_050) -> bytes:
    n = np.arange(round(rate_hz * duration_s))
    sound = (np.sin(n / rate_hz * 2 * np.pi * pitch_hz) * level).astype(np.int16)
    return mp3.encode(np.pad(sound, rate_hz // 4), rate_hz)


def write(folder: Path, recordings: dict[str, bytes]) -> Path:
    folder.mkdir(exist_ok=True)
    lines = ["[phrases]"]
    for number, (phrase, content) in enumerate(recordings.items()):
        (folder / f"{number}.mp3").write_bytes(content)
        lines.append(f'"{phrase}" = "{number}.mp3"')
    (folder / "pack.toml").write_text("\n".join(lines), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> PackSynthesizer:
    folder = tmp_path_factory.mktemp("pack") / "voice"
    return PackSynthesizer(write(folder, {phrase: recorded(pitch) for phrase, pitch in TONES.items()}))


def heard(content: bytes) -> list[tuple[str, float]]:
    """The phrases in a sound, each with the seconds of silence before it."""
    pcm, rate_hz = mp3.decode(content)
    hop = rate_hz // 100
    chunks = pcm[: len(pcm) // hop * hop].reshape(-1, hop).astype(float)
    loud = np.abs(chunks).max(axis=1) > 500
    found: list[tuple[str, float]] = []
    edges = np.flatnonzero(np.diff(np.concatenate([[0], loud.astype(int), [0]])))
    ended = 0
    for begin, end in zip(edges[::2], edges[1::2], strict=True):
        tone = chunks[begin:end].ravel()
        pitch = float(np.argmax(np.abs(np.fft.rfft(tone * np.hanning(len(tone)), rate_hz)))) * 1.0
        phrase = min(TONES, key=lambda phrase: abs(TONES[phrase] - pitch))
        assert abs(TONES[phrase] - pitch) < 20, pitch
        found.append((phrase, (begin - ended) / 100))
        ended = end
    return found


def words(pack: PackSynthesizer, text: str) -> list[str]:
    return [phrase for phrase, _ in heard(pack.synthesize(text).mp3)]


def test_a_yes_no_question_is_joined_from_its_parts(pack: PackSynthesizer) -> None:
    spoken = pack.synthesize("请确认：刚才使用的是可吸收缝线吗？")

    assert [phrase for phrase, _ in heard(spoken.mp3)] == ["请确认：刚才使用的是", "可吸收缝线", "吗"]
    assert spoken.provider == "pack"
    assert 3 * 0.5 < spoken.duration_s < 3 * 0.5 + 0.5
    assert mp3.duration_s(spoken.mp3) == pytest.approx(spoken.duration_s, abs=0.05)


def test_a_question_with_options_has_pauses_where_its_text_has_them(pack: PackSynthesizer) -> None:
    question = "请确认刚才使用的耗材：第一个，医用纱布块，第二个，3M胶带。如果都不是，请说都不是。"

    sounds = heard(pack.synthesize(question).mp3)

    assert [phrase for phrase, _ in sounds] == (
        ["请确认刚才使用的耗材", "第一个", "医用", "纱布块", "第二个", "3M胶带", "如果都不是，请说都不是"]
    )
    pauses = [pause for _, pause in sounds]
    assert all(pause > 0.2 for pause in pauses[1:3])
    assert pauses[3] < 0.15
    assert pauses[6] > 0.4


def test_the_longest_recordings_win(pack: PackSynthesizer) -> None:
    assert words(pack, "不可吸收缝线") == ["不可吸收缝线"]
    assert words(pack, "纱布块纱布") == ["纱布块", "纱布"]
    assert words(pack, "第一个纱布") == ["第一个", "纱布"]


def test_fewer_recordings_win_over_a_longer_first_one(tmp_path: Path) -> None:
    texts = {"第一个": 400, "第一": 520, "个纱布": 640, "纱": 760, "布": 880}
    pack = PackSynthesizer(write(tmp_path, {text: recorded(pitch) for text, pitch in texts.items()}))

    assert pack.synthesize("第一个纱布").duration_s < 2 * 0.5 + 0.2


@pytest.mark.parametrize("text", ["３ｍ胶带", "3m 胶带", "3M（胶带）"])
def test_width_case_and_punctuation_do_not_matter(pack: PackSynthesizer, text: str) -> None:
    assert pack.missing([text]) == []
    assert words(pack, text) == ["3M胶带"]


@pytest.mark.parametrize("text", ["14号", "20", "2-04号", "2-014号", "12-0"])
def test_numbers_are_not_put_together_from_parts(pack: PackSynthesizer, text: str) -> None:
    with pytest.raises(TextNotSpeakable):
        pack.synthesize(text)


def test_numbers_that_stand_apart_are_said_one_after_the_other(pack: PackSynthesizer) -> None:
    assert words(pack, "2-0 1，4号") == ["2-0", "1", "4号"]


def test_what_cannot_be_said_whole_is_not_said_and_not_repeated_in_the_error(pack: PackSynthesizer) -> None:
    with pytest.raises(TextNotSpeakable) as caught:
        pack.synthesize("请确认：刚才使用的是止血钳吗？")

    assert str(caught.value) == "3 of 13 characters are in no recording"


@pytest.mark.parametrize("text", ["", " ", "。。？", "（）"])
def test_nothing_to_say_is_told_so(pack: PackSynthesizer, text: str) -> None:
    with pytest.raises(TextEmpty):
        pack.synthesize(text)


def test_ops_are_told_each_phrase_that_is_missing_once(pack: PackSynthesizer) -> None:
    texts = [
        "请确认：刚才使用的是止血钳吗？",
        "请确认刚才使用的耗材：第一个，止血钳，第二个，骨蜡。如果都不是，请说都不是。",
        "缝合针，持针器",
        "可吸收缝线",
        "",
    ]

    assert pack.missing(texts) == ["止血钳", "骨蜡", "缝合针", "持针器"]


def test_quiet_and_loud_recordings_of_any_rate_are_evened(tmp_path: Path) -> None:
    quiet, loud = recorded(400, level=300, rate_hz=16_000), recorded(520, level=30_000, rate_hz=44_100)
    pack = PackSynthesizer(write(tmp_path, {"纱布": quiet, "缝线": loud}))

    peaks = [np.abs(mp3.decode(pack.synthesize(text).mp3)[0]).max() for text in ("纱布", "缝线")]

    assert peaks[0] == pytest.approx(peaks[1], rel=0.1)
    assert 3000 < peaks[0] < 32_000


def test_silence_around_a_recording_is_left_out(tmp_path: Path) -> None:
    pack = PackSynthesizer(write(tmp_path, {"纱布": recorded(400, duration_s=1)}))

    assert pack.synthesize("纱布").duration_s == pytest.approx(1, abs=0.1)


def test_the_voice_changes_with_what_the_folder_holds(tmp_path: Path) -> None:
    first = PackSynthesizer(write(tmp_path / "a", {"纱布": recorded(400), "缝线": recorded(520)})).voice
    same = PackSynthesizer(write(tmp_path / "b", {"缝线": recorded(520), "纱布": recorded(400)})).voice
    other_sound = PackSynthesizer(write(tmp_path / "c", {"纱布": recorded(401), "缝线": recorded(520)})).voice
    other_words = PackSynthesizer(write(tmp_path / "d", {"纱布": recorded(400), "缝针": recorded(520)})).voice

    assert first == same
    assert len({first, other_sound, other_words}) == 3


def test_a_pack_goes_on_speaking_when_its_folder_is_gone(tmp_path: Path) -> None:
    folder = write(tmp_path / "voice", {"纱布": recorded(400)})
    pack = PackSynthesizer(folder)
    shutil.rmtree(folder)

    assert mp3.is_mp3(pack.synthesize("纱布").mp3)


def unusable(folder: Path) -> str:
    with pytest.raises(ProviderUnusable) as caught:
        PackSynthesizer(folder)
    return str(caught.value)


INDEXES = {
    "no TOML": ("[phrases\n", "no TOML"),
    "no table": ("", "phrases"),
    "an empty table": ("[phrases]\n", "empty"),
    "an unknown key": ('voice = "a"\n[phrases]\n"纱布" = "a.mp3"\n', "voice"),
    "no file name": ('[phrases]\n"纱布" = 3\n', "纱布"),
    "a phrase of punctuation": ('[phrases]\n"？" = "a.mp3"\n', "nothing to say"),
    "a phrase twice": ('[phrases]\n"3M" = "a.mp3"\n"３m：" = "a.mp3"\n', "twice"),
    "a file that is not there": ('[phrases]\n"纱布" = "b.mp3"\n', "b.mp3"),
    "a folder": ('[phrases]\n"纱布" = "."\n', "pack.folder"),
    "no path": ('[phrases]\n"纱布" = "a\\u0000.mp3"\n', "no path"),
    "a path out of the folder": ('[phrases]\n"纱布" = "../outside.mp3"\n', "not below"),
    "a whole path": ('[phrases]\n"纱布" = "OUTSIDE"\n', "not below"),
    "a link out of the folder": ('[phrases]\n"纱布" = "link.mp3"\n', "not below"),
    "a link in a circle": ('[phrases]\n"纱布" = "circle.mp3"\n', "circle.mp3"),
    "no MP3": ('[phrases]\n"纱布" = "page.mp3"\n', "page.mp3"),
    "silence": ('[phrases]\n"纱布" = "silent.mp3"\n', "silent.mp3: is silent"),
    "a file too large": ('[phrases]\n"纱布" = "large.mp3"\n', "large.mp3: is larger"),
}


@pytest.mark.parametrize("name", INDEXES)
def test_a_pack_that_is_broken_is_refused_with_the_reason(tmp_path: Path, name: str) -> None:
    index, told = INDEXES[name]
    folder = tmp_path / "voice"
    folder.mkdir()
    outside = tmp_path / "outside.mp3"
    outside.write_bytes(recorded(400))
    (folder / "a.mp3").write_bytes(recorded(400))
    (folder / "page.mp3").write_bytes(b"<html>" * 100)
    (folder / "silent.mp3").write_bytes(mp3.encode(np.zeros(22_050, np.int16), 22_050))
    (folder / "large.mp3").write_bytes(bytes(4 * 2**20 + 1))
    (folder / "link.mp3").symlink_to(outside)
    (folder / "circle.mp3").symlink_to(folder / "circle.mp3")
    (folder / "pack.toml").write_text(index.replace("OUTSIDE", str(outside)), encoding="utf-8")

    assert told in unusable(folder)


def test_a_folder_without_a_pack_is_refused(tmp_path: Path) -> None:
    assert "pack.toml" in unusable(tmp_path)
    assert "pack.toml" in unusable(tmp_path / "nowhere")
