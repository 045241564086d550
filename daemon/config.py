"""The one Settings tree: read once, checked whole, secrets never printed.

Order, first wins: environment (`ORWATCH_SECTION__KEY`), systemd credentials (`$CREDENTIALS_DIRECTORY`, files named
`orwatch_section__key`), the TOML file. `${NAME}` in a TOML value is taken from the environment. A bad or unknown key
stops the start with a ConfigError that names the key, the value and what was expected.
"""

import ipaddress
import json
import os
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    NestedSecretsSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

CAMERA_ID = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"
CameraId = Annotated[str, Field(pattern=CAMERA_ID)]
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


class ConfigError(ValueError):
    """The configuration cannot be used."""

    hint = "Every key, its unit, default and range stand in orwatch.example.toml."


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ServerSettings(Section):
    host: str = "127.0.0.1"
    port: int = Field(38080, ge=0, le=65535)
    body_max_kib: int = Field(1024, ge=1, le=1_048_576)
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
    hwaccel: Literal["off", "auto", "cuda", "vaapi", "qsv"] = "off"
    adaptive: bool = True
    connect_timeout_s: float = Field(10.0, gt=0, le=120)
    # A stall must be seen within two seconds.
    read_timeout_s: float = Field(2.0, gt=0, le=60)
    # Only for a file in the place of a camera.
    loop: bool = False


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


class Settings(BaseSettings):
    model_config = SettingsConfigDict(
        env_prefix="ORWATCH_",
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        nested_model_default_partial_update=True,
    )
    server: ServerSettings = ServerSettings()
    auth: AuthSettings = AuthSettings()
    database: DatabaseSettings = DatabaseSettings()
    objects: ObjectSettings = ObjectSettings()
    catalogue: CatalogueSettings = CatalogueSettings()
    cameras: dict[CameraId, CameraSettings] = {}
    rooms: dict[str, RoomSettings] = {}
    model: ModelSettings = ModelSettings()
    inference: InferenceSettings = InferenceSettings()
    surgery: SurgerySettings = SurgerySettings()
    logs: LogSettings = LogSettings()
    site_json: Path | None = None

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        # The plain source of secrets knows no files for keys within sections.
        return env_settings, NestedSecretsSettingsSource(file_secret_settings), init_settings

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        owner: dict[str, str] = {}
        terminal: dict[str, str] = {}
        for name, room in self.rooms.items():
            for camera in room.cameras:
                if camera not in self.cameras:
                    raise ValueError(f"rooms.{name}.cameras: {camera!r} is not one of {sorted(self.cameras)}")
                if (other := owner.setdefault(camera, name)) != name:
                    raise ValueError(f"rooms.{name}.cameras: {camera!r} already belongs to room {other!r}")
            if room.voice_terminal and (other := terminal.setdefault(room.voice_terminal, name)) != name:
                raise ValueError(f"rooms.{name}.voice_terminal: {room.voice_terminal!r} already serves room {other!r}")
        return self

    def room_of(self, cameras: frozenset[str]) -> str | None:
        """The room whose cameras are exactly these, or the only room that holds them all."""
        rooms = [name for name, room in self.rooms.items() if cameras <= set(room.cameras)]
        return rooms[0] if len(rooms) == 1 else None


def load(path: Path | None, overrides: dict[str, Any] | None = None) -> Settings:
    """Read and check the configuration; relative paths in the file are relative to the file.

    overrides: section -> key -> value, as if it stood in the file (the demo and tests use it).
    Raises ConfigError with the key, the value and what was expected.
    """
    content: dict[str, Any] = {}
    base = Path.cwd()
    if path is not None:
        content, base = _read_toml(path), path.resolve().parent
    for section, values in (overrides or {}).items():
        content[section] = {**content.get(section, {}), **values} if isinstance(values, dict) else values
    _add_site_json(content, base)
    _refuse_unknown_variables()
    try:
        settings = Settings(
            **content,
            _secrets_dir=os.environ.get("CREDENTIALS_DIRECTORY"),
        )
    except ValidationError as error:
        raise ConfigError(_explain(error, path)) from None
    except SettingsError as error:
        # Its cause holds the value, which may be a secret; its own words hold the section only.
        raise ConfigError(f"environment: {error}: expected JSON") from None
    return _anchored(settings, base)


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        parsed = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from None
    expanded = _expand(parsed, "", path)
    assert isinstance(expanded, dict)
    return expanded


