"""The composition: the one place that knows every part. Starts them in order, stops them in reverse.

ledger -> model -> pipeline -> surgeries that were running -> control plane. A stop ends no surgery.
"""

import asyncio
import logging
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from functools import partial
from uuid import uuid4
from zoneinfo import ZoneInfo

import uvicorn

from daemon import log as logs
from daemon.api.app import create_api
from daemon.api.context import Context
from daemon.api.keys import Keys, read_keys
from daemon.bridge import off_loop
from daemon.config import CameraSettings, ConfigError, Settings
from daemon.domain.catalogue import Candidates, Catalogue
from daemon.domain.facts import Fact
from daemon.domain.sighting import Observation, Outcome
from daemon.domain.surgery import Surgery
from daemon.feed import Feed
from daemon.health import Health, notify, watchdog
from daemon.metrics import Metrics
from daemon.pipeline.evidence import Evidence, EvidenceRules
from daemon.pipeline.pipeline import Pipeline
from daemon.pipeline.readings import object_readings, readings
from daemon.pipeline.watch import Observe, Shows
from daemon.services.archive import Archiver, archive_readings
from daemon.services.correct import Corrections
from daemon.services.objects import Objects, Retention
from daemon.services.observe import ObserveRules, observe, shows
from daemon.services.surgeries import Labels, StartRules, Surgeries
from daemon.services.telling import Telling
from daemon.storage import migrate
from daemon.storage.archive import Archive
from daemon.storage.catalogue_file import read_catalogue
from daemon.storage.consumption_log import ConsumptionLog
from daemon.storage.database import LedgerUnavailable, Unit, open_engine
from daemon.storage.objects import FolderStore, ObjectStore, S3Store, Spool
from daemon.supervise import Backoff, keep_running
from inference.batcher import Batcher, Prediction
from inference.model import Model
from inference.sightings import Rules
from streams.frame import Picture
from streams.source import SourceConfig

log = logging.getLogger(__name__)

# Longer than any classification or commit that is not stuck.
_STUCK_AFTER_S = 30.0
LABEL_MAX = 200
_LEDGER_CHECK_S = 5.0
_LEDGER_BACKOFF = Backoff(initial_s=0.2, max_s=5.0, jitter_s=0.2)


class CannotListen(OSError):
    """The address of the control plane cannot be taken."""

    hint = "Another program, or another orwatch, listens there: look with `ss -ltnp`, or change server.port."


