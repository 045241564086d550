"""`orwatch db`: the schema of the ledger, and of the archive where there is one."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from daemon.cli.options import ConfigOption, settings_of

if TYPE_CHECKING:
    from daemon.storage.migrate import Database

db = typer.Typer(no_args_is_help=True, help="The ledger and the archive: their schema, and bringing it up to date.")


@db.command()
def upgrade(config: ConfigOption = None) -> None:
    """Bring ledger and archive to this version's schema, creating it if need be. Stop the daemon first."""
    from daemon.storage import migrate

    for name, database in _databases(config):
        before, after = migrate.upgrade(database)
        if before == after:
            typer.echo(f"{name}: schema {after}, nothing to do")
        else:
            typer.echo(f"{name}: schema {before or '(none)'} -> {after}")


@db.command()
def current(config: ConfigOption = None) -> None:
    """Print the schemas. Exits with 1 where one is not the one that this version works on."""
    from daemon.storage import migrate

    newest, is_current = migrate.head(), True
    for name, database in _databases(config):
        found = migrate.current(database)
        if found is None:
            what = "ledger" if isinstance(database, Path) else "archive"
            typer.echo(f"{name}: no {what} yet; `orwatch run` or `orwatch db upgrade` creates it with schema {newest}")
            continue
        typer.echo(f"{name}: schema {found}" + ("" if found == newest else f", this orwatch works on {newest}"))
        is_current = is_current and found == newest
    if not is_current:
        raise typer.Exit(1)


@db.command()
def check(config: ConfigOption = None) -> None:
    """Compare the tables with what this version expects. Exits with 1 where they differ; changes nothing."""
    from daemon.storage import migrate

    newest, is_good = migrate.head(), True
    for name, database in _databases(config):
        found = migrate.current(database)
        if found != newest:
            typer.echo(f"{name}: schema {found or '(none)'}, this orwatch works on {newest}: run `orwatch db upgrade`")
            is_good = False
            continue
        differing = migrate.differences(database)
        typer.echo(f"{name}: schema {found}" + (" differs from this orwatch:" if differing else ", as expected"))
        for difference in differing:
            typer.echo(f"  {difference}")
        is_good = is_good and not differing
    if not is_good:
        raise typer.Exit(1)


def _databases(config: Path | None) -> Iterator[tuple[str, "Database"]]:
    """Name and place of each database that is configured; the ledger first."""
    from daemon.storage import migrate

    database = settings_of(config).database
    yield str(database.ledger), database.ledger
    if database.url is not None:
        archive = migrate.archive_at(database.url.get_secret_value())
        yield migrate.shown(archive), archive
