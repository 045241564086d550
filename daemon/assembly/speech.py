"""From `[speech]` to those who speak and those who hear, in the configured order.

One that cannot be set up is passed over and said: the tally goes on, questions are shown, and the others speak.
"""

import logging
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from daemon.config import Settings
from daemon.config.speech import BaiduSettings, EspeakSettings, SherpaSettings, SpeechSettings, SphinxSettings
from daemon.domain.catalogue import Catalogue
from daemon.services.answers import AnswerRules
from speech.audio import PAD_S, SPEECH_MIN_S, AudioRules
from speech.chain import BreakerRules, Ear, Voice
from speech.errors import ProviderUnusable
from speech.provider import Recognizer, Synthesizer
from speech.sound_alikes import sound_alikes

if TYPE_CHECKING:
    from speech.baidu_http import BaiduRules
    from speech.espeak import EspeakRules
    from speech.pocketsphinx import SphinxRules
    from speech.sherpa import SherpaRules

log = logging.getLogger(__name__)

T = TypeVar("T")
# name, whether it works, why not
Say = Callable[[str, bool, str], None]


def spoken_names(catalogue: Catalogue) -> dict[str, tuple[str, ...]]:
    return {each.name: each.spoken for each in catalogue.products}


def warn_of_sound_alikes(catalogue: Catalogue) -> None:
    """Said at each start, since the catalogue may have changed; `orwatch check` lists them."""
    if alike := sound_alikes(spoken_names(catalogue)):
        first = alike[0]
        log.warning(
            "catalogue: %d pairs of names sound alike, such as %s and %s; see `orwatch check`",
            len(alike),
            first.name,
            first.other_name,
        )


def answer_rules_of(settings: Settings) -> AnswerRules:
    return AnswerRules(
        audio=audio_rules_of(settings.speech),
        retries_max=settings.speech.retries_max,
        has_object_server=settings.objects.backend == "minio",
    )


def audio_rules_of(speech: SpeechSettings) -> AudioRules:
    return AudioRules(
        bytes_max=speech.answer_max_kib * 1024,
        seconds_max=speech.answer_max_s,
        speech_min_s=SPEECH_MIN_S,
        clipped_share_max=speech.clipped_share_max,
        pad_s=PAD_S,
    )


def voice_of(speech: SpeechSettings, say: Say) -> Voice:
    """Blocking: programs are probed, recordings read."""
    makers: dict[str, Callable[[], Synthesizer]] = {name: partial(synthesizer, name, speech) for name in speech.tts}
    return Voice(_usable(makers, say), breaker_rules_of(speech), on_change=say)


def ear_of(speech: SpeechSettings, say: Say) -> Ear:
    """Blocking: models are loaded."""
    makers: dict[str, Callable[[], Recognizer]] = {name: partial(recognizer, name, speech) for name in speech.asr}
    return Ear(_usable(makers, say), breaker_rules_of(speech), on_change=say)


def breaker_rules_of(speech: SpeechSettings) -> BreakerRules:
    return BreakerRules(failures_max=speech.breaker_failures, open_s=speech.breaker_open_s)


def synthesizer(name: str, speech: SpeechSettings) -> Synthesizer:
    """Raises ProviderUnusable."""
    # Imported where they are used: a site that has one provider does not pay for the others.
    match name:
        case "espeak":
            from speech.espeak import EspeakSynthesizer

            return EspeakSynthesizer(espeak_rules_of(speech.espeak))
        case "pack":
            from speech.pack import PackSynthesizer

            return PackSynthesizer(_set(speech.pack.folder))
        case "baidu":
            from speech.baidu import BaiduSynthesizer

            return BaiduSynthesizer(baidu_rules_of(speech.baidu))
    raise AssertionError(name)


def recognizer(name: str, speech: SpeechSettings) -> Recognizer:
    """Raises ProviderUnusable."""
    match name:
        case "pocketsphinx":
            from speech.pocketsphinx import SphinxRecognizer

            return SphinxRecognizer(sphinx_rules_of(speech.pocketsphinx))
        case "sherpa":
            from speech.sherpa import SherpaRecognizer

            return SherpaRecognizer(sherpa_rules_of(speech.sherpa))
        case "baidu":
            from speech.baidu import BaiduRecognizer

            return BaiduRecognizer(baidu_rules_of(speech.baidu))
    raise AssertionError(name)


def espeak_rules_of(espeak: EspeakSettings) -> "EspeakRules":
    from speech.espeak import EspeakRules

    return EspeakRules(
        program=espeak.program,
        voice=espeak.voice,
        words_per_minute=espeak.words_per_minute,
        pitch=espeak.pitch,
        timeout_s=espeak.timeout_s,
    )


def sphinx_rules_of(sphinx: SphinxSettings) -> "SphinxRules":
    from speech.pocketsphinx import SphinxModel, SphinxRules

    models = tuple(SphinxModel(folder=folder, dictionary=_set(sphinx.dictionary)) for folder in sphinx.models)
    return SphinxRules(models=models, workers=sphinx.workers, timeout_s=sphinx.timeout_s)


def sherpa_rules_of(sherpa: SherpaSettings) -> "SherpaRules":
    from speech.sherpa import SherpaRules
    from speech.sherpa_model import SherpaKind

    return SherpaRules(
        folder=_set(sherpa.folder),
        kind=SherpaKind(sherpa.kind),
        threads=sherpa.threads,
        hotwords_score=sherpa.hotwords_score,
        timeout_s=sherpa.timeout_s,
    )


def baidu_rules_of(baidu: BaiduSettings) -> "BaiduRules":
    from speech.baidu_http import BaiduRules, Secret

    return BaiduRules(
        app_id=_set(baidu.app_id),
        api_key=Secret(value=_set(baidu.api_key).get_secret_value()),
        secret_key=Secret(value=_set(baidu.secret_key).get_secret_value()),
        token_url=_set(baidu.token_url),
        asr_url=baidu.asr_url,
        tts_url=baidu.tts_url,
        ca_file=baidu.ca_file,
        dev_pid=baidu.dev_pid,
        person=baidu.person,
        speed=baidu.speed,
        pitch=baidu.pitch,
        volume=baidu.volume,
        connect_timeout_s=baidu.connect_timeout_s,
        timeout_s=baidu.timeout_s,
        workers=baidu.workers,
    )


def _usable(makers: dict[str, Callable[[], T]], say: Say) -> list[T]:
    made = []
    for name, make in makers.items():
        try:
            made.append(make())
        except ProviderUnusable as error:
            log.error("speech: %s cannot be used: %s", name, error)
            say(name, False, str(error))
    return made


def _set(value: T | None) -> T:
    assert value is not None, "the configuration is checked"
    return value
