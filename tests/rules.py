"""What engines take, filled by the daemon from settings that nobody wrote: a test names only what it wants otherwise.

`rules.sightings(window_s=10)`: every other threshold is the daemon's own.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from daemon.assembly import load_model, observe_rules_of, rules_of, source_of
from daemon.assembly.speech import (
    audio_rules_of,
    baidu_rules_of,
    breaker_rules_of,
    espeak_rules_of,
    sherpa_rules_of,
    sphinx_rules_of,
)
from daemon.config import CameraSettings, Settings
from daemon.config.sections import ModelSettings
from daemon.config.speech import BaiduSettings, EspeakSettings, SherpaSettings, SpeechSettings, SphinxSettings
from daemon.services.observe import ObserveRules
from inference.model import Model
from inference.sightings import Rules
from speech.audio import AudioRules
from speech.baidu_http import BaiduRules
from speech.chain import BreakerRules
from speech.espeak import EspeakRules
from speech.pocketsphinx import SphinxRules
from speech.sherpa import SherpaRules
from streams.config import SourceConfig
from streams.frame import Picture

SMALL = Picture(width=96, height=64, fit="stretch")


def camera(url: str | Path, **changes: Any) -> SourceConfig:
    config = source_of("or-cam-01", CameraSettings(url=SecretStr(str(url))), Settings(), SMALL)
    return replace(config, **changes)


def model(path: str | Path, **changes: Any) -> Model:
    return load_model(Settings(model=ModelSettings(path=path, **changes)))


def sightings(**changes: Any) -> Rules:
    return replace(rules_of(Settings(), background=frozenset()), **changes)


def observing(**changes: Any) -> ObserveRules:
    return replace(observe_rules_of(Settings()), **changes)


def audio(**changes: Any) -> AudioRules:
    return replace(audio_rules_of(SpeechSettings()), **changes)


def breaker(**changes: Any) -> BreakerRules:
    return replace(breaker_rules_of(SpeechSettings()), **changes)


def espeak(**changes: Any) -> EspeakRules:
    return replace(espeak_rules_of(EspeakSettings()), **changes)


def pocketsphinx(**changes: Any) -> SphinxRules:
    return replace(sphinx_rules_of(SphinxSettings()), **changes)


def sherpa(folder: Path, **changes: Any) -> SherpaRules:
    return replace(sherpa_rules_of(SherpaSettings(folder=folder)), **changes)


def baidu(app_id: str, api_key: str, secret_key: str, token_url: str, **changes: Any) -> BaiduRules:
    said = BaiduSettings(
        app_id=app_id, api_key=SecretStr(api_key), secret_key=SecretStr(secret_key), token_url=token_url
    )
    return replace(baidu_rules_of(said), **changes)
