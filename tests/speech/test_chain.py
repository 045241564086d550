"""The next provider speaks or hears where one fails, and one that keeps failing is left alone for a while."""

import threading

import numpy as np
import pytest

from speech.chain import Ear, Voice
from speech.errors import (
    AllFailed,
    NothingConfigured,
    NotUnderstood,
    ProviderFailed,
    ProviderTimedOut,
    SpeechError,
    TextEmpty,
    TextNotSpeakable,
)
from speech.provider import Heard, Spoken
from tests import rules
from tests.waiting import DEADLINE_S

PCM = np.zeros(160, np.int16)
RULES = rules.breaker(failures_max=2, open_s=10)


class Far:
    """A far side that does what it is told: raise this, or answer."""

    voice = "one"

    def __init__(self, name: str, trouble: SpeechError | None = None) -> None:
        self.name = name
        self.trouble = trouble
        self.calls = 0

    def synthesize(self, text: str) -> Spoken:
        self._do()
        return Spoken(mp3=b"ID3", provider=self.name, duration_s=1.0)

    def recognize(self, pcm: np.ndarray, phrases: object) -> Heard:
        self._do()
        return Heard(text="纱布", confidence=None, provider=self.name)

    def _do(self) -> None:
        self.calls += 1
        if self.trouble is not None:
            raise self.trouble


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def chain(*far: Far) -> tuple[Voice, Ear, Clock, list[tuple[str, bool]]]:
    clock, told = Clock(), list[tuple[str, bool]]()

    def on_change(name: str, is_ok: bool, why: str) -> None:
        told.append((name, is_ok))

    voice = Voice(far, RULES, on_change=on_change, clock=clock)
    return voice, Ear(far, RULES, on_change=on_change, clock=clock), clock, told


@pytest.mark.parametrize("trouble", [ProviderFailed("one", "away"), ProviderTimedOut("one", "late")])
def test_the_next_one_takes_over_and_the_first_is_asked_first_again(trouble: ProviderFailed) -> None:
    one, two = Far("one", trouble), Far("two")
    voice, ear, _, told = chain(one, two)
    assert voice.speak("纱布").provider == "two"
    assert ear.hear(PCM, []).provider == "two"
    one.trouble = None
    assert voice.speak("纱布").provider == "one"
    assert ear.hear(PCM, []).provider == "one"
    assert told == []


def test_one_that_keeps_failing_is_left_alone_then_tried_once_then_used_again() -> None:
    one, two = Far("one", ProviderFailed("one", "away")), Far("two")
    voice, _, clock, told = chain(one, two)
    for _ in range(5):
        voice.speak("纱布")
    assert (one.calls, told) == (2, [("one", False)])
    clock.now_s += 10
    voice.speak("纱布")
    voice.speak("纱布")
    assert one.calls == 3, "one call was let through, and failed: twice as long now"
    clock.now_s += 19
    voice.speak("纱布")
    assert one.calls == 3
    clock.now_s += 1
    one.trouble = None
    assert voice.speak("纱布").provider == "one"
    assert told == [("one", False), ("one", True)]
    assert [state.is_open for state in voice.states()] == [False, False]


def test_it_is_never_left_alone_for_longer_than_the_most() -> None:
    one = Far("one", ProviderFailed("one", "away"))
    voice, _, clock, _ = chain(one)
    for wait_s in (0, 0, 10, 20, 40, 80, 100, 100):
        clock.now_s += wait_s
        calls = one.calls
        with pytest.raises(AllFailed):
            voice.speak("纱布")
        assert one.calls == calls + 1


def opened(*far: Far) -> tuple[Voice, Clock, list[tuple[str, bool]]]:
    """The first of them has just been left alone."""
    voice, _, clock, told = chain(*far)
    far[0].trouble = ProviderFailed(far[0].name, "away")
    for _ in range(2):
        voice.speak("纱布")
    assert told == [(far[0].name, False)]
    return voice, clock, told


def test_it_says_since_when_it_is_left_alone_and_why() -> None:
    one = Far("one", ProviderFailed("one", "away"))
    voice, _, clock, _ = chain(one)
    for wait_s in (0, 0, 5):
        clock.now_s += wait_s
        with pytest.raises(AllFailed) as caught:
            voice.speak("纱布")
    assert str(caught.value) == "one: left alone for 5 s: one: away"
    (state,) = voice.states()
    assert (state.is_open, state.since_mono_s, state.failures, state.why) == (True, 100.0, 2, "one: away")
    clock.now_s += 5
    with pytest.raises(AllFailed):
        voice.speak("纱布")
    assert voice.states()[0].since_mono_s == 100.0, "still since then, though it was tried"


