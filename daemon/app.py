"""The composition: the one place that knows every part. Starts them in order, stops them in reverse.

ledger -> model -> pipeline -> surgeries that were running -> control plane. A stop ends no surgery.
"""

import asyncio
import gc
import logging
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial

import uvicorn

from daemon import log as logs
from daemon.api.app import create_api
from daemon.api.context import Context
from daemon.assembly import (
    background_of,
    evidence_rules_of,
    load_catalogue,
    load_keys,
    load_model,
    objects_of,
    store_of,
    zone_of,
)
from daemon.assembly.speech import answer_rules_of, ear_of, voice_of, warn_of_sound_alikes
from daemon.assembly.watching import pipeline_of
from daemon.bridge import off_loop
from daemon.config import Settings
from daemon.console.pages import console_pages
from daemon.domain.facts import Fact
from daemon.feed import Feed
from daemon.health import Health, notify, watchdog
from daemon.imaging.backend import Site
from daemon.imaging.backends import Wing, wing_of
from daemon.metrics import Metrics
from daemon.pipeline.evidence import Evidence
from daemon.pipeline.pipeline import Pipeline
from daemon.pipeline.readings import object_readings, readings
from daemon.services.answers import Answers
from daemon.services.archive import Archiver, archive_readings
from daemon.services.correct import Corrections
from daemon.services.insist import watch_ledger
from daemon.services.questions import Questions
from daemon.services.surgeries import Labels, StartRules, Surgeries
from daemon.services.telling import Telling
from daemon.services.terminals import Terminal, Terminals
from daemon.storage import migrate
from daemon.storage.archive import Archive
from daemon.storage.consumption_log import ConsumptionLog
from daemon.storage.database import Unit, open_engine
from inference.model import Model

log = logging.getLogger(__name__)

# Longer than any classification or commit that is not stuck.
_STUCK_AFTER_S = 30.0


class CannotListen(OSError):
    """The address of the control plane cannot be taken."""

    hint = "Another program, or another orwatch, listens there: look with `ss -ltnp`, or change server.port."


@dataclass(frozen=True, slots=True, kw_only=True)
class Composition:
    """What runs: enough for the control plane and for whoever drives the daemon from inside (demo, bench, tests)."""

    context: Context
    pipeline: Pipeline
    model: Model
    wing: Wing


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[Composition]:
    """Everything but the listening socket. A crash of any part cancels the body and is raised here."""
    keys, catalogue = load_keys(settings), load_catalogue(settings)
    warn_of_sound_alikes(catalogue)
    model = await off_loop(load_model, settings)
    await off_loop(migrate.ensure, settings.database.ledger)
    health, metrics, feed = Health(), Metrics(), Feed[Fact]()
    pages = ConsumptionLog(settings.logs.folder / "consumption", zone_of(settings))
    telling = Telling(pages, feed, health)
    engine = open_engine(settings.database.ledger)
    followers: list[Archiver | Questions | Terminals] = []

    async def committed(facts: list[Fact]) -> None:
        await telling(facts)
        for waiting in followers:
            waiting.wake(facts)

    unit = Unit(engine, committed)
    telling.read_from(unit)
    url = settings.database.url
    archive = Archive(migrate.archive_at(url.get_secret_value())) if url else None
    archiver = Archiver(unit, archive, partial(migrate.ensure, archive.url), health) if archive else None
    if archiver is not None:
        followers.append(archiver)
        metrics.read_from(lambda: archive_readings(archiver))
    health.set("model", ok=True, why=model.provider)
    objects = objects_of(settings, unit, health)
    evidence = Evidence(objects, evidence_rules_of(settings)) if settings.objects.evidence else None
    pipeline = pipeline_of(settings, model, unit, evidence, health, metrics)
    said = partial(_said, asyncio.get_running_loop(), health)
    voice, ear = await off_loop(voice_of, settings.speech, said), await off_loop(ear_of, settings.speech, said)
    questions = Questions(unit, voice, objects)
    site = Site(settings=settings, unit=unit, health=health, zone=zone_of(settings))
    wing = wing_of(site, store_of(settings))
    terminals = Terminals(unit, questions, _terminals_of(settings), settings.room_of)
    followers += [questions, terminals]
    metrics.read_from(lambda: readings(pipeline, feed))
    metrics.read_from(lambda: object_readings(objects, evidence))
    metrics.read_from(wing.readings)
    labels = Labels(names=model.labels, background=background_of(settings, model))
    surgeries = Surgeries(
        unit,
        pipeline,
        catalogue,
        labels,
        StartRules(
            resume_window=timedelta(hours=settings.surgery.resume_window_h),
            timeout_s=settings.surgery.start_timeout_s,
            attempts=settings.surgery.start_attempts,
        ),
        archiver,
    )
    context = Context(
        settings=settings,
        keys=keys,
        unit=unit,
        archive=archive,
        archiver=archiver,
        surgeries=surgeries,
        corrections=Corrections(unit, catalogue, labels.seen),
        feed=feed,
        health=health,
        metrics=metrics,
        pages=pages,
        objects=objects,
        questions=questions,
        terminals=terminals,
        answers=Answers(unit, ear, objects, catalogue, metrics, answer_rules_of(settings)),
        model_name=model.path.name,
        provider=model.provider,
        zone=zone_of(settings),
    )
    parts = Composition(context=context, pipeline=pipeline, model=model, wing=wing)
    try:
        async with _at_work(parts, telling):
            yield parts
    finally:
        await wing.close()
        if archive is not None:
            await archive.close()
        await engine.dispose()