class OpenToAll(ConfigError):
    """The control plane would listen to the world without keys."""

    hint = 'Set auth.keys_file, or auth.mode = "none" to allow everyone everything.'


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What runs: enough for the control plane and for whoever drives the daemon from inside (demo, bench, tests)."""

    context: Context
    pipeline: Pipeline
    model: Model


def load_model(settings: Settings) -> Model:
    """Raises ConfigError where none is configured, a ModelError where it cannot be used."""
    if settings.model.path is None:
        raise ConfigError("model.path: not set; expected the path of an ONNX classifier")
    model = settings.model
    assert model.path is not None
    loaded = Model.load(model.path, device=model.device, labels=model.labels, threads=model.threads)
    # What the ledger takes, the archive must take too.
    if long := [label for label in loaded.labels if len(label) > LABEL_MAX]:
        raise ConfigError(
            f"model.labels: {long[0][:40]!r}... has {len(long[0])} characters; expected at most {LABEL_MAX}"
        )
    return loaded


def load_catalogue(settings: Settings) -> Catalogue:
    return read_catalogue(settings.catalogue.path) if settings.catalogue.path else Catalogue()


def load_keys(settings: Settings) -> Keys | None:
    """None where everyone may do everything. Raises OpenToAll, KeysBroken."""
    if settings.auth.mode == "none":
        return None
    if settings.auth.keys_file is not None:
        return read_keys(settings.auth.keys_file, frozenset(settings.rooms))
    if not settings.server.is_loopback:
        raise OpenToAll(
            f"server.host: {settings.server.host!r} is reachable from outside, and auth.keys_file is not set"
        )
    return None


def rules_of(settings: Settings, model: Model) -> Rules:
    inference = settings.inference
    return Rules(
        window_s=inference.window_s,
        open_share=inference.open_share,
        window_frames_min=inference.window_frames_min,
        absence_s=inference.absence_s,
        gap_max_s=inference.gap_max_s,
        auto_confirm=inference.auto_confirm,
        ask_above=inference.ask_above,
        decide_s=inference.decide_s,
        option_min=inference.option_min,
        peak_frames=inference.peak_frames,
        background=background_of(settings, model),
    )


def background_of(settings: Settings, model: Model) -> frozenset[str]:
    if unknown := set(settings.inference.background) - set(model.labels):
        raise ConfigError(f"inference.background: {sorted(unknown)} are no labels of {model.path}")
    return model.background | frozenset(settings.inference.background)


def picture_of(model: Model) -> Picture:
    return Picture(width=model.width, height=model.height, fit=model.fit)


def source_of(name: str, camera: CameraSettings, settings: Settings, picture: Picture) -> SourceConfig:
    return SourceConfig(
        camera=name,
        url=camera.url.get_secret_value(),
        detect_url=camera.detect_url.get_secret_value() if camera.detect_url else None,
        transport=camera.transport,
        connect_timeout_s=camera.connect_timeout_s,
        read_timeout_s=camera.read_timeout_s,
        sample_fps=settings.inference.sample_fps,
        picture=picture,
        adaptive=camera.adaptive,
        hwaccel=camera.hwaccel,
        loop=camera.loop,
    )


def store_of(settings: Settings) -> ObjectStore:
    objects = settings.objects
    if objects.backend == "folder":
        return FolderStore(objects.folder)
    assert objects.endpoint, "the configuration is checked"
    assert objects.bucket and objects.access_key and objects.secret_key, "the configuration is checked"  # noqa: PT018
    return S3Store(
        objects.endpoint,
        objects.bucket,
        access_key=objects.access_key.get_secret_value(),
        secret_key=objects.secret_key.get_secret_value(),
        secure=objects.secure,
        region=objects.region,
    )


def objects_of(settings: Settings, unit: Unit, health: Health) -> Objects:
    objects = settings.objects
    retention = Retention(
        age=timedelta(days=objects.retention_days) if objects.retention_days else None,
        bytes_max=int(objects.retention_gib * 2**30) if objects.retention_gib else None,
        archived_only=settings.database.url is not None,
    )
    spool = Spool(objects.spool, bytes_max=objects.spool_mib << 20)
    return Objects(unit, store_of(settings), spool, health, retention)


def evidence_rules_of(settings: Settings) -> EvidenceRules:
    objects = settings.objects
    return EvidenceRules(
        before=timedelta(seconds=objects.clip_before_s),
        after=timedelta(seconds=objects.clip_after_s),
        ring_s=objects.ring_s,
        ring_bytes=objects.ring_mib << 20,
    )


def zone_of(settings: Settings) -> tzinfo | None:
    """None: the server's own."""
    return ZoneInfo(settings.surgery.timezone) if settings.surgery.timezone else None


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[Parts]:
    """Everything but the listening socket. A crash of any part cancels the body and is raised here."""
    keys, catalogue = load_keys(settings), load_catalogue(settings)
    model = await off_loop(load_model, settings)
    await off_loop(migrate.ensure, settings.database.ledger)
    health, metrics, feed = Health(), Metrics(), Feed[Fact]()
    pages = ConsumptionLog(settings.logs.folder / "consumption", zone_of(settings))
    telling = Telling(pages, feed, health)
    engine = open_engine(settings.database.ledger)
    archivers: list[Archiver] = []

    async def committed(facts: list[Fact]) -> None:
        await telling(facts)
        for archiver in archivers:
            archiver.wake(facts)

    unit = Unit(engine, committed)
    telling.read_from(unit)
    url = settings.database.url
    archive = Archive(migrate.archive_at(url.get_secret_value())) if url else None
    archiver = Archiver(unit, archive, partial(migrate.ensure, archive.url), health) if archive else None
    if archiver is not None:
        archivers.append(archiver)
        metrics.read_from(lambda: archive_readings(archiver))
    health.set("model", ok=True, why=model.provider)
    rules = ObserveRules(
        fusion=timedelta(seconds=settings.inference.fusion_s),
        doctor_id=settings.surgery.doctor_id,
        evidence=settings.objects.evidence,
    )
    objects = objects_of(settings, unit, health)
    evidence = Evidence(objects, evidence_rules_of(settings)) if settings.objects.evidence else None
    pipeline = Pipeline(
        {name: source_of(name, camera, settings, picture_of(model)) for name, camera in settings.cameras.items()},
        batcher_on=lambda on_prediction: _batcher(model, on_prediction, settings),
        labels=model.labels,
        rules=rules_of(settings, model),
        observe=_observing(unit, rules, health, metrics, evidence),
        shows=_showing(unit, health),
        health=health,
        metrics=metrics,
        evidence=evidence,
    )
    metrics.read_from(lambda: readings(pipeline, feed))
    metrics.read_from(lambda: object_readings(objects, evidence))
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
        model_name=model.path.name,
        provider=model.provider,
        zone=zone_of(settings),
    )
    try:
        async with asyncio.TaskGroup() as group:
            background = [
                group.create_task(pipeline.run(), name="pipeline"),
                group.create_task(_check_ledger(unit, health), name="ledger"),
                group.create_task(objects.run(), name="objects"),
                group.create_task(
                    watchdog(
                        {
                            "classifier": lambda: pipeline.batcher.last_progress_mono_s,
                            "ledger": lambda: unit.last_progress_mono_s,
                        },
                        stuck_after_s=_STUCK_AFTER_S,
                    ),
                    name="watchdog",
                ),
            ]
            if archiver is not None:
                background.append(group.create_task(archiver.run(), name="archiver"))
            await telling.catch_up()
            await objects.recover()
            await surgeries.resume(datetime.now(UTC))
            try:
                yield Parts(context=context, pipeline=pipeline, model=model)
            finally:
                await surgeries.stop()
                await pipeline.stop()
                for task in background:
                    task.cancel()
    finally:
        if archive is not None:
            await archive.close()
        await engine.dispose()