def test_a_text_without_a_sound_does_not_tell_that_it_works_again() -> None:
    one, two = Far("one"), Far("two")
    voice, clock, told = opened(one, two)
    clock.now_s += 10
    one.trouble = TextNotSpeakable("too long for it")
    voice.speak("纱布")
    assert (one.calls, voice.states()[0].is_open, told) == (3, True, [("one", False)])
    one.trouble = None
    assert voice.speak("纱布").provider == "one", "the next call finds out"
    assert told == [("one", False), ("one", True)]


def test_a_text_without_a_sound_between_failures_does_not_count() -> None:
    one, two = Far("one", ProviderFailed("one", "away")), Far("two")
    voice, _, _, told = chain(one, two)
    voice.speak("纱布")
    one.trouble = TextNotSpeakable("no recording")
    voice.speak("纱布")
    one.trouble = ProviderFailed("one", "away")
    voice.speak("纱布")
    assert told == [("one", False)]


def test_a_defect_in_the_call_that_finds_out_does_not_lock_it_out() -> None:
    one, two = Far("one"), Far("two")
    voice, clock, _ = opened(one, two)
    clock.now_s += 10
    one.trouble = TextEmpty("only punctuation")
    with pytest.raises(TextEmpty):
        voice.speak("纱布")
    one.trouble = None
    assert voice.speak("纱布").provider == "one"


@pytest.mark.parametrize("late", [None, ProviderFailed("one", "late")])
def test_a_call_from_before_it_was_left_alone_says_nothing_about_now(late: SpeechError | None) -> None:
    one, two = Far("one"), Far("two")
    voice, _, clock, told = chain(one, two)
    usual = one._do

    def meanwhile() -> None:
        one._do = usual  # type: ignore[method-assign]
        one.trouble = ProviderFailed("one", "away")
        for _ in range(2):
            voice.speak("纱布")
        if late is not None:
            raise late

    one._do = meanwhile  # type: ignore[method-assign]
    voice.speak("纱布")
    (state, _) = voice.states()
    assert (state.is_open, state.failures, told) == (True, 2, [("one", False)])
    clock.now_s += 10
    one.trouble = None
    assert voice.speak("纱布").provider == "one", "not for twice as long"


def test_while_one_call_is_let_through_the_others_pass_it_by() -> None:
    entered, go_on = threading.Event(), threading.Event()
    one, two = Far("one", ProviderFailed("one", "away")), Far("two")
    _, ear, clock, _ = chain(one, two)
    for _ in range(2):
        ear.hear(PCM, [])
    clock.now_s += 10
    one.trouble = None

    def waits() -> None:
        entered.set()
        assert go_on.wait(DEADLINE_S)

    one._do = waits  # type: ignore[method-assign]
    heard: list[str] = []
    trying = threading.Thread(target=lambda: heard.append(ear.hear(PCM, []).provider))
    trying.start()
    assert entered.wait(DEADLINE_S)
    assert ear.hear(PCM, []).provider == "two"
    go_on.set()
    trying.join(DEADLINE_S)
    assert heard == ["one"]


def test_who_did_not_understand_is_well_and_ends_the_search() -> None:
    one, two = Far("one", NotUnderstood("one", "no words")), Far("two")
    _, ear, _, told = chain(one, two)
    for _ in range(5):
        with pytest.raises(NotUnderstood):
            ear.hear(PCM, [])
    assert (one.calls, two.calls, told) == (5, 0, [])


def test_a_text_without_a_sound_is_passed_on_and_is_no_failure() -> None:
    one, two = Far("one", TextNotSpeakable("no recording")), Far("two")
    voice, _, _, told = chain(one, two)
    for _ in range(5):
        assert voice.speak("纱布").provider == "two"
    assert (one.calls, told) == (5, [])


def test_all_that_failed_are_named_and_nobody_is_asked_about_nothing() -> None:
    one, two = Far("one", ProviderFailed("one", "away")), Far("two", ProviderTimedOut("two", "late"))
    voice, ear, _, _ = chain(one, two)
    with pytest.raises(AllFailed) as caught:
        ear.hear(PCM, [])
    assert [failure.provider for failure in caught.value.failures] == ["one", "two"]
    with pytest.raises(TextEmpty):
        voice.speak(" ")
    nobody = chain()
    with pytest.raises(NothingConfigured):
        nobody[0].speak("纱布")
    with pytest.raises(NothingConfigured):
        nobody[1].hear(PCM, [])


def test_the_voice_is_that_of_who_would_speak_now() -> None:
    one, two = Far("one", ProviderFailed("one", "away")), Far("two")
    two.voice = "other"
    voice, _, _, _ = chain(one, two)
    assert voice.voice == "one"
    for _ in range(2):
        voice.speak("纱布")
    assert voice.voice == "other"
