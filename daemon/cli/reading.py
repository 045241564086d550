"""Reads recordings into traces, side by side, with a progress bar for each."""

import asyncio
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Event

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from daemon.assembly import picture_of, recording_of
from daemon.bridge import in_thread
from daemon.cli.options import console
from daemon.config import Settings
from daemon.pipeline.offline import read_trace
from inference.model import Model
from inference.replay import Trace


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """traces: by the names that were given. length_s: of all recordings together; took_s: on the clock."""

    traces: Mapping[str, Trace]
    length_s: float
    took_s: float

    @property
    def told(self) -> str:
        speed = self.length_s / self.took_s if self.took_s else 0.0
        return f"{self.length_s:.1f} s of video read in {self.took_s:.1f} s, {speed:.1f} times real time"


async def read_recordings(model: Model, recordings: Mapping[str, tuple[str, Path]], settings: Settings) -> Reading:
    """recordings: name -> (camera, path). Raises a StreamError or ModelError, perhaps inside a group."""
    began_mono_s = time.monotonic()
    lengths_s = dict.fromkeys(recordings, 0.0)
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

        async def read(name: str) -> Trace:
            camera, path = recordings[name]
            async with room:
                return await in_thread(f"read:{name}", lambda stop: one(name, camera, path, stop))

        def one(name: str, camera: str, path: Path, stop: Event) -> Trace:
            start_mono_s = time.monotonic()

            def on_progress(behind_s: float, share: float) -> None:
                passed_s = time.monotonic() - start_mono_s
                lengths_s[name] = behind_s
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
    traces = {name: task.result() for name, task in reads.items()}
    return Reading(
        traces=traces,
        length_s=sum(lengths_s.values()),
        took_s=time.monotonic() - began_mono_s,
    )
