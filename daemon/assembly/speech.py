"""From `[speech]` to those who speak and those who hear, in the configured order.

One that cannot be set up is passed over and said: the tally goes on, questions are shown, and the others speak.
"""

import logging
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from daemon.config import Settings
from daemon.config.speech import BaiduSettings, SpeechSettings
from daemon.domain.catalogue import Catalogue
from daemon.services.answers import AnswerRules
from speech.audio import AudioRules
from speech.chain import BreakerRules, Ear, Voice
from speech.errors import ProviderUnusable
from speech.provider import Recognizer, Synthesizer
from speech.sound_alikes import sound_alikes

if TYPE_CHECKING:
    from speech.baidu_http import BaiduRules

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
    speech = settings.speech
    audio = AudioRules(
        bytes_max=speech.answer_max_kib * 1024,
        seconds_max=speech.answer_max_s,
        clipped_share_max=speech.clipped_share_max,
    )
    # A site that names an object server wants every answer there; a folder is a convenience.
    return AnswerRules(audio=audio, retries_max=speech.retries_max, must_keep=settings.objects.backend == "minio")


def voice_of(speech: SpeechSettings, say: Say) -> Voice:
    """Blocking: programs are probed, recordings read."""
    makers: dict[str, Callable[[], Synthesizer]] = {name: partial(synthesizer, name, speech) for name in speech.tts}
    return Voice(_usable(makers, say), _breaker(speech), on_change=say)


def ear_of(speech: SpeechSettings, say: Say) -> Ear:
    """Blocking: models are loaded."""
    makers: dict[str, Callable[[], Recognizer]] = {name: partial(recognizer, name, speech) for name in speech.asr}
    return Ear(_usable(makers, say), _breaker(speech), on_change=say)


def synthesizer(name: str, speech: SpeechSettings) -> Synthesizer:
    """Raises ProviderUnusable."""
    # Imported where they are used: a site that has one provider does not pay for the others.
    match name:
        case "espeak":
            from speech.espeak import EspeakRules, EspeakSynthesizer

            espeak = speech.espeak
            return EspeakSynthesizer(
                EspeakRules(
                    program=espeak.program,
                    voice=espeak.voice,
                    words_per_minute=espeak.words_per_minute,
                    pitch=espeak.pitch,
                    timeout_s=espeak.timeout_s,
                )
            )
        case "pack":
            from speech.pack import PackSynthesizer

            return PackSynthesizer(_set(speech.pack.folder))
        case "baidu":
            from speech.baidu import BaiduSynthesizer

            return BaiduSynthesizer(_baidu_rules(speech.baidu))
    raise AssertionError(name)


def recognizer(name: str, speech: SpeechSettings) -> Recognizer:
    """Raises ProviderUnusable."""
    match name:
        case "pocketsphinx":
            from speech.pocketsphinx import SphinxModel, SphinxRecognizer, SphinxRules

            sphinx = speech.pocketsphinx
            models = tuple(SphinxModel(folder=folder, dictionary=_set(sphinx.dictionary)) for folder in sphinx.models)
            return SphinxRecognizer(SphinxRules(models=models, workers=sphinx.workers, timeout_s=sphinx.timeout_s))
        case "sherpa":
            from speech.sherpa import SherpaRecognizer, SherpaRules
            from speech.sherpa_model import SherpaKind

            sherpa = speech.sherpa
            return SherpaRecognizer(
                SherpaRules(
                    folder=_set(sherpa.folder),
                    kind=SherpaKind(sherpa.kind),
                    threads=sherpa.threads,
                    hotwords_score=sherpa.hotwords_score,
                    timeout_s=sherpa.timeout_s,
                )
            )
        case "baidu":
            from speech.baidu import BaiduRecognizer

            return BaiduRecognizer(_baidu_rules(speech.baidu))
    raise AssertionError(name)


def _baidu_rules(baidu: BaiduSettings) -> "BaiduRules":
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


def _breaker(speech: SpeechSettings) -> BreakerRules:
    return BreakerRules(
        failures_max=speech.breaker_failures,
        open_s=speech.breaker_open_s,
        open_max_s=10 * speech.breaker_open_s,
    )


def _set(value: T | None) -> T:
    assert value is not None, "the configuration is checked"
    return value
