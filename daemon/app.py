"""The composition: the one place that knows every part. Starts them in order, stops them in reverse.

ledger -> model -> pipeline -> surgeries that were running -> control plane. A stop ends no surgery.
"""

import asyncio
import gc
import logging
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

import uvicorn
from starlette.types import ASGIApp

from daemon import log as logs
from daemon.api.app import create_api
from daemon.api.context import Context
from daemon.assembly import (
    background_of,
    evidence_of,
    load_catalogue,
    load_keys,
    load_model,
    objects_of,
    start_rules_of,
    store_of,
    terminals_of,
    zone_of,
)
from daemon.assembly.ledger import ledger_of
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
from daemon.pipeline.pipeline import Pipeline
from daemon.pipeline.readings import object_readings, readings
from daemon.services.answers import Answers
from daemon.services.archive import archive_readings
from daemon.services.correct import Corrections
from daemon.services.insist import watch_ledger
from daemon.services.questions import Questions
from daemon.services.surgeries import Labels, Surgeries
from daemon.services.telling import Telling
from daemon.services.terminals import Terminals
from daemon.storage import migrate
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
    labels = Labels(names=model.labels, background=background_of(settings, model))
    health, metrics, feed = Health(), Metrics(), Feed[Fact]()
    health.set("model", ok=True, why=model.provider)
    async with AsyncExitStack() as closing:
        await off_loop(migrate.ensure, settings.database.ledger)
        ledger = ledger_of(settings, feed, health)
        unit, archive, archiver = ledger.unit, ledger.archive, ledger.archiver
        closing.push_async_callback(unit.close)
        if archive is not None:
            closing.push_async_callback(archive.close)
        objects = objects_of(settings, unit, health)
        evidence = evidence_of(settings, objects)
        pipeline = pipeline_of(settings, model, unit, evidence, health, metrics)
        said = partial(_said, asyncio.get_running_loop(), health)
        voice, ear = await off_loop(voice_of, settings.speech, said), await off_loop(ear_of, settings.speech, said)
        questions = Questions(unit, voice, objects)
        terminals = Terminals(unit, questions, terminals_of(settings), settings.room_of)
        ledger.telling.wakes(questions, terminals)
        site = Site(settings=settings, unit=unit, health=health, zone=zone_of(settings))
        wing = wing_of(site, store_of(settings))
        closing.push_async_callback(wing.close)
        metrics.read_from(lambda: readings(pipeline, feed))
        metrics.read_from(lambda: object_readings(objects, evidence))
        metrics.read_from(wing.readings)
        if archiver is not None:
            metrics.read_from(lambda: archive_readings(archiver))
        context = Context(
            settings=settings,
            keys=keys,
            unit=unit,
            archive=archive,
            archiver=archiver,
            surgeries=Surgeries(unit, pipeline, catalogue, labels, start_rules_of(settings), archiver),
            corrections=Corrections(unit, catalogue, labels.seen),
            feed=feed,
            health=health,
            metrics=metrics,
            pages=ledger.pages,
            objects=objects,
            questions=questions,
            terminals=terminals,
            answers=Answers(unit, ear, objects, catalogue, metrics, answer_rules_of(settings)),
            model_name=model.path.name,
            provider=model.provider,
            zone=zone_of(settings),
        )
        composition = Composition(context=context, pipeline=pipeline, model=model, wing=wing)
        async with _at_work(composition, ledger.telling):
            yield composition


@asynccontextmanager
async def _at_work(composition: Composition, telling: Telling) -> AsyncIterator[None]:
    """What was left undone is done first, then the surgeries that were running go on."""
    context, pipeline, wing = composition.context, composition.pipeline, composition.wing
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
        "imaging": wing.run(),
        "watchdog": watchdog(progress, stuck_after_s=_STUCK_AFTER_S),
    }
    if context.archiver is not None:
        work["archiver"] = context.archiver.run()
    async with asyncio.TaskGroup() as group:
        background = [group.create_task(each, name=name) for name, each in work.items()]
        await telling.catch_up()
        await context.objects.recover()
        await context.questions.recover()
        await wing.recover()
        await context.surgeries.resume(datetime.now(UTC))
        try:
            yield
        finally:
            await context.surgeries.stop()
            await pipeline.stop()
            for task in background:
                task.cancel()


@asynccontextmanager
async def serving(settings: Settings) -> AsyncIterator[tuple[Composition, str]]:
    """Everything, listening; yields the parts and the address. Raises CannotListen before anything else is touched."""
    with listening(settings.server.host, settings.server.port) as listener:
        async with running(settings) as composition:
            server = _Server(
                uvicorn.Config(
                    _api_of(composition),
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
                yield composition, f"{host}:{port}"
            finally:
                server.should_exit = True
                await listens


async def serve(settings: Settings) -> None:
    """Run the daemon until SIGTERM or SIGINT. What `serving` raises is raised here."""
    logs.configure(settings.logs.level, settings.logs.format)
    async with serving(settings) as (composition, address):
        with told_to_stop() as stop:
            # What is there now stays: looking through it for garbage stopped the loop for 0.2 s, every few seconds.
            gc.collect()
            gc.freeze()
            log.info(
                "orwatch listens on %s, model %s on %s", address, composition.model.path, composition.model.provider
            )
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


def _said(loop: asyncio.AbstractEventLoop, health: Health, name: str, is_ok: bool, why: str) -> None:
    """A provider of speech says how it is, from any thread."""
    loop.call_soon_threadsafe(partial(health.set, f"speech:{name}", ok=is_ok, why=why))


def _api_of(composition: Composition) -> ASGIApp:
    wing = composition.wing
    return create_api(composition.context, console_pages(), wing.routers(), wing.body_bytes_max)


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: ours stop the parts in their own order."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
