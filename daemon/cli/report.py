"""`orwatch report`: the consumption record of a surgery, from the ledger file, with or without a running daemon."""

import re
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from daemon.cli.failures import CommandFailed
from daemon.cli.options import ConfigOption, settings_of


def report(
    surgery_id: Annotated[str, typer.Argument(help="Six digits.")],
    config: ConfigOption = None,
    form: Annotated[
        Literal["tsv", "md", "csv", "xlsx"], typer.Option("--format", help="csv and xlsx open in Excel.")
    ] = "md",
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Write it here.", dir_okay=False, show_default="standard output"),
    ] = None,
) -> None:
    """Print or write what a surgery used, and why. Only reads the ledger; the daemon may run."""
    if not re.fullmatch("[0-9]{6}", surgery_id):
        raise typer.BadParameter(f"expected six digits, got {surgery_id!r}", param_hint="SURGERY_ID")
    if out is None and form == "xlsx" and sys.stdout.isatty():
        raise typer.BadParameter("xlsx is no text for a terminal: name a file", param_hint="--out")

    import asyncio

    from daemon.assembly import zone_of
    from daemon.domain.errors import SurgeryNotFound
    from daemon.domain.facts import Fact
    from daemon.domain.surgery import Surgery
    from daemon.services import read
    from daemon.storage import migrate
    from daemon.storage.consumption_log import ConsumptionLog
    from daemon.storage.database import Unit, open_reader
    from daemon.storage.report_forms import Form, drawn

    settings = settings_of(config)
    ledger = settings.database.ledger
    if not ledger.is_file():
        raise CommandFailed(f"{ledger}: no ledger there", hint="See database.ledger, and --config")
    found, newest = migrate.current(ledger), migrate.head()
    if found != newest:
        raise migrate.SchemaUnknown(f"{ledger}: schema {found}, this orwatch works on {newest}")

    async def look() -> tuple[Surgery, list[Fact]]:
        engine = open_reader(ledger)
        try:
            return await read.facts(Unit(engine, _nobody), surgery_id)
        finally:
            await engine.dispose()

    try:
        surgery, facts = asyncio.run(look())
    except SurgeryNotFound:
        raise CommandFailed(f"{ledger}: no surgery {surgery_id}", hint="See the list: GET /client/surgeries") from None
    content = drawn(Form(form), surgery, facts, ConsumptionLog(settings.logs.folder, zone_of(settings)))
    if out is None:
        sys.stdout.buffer.write(content)
    else:
        out.write_bytes(content)
        typer.echo(f"wrote {out}")


async def _nobody(_facts: object) -> None:
    """Nothing is written, so nobody is told."""