@asynccontextmanager
async def serving(settings: Settings) -> AsyncIterator[tuple[Parts, str]]:
    """Everything, listening; yields the parts and the address. Raises CannotListen before anything else is touched."""
    with listening(settings.server.host, settings.server.port) as listener:
        async with running(settings) as parts:
            server = _Server(
                uvicorn.Config(
                    create_api(parts.context),
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
    listener = socket.socket(family, socket.SOCK_STREAM)
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


def _batcher(model: Model, on_prediction: Callable[[Prediction], None], settings: Settings) -> Batcher:
    inference = settings.inference
    return Batcher(
        model,
        on_prediction,
        queue_max=inference.queue_max,
        batch_max=inference.batch_max,
        frame_age_max_s=inference.frame_age_max_s,
    )


def _observing(unit: Unit, rules: ObserveRules, health: Health, metrics: Metrics, evidence: Evidence | None) -> Observe:
    """Settle an observation, again and again while the ledger is away: a fact is never dropped."""

    async def observing(surgery: Surgery, candidates: Candidates, seen: Observation) -> None:
        async def attempt() -> None:
            sighting_id = uuid4()
            outcome = await observe(unit, surgery, candidates, seen, rules, datetime.now(UTC), sighting_id=sighting_id)
            if evidence is not None and outcome in (Outcome.BOOKED, Outcome.ASKED):
                evidence.take(surgery, seen.camera, sighting_id, seen.evidence_at or seen.started_at)
            metrics.observations.labels(outcome.value, seen.reason).inc()

        await _insist(attempt, health)

    return observing


def _showing(unit: Unit, health: Health) -> Shows:
    async def showing(surgery: Surgery, camera: str, labels: frozenset[str]) -> None:
        await _insist(partial(shows, unit, surgery, camera, labels), health)

    return showing


async def _insist(attempt: Callable[[], Awaitable[None]], health: Health) -> None:
    """Until the ledger takes it."""

    def failed(error: Exception, wait_s: float) -> None:
        if health.set("ledger", ok=False, why=str(error)):
            log.error("an observation waits for the ledger: %s. Trying again in %.1f s", error, wait_s)

    await keep_running(attempt, on_failure=failed, backoff=_LEDGER_BACKOFF, on=LedgerUnavailable)


async def _check_ledger(unit: Unit, health: Health) -> None:
    while True:
        try:
            await unit.check()
        except LedgerUnavailable as error:
            health.set("ledger", ok=False, why=str(error))
        else:
            health.set("ledger", ok=True)
        await asyncio.sleep(_LEDGER_CHECK_S)
