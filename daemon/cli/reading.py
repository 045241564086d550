"""Reads recordings into traces, side by side, with a progress bar for each."""

import asyncio
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Event

import typer
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from daemon.assembly import picture_of, recording_of
from daemon.bridge import in_thread
from daemon.cli.failures import CommandFailed
from daemon.cli.options import console
from daemon.config import Settings
from daemon.pipeline.offline import Read, read_trace
from inference.model import Model
from inference.replay import Trace

_WORTH_SAYING_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """reads: by the names that were given. took_s: on the clock."""

    reads: Mapping[str, Read]
    took_s: float

    @property
    def traces(self) -> Mapping[str, Trace]:
        return {name: read.trace for name, read in self.reads.items()}

    @property
    def length_s(self) -> float:
        """What all recordings last together."""
        return sum(read.length_s for read in self.reads.values())

    @property
    def told(self) -> str:
        speed = self.length_s / self.took_s if self.took_s else 0.0
        return f"{self.length_s:.1f} s of video read in {self.took_s:.1f} s, {speed:.1f} times real time"

    def warn(self) -> None:
        """One line on stderr for each recording of which something could not be seen."""
        for name, read in self.reads.items():
            if read.damaged or read.unseen_s >= _WORTH_SAYING_S:
                typer.echo(f"warning: {_unseen(name, read)}", err=True)

    def require_seen(self) -> None:
        """Raises CommandFailed if half of a recording could not be seen: what was not found there proves nothing."""
        blind = [_unseen(name, read) for name, read in self.reads.items() if 2 * read.unseen_s >= read.length_s]
        if blind:
            raise CommandFailed(
                "; ".join(blind), hint="What was found is of the rest. Take a better copy, or one from another recorder"
            )


def _unseen(name: str, read: Read) -> str:
    why = f", {read.damaged} pictures of it are damaged or miss what they refer to" if read.damaged else ""
    return f"{name}: {read.unseen_s:.1f} s of {read.length_s:.1f} s could not be seen{why}"


async def read_recordings(model: Model, recordings: Mapping[str, tuple[str, Path]], settings: Settings) -> Reading:
    """recordings: name -> (camera, path). Raises a StreamError or ModelError, perhaps inside a group."""
    began_mono_s = time.monotonic()
    shown = console(err=True)
    room = asyncio.Semaphore(os.cpu_count() or 1)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[speed]:>6}x real time"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=shown, disable=not shown.is_terminal) as progress:
        tasks = {name: progress.add_task(name, total=1.0, speed="") for name in recordings}

        async def read(name: str) -> Read:
            camera, path = recordings[name]
            async with room:
                return await in_thread(f"read:{name}", lambda stop: one(name, camera, path, stop))

        def one(name: str, camera: str, path: Path, stop: Event) -> Read:
            start_mono_s = time.monotonic()

            def on_progress(behind_s: float, share: float) -> None:
                passed_s = time.monotonic() - start_mono_s
                progress.update(tasks[name], completed=share, speed=f"{behind_s / passed_s:.1f}" if passed_s else "")

            return read_trace(
                model,
                recording_of(camera, path, settings, picture_of(model)),
                batch_max=settings.inference.batch_max,
                on_progress=on_progress,
                stop=stop,
            )

        async with asyncio.TaskGroup() as group:
            reads = {name: group.create_task(read(name)) for name in recordings}
    return Reading(reads={name: task.result() for name, task in reads.items()}, took_s=time.monotonic() - began_mono_s)
