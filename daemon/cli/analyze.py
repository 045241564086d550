"""`orwatch analyze`: what the daemon would have booked, from recordings, faster than real time."""

import re
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from daemon.cli.options import CatalogueOption, ConfigOption, ModelOption, settings_of

if TYPE_CHECKING:
    from daemon.cli.reading import Reading
    from daemon.cli.tallying import Tallied

VideosArgument = Annotated[
    list[Path],
    typer.Argument(
        help="Recordings of one surgery, begun at the same time; each is a camera, named for its file.",
        exists=True,
        dir_okay=False,
    ),
]
CandidateOption = Annotated[
    list[str] | None,
    typer.Option(
        help="Name, alias or code of a consumable that may be booked; repeat it for more.", show_default="all of them"
    ),
]
StartedAtOption = Annotated[
    datetime | None,
    typer.Option(
        help="When the recordings began, as 2026-04-21T10:00:00+08:00; without an offset, in surgery.timezone.",
        parser=datetime.fromisoformat,
        metavar="<iso time>",
        show_default="now",
    ),
]
OutOption = Annotated[
    Path | None,
    typer.Option(help="Write the consumption log (TSV and Markdown) here.", file_okay=False, show_default=False),
]


def analyze(
    videos: VideosArgument,
    config: ConfigOption = None,
    model: ModelOption = None,
    catalogue: CatalogueOption = None,
    candidate: CandidateOption = None,
    started_at: StartedAtOption = None,
    out: OutOption = None,
    surgery_id: Annotated[str, typer.Option(help="Six digits, for the log.")] = "000000",
) -> None:
    """Find what was used in recordings, by the same rules as live. Needs no running daemon."""
    if not re.fullmatch("[0-9]{6}", surgery_id):
        raise typer.BadParameter(f"expected six digits, got {surgery_id!r}", param_hint="--surgery-id")
    recordings = {video.stem: (video.stem, video) for video in videos}
    if len(recordings) < len(videos):
        raise typer.BadParameter("two recordings have the same name; each is a camera and needs its own")

    import asyncio

    from daemon.assembly import load_model, zone_of
    from daemon.cli.reading import read_recordings
    from daemon.cli.sightings import show_tally, show_unusable
    from daemon.cli.tallying import tally

    settings = settings_of(config, model=model, catalogue=catalogue)
    zone = zone_of(settings)
    begun = started_at or datetime.now(UTC)
    # A naive time is the site's; astimezone alone would take it for the server's.
    begun = begun.replace(tzinfo=zone) if begun.tzinfo is None and zone else begun.astimezone(zone)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
    classifier = load_model(settings)

    async def read_and_tally(folder: Path) -> "tuple[Reading, Tallied]":
        reading = await read_recordings(classifier, recordings, settings)
        tallied = await tally(
            reading.traces,
            classifier,
            settings,
            surgery_id=surgery_id,
            candidates=tuple(candidate or ()),
            started_at=begun,
            folder=folder,
        )
        return reading, tallied

    with tempfile.TemporaryDirectory(prefix="orwatch-") as scratch:
        reading, tallied = asyncio.run(read_and_tally(out or Path(scratch)))
    show_unusable(tallied.candidates)
    show_tally(tallied, begun)
    typer.echo(f"{reading.told}, model {classifier.path} on {classifier.provider}")
    if out is not None:
        typer.echo("\n".join(f"wrote {page}" for page in tallied.pages))
    reading.warn()
    reading.require_seen()
