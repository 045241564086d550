"""From a file, the environment and credentials to the checked tree; what is wrong is named with key and value."""

import json
import os
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, SecretStr, ValidationError
from pydantic_settings import SettingsError

from daemon.config.sections import Section
from daemon.config.settings import Settings

_CAMERA_URL = re.compile(r"cameras\.[^.]+(?:\.[^.]+)*\.(?:detect_)?url")
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


class ConfigError(ValueError):
    """The configuration cannot be used."""

    hint = "Every key, its unit, default and range stand in orwatch.example.toml."


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

    if _CAMERA_URL.fullmatch(key):
        scheme, mark, rest = value.partition("://")
        who, at, where = rest.rpartition("@")
        if mark and at:
            return f"{scheme}{mark}{_credentials(who, variable)}{at}{_VARIABLE.sub(variable, where)}"
    return _VARIABLE.sub(variable, value)


def _credentials(who: str, variable: Callable[[re.Match[str]], str]) -> str:
    """User and password of a camera's address: what a variable stands for is written plainly, and encoded here."""

    def encoded(match: re.Match[str]) -> str:
        text = variable(match)
        if match[0] != who:
            return quote(text, safe="")
        user, colon, password = text.partition(":")  # one variable for both
        return f"{quote(user, safe='')}{colon}{quote(password, safe='')}"

    return _VARIABLE.sub(encoded, who)


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
    """An address is not shown either: one that is refused may be so for the password in it."""
    return (
        "(hidden)"
        if key.endswith(("url", "endpoint", "key", "password", "secret", "token", "token_45", "username"))
        else repr(value)
    )


def _anchored(settings: Settings, base: Path) -> Settings:
    """Relative paths are relative to the file that names them."""
    cameras = {
        name: camera.model_copy(
            update={
                "url": _camera_url(camera.url, base),
                "detect_url": camera.detect_url and _camera_url(camera.detect_url, base),
                "ca_file": camera.ca_file and base / camera.ca_file.expanduser(),
            }
        )
        for name, camera in settings.cameras.items()
    }
    sections = {name: _anchored_section(value, base) for name, value in settings if isinstance(value, Section)}
    return settings.model_copy(update={**sections, "cameras": cameras})


def _anchored_section(section: Section, base: Path) -> Section:
    def anchored(value: Any) -> Any:
        if isinstance(value, Path):
            return base / value.expanduser()
        if isinstance(value, Section):
            return _anchored_section(value, base)
        return [anchored(each) for each in value] if isinstance(value, list) else value

    return section.model_copy(update={name: anchored(value) for name, value in section})


def _camera_url(url: SecretStr, base: Path) -> SecretStr:
    text = url.get_secret_value()
    return url if "://" in text else SecretStr(str(base / text))
