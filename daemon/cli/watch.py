"""`orwatch watch`: one surgery in the terminal, live, as the daemon commits it."""

from pathlib import Path
from typing import Annotated

import typer

from daemon.cli.failures import CommandFailed

KeyFileOption = Annotated[
    Path | None,
    typer.Option(
        "--key-file",
        help="A file that holds the API key; or set ORWATCH_API_KEY.",
        exists=True,
        dir_okay=False,
        show_default=False,
    ),
]


def watch(
    surgery_id: Annotated[str, typer.Argument(help="Six digits.")],
    url: Annotated[str, typer.Option(help="Where the daemon listens.")] = "http://127.0.0.1:38080",
    key_file: KeyFileOption = None,
    after: Annotated[int, typer.Option(min=0, help="Leave out the events up to this one.")] = 0,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Stay when the surgery ends.")] = False,
) -> None:
    """Show the tally, the facts and the open questions of a surgery until it ends."""
    import asyncio
    import re

    from daemon.cli.client import Daemon, Follower
    from daemon.cli.screen import screen

    if not re.fullmatch("[0-9]{6}", surgery_id):
        raise typer.BadParameter(f"expected six digits, got {surgery_id!r}", param_hint="SURGERY_ID")
    if not re.match("https?://", url):
        raise typer.BadParameter(f"expected http:// or https://, got {url!r}", param_hint="--url")
    daemon = Daemon(url, _key(key_file))

    async def show() -> None:
        with screen(surgery_id, url, needs_key=bool(daemon.headers)) as view:
            await Follower(daemon, surgery_id, view, after=after, stays=follow).run()

    asyncio.run(show())


def _key(path: Path | None) -> str | None:
    import os

    if path is None:
        return os.environ.get("ORWATCH_API_KEY") or None
    try:
        key = path.read_text(encoding="utf-8").strip()
    except UnicodeDecodeError:
        key = ""
    if not key or not key.isascii() or len(key.split()) != 1:
        raise CommandFailed(f"{path}: holds no API key", hint="It must hold the key alone, as text on one line.")
    return key
