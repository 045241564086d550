"""No answer is taken for what it does not say; most are taken for what they do."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speech.answers import Meaning, Understood, understand
from speech.mentions import AnswerOption
from speech.phrases import phrases
from speech.sound_alikes import SoundAlike, sound_alikes
from tests.speech.utterances import LONG, ONE, PRODUCTS, SEWN, THREADS, THREE, TWO, UTTERANCES, Utterance

CHATTER = st.text("今天气好医生病人手术血压给我看快慢灯光台上边药水", max_size=6)
WORDS = st.sampled_from(
    [
        "纱布",
        "可吸收缝线",
        "不",
        "是",
        "不是",
        "不对",
        "第一个",
        "第二个",
        "都",
        "是的",
        "吗",
        "，",
        "和",
        "止血",
        "线",
        "没",
    ]
)


def outcome(understood: Understood) -> str | Meaning:
    return understood.label or understood.meaning


@pytest.mark.parametrize("each", UTTERANCES, ids=lambda each: f"{each.group}: {each.text}")
def test_an_utterance_is_taken_for_what_it_says(each: Utterance) -> None:
    understood = understand(each.text, each.options)
    assert (understood.meaning is Meaning.CHOSEN) == (understood.label is not None)
    assert outcome(understood) == each.expected, understood.why


def test_the_table_is_long_and_books_nothing_wrong() -> None:
    counts: Counter[str] = Counter()
    for each in UTTERANCES:
        understood = understand(each.text, each.options)
        if outcome(understood) == each.expected:
            counts["right"] += 1
        else:
            counts["wrong booking" if understood.meaning is Meaning.CHOSEN else "asked again or wrong denial"] += 1
    print(f"\n{len(UTTERANCES)} utterances: {dict(counts)}")
    assert len(UTTERANCES) >= 300
    assert not counts["wrong booking"]


@pytest.mark.parametrize("options", [ONE, TWO, THREE, THREADS, LONG, (SEWN,)])
def test_every_phrase_that_a_recognizer_may_hear_means_something(options: tuple) -> None:  # type: ignore[type-arg]
    valid = phrases(options)
    assert len(valid) == len(set(valid)) <= 80
    assert [phrase for phrase in valid if understand(phrase, options).meaning is Meaning.UNCLEAR] == []
    # By name, by ordinal, or by number: each option can be said.
    chosen = {understand(phrase, options).label for phrase in valid}
    assert {option.label for option in options} <= chosen


@given(st.text(max_size=250))
def test_nothing_that_is_said_breaks_it(text: str) -> None:
    for options in (ONE, THREE):
        understood = understand(text, options)
        assert understood.label in {None, *(option.label for option in options)}


@given(st.lists(st.one_of(WORDS, CHATTER), max_size=6))
def test_words_in_any_order_choose_only_what_they_name(words: list[str]) -> None:
    text = "".join(words)
    understood = understand(text, TWO)
    if understood.label == "gauze":
        assert "纱布" in text or "第一" in text
    if understood.label == "suture":
        assert "缝线" in text or "第二" in text or "吸收" in text


@given(CHATTER, CHATTER, st.sampled_from(["纱布", "可吸收缝线", "第一个", "第二个"]))
def test_chatter_never_turns_one_choice_into_another(before: str, after: str, name: str) -> None:
    alone, within = understand(name, TWO), understand(before + name + after, TWO)
    assert within.label in (None, alone.label)


@pytest.mark.parametrize("option", PRODUCTS)
def test_the_name_of_another_product_is_no_answer(option: str) -> None:
    options = (AnswerOption(label=option, names=(option,)),)
    taken = [
        name
        for name in PRODUCTS
        for said in (name, f"是{name}", f"用的是{name}", f"{name}一个")
        # 吻合器 is short for 直线吻合器 where nothing else is asked about.
        if not option.endswith(name) and understand(said, options).meaning is not Meaning.UNCLEAR
    ]
    assert taken == []


@pytest.mark.parametrize("word", ["用了", "就是", "是这个", "没错了", "用过了", "第一个", "纱布", "幺"])
def test_a_word_said_over_and_over_is_done_with(word: str) -> None:
    """There are 2 to the power of 90 ways to split 用了用了用了... into known words."""
    for text in (f"{word * 40}猫纱布", f"纱布{word * 40}猫", f"纱布{word * 40}猫第二个", f"{word * 40}猫"):
        for options in (ONE, TWO):
            assert understand(text, options).meaning is Meaning.UNCLEAR


def test_without_options_nothing_is_chosen() -> None:
    assert understand("是的", ()).meaning is Meaning.UNCLEAR


def test_names_that_sound_alike_are_found_and_others_are_not() -> None:
    catalogue = {
        "纱布": ("纱布",),
        "沙布": ("沙布",),
        "持针钳": ("持针钳",),
        "持真钳": ("持真钳", "钳"),
        "可吸收缝线": ("可吸收缝线",),
        "不可吸收缝线": ("不可吸收缝线",),
        "4号丝线": ("4号丝线",),
        "7号丝线": ("7号丝线",),
        "导尿管": ("导尿管",),
        "导流管": ("导流管",),
    }
    pairs = {(each.name, each.other_name) for each in sound_alikes(catalogue)}
    assert {tuple(sorted(pair)) for pair in pairs} == {
        tuple(sorted(pair)) for pair in [("纱布", "沙布"), ("持针钳", "持真钳"), ("导尿管", "导流管")]
    }
    assert sound_alikes({"一": ("纱布",), "二": ("纱布",)}) == [
        SoundAlike(item="一", name="纱布", other_item="二", other_name="纱布")
    ]
