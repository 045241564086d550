"""What engines take, filled by the daemon from settings that nobody wrote: a test names only what it wants otherwise.

`rules.sightings(window_s=10)`: every other threshold is the daemon's own.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from daemon.assembly import load_model, rules_of, source_of
from daemon.config import CameraSettings, Settings
from daemon.config.sections import ModelSettings
from inference.model import Model
from inference.sightings import Rules
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
