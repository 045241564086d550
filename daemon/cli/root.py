"""Puts the commands together. Nothing heavy is imported here, so that `orwatch --help` answers at once."""

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from daemon.cli.analyze import analyze
from daemon.cli.cameras import cameras
from daemon.cli.check import check
from daemon.cli.db import db
from daemon.cli.demo import demo
from daemon.cli.evaluate import evaluate
from daemon.cli.failures import told
from daemon.cli.fundus.commands import fundus
from daemon.cli.pathology.commands import pathology
from daemon.cli.report import report
from daemon.cli.retina.commands import retina
from daemon.cli.run import run
from daemon.cli.speech import speech
from daemon.cli.ultrasound.commands import ultrasound
from daemon.cli.watch import watch


class _Told(TyperGroup):
    """Every command under it tells its failures, and a wrong command line, in one line."""

    def make_context(self, *args: Any, **kwargs: Any) -> Any:
        with told():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: Any) -> Any:
        with told():
            return super().invoke(ctx)


orwatch = typer.Typer(
    name="orwatch",
    cls=_Told,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        from daemon import __version__

        typer.echo(f"orwatch {__version__}")
        raise typer.Exit


@orwatch.callback()
def about(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Watches an operating room's cameras and keeps the tally of what was used.

    Exit codes: 0 done, 1 failed, 2 the command line or the configuration is wrong, 130 stopped by Ctrl-C; `fundus`
    knows 3, too: still being analyzed.
    """


for command in (run, check, demo, analyze, evaluate, watch, report):
    orwatch.command()(command)
orwatch.add_typer(cameras, name="cameras")
orwatch.add_typer(db, name="db")
orwatch.add_typer(speech, name="speech")
orwatch.add_typer(pathology, name="pathology")
orwatch.add_typer(fundus, name="fundus")
orwatch.add_typer(retina, name="retina")
orwatch.add_typer(ultrasound, name="ultrasound")
