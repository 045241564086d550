"""What engines take, filled by the daemon from settings that nobody wrote: a test names only what it wants otherwise.

`rules.sightings(window_s=10)`: every other threshold is the daemon's own.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from daemon.assembly import load_model, observe_rules_of, rules_of, source_of, trust_of
from daemon.assembly.speech import (
    audio_rules_of,
    baidu_rules_of,
    breaker_rules_of,
    espeak_rules_of,
    sherpa_rules_of,
    sphinx_rules_of,
)
from daemon.config import CameraSettings, Settings
from daemon.config.imaging import RetinaSettings
from daemon.config.sections import ModelSettings
from daemon.config.speech import BaiduSettings, EspeakSettings, SherpaSettings, SpeechSettings, SphinxSettings
from daemon.imaging.fundus.setup import fundus_rules_of
from daemon.imaging.pathology.setup import cos_rules_of, pathology_rules_of
from daemon.imaging.retina.setup import (
    azure_rules_of,
    gcs_rules_of,
    retina_rules_of,
    s3_rules_of,
    webhook_rules_of,
)
from daemon.imaging.ultrasound.setup import ultrasound_rules_of
from daemon.services.observe import ObserveRules
from imaging.buckets.azure import AzureRules
from imaging.buckets.gcs import GcsRules
from imaging.buckets.s3 import S3Rules
from imaging.cos.credentials import CosCredentials, CosRules
from imaging.fundus.client import FundusRules
from imaging.pathology.answers import PathologyRules
from imaging.retina.contract import RetinaRules
from imaging.ultrasound.models import UltrasoundRules
from imaging.webhook import WebhookRules
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
from streams.rtsp import Trust

SMALL = Picture(width=96, height=64, fit="stretch")


def camera(url: str | Path, **changes: Any) -> SourceConfig:
    config = source_of("or-cam-01", CameraSettings(url=SecretStr(str(url))), Settings(), SMALL)
    return replace(config, **changes)


def trust(**changes: Any) -> Trust:
    return replace(trust_of(CameraSettings(url=SecretStr("rtsps://cam.example"))), **changes)


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


def pathology(**changes: Any) -> PathologyRules:
    return replace(pathology_rules_of(Settings()), **changes)


def cos(bucket: str, region: str, **changes: Any) -> CosRules:
    given = CosCredentials(secret_id="", secret_key="", session_token="", expires_at=None, bucket=bucket, region=region)
    return replace(cos_rules_of(Settings(), given), **changes)


def fundus(**changes: Any) -> FundusRules:
    return replace(fundus_rules_of(Settings()), **changes)


def retina(**changes: Any) -> RetinaRules:
    return replace(retina_rules_of(RetinaSettings()), **changes)


def webhook(**changes: Any) -> WebhookRules:
    return replace(webhook_rules_of(RetinaSettings()), **changes)


def gcs(**changes: Any) -> GcsRules:
    return replace(gcs_rules_of(RetinaSettings()), **changes)


def s3(**changes: Any) -> S3Rules:
    return replace(s3_rules_of(RetinaSettings()), **changes)


def azure(**changes: Any) -> AzureRules:
    return replace(azure_rules_of(RetinaSettings()), **changes)


def ultrasound(**changes: Any) -> UltrasoundRules:
    return replace(ultrasound_rules_of(Settings()), **changes)
