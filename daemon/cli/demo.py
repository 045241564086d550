"""`orwatch demo`: the real daemon on the recordings that ship with it, and a surgery as the HIS would run it."""

from pathlib import Path
from typing import Annotated

import typer


def demo(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Of the control plane, on loopback.")] = 38080,
    seconds: Annotated[
        float | None,
        typer.Option(
            min=1, help="How long to watch; the recordings start over if need be.", show_default="their length"
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="Keep ledger and logs here.", file_okay=False, show_default="a new temporary folder"),
    ] = None,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="End the surgery and leave when it is seen.")] = False,
) -> None:
    """Watch orwatch work: two recorded cameras, one surgery, the tally as it grows, the API left up to try."""
    import asyncio
    import tempfile

    from daemon.cli.demonstration import Demonstration

    folder = data.absolute() if data else Path(tempfile.mkdtemp(prefix="orwatch-demo-"))
    folder.mkdir(parents=True, exist_ok=True)
    asyncio.run(Demonstration(folder, port=port, seconds=seconds, waits=not no_wait).run())
