"""`orwatch check`: everything that would stop or spoil a run, found before the run, all of it at once."""

from typing import Annotated

import typer

from daemon.cli.options import ConfigOption, console, settings_of


def check(
    config: ConfigOption = None,
    connect: Annotated[
        bool,
        typer.Option(
            "--connect", help="Also connect to every camera, the archive, the object store and the imaging back ends."
        ),
    ] = False,
) -> None:
    """Check installation, configuration, catalogue, keys, model, ledger, objects, port. Exits with 1 on any problem."""
    import asyncio

    from rich import box
    from rich.markup import escape
    from rich.table import Table

    from daemon.cli.checks import check_cameras, check_installation, check_servers, check_site
    from daemon.cli.imaging_checks import check_imaging, check_imaging_servers
    from daemon.cli.lines import PROBLEM, Line
    from daemon.config import ConfigError

    lines = check_installation()
    try:
        settings = settings_of(config)
    except ConfigError as error:
        lines.append(Line(PROBLEM, "configuration", str(error), error.hint))
    else:
        lines += check_site(settings)
        lines += check_imaging(settings)
        if connect:
            lines += check_servers(settings)
            lines += check_imaging_servers(settings)
            lines += asyncio.run(check_cameras(settings))
    styles = {"ok": "green", "note": "yellow", PROBLEM: "bold red"}
    table = Table("", "what", "found, and how to mend it", box=box.SIMPLE_HEAD)
    table.columns[2].overflow = "fold"
    for line in lines:
        mend = f"\n[{styles[line.state]}]->[/] {escape(line.mend)}" if line.mend else ""
        table.add_row(f"[{styles[line.state]}]{line.state}[/]", escape(line.what), escape(line.found) + mend)
    out = console()
    out.print(table)
    problems = sum(line.state == PROBLEM for line in lines)
    if problems:
        out.print(f"[bold red]{problems} problem{'s' * (problems > 1)}[/]")
        raise typer.Exit(1)
    out.print("[green]no problem[/]")