def _expand(value: Any, key: str, path: Path) -> Any:
    if isinstance(value, dict):
        return {name: _expand(inner, f"{key}.{name}".lstrip("."), path) for name, inner in value.items()}
    if isinstance(value, list):
        return [_expand(inner, key, path) for inner in value]
    if not isinstance(value, str):
        return value

    def variable(match: re.Match[str]) -> str:
        if match[1] not in os.environ:
            raise ConfigError(f"{path}: {key}: the environment has no variable {match[1]}")
        return os.environ[match[1]]

    return _VARIABLE.sub(variable, value)


class _SiteBinding(BaseModel):
    model_config = ConfigDict(extra="ignore")
    or_room_id: str
    camera_ids: list[str]
    voice_terminal_id: str | None = None


class _SiteJson(BaseModel):
    """The site file of earlier installations; written by others, so unknown keys are ignored."""

    model_config = ConfigDict(extra="ignore")
    video_rtsp_urls: dict[str, str] = {}
    voice_or_room_bindings: list[_SiteBinding] = []


def _add_site_json(content: dict[str, Any], base: Path) -> None:
    named = os.environ.get("ORWATCH_SITE_JSON") or content.get("site_json")
    if not named:
        return
    path = base / str(named)
    try:
        site = _SiteJson.model_validate(json.loads(path.read_text(encoding="utf-8-sig")))
    except OSError as error:
        raise ConfigError(f"site_json: {path} cannot be read: {error.strerror}") from None
    except ValidationError as error:
        raise ConfigError(_explain(error, path)) from None
    except ValueError as error:
        raise ConfigError(f"site_json: {path} is not valid JSON: {error}") from None
    cameras = {camera: {"url": url} for camera, url in site.video_rtsp_urls.items()}
    content["cameras"] = {**cameras, **content.get("cameras", {})}
    rooms = {
        binding.or_room_id: {"cameras": binding.camera_ids, "voice_terminal": binding.voice_terminal_id}
        for binding in site.voice_or_room_bindings
    }
    content["rooms"] = {**rooms, **content.get("rooms", {})}


def _refuse_unknown_variables() -> None:
    """A misspelt section in a variable would otherwise be ignored silently; ORWATCH_CONFIG names the file itself."""
    known = {f"ORWATCH_{section.upper()}" for section in Settings.model_fields} | {"ORWATCH_CONFIG", "ORWATCH_API_KEY"}
    for name in os.environ:
        if name.startswith("ORWATCH_") and name.split("__")[0].upper() not in known:
            raise ConfigError(f"environment: {name} names no section of the configuration")
    if credentials := os.environ.get("CREDENTIALS_DIRECTORY"):
        for file in sorted(Path(credentials).glob("orwatch_*")):
            if file.name.split("__")[0].upper() not in known:
                raise ConfigError(f"credential {file.name} names no section of the configuration")


def _explain(error: ValidationError, path: Path | None) -> str:
    lines = []
    for problem in error.errors(include_url=False):
        key = ".".join(str(part) for part in problem["loc"])
        message = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            lines.append(f"{key}: unknown key")
        elif isinstance(problem["input"], dict | list):
            lines.append(": ".join(part for part in (key, message) if part))
        else:
            lines.append(f"{key}: {_shown(key, problem['input'])}: {message}")
    where = str(path) if path else "configuration"
    return f"{where}: " + "; ".join(lines)


def _shown(key: str, value: Any) -> str:
    return "(hidden)" if key.endswith(("url", "key", "password", "secret")) else repr(value)


def _anchored(settings: Settings, base: Path) -> Settings:
    def at(path: Path | None) -> Path | None:
        return None if path is None else base / path.expanduser()

    def sure(path: Path) -> Path:
        return base / path.expanduser()

    return settings.model_copy(
        update={
            "auth": settings.auth.model_copy(update={"keys_file": at(settings.auth.keys_file)}),
            "database": settings.database.model_copy(update={"ledger": sure(settings.database.ledger)}),
            "objects": settings.objects.model_copy(
                update={"folder": sure(settings.objects.folder), "spool": sure(settings.objects.spool)}
            ),
            "catalogue": settings.catalogue.model_copy(update={"path": at(settings.catalogue.path)}),
            "model": settings.model.model_copy(update={"path": at(settings.model.path)}),
            "logs": settings.logs.model_copy(update={"folder": sure(settings.logs.folder)}),
            "cameras": {
                name: camera.model_copy(
                    update={
                        "url": _camera_url(camera.url, base),
                        "detect_url": camera.detect_url and _camera_url(camera.detect_url, base),
                    }
                )
                for name, camera in settings.cameras.items()
            },
        }
    )


def _camera_url(url: SecretStr, base: Path) -> SecretStr:
    text = url.get_secret_value()
    return url if "://" in text else SecretStr(str(base / text))
