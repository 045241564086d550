import pytest

from speech.errors import TextNotSpeakable
from speech.phones import ENGLISH_PHONES, MandarinPhones, english_phones, said, syllables
from tests.speech.clips import MANDARIN


@pytest.mark.parametrize(
    ("phrase", "spoken"),
    [
        ("止血钳", "zhi xue qian"),
        ("重复", "chong fu"),
        ("都不是", "dou bu shi"),
        ("一四七六四杠二杠四", "yi si qi liu si gang er gang si"),
        ("3M 胶带", "san ai mu jiao dai"),
        ("４号（缝线）", "si hao feng xian"),
        ("女 绿", "nv lv"),
    ],
)
def test_a_phrase_is_spelled_as_it_is_said(phrase: str, spoken: str) -> None:
    assert " ".join(syllables(phrase)) == spoken


@pytest.mark.parametrize("phrase", ["", "，。", "αβ", "♥", "纱布Ω"])
def test_what_has_no_sound_is_refused_without_naming_more_than_its_character(phrase: str) -> None:
    with pytest.raises(TextNotSpeakable) as refused:
        syllables(phrase)
    assert not phrase.strip() or phrase not in str(refused.value)


def test_two_ways_to_write_the_same_words_are_said_alike_and_homophones_are_not() -> None:
    assert said("第4个") == said("第四个")
    assert said("3m胶带。") == said("三M胶带")
    assert said("纱布") != said("沙布")


@pytest.mark.parametrize(
    ("syllable", "phones"),
    [
        ("sha", "SH AA"),
        ("zhi", "JH ER"),
        ("zi", "D Z UH"),
        ("ji", "JH IY"),
        ("xue", "SH Y EH"),
        ("yan", "Y EH N"),
        ("lv", "L Y UW"),
        ("ju", "JH Y UW"),
        ("wu", "UW"),
        ("weng", "W AH NG"),
        ("you", "Y OW"),
        ("n", "AH N"),
    ],
)
def test_an_english_ear_takes_a_syllable_as(syllable: str, phones: str) -> None:
    assert " ".join(english_phones(syllable)) == phones
    assert set(phones.split()) <= set(ENGLISH_PHONES)


def test_what_is_no_syllable_is_refused() -> None:
    with pytest.raises(TextNotSpeakable):
        english_phones("shx")


def test_the_majority_of_the_characters_of_a_dictionary_decides() -> None:
    lines = [
        "纱\tsh a",
        "布\tb u",
        "不\tb u",
        "不(2)\tf ou",
        "步\tp u",
        "书\tsh u",
        "一\ty i",
        "纱布\tx x x x",
        "",
        "A.\tes ei",
    ]
    spelled = MandarinPhones(lines)
    assert spelled("bu") == ("b", "u")
    assert spelled("ba") == ("b", "a")  # no character of it, but its initial and final are there
    assert spelled("yi") == ("y", "i")
    with pytest.raises(TextNotSpeakable):
        spelled("qian")


@pytest.mark.skipif(not MANDARIN.is_dir(), reason="needs the shared Mandarin models")
def test_the_dictionary_of_a_real_model_spells_every_syllable_of_a_question() -> None:
    with (MANDARIN / "mandarin_notone.dic").open(encoding="utf-8") as lines:
        spelled = MandarinPhones(lines)
    phrase = "止血钳缝线镊子第二个都不是再说一遍没听清确认取消吸引器四号擦给否绿女远云用"
    assert all(spelled(syllable) for syllable in syllables(phrase))
    assert spelled("qian") == ("q", "ian")
    assert spelled("xue") == ("x", "uxe")
