"""`[speech]`: who speaks and who listens, in which order, and how each is reached."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, SecretStr, model_validator

from daemon.config.sections import Section


class EspeakSettings(Section):
    program: str = Field("espeak-ng", min_length=1)
    # None: the first of the program's voices that reads Chinese as Mandarin.
    voice: str | None = Field(None, min_length=1, max_length=64)
    words_per_minute: int = Field(180, ge=80, le=450)
    pitch: int = Field(50, ge=0, le=99)
    timeout_s: float = Field(10.0, gt=0, le=60)


class PackSettings(Section):
    folder: Path | None = None


class BaiduSettings(Section):
    app_id: str | None = None
    api_key: SecretStr | None = None
    secret_key: SecretStr | None = None
    token_url: str | None = None
    asr_url: str | None = None
    tts_url: str | None = None
    ca_file: Path | None = None
    dev_pid: int = Field(1537, ge=1)
    person: int = Field(0, ge=0)
    speed: int = Field(5, ge=0, le=15)
    pitch: int = Field(5, ge=0, le=15)
    volume: int = Field(5, ge=0, le=15)
    connect_timeout_s: float = Field(2.0, gt=0, le=30)
    timeout_s: float = Field(8.0, gt=0, le=60)
    workers: int = Field(2, ge=1, le=16)


class SphinxSettings(Section):
    models: list[Path] = Field([])
    dictionary: Path | None = None
    workers: int = Field(2, ge=1, le=16)
    timeout_s: float = Field(5.0, gt=0, le=60)


class SherpaSettings(Section):
    folder: Path | None = None
    kind: Literal["auto", "sense_voice", "paraformer", "transducer", "streaming_transducer"] = "auto"
    threads: int = Field(2, ge=1, le=64)
    hotwords_score: float = Field(1.5, ge=0, le=20)
    timeout_s: float = Field(8.0, gt=0, le=60)


class SpeechSettings(Section):
    """tts, asr: providers in the order in which they are tried; none: questions are answered by touch."""

    tts: list[Literal["espeak", "baidu", "pack"]] = Field(["espeak"])
    asr: list[Literal["pocketsphinx", "sherpa", "baidu"]] = Field(["pocketsphinx"])
    retries_max: int = Field(3, ge=1, le=20)
    answer_max_s: float = Field(20.0, ge=1, le=60)
    answer_max_kib: int = Field(4096, ge=16, le=65_536)
    clipped_share_max: float = Field(0.35, gt=0, le=1)
    breaker_failures: int = Field(3, ge=1, le=100)
    breaker_open_s: float = Field(30.0, gt=0, le=3600)
    espeak: EspeakSettings = EspeakSettings()
    pack: PackSettings = PackSettings()
    baidu: BaiduSettings = BaiduSettings()
    pocketsphinx: SphinxSettings = SphinxSettings()
    sherpa: SherpaSettings = SherpaSettings()

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        for key in ("tts", "asr"):
            names: list[str] = getattr(self, key)
            if len(names) != len(set(names)):
                raise ValueError(f"{key} names a provider twice: {names}")
        if "pack" in self.tts and self.pack.folder is None:
            raise ValueError('pack.folder is needed with "pack" in tts')
        if self.pocketsphinx.models and self.pocketsphinx.dictionary is None:
            raise ValueError("pocketsphinx.dictionary is needed with pocketsphinx.models")
        if "sherpa" in self.asr and self.sherpa.folder is None:
            raise ValueError('sherpa.folder is needed with "sherpa" in asr')
        for key, url in (("tts", "tts_url"), ("asr", "asr_url")):
            if "baidu" in getattr(self, key):
                for name in ("app_id", "api_key", "secret_key", "token_url", url):
                    if not getattr(self.baidu, name):
                        raise ValueError(f'baidu.{name} is needed with "baidu" in {key}')
        return self
