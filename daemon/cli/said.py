"""How the imaging commands speak to a person: on standard error, so that results alone stand on standard output."""

from collections.abc import Iterator
from contextlib import contextmanager

import typer
from rich.markup import escape

from daemon.cli.options import console
from daemon.config import ConfigError
from imaging.errors import InputInvalid, NotConfigured


def say(text: str) -> None:
    console(err=True).print(escape(text), soft_wrap=True)


@contextmanager
def misuse_told() -> Iterator[None]:
    """What a person wrote or left out exits with 2, before anything was sent."""
    try:
        yield
    except InputInvalid as error:
        raise typer.BadParameter(error.message) from None
    except NotConfigured as error:
        raise ConfigError(error.message) from None
