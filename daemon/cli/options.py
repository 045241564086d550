"""What several commands share: the options, the settings they lead to, and where text goes."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from daemon.config import Settings

DEFAULT_CONFIG = Path("orwatch.toml")
PLAIN_WIDTH = 200  # of a table in a file or a pipe, where no terminal says how wide it is

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config", "-c", envvar="ORWATCH_CONFIG", help="The TOML file.", show_default="./orwatch.toml, if it is there"
    ),
]
ModelOption = Annotated[
    Path | None, typer.Option("--model", help="An ONNX classifier, instead of the configured one.", show_default=False)
]
CatalogueOption = Annotated[
    Path | None,
    typer.Option("--catalogue", help="A .xlsx, .csv or .yaml, instead of the configured one.", show_default=False),
]


def settings_of(config: Path | None, *, model: Path | None = None, catalogue: Path | None = None) -> "Settings":
    """The settings of a command; what its own options say comes before file and environment. Raises ConfigError."""
    from daemon.config import load

    if config is None and DEFAULT_CONFIG.is_file():
        config = DEFAULT_CONFIG
    settings = load(config)
    if model is not None:
        # A model comes with its labels: those of the configured one do not belong to it.
        changed = settings.model.model_copy(update={"path": model.absolute(), "labels": None})
        settings = settings.model_copy(update={"model": changed})
    if catalogue is not None:
        changed_catalogue = settings.catalogue.model_copy(update={"path": catalogue.absolute()})
        settings = settings.model_copy(update={"catalogue": changed_catalogue})
    return settings


def console(*, err: bool = False) -> "Console":
    """A console on stdout or stderr; tables for a pipe are not cut to 80 columns."""
    from rich.console import Console

    is_terminal = (sys.stderr if err else sys.stdout).isatty()
    return Console(stderr=err, width=None if is_terminal else PLAIN_WIDTH, highlight=False)
