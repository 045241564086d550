"""The sections of the configuration, but for speech: every key with its default and range."""

import ipaddress
import re
from pathlib import Path
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from net.address import parts_of

CAMERA_ID = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"
CameraId = Annotated[str, Field(pattern=CAMERA_ID)]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ServerSettings(Section):
    host: str = "127.0.0.1"
    port: int = Field(38080, ge=0, le=65535)
    # An answer by voice is the largest body there is.
    body_max_kib: int = Field(8192, ge=1, le=1_048_576)
    # Per caller. A terminal that polls two routes every second needs 120.
    rate_per_minute: int = Field(1200, ge=1)
    event_clients_max: int = Field(64, ge=1, le=10_000)

    @property
    def is_loopback(self) -> bool:
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


class AuthSettings(Section):
    mode: Literal["keys", "none"] = "keys"
    keys_file: Path | None = None


class DatabaseSettings(Section):
    ledger: Path = Path("var/ledger.db")
    url: SecretStr | None = None

    @field_validator("url")
    @classmethod
    def _url_is_of_postgresql(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not re.fullmatch(
            r"postgresql\+psycopg://(?:[^@/?#\s]*@)?(?:\[[0-9a-fA-F:.]+\]|[^@/?#\s:]*)(?::\d{1,5})?/[^/?#\s]+(?:\?\S*)?",
            value.get_secret_value(),
        ):
            raise ValueError("expected postgresql+psycopg://user:password@host:5432/name, specials as %40")
        return value


class ObjectSettings(Section):
    """Pictures and clips of what was booked or asked."""

    evidence: bool = True
    clip_before_s: float = Field(3.0, ge=0, le=30)
    clip_after_s: float = Field(2.0, ge=0, le=30)
    ring_s: float = Field(8.0, ge=1, le=60)
    ring_mib: int = Field(8, ge=1, le=256)
    backend: Literal["folder", "minio"] = "folder"
    folder: Path = Path("var/objects")
    endpoint: str | None = Field(None, pattern=r"^(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:]+\])(?::[0-9]{1,5})?$")
    bucket: str | None = Field(None, pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")
    access_key: SecretStr | None = None
    secret_key: SecretStr | None = None
    secure: bool = True
    region: str | None = Field(None, pattern=r"^[A-Za-z0-9-]{1,64}$")
    spool: Path = Path("var/spool")
    spool_mib: int = Field(1024, ge=1, le=1_048_576)
    retention_days: float | None = Field(None, gt=0, le=36_500)
    retention_gib: float | None = Field(None, gt=0, le=1_048_576)

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if self.clip_before_s + self.clip_after_s > self.ring_s:
            raise ValueError(
                f"clip_before_s + clip_after_s = {self.clip_before_s + self.clip_after_s:g} s"
                f" must not be above ring_s ({self.ring_s:g})"
            )
        if self.backend == "minio":
            for name in ("endpoint", "bucket", "access_key", "secret_key"):
                if not getattr(self, name):
                    raise ValueError(f'{name} is needed with backend = "minio"')
        return self


class CatalogueSettings(Section):
    path: Path | None = None


class CameraSettings(Section):
    url: SecretStr
    detect_url: SecretStr | None = None
    transport: Literal["tcp", "udp"] = "tcp"
    # Whom to trust behind rtsps://, at most one of them.
    ca_file: Path | None = None
    certificate_sha256: str | None = None
    verify_tls: bool = True
    hwaccel: Literal["off", "auto", "cuda", "vaapi", "qsv"] = "off"
    adaptive: bool = True
    # auto: as the stream says, else BT.601 and limited, as ffmpeg and OpenCV do; see docs/model.md.
    color_matrix: Literal["auto", "bt601", "bt709"] = "auto"
    color_range: Literal["auto", "limited", "full"] = "auto"
    connect_timeout_s: float = Field(10.0, gt=0, le=120)
    # A stall must be seen within two seconds.
    read_timeout_s: float = Field(2.0, gt=0, le=60)
    # Only for a file in the place of a camera.
    loop: bool = False

    @field_validator("url", "detect_url")
    @classmethod
    def _is_clear(cls, value: SecretStr | None) -> SecretStr | None:
        """A raw # / ? in a password would make its end a part of the path, and be told to another host."""
        if value is not None and value.get_secret_value().lower().startswith(("rtsp://", "rtsps://")):
            parts_of(value.get_secret_value())
        return value

    @field_validator("certificate_sha256")
    @classmethod
    def _is_a_fingerprint(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"[0-9A-Fa-f]{64}", re.sub(r"[:\s]", "", value)):
            raise ValueError("expected the SHA-256 fingerprint of a certificate: 64 hex digits, with colons or without")
        return value

    @model_validator(mode="after")
    def _trusts_in_one_way(self) -> Self:
        given = [name for name in ("ca_file", "certificate_sha256") if getattr(self, name) is not None]
        given += [] if self.verify_tls else ["verify_tls = false"]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} exclude each other: set one")
        return self

    @property
    def is_encrypted(self) -> bool:
        """One of its streams comes over TLS."""
        urls = [url for url in (self.url, self.detect_url) if url is not None]
        return any(url.get_secret_value().lower().startswith("rtsps://") for url in urls)


class RoomSettings(Section):
    cameras: list[CameraId] = Field(min_length=1)
    voice_terminal: str | None = Field(None, min_length=1, max_length=64)


class ModelSettings(Section):
    path: Path | None = None
    device: Literal["auto", "cpu", "cuda"] = "auto"
    labels: list[str] | None = Field(None, min_length=2)
    threads: int = Field(1, ge=1, le=64)


class InferenceSettings(Section):
    sample_fps: float = Field(2.0, gt=0, le=30)
    window_s: float = Field(2.0, gt=0, le=60)
    window_frames_min: int = Field(3, ge=1, le=600)
    open_share: float = Field(0.6, gt=0, le=1)
    absence_s: float = Field(2.0, gt=0, le=600)
    gap_max_s: float = Field(1.75, gt=0, le=60)
    auto_confirm: float = Field(0.90, gt=0, le=1)
    ask_above: float = Field(0.50, ge=0, le=1)
    option_min: float = Field(0.05, ge=0, le=1)
    peak_frames: int = Field(1, ge=1, le=100)
    decide_s: float = Field(6.0, gt=0, le=600)
    fusion_s: float = Field(5.0, ge=0, le=600)
    background: list[str] = []
    frame_age_max_s: float = Field(0.5, gt=0, le=60)
    batch_max: int = Field(8, ge=1, le=256)
    queue_max: int = Field(32, ge=1, le=4096)

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.ask_above > self.auto_confirm:
            raise ValueError(f"ask_above ({self.ask_above}) must not be above auto_confirm ({self.auto_confirm})")
        if self.window_s * self.sample_fps < self.window_frames_min:
            raise ValueError(
                f"window_s * sample_fps = {self.window_s * self.sample_fps:g} frames can never reach"
                f" window_frames_min ({self.window_frames_min})"
            )
        if self.gap_max_s * self.sample_fps < 2:
            raise ValueError(
                f"gap_max_s ({self.gap_max_s:g}) must be at least 2 / sample_fps = {2 / self.sample_fps:g} s:"
                " sampling itself may pause for two periods"
            )
        return self


class CoverageSettings(Section):
    """What a camera must give to count as one that sees."""

    # Fewer than half of the wanted samples for so long is a fault.
    blind_alarm_s: float = Field(5.0, ge=1, le=600)


class SurgerySettings(Section):
    resume_window_h: float = Field(12.0, ge=0, le=168)
    start_timeout_s: float = Field(90.0, gt=0, le=600)
    start_attempts: int = Field(3, ge=1, le=10)
    # Who an automatic posting is booked for: no person confirmed it.
    doctor_id: str = Field("orwatch", min_length=1, max_length=64)
    timezone: str | None = None

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                ZoneInfo(value)
            except (ZoneInfoNotFoundError, ValueError) as error:
                raise ValueError(f"{value!r} is not an IANA time zone such as Asia/Shanghai") from error
        return value


class LogSettings(Section):
    folder: Path = Path("var/log")
    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    format: Literal["text", "json"] = "text"