@asynccontextmanager
async def _at_work(parts: Composition, telling: Telling) -> AsyncIterator[None]:
    """What was left undone is done first, then the surgeries that were running go on."""
    context, pipeline = parts.context, parts.pipeline
    progress = {
        "classifier": lambda: pipeline.batcher.last_progress_mono_s,
        "ledger": lambda: context.unit.last_progress_mono_s,
    }
    work = {
        "pipeline": pipeline.run(),
        "ledger": watch_ledger(context.unit, context.health),
        "objects": context.objects.run(),
        "questions": context.questions.run(),
        "terminals": context.terminals.run(),
        "imaging": parts.wing.run(),
        "watchdog": watchdog(progress, stuck_after_s=_STUCK_AFTER_S),
    }
    if context.archiver is not None:
        work["archiver"] = context.archiver.run()
    async with asyncio.TaskGroup() as group:
        background = [group.create_task(each, name=name) for name, each in work.items()]
        await telling.catch_up()
        await context.objects.recover()
        await parts.wing.recover()
        await context.surgeries.resume(datetime.now(UTC))
        try:
            yield
        finally:
            await context.surgeries.stop()
            await pipeline.stop()
            for task in background:
                task.cancel()


def _terminals_of(settings: Settings) -> list[Terminal]:
    return [
        Terminal(id=room.voice_terminal, room=name, cameras=tuple(room.cameras))
        for name, room in settings.rooms.items()
        if room.voice_terminal
    ]


@asynccontextmanager
async def serving(settings: Settings) -> AsyncIterator[tuple[Composition, str]]:
    """Everything, listening; yields the parts and the address. Raises CannotListen before anything else is touched."""
    with listening(settings.server.host, settings.server.port) as listener:
        async with running(settings) as parts:
            server = _Server(
                uvicorn.Config(
                    create_api(parts.context, console_pages(), parts.wing.routers(), parts.wing.body_bytes_max),
                    log_config=None,
                    lifespan="off",
                    timeout_graceful_shutdown=5,
                    ws_max_size=64 * 1024,
                    server_header=False,
                )
            )
            listens = asyncio.create_task(server.serve(sockets=[listener]), name="server")
            host, port = listener.getsockname()[:2]
            try:
                yield parts, f"{host}:{port}"
            finally:
                server.should_exit = True
                await listens


async def serve(settings: Settings) -> None:
    """Run the daemon until SIGTERM or SIGINT. What `serving` raises is raised here."""
    logs.configure(settings.logs.level, settings.logs.format)
    async with serving(settings) as (parts, address):
        with told_to_stop() as stop:
            # What is there now stays: looking through it for garbage stopped the loop for 0.2 s, every few seconds.
            gc.collect()
            gc.freeze()
            log.info("orwatch listens on %s, model %s on %s", address, parts.model.path, parts.model.provider)
            notify("READY=1")
            await stop.wait()
            notify("STOPPING=1")
            log.info("orwatch stops; running surgeries go on after the next start")


@contextmanager
def told_to_stop() -> Iterator[asyncio.Event]:
    """Set by SIGTERM or Ctrl-C, which then do nothing else."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        yield stop
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


def listening(host: str, port: int) -> socket.socket:
    """A bound socket. Raises CannotListen with the address and why."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Without the protocol asyncio does not know it for TCP, leaves Nagle on, and each answer waits 40 ms for an ACK.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise CannotListen(f"server.host {host!r}, server.port {port}: {error.strerror or error}") from error
    return listener


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: ours stop the parts in their own order."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _said(loop: asyncio.AbstractEventLoop, health: Health, name: str, is_ok: bool, why: str) -> None:
    """A provider of speech says how it is, from any thread."""
    loop.call_soon_threadsafe(partial(health.set, f"speech:{name}", ok=is_ok, why=why))
