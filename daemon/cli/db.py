"""`orwatch db`: the schema of the ledger."""

import typer

from daemon.cli.options import ConfigOption, settings_of

db = typer.Typer(no_args_is_help=True, help="The ledger database: its schema, and bringing it up to date.")


@db.command()
def upgrade(config: ConfigOption = None) -> None:
    """Bring the ledger to this version's schema, creating it if need be. Stop the daemon first."""
    from daemon.storage import migrate

    path = settings_of(config).database.ledger
    before, after = migrate.upgrade(path)
    if before == after:
        typer.echo(f"{path}: schema {after}, nothing to do")
    else:
        typer.echo(f"{path}: schema {before or '(none)'} -> {after}")


@db.command()
def current(config: ConfigOption = None) -> None:
    """Print the ledger's schema. Exits with 1 where it is not the one that this version works on."""
    from daemon.storage import migrate

    path = settings_of(config).database.ledger
    found, newest = migrate.current(path), migrate.head()
    if found is None:
        typer.echo(f"{path}: no ledger yet; `orwatch run` or `orwatch db upgrade` creates it with schema {newest}")
        return
    typer.echo(f"{path}: schema {found}" + ("" if found == newest else f", this orwatch works on {newest}"))
    if found != newest:
        raise typer.Exit(1)
