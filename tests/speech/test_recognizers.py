"""One suite over every recognizer: whatever is said and whatever is valid, an answer or an error of ours, and no more.

A new one costs one entry in MEMBERS. How often each is right is measured in `bench/speech_ears.py`.
"""

import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np
import psutil
import pytest

from daemon.config.speech import SpeechSettings
from speech.baidu import BaiduRecognizer
from speech.errors import NotUnderstood, ProviderFailed, ProviderTimedOut, ProviderUnusable
from speech.pocketsphinx import SphinxRecognizer
from speech.provider import RATE_HZ, Heard, Recognizer
from tests import rules
from tests.servers.baidu import API_KEY, SECRET_KEY, STALL, BaiduServer
from tests.speech import sherpa_toys
from tests.speech.clips import spoken
from tests.speech.utterances import PRODUCTS
from tests.waiting import DEADLINE_S

# However slow the machine is.
LATE_S = 1.5
SECOND = RATE_HZ
GAUZE = ("纱布", "都不是", "第一个")


@dataclass(frozen=True, kw_only=True)
class Site:
    """make(timeout_s): a recognizer. stalling: whoever hears for it stands still meanwhile. hears: recordings, and what
    it hears in them where GAUZE is valid. is_closed: it hears nothing but what is valid. secrets: never to be told."""

    make: Callable[[float], Recognizer]
    stalling: Callable[[], object]
    hears: Sequence[tuple[np.ndarray, str]]
    is_closed: bool
    secrets: tuple[str, ...] = ()


# --- the table ---


def _pocketsphinx(_folder: Path, _stack: ExitStack) -> Site:
    said = [(spoken(text, variant="f5", words_per_minute=140), text) for text in ("纱布", "第一个")]
    return Site(
        make=lambda timeout_s: SphinxRecognizer(rules.pocketsphinx(workers=2, timeout_s=timeout_s)),
        stalling=_stopped_children,
        hears=said,
        is_closed=True,
    )


def _sherpa(folder: Path, _stack: ExitStack) -> Site:
    pytest.importorskip("sherpa_onnx")
    from speech.sherpa import SherpaRecognizer

    model = sherpa_toys.transducer(folder / "model")
    return Site(
        make=lambda timeout_s: SherpaRecognizer(rules.sherpa(model, timeout_s=timeout_s)),
        stalling=_stopped_children,
        hears=[(np.tile(spoken("纱布"), 2), "纱布")],
        is_closed=False,
    )


def _baidu(_folder: Path, stack: ExitStack) -> Site:
    server = stack.enter_context(BaiduServer())
    server.hear = lambda wav: f"{(len(wav) - 44) // 2}号"

    def make(timeout_s: float) -> Recognizer:
        return BaiduRecognizer(
            rules.baidu(
                "1",
                API_KEY,
                SECRET_KEY,
                server.url("token"),
                asr_url=server.url("asr"),
                timeout_s=timeout_s,
                workers=2,
            )
        )

    @contextmanager
    def stalling() -> Iterator[None]:
        server.next("asr", STALL)
        yield

    return Site(
        make=make,
        stalling=stalling,
        hears=[(np.zeros(samples, np.int16), f"{samples}号") for samples in (16_000, 20_000, 24_000)],
        is_closed=False,
        secrets=(API_KEY, SECRET_KEY),
    )


MEMBERS: dict[str, Callable[[Path, ExitStack], Site]] = {
    "pocketsphinx": _pocketsphinx,
    "sherpa": _sherpa,
    "baidu": _baidu,
}


@contextmanager
def _stopped_children() -> Iterator[None]:
    """The recognizers' processes; those of other tests' servers go on."""
    stopped = _workers()
    for each in stopped:
        each.send_signal(signal.SIGSTOP)
    yield
    for each in stopped:
        if each.is_running():
            each.send_signal(signal.SIGCONT)


def _workers() -> list[psutil.Process]:
    return [each for each in psutil.Process().children() if any("speech.process" in word for word in _words(each))]


def _words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


