"""The one tree of all sections, and what must hold between them."""

from pathlib import Path
from typing import Self

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, NestedSecretsSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from daemon.config.imaging import ImagingSettings
from daemon.config.sections import (
    AuthSettings,
    CameraId,
    CameraSettings,
    CatalogueSettings,
    CoverageSettings,
    DatabaseSettings,
    InferenceSettings,
    LogSettings,
    ModelSettings,
    ObjectSettings,
    RoomSettings,
    ServerSettings,
    SurgerySettings,
)
from daemon.config.speech import SpeechSettings


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
    coverage: CoverageSettings = CoverageSettings()
    speech: SpeechSettings = SpeechSettings()
    surgery: SurgerySettings = SurgerySettings()
    imaging: ImagingSettings = Field(default_factory=ImagingSettings)
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
        for name, each in self.cameras.items():
            if each.connect_timeout_s > self.surgery.start_timeout_s:
                raise ValueError(
                    f"surgery.start_timeout_s ({self.surgery.start_timeout_s:g}) must not be below"
                    f" cameras.{name}.connect_timeout_s ({each.connect_timeout_s:g}): so long may one attempt take"
                )
        return self

    def room_of(self, cameras: frozenset[str]) -> str | None:
        """The room whose cameras are exactly these, or the only room that holds them all."""
        rooms = [name for name, room in self.rooms.items() if cameras <= set(room.cameras)]
        return rooms[0] if len(rooms) == 1 else None
