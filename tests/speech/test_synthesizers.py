"""One suite over every synthesizer: whatever the text is, a whole MP3 or an error of ours.

A new one costs one entry in MEMBERS.
"""

import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from daemon.config.speech import SpeechSettings
from speech import mp3
from speech.baidu import BaiduSynthesizer
from speech.errors import ProviderFailed, TextEmpty, TextNotSpeakable
from speech.espeak import EspeakSynthesizer
from speech.pack import PackSynthesizer
from speech.provider import Synthesizer
from tests import rules
from tests.servers.baidu import API_KEY, SECRET_KEY, BaiduServer
from tests.waiting import DEADLINE_S

# However slow the machine is.
QUESTION = "请确认：刚才使用的是可吸收缝线吗？"


@dataclass(frozen=True, kw_only=True)
class Site:
    """make(): a synthesizer, always of the same voice. secrets: never to be told."""

    make: Callable[[], Synthesizer]
    secrets: tuple[str, ...] = ()


# --- the table ---


def _espeak(_folder: Path, _stack: ExitStack) -> Site:
    return Site(make=lambda: EspeakSynthesizer(rules.espeak(timeout_s=DEADLINE_S)))


def _pack(folder: Path, _stack: ExitStack) -> Site:
    phrases = ("请确认：刚才使用的是", "可吸收缝线", "吗", "都不是")
    for number, _ in enumerate(phrases):
        (folder / f"{number}.mp3").write_bytes(_tone(400 + 120 * number))
    lines = ["[phrases]", *(f'"{phrase}" = "{number}.mp3"' for number, phrase in enumerate(phrases))]
    (folder / "pack.toml").write_text("\n".join(lines), encoding="utf-8")
    return Site(make=lambda: PackSynthesizer(folder))


def _baidu(_folder: Path, stack: ExitStack) -> Site:
    server = stack.enter_context(BaiduServer(sound=lambda text: _tone(200 + len(text))))
    account = rules.baidu(
        "1",
        API_KEY,
        SECRET_KEY,
        server.url("token"),
        tts_url=server.url("tts"),
        timeout_s=DEADLINE_S,
    )
    return Site(make=lambda: BaiduSynthesizer(account), secrets=(API_KEY, SECRET_KEY))


MEMBERS: dict[str, Callable[[Path, ExitStack], Site]] = {"espeak": _espeak, "pack": _pack, "baidu": _baidu}


def _tone(pitch_hz: float) -> bytes:
    wave = np.sin(np.arange(11_025) / 22_050 * 2 * np.pi * pitch_hz) * 8000
    return mp3.encode(wave.astype(np.int16), 22_050)


@pytest.fixture(scope="module", params=MEMBERS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def site(name: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with ExitStack() as stack:
        yield MEMBERS[name](tmp_path_factory.mktemp("voice"), stack)


@pytest.fixture(scope="module")
def voice(site: Site) -> Synthesizer:
    return site.make()


def test_every_synthesizer_that_can_be_configured_is_in_this_suite() -> None:
    [names] = get_args(SpeechSettings.model_fields["tts"].annotation)

    assert set(MEMBERS) == set(get_args(names))


def test_a_question_is_a_whole_mp3_of_one_voice(voice: Synthesizer, site: Site, name: str) -> None:
    spoken = voice.synthesize(QUESTION)

    assert (spoken.provider, voice.name) == (name, name)
    assert mp3.is_mp3(spoken.mp3)
    assert mp3.duration_s(spoken.mp3) == pytest.approx(spoken.duration_s, abs=0.1)
    assert spoken.duration_s > 0.1
    again = site.make()
    assert again.voice == voice.voice != ""
    assert again.synthesize(QUESTION) == spoken


@pytest.mark.parametrize("text", ["", " ", "\n\t　"])
def test_nothing_to_say_is_told_so(voice: Synthesizer, text: str) -> None:
    with pytest.raises(TextEmpty):
        voice.synthesize(text)


@pytest.mark.parametrize(
    "text",
    [
        "。？",
        "3M胶带",
        "14764-2-4",
        "PDS II",
        "😀",
        "纱布" * 40,
        "-x --help",
        "<b>纱布</b>",
        "\0",
        "\ud800",
        "纱\n布",
        "Ω",
    ],
)
def test_any_text_is_said_or_not_and_nothing_else_is_raised(voice: Synthesizer, text: str) -> None:
    try:
        spoken = voice.synthesize(text)
    except (TextEmpty, TextNotSpeakable):
        return
    assert mp3.is_mp3(spoken.mp3)
    assert spoken.provider == voice.name


def test_many_threads_at_once_say_what_each_would_say_alone(voice: Synthesizer) -> None:
    texts = [QUESTION, "都不是"] * 4

    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(voice.synthesize, texts))

    assert together == [voice.synthesize(QUESTION), voice.synthesize("都不是")] * 4


def test_nothing_that_is_said_and_no_secret_is_told_anywhere(
    site: Site, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    voice = site.make()
    shown = [repr(voice), voice.voice]
    for text in (QUESTION, "请确认：刚才使用的是止血钳吗？", "止血钳😀", "纱布" * 20):
        try:
            voice.synthesize(text)
        except (TextNotSpeakable, ProviderFailed) as error:
            shown += [str(error), repr(error)]

    out, err = capfd.readouterr()
    told = "\n".join([*shown, caplog.text, out, err])
    assert [word for word in ("刚才", "缝线", "止血钳", "纱布", *site.secrets) if word in told] == []