@pytest.fixture(scope="module", params=MEMBERS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def site(name: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with ExitStack() as stack:
        yield MEMBERS[name](tmp_path_factory.mktemp("ear"), stack)


@pytest.fixture(scope="module")
def ear(site: Site) -> Iterator[Recognizer]:
    made = site.make(DEADLINE_S)
    yield made
    _close(made)


def _close(ear: Recognizer) -> bool:
    """False of one that holds nothing to close."""
    close = getattr(ear, "close", None)
    if close is not None:
        close()
    return close is not None


def heard(ear: Recognizer, pcm: np.ndarray, phrases: Sequence[str]) -> Heard | str:
    """What it hears, or that it does not understand; any other end is a failure here, as nothing is broken."""
    try:
        return ear.recognize(pcm, phrases)
    except NotUnderstood as error:
        return f"not understood by {error.provider}"


def test_every_recognizer_that_can_be_configured_is_in_this_suite() -> None:
    [names] = get_args(SpeechSettings.model_fields["asr"].annotation)

    assert set(MEMBERS) == set(get_args(names))


def test_it_hears_what_is_said(ear: Recognizer, site: Site, name: str) -> None:
    for pcm, text in site.hears:
        found = ear.recognize(pcm, GAUZE)
        assert (found.text, found.provider, ear.name) == (text, name, name)


def _sounds() -> dict[str, np.ndarray]:
    rng, seconds = np.random.default_rng(1), np.arange(2 * SECOND) / RATE_HZ
    tone = np.sin(2 * np.pi * 440 * seconds)
    step = np.repeat([-32768, 32767], 1000).astype(np.int16)
    return {
        "no sample": np.zeros(0, np.int16),
        "one sample": np.array([1000], np.int16),
        "ten milliseconds": (tone[:160] * 9000).astype(np.int16),
        "silence": np.zeros(SECOND, np.int16),
        "direct current": np.full(SECOND, 32767, np.int16),
        "noise": rng.integers(-9000, 9000, SECOND, np.int16),
        "a tone": (tone * 9000).astype(np.int16),
        "a clipped tone": np.clip(tone * 200_000, -32768, 32767).astype(np.int16),
        "steps from end to end": np.tile(step, 16),
        "every second sample": (tone * 9000).astype(np.int16)[::2],
        # As long as an answer may be: speech.answer_max_s.
        "the longest": rng.integers(-9000, 9000, 20 * SECOND, np.int16),
    }


SOUNDS = _sounds()


@pytest.mark.parametrize("what", SOUNDS)
def test_any_sound_is_heard_or_not_understood_and_left_as_it_is(ear: Recognizer, site: Site, what: str) -> None:
    pcm = SOUNDS[what].view()
    before = pcm.copy()
    pcm.flags.writeable = False

    _is_an_answer(heard(ear, pcm, GAUZE), GAUZE, ear, site)

    assert np.array_equal(pcm, before)


PHRASES: dict[str, tuple[str, ...]] = {
    "one": ("纱布",),
    "200": tuple(dict.fromkeys((*PRODUCTS, *(f"{number}号盒" for number in range(200)))))[:200],
    "Latin, digits and both": ("PDS", "3M胶带", "14764-2-4", "MCuⅡ节育器", "2-0", "OK", "10cm×10cm"),
    "signs and nothing": ("", " ", "？", "a/b", "纱/布", "\n", "😀", "<s>"),
    "the same twice": ("纱布", "纱布"),
    "a very long one": ("纱布" * 100, "纱布"),
    "none": (),
}


@pytest.mark.parametrize("what", PHRASES)
def test_whatever_is_valid_now_nothing_else_breaks_and_a_closed_ear_hears_nothing_else(
    ear: Recognizer, site: Site, what: str
) -> None:
    pcm, _ = site.hears[0]

    _is_an_answer(heard(ear, pcm, PHRASES[what]), PHRASES[what], ear, site)

    # The phrases are of one question and must not stay for the next.
    assert heard(ear, pcm, GAUZE) == heard(ear, pcm, GAUZE)
    assert ear.recognize(pcm, GAUZE).text == site.hears[0][1]


def _is_an_answer(found: Heard | str, phrases: Sequence[str], ear: Recognizer, site: Site) -> None:
    if isinstance(found, str):
        assert found == f"not understood by {ear.name}"
        return
    assert found.text.strip()
    assert found.provider == ear.name
    assert found.confidence is None or 0 <= found.confidence <= 1
    assert not site.is_closed or found.text in phrases


def test_many_threads_at_once_hear_what_each_would_hear_alone(ear: Recognizer, site: Site) -> None:
    asked = [(pcm, phrases) for pcm, _ in site.hears for phrases in (GAUZE, ("纱布",))] * 2
    alone = [heard(ear, *each) for each in asked]

    with ThreadPoolExecutor(6) as threads:
        together = list(threads.map(lambda each: heard(ear, *each), asked))

    assert together == alone


def test_who_stands_still_is_left_at_the_deadline_and_the_next_call_works(site: Site) -> None:
    ear = site.make(LATE_S)
    pcm, text = site.hears[0]
    began_mono_s = time.monotonic()
    with site.stalling(), pytest.raises(ProviderTimedOut) as caught:
        _once_loaded(ear, pcm)
    assert caught.value.provider == ear.name
    assert time.monotonic() - began_mono_s < DEADLINE_S

    # A slow machine may need more than one deadline to make another.
    assert _once_loaded(ear, pcm, until_s=DEADLINE_S).text == text
    _close(ear)


def _once_loaded(ear: Recognizer, pcm: np.ndarray, *, until_s: float = 0.0) -> Heard:
    """Asked again as long as it is late."""
    ends_mono_s = time.monotonic() + until_s
    while True:
        try:
            return ear.recognize(pcm, GAUZE)
        except ProviderTimedOut:
            if time.monotonic() >= ends_mono_s:
                raise


def test_closing_ends_its_processes_and_threads_and_may_be_done_twice(site: Site) -> None:
    others, threads = set(_workers()), set(threading.enumerate())
    ear = site.make(DEADLINE_S)
    pcm, text = site.hears[0]
    with ThreadPoolExecutor(2) as pool:
        assert [each.text for each in pool.map(lambda _: ear.recognize(pcm, GAUZE), range(4))] == [text] * 4

    if _close(ear):
        _close(ear)
        with pytest.raises((ProviderFailed, ProviderUnusable)):
            ear.recognize(pcm, GAUZE)

    assert set(_workers()) <= others
    assert [each.name for each in set(threading.enumerate()) - threads if "request" not in each.name] == []


def test_nothing_that_is_said_or_valid_and_no_secret_is_told_anywhere(
    site: Site, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    ear = site.make(DEADLINE_S)
    pcm, text = site.hears[0]
    shown = [repr(ear)]
    for sound in (pcm, SOUNDS["silence"], SOUNDS["one sample"]):
        try:
            ear.recognize(sound, (*GAUZE, "没有这个词", "🂡"))
        except (NotUnderstood, ProviderFailed) as error:
            shown += [str(error), repr(error)]
    _close(ear)

    out, err = capfd.readouterr()
    told = "\n".join([*shown, caplog.text, out, err])
    assert [word for word in (text, *GAUZE, "没有这个词", *site.secrets) if word in told] == []
