"""Bounds on counts have slack: how often it is right is measured in `bench/speech_ears.py`."""

import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from speech.errors import NotUnderstood, ProviderUnusable
from speech.pocketsphinx import TUNED, SphinxModel, SphinxRecognizer
from tests import rules
from tests.speech.clips import MANDARIN, recorded, spoken, with_noise

COMMANDS = ("第一个", "第二个", "第三个", "是的", "确认", "不是", "都不是", "不知道", "再说一遍", "没听清", "取消")
PHRASES = (*COMMANDS, "纱布", "缝线", "止血钳")
OTHER_WORDS = (
    *(
        "苹果",
        "医院",
        "电脑",
        "今天天气很好",
        "老师",
        "咖啡",
        "图书馆",
        "牛奶",
        "广州",
        "夏天",
        "爸爸",
        "血压多少",
        "开灯",
    ),
    *(
        "请把门关上",
        "谢谢",
        "对不起",
        "为什么",
        "多少钱",
        "我们去吃饭",
        "篮球",
        "高速公路",
        "钥匙",
        "熊猫",
        "绿色",
        "下雨了",
    ),
)
SC = SphinxModel(folder=MANDARIN / "sc", dictionary=MANDARIN / "mandarin_notone.dic")
NEEDS_MANDARIN = pytest.mark.skipif(not MANDARIN.is_dir(), reason="needs the shared Mandarin models")
RECORDED = [clip for clip in recorded() if clip.kind == "syllables"]
NEEDS_RECORDINGS = pytest.mark.skipif(not RECORDED, reason="needs the shared recordings")


@pytest.fixture(scope="module")
def ear() -> Iterator[SphinxRecognizer]:
    recognizer = SphinxRecognizer(rules.pocketsphinx(timeout_s=60))
    yield recognizer
    recognizer.close()


def heard(ear: SphinxRecognizer, pcm: np.ndarray, phrases: tuple[str, ...] = PHRASES) -> str | None:
    try:
        return ear.recognize(pcm, phrases).text
    except NotUnderstood:
        return None


@pytest.mark.parametrize("text", ["纱布", "缝线", "第三个", "取消", "再说一遍"])
def test_a_valid_phrase_is_heard(text: str, ear: SphinxRecognizer) -> None:
    answer = ear.recognize(spoken(text, variant="f5", words_per_minute=140), PHRASES)
    assert answer.text == text
    assert answer.provider == "pocketsphinx"
    assert answer.confidence is not None
    assert 0.5 < answer.confidence <= 1


@NEEDS_RECORDINGS
def test_what_people_say_is_mostly_heard_and_hardly_ever_as_something_else(ear: SphinxRecognizer) -> None:
    phrases = (*PHRASES, "剪刀", "镊子")
    answers = [(clip.text, heard(ear, clip.pcm, phrases)) for clip in RECORDED if clip.text in phrases]
    assert len(answers) >= 14
    assert sum(text == answer for text, answer in answers) >= len(answers) * 0.6
    assert sum(answer not in {text, None} for text, answer in answers) <= 1


def test_other_words_are_refused(ear: SphinxRecognizer) -> None:
    voices = ("f4", "m3", "f1", "m1")
    answers = [heard(ear, spoken(text, variant=variant)) for text in OTHER_WORDS for variant in voices]
    taken = sum(answer is not None for answer in answers)
    assert taken <= len(answers) * 0.08, f"{taken} of {len(answers)}"


@NEEDS_RECORDINGS
def test_a_phrase_that_is_not_valid_now_is_refused(ear: SphinxRecognizer) -> None:
    others = ("第一个", "第二个", "都不是", "再说一遍", "没听清", "吸引器头")
    answers = [heard(ear, clip.pcm, tuple(p for p in others if p != clip.text)) for clip in RECORDED]
    assert sum(answer is not None for answer in answers) <= len(answers) * 0.2


@NEEDS_MANDARIN
def test_what_models_do_not_agree_on_is_refused_however_well_it_fits() -> None:
    lax = replace(TUNED, outside_max=1.0, syllable_min_s=0.0, ahead_min_nats=-99.0, fit_min=-99, agreed_fit_min=-99)
    alone = SphinxRecognizer(rules.pocketsphinx(workers=1, timeout_s=60), lax)
    agreeing = SphinxRecognizer(rules.pocketsphinx(workers=1, timeout_s=60, models=(SC,)), lax)
    clips = [spoken(text, variant="m3") for text in OTHER_WORDS]
    taken_alone, taken = ([heard(ear, pcm) for pcm in clips] for ear in (alone, agreeing))
    assert None not in taken_alone
    assert sum(answer is None for answer in taken) >= len(clips) / 2
    assert all(answer in {None, first} for answer, first in zip(taken, taken_alone, strict=True))
    assert heard(agreeing, spoken("纱布", variant="f5", words_per_minute=140)) == "纱布"
    alone.close()
    agreeing.close()


