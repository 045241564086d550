"""A YAML file that our users write, read into a pydantic model; every complaint names the file and the key."""

from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from inference.errors import InferenceError

Content = TypeVar("Content", bound=BaseModel)


def read_yaml(path: Path, kind: type[Content], error: type[InferenceError]) -> Content:
    """The file as a `kind`. Raises `error` on anything but a readable, valid file; FileNotFoundError goes through."""
    text = read_text(path, error)
    try:
        return kind.model_validate(parse_yaml(path, text, error))
    except ValidationError as cause:
        complaints = (f"{'.'.join(map(str, e['loc'])) or 'the file'}: {e['msg']}" for e in cause.errors())
        raise error(f"{path}: {'; '.join(complaints)}") from cause


def read_text(path: Path, error: type[InferenceError]) -> str:
    """The file as text, UTF-8 with or without the mark that Windows editors put first."""
    try:
        return path.read_text("utf-8-sig")
    except FileNotFoundError:
        raise
    except OSError as cause:
        raise error(f"{path}: cannot be read: {cause}") from cause
    except UnicodeDecodeError as cause:
        raise error(f"{path}: is not UTF-8 text: {cause}", hint="Save it as UTF-8 (in Notepad: Save as).") from cause


def parse_yaml(path: Path, text: str, error: type[InferenceError]) -> Any:
    """The data in a YAML text; JSON is YAML too."""
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as cause:
        raise error(f"{path}: not valid YAML: {' '.join(str(cause).split())}") from cause
