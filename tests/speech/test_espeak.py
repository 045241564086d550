import logging
import re
import shutil
import stat
from pathlib import Path

import pytest

from speech import mp3
from speech.errors import ProviderFailed, ProviderTimedOut, ProviderUnusable, TextEmpty
from speech.espeak import EspeakSynthesizer
from speech.spelled import spelled
from tests import rules
from tests.waiting import DEADLINE_S

pytestmark = pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="espeak-ng is not there")

ONE = "请确认：刚才使用的是可吸收缝线吗？"
# The program of a site that is asked what it is, and answers well.
PROBED = 'case "$*" in *--version*|*-q*) exec espeak-ng "$@";; esac; '
SEVERAL = "请确认刚才使用的耗材：第一个，医用纱布块，第二个，14764-2-4，第三个，3M胶带。如果都不是，请说都不是。"


@pytest.fixture(scope="module")
def espeak() -> EspeakSynthesizer:
    return EspeakSynthesizer(rules.espeak())


@pytest.mark.parametrize("text", ["对", ONE, SEVERAL, "-x --help", "10cm×10cm 8层"])
def test_the_sound_lasts_as_long_as_its_text_needs(espeak: EspeakSynthesizer, text: str) -> None:
    spoken = espeak.synthesize(text)

    syllables = len(re.findall(r"\w", spelled(text)))
    assert spoken.provider == "espeak"
    assert mp3.is_mp3(spoken.mp3)
    assert mp3.duration_s(spoken.mp3) == pytest.approx(spoken.duration_s, abs=0.1)
    assert 0.15 * syllables < spoken.duration_s < 0.45 * syllables + 1.5


def test_a_higher_speed_is_shorter(espeak: EspeakSynthesizer) -> None:
    fast = EspeakSynthesizer(rules.espeak(words_per_minute=300))

    assert fast.synthesize(ONE).duration_s < 0.7 * espeak.synthesize(ONE).duration_s
    assert fast.voice != espeak.voice


def test_whatever_changes_the_sound_changes_the_voice() -> None:
    changes = ({}, {"pitch": 70}, {"words_per_minute": 120}, {"voice": "cmn-latn-pinyin+f2"})

    assert len({EspeakSynthesizer(rules.espeak(**each)).voice for each in changes}) == len(changes)
    assert EspeakSynthesizer(rules.espeak()).voice == EspeakSynthesizer(rules.espeak()).voice


@pytest.mark.parametrize("text", ["", "  \n", "。。？", "[[]]"])
def test_nothing_to_say_is_told_so(espeak: EspeakSynthesizer, text: str) -> None:
    with pytest.raises(TextEmpty):
        espeak.synthesize(text)


def test_what_is_said_reaches_no_log_and_no_argument(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, espeak: EspeakSynthesizer
) -> None:
    caplog.set_level(logging.DEBUG)
    noted = tmp_path / "arguments"
    noting = program(tmp_path, f'echo "$@" >> {noted}; exec {shutil.which("espeak-ng")} "$@"')

    spoken = EspeakSynthesizer(rules.espeak(program=str(noting))).synthesize(ONE)

    assert spoken.duration_s == espeak.synthesize(ONE).duration_s
    assert len(noted.read_text().splitlines()) == 3
    assert not any(char in noted.read_text() + caplog.text for char in set(ONE) - set("确认"))


def test_the_program_is_given_the_text_as_it_is_spelled(tmp_path: Path) -> None:
    given = tmp_path / "given"
    listening = program(tmp_path, PROBED + f'tee {given} | espeak-ng "$@"')

    EspeakSynthesizer(rules.espeak(program=str(listening))).synthesize(SEVERAL)

    assert given.read_text(encoding="utf-8") == spelled(SEVERAL)


def program(folder: Path, script: str) -> Path:
    """A program of the site in the place of espeak-ng."""
    path = folder / "espeak-site"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def unusable(**changes: object) -> str:
    with pytest.raises(ProviderUnusable) as caught:
        EspeakSynthesizer(rules.espeak(**changes))
    return str(caught.value)


def test_a_program_that_is_not_there_is_named_with_what_to_install() -> None:
    told = unusable(program="espeak-nowhere")

    assert "espeak-nowhere" in told
    assert "apt install espeak-ng" in told


@pytest.mark.parametrize(
    ("voice", "why"), [("de", "Mandarin"), ("en", "Mandarin"), ("yue", "Mandarin"), ("xx", "not one of its voices")]
)
def test_a_voice_that_does_not_speak_mandarin_is_refused(voice: str, why: str) -> None:
    told = unusable(voice=voice)

    assert repr(voice) in told
    assert why in told


NOT_ESPEAK = {
    "does nothing": "exit 0",
    "fails": "exit 3",
    "reads letters": "cat > /dev/null; echo '(en)tS;hwE55'",
}


@pytest.mark.parametrize("name", NOT_ESPEAK)
def test_a_program_that_is_not_espeak_is_refused(tmp_path: Path, name: str) -> None:
    assert "espeak-site" in unusable(program=str(program(tmp_path, NOT_ESPEAK[name])))


def test_a_program_that_hangs_is_refused_in_time(tmp_path: Path) -> None:
    assert "no answer within 0.2 s" in unusable(program=str(program(tmp_path, "exec sleep 60")), timeout_s=0.2)


LATER = {
    "hangs": ("exec sleep 60", ProviderTimedOut, "no answer"),
    "fails": ("exit 3", ProviderFailed, "3"),
    "says nothing": ("exit 0", ProviderFailed, "nothing"),
    "writes no WAV": ("cat /dev/zero | head -c 9000", ProviderFailed, "no sound"),
    "writes a header only": ('exec espeak-ng "$@" | head -c 44', ProviderFailed, "no sound"),
    "is silent": ('espeak-ng "$@" | head -c 44; head -c 9000 /dev/zero', ProviderFailed, "silence"),
    "is gone": (None, ProviderFailed, "cannot be run"),
}


@pytest.mark.parametrize("name", LATER)
def test_what_breaks_later_is_a_failure_of_the_provider(tmp_path: Path, name: str) -> None:
    script, error, told = LATER[name]
    path = program(tmp_path, PROBED + (script or "exit 0"))
    broken = EspeakSynthesizer(rules.espeak(program=str(path), timeout_s=2.0 if name == "hangs" else DEADLINE_S))
    if script is None:
        path.unlink()

    with pytest.raises(error, match=told) as caught:
        broken.synthesize(ONE)

    assert caught.value.provider == "espeak"
    assert "缝线" not in str(caught.value)