@pytest.mark.parametrize(
    ("pcm", "reason"),
    [
        (np.zeros(16_000, np.int16), "pocketsphinx"),
        (np.zeros(0, np.int16), "shorter than"),
        (np.zeros(1_600, np.int16), "pocketsphinx"),
        (with_noise(np.full(16_000, 2000, np.int16), 0, seed=1), "pocketsphinx"),
        (np.zeros(16_000 * 9, np.int16), "longer than 8 s"),
    ],
)
def test_what_is_no_speech_is_not_understood(pcm: np.ndarray, reason: str, ear: SphinxRecognizer) -> None:
    with pytest.raises(NotUnderstood, match=reason):
        ear.recognize(pcm, PHRASES)


def test_no_phrase_that_can_be_spelled_is_not_understood(ear: SphinxRecognizer) -> None:
    with pytest.raises(NotUnderstood, match="no phrase"):
        ear.recognize(spoken("纱布"), ["αβ", ""])


def test_a_phrase_that_cannot_be_spelled_is_left_out_and_told(ear: SphinxRecognizer) -> None:
    phrases = (*PHRASES, "Ω号钳")
    assert ear.unspellable(phrases) == ("Ω号钳",)
    assert heard(ear, spoken("缝线", variant="f5", words_per_minute=140), phrases) == "缝线"


@pytest.mark.parametrize("twin", ["沙布", "杀不"])
def test_of_two_phrases_that_sound_the_same_none_is_taken(twin: str, ear: SphinxRecognizer) -> None:
    pcm = spoken("纱布", variant="f5", words_per_minute=140)
    assert heard(ear, pcm) == "纱布"
    with pytest.raises(NotUnderstood, match="several valid phrases"):
        ear.recognize(pcm, (*PHRASES, twin))


def test_of_two_syllables_that_the_bundled_model_cannot_tell_apart_none_is_taken(ear: SphinxRecognizer) -> None:
    pcm = spoken("缝线", variant="f5", words_per_minute=140)
    with pytest.raises(NotUnderstood, match="several valid phrases"):
        ear.recognize(pcm, (*COMMANDS, "缝线", "缝癣"))  # xian, xuan


def test_the_same_words_written_twice_are_one_phrase(ear: SphinxRecognizer) -> None:
    pcm = spoken("第三个", variant="f5", words_per_minute=140)
    assert heard(ear, pcm, (*PHRASES, "第3个")) == "第三个"


def test_what_was_heard_before_changes_nothing(ear: SphinxRecognizer) -> None:
    pcm = spoken("缝线", variant="f5", words_per_minute=140)
    alone = SphinxRecognizer(rules.pocketsphinx(workers=1, timeout_s=60))
    first = alone.recognize(pcm, PHRASES)
    for number in range(80):  # more grammars than are kept
        heard(alone, pcm, (*COMMANDS, "缝线", "一二三四五六七八九"[number % 9] * (1 + number // 9)))
    assert alone.recognize(pcm, PHRASES) == first
    alone.close()


def test_two_threads_hear_at_once_what_each_would_hear_alone(ear: SphinxRecognizer) -> None:
    clips = [spoken(text, variant="f5", words_per_minute=140) for text in ("纱布", "缝线", "第三个", "苹果")] * 4
    alone = [heard(ear, pcm) for pcm in clips]
    with ThreadPoolExecutor(2) as threads:
        assert list(threads.map(lambda pcm: heard(ear, pcm), clips)) == alone
    assert alone[:3] == ["纱布", "缝线", "第三个"]


def _gone(model: SphinxModel) -> None:
    shutil.rmtree(model.folder)


def _no_means(model: SphinxModel) -> None:
    (model.folder / "means").unlink()


def _empty_mdef(model: SphinxModel) -> None:
    (model.folder / "mdef").write_bytes(b"")


def _no_dictionary(model: SphinxModel) -> None:
    model.dictionary.unlink()


def _broken_mdef(model: SphinxModel) -> None:
    (model.folder / "mdef").write_bytes(b"no model")


def _english_dictionary(model: SphinxModel) -> None:
    model.dictionary.write_text("hello HH AH L OW\n", encoding="utf-8")


def _unknown_phones(model: SphinxModel) -> None:
    text = model.dictionary.read_text(encoding="utf-8")
    model.dictionary.write_text(text.replace(" ", " Q"), encoding="utf-8")


@NEEDS_MANDARIN
@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (_gone, "model is not a folder"),
        (_no_means, "model has no means"),
        (_empty_mdef, "model has no mdef, or it is empty"),
        (_no_dictionary, "dictionary .*a.dic is missing"),
        (_broken_mdef, "mdef.c.* .with .*model"),
        (_english_dictionary, "model with .*a.dic: the dictionary does not show how 'di' is written"),
        (_unknown_phones, "model with .*a.dic"),
    ],
)
def test_what_is_wrong_with_a_model_is_told(spoil: Callable[[SphinxModel], None], told: str, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    for file in SC.folder.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    dictionary = tmp_path / "a.dic"
    dictionary.write_bytes(SC.dictionary.read_bytes())
    model = SphinxModel(folder=folder, dictionary=dictionary)
    spoil(model)
    with pytest.raises(ProviderUnusable, match=told):
        SphinxRecognizer(rules.pocketsphinx(models=(model,)))
