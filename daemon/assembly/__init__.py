"""From the configuration to the parts: one function for each, which opens what it names and starts nothing."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta, tzinfo
from pathlib import Path
from zoneinfo import ZoneInfo

from pydantic import SecretStr

from daemon.api.keys import Keys, read_keys
from daemon.config import CameraSettings, ConfigError, Settings
from daemon.domain.catalogue import Catalogue
from daemon.health import Health
from daemon.pipeline.evidence import Evidence, EvidenceRules
from daemon.pipeline.sight import SightRules
from daemon.services.objects import Objects, Retention
from daemon.services.observe import ObserveRules
from daemon.services.surgeries import StartRules
from daemon.services.terminals import Terminal
from daemon.storage.catalogue_file import ITEM_TEXT_MAX, read_catalogue
from daemon.storage.database import Unit
from daemon.storage.objects import FolderStore, ObjectStore, S3Store, Spool
from inference.batcher import Batcher, Prediction
from inference.model import Model
from inference.sightings import Rules
from streams.colors import Colors
from streams.frame import Picture
from streams.rtsp import Trust
from streams.source import SourceConfig


class OpenToAll(ConfigError):
    """The control plane would listen to the world without keys."""

    hint = 'Set auth.keys_file, or auth.mode = "none" to allow everyone everything.'


def load_model(settings: Settings) -> Model:
    """Raises ConfigError where none is configured, a ModelError where it cannot be used."""
    if settings.model.path is None:
        raise ConfigError("model.path: not set; expected the path of an ONNX classifier")
    model = settings.model
    assert model.path is not None
    loaded = Model.load(model.path, device=model.device, labels=model.labels, threads=model.threads)
    # What the ledger takes, the archive must take too.
    if long := [label for label in loaded.labels if len(label) > ITEM_TEXT_MAX]:
        raise ConfigError(
            f"model.labels: {long[0][:40]!r}... has {len(long[0])} characters; expected at most {ITEM_TEXT_MAX}"
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


def rules_of(settings: Settings, background: frozenset[str]) -> Rules:
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
        background=background,
    )


def background_of(settings: Settings, model: Model) -> frozenset[str]:
    """Raises ConfigError where it names no label of the model, or leaves none that could be booked."""
    if unknown := set(settings.inference.background) - set(model.labels):
        raise ConfigError(f"inference.background: {sorted(unknown)} are no labels of {model.path}")
    background = model.background | frozenset(settings.inference.background)
    if background.issuperset(model.labels):
        raise ConfigError(
            f"inference.background: with that of {model.path}, all {len(model.labels)} labels are background; "
            "expected one at least that can be booked"
        )
    return background


def picture_of(model: Model) -> Picture:
    return Picture(width=model.width, height=model.height, fit=model.fit)


def source_of(name: str, camera: CameraSettings, settings: Settings, picture: Picture) -> SourceConfig:
    return SourceConfig(
        camera=name,
        url=camera.url.get_secret_value(),
        detect_url=camera.detect_url.get_secret_value() if camera.detect_url else None,
        transport=camera.transport,
        trust=trust_of(camera),
        connect_timeout_s=camera.connect_timeout_s,
        read_timeout_s=camera.read_timeout_s,
        sample_fps=settings.inference.sample_fps,
        picture=picture,
        colors=Colors(matrix=camera.color_matrix, range=camera.color_range),
        adaptive=camera.adaptive,
        hwaccel=camera.hwaccel,
        pace="live",
        loop=camera.loop,
        started_at=None,
    )


def trust_of(camera: CameraSettings) -> Trust:
    return Trust(ca_file=camera.ca_file, certificate_sha256=camera.certificate_sha256, verify=camera.verify_tls)


def recording_of(name: str, path: Path, settings: Settings, picture: Picture) -> SourceConfig:
    """A recording in the place of a camera: every picture that is due, as fast as they decode, in its colours."""
    camera = CameraSettings(url=SecretStr(str(path)))
    if (filmed := settings.cameras.get(name)) is not None:
        colors = {"color_matrix": filmed.color_matrix, "color_range": filmed.color_range}
        camera = camera.model_copy(update=colors)
    return replace(source_of(name, camera, settings, picture), adaptive=False, pace="fast")


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
    spool = Spool(settings.objects.spool, bytes_max=settings.objects.spool_mib << 20)
    return Objects(unit, store_of(settings), spool, health, retention_of(settings))


def retention_of(settings: Settings) -> Retention:
    objects = settings.objects
    return Retention(
        age=timedelta(days=objects.retention_days) if objects.retention_days else None,
        bytes_max=int(objects.retention_gib * 2**30) if objects.retention_gib else None,
        archived_only=settings.database.url is not None,
    )


def evidence_rules_of(settings: Settings) -> EvidenceRules:
    objects = settings.objects
    return EvidenceRules(
        before=timedelta(seconds=objects.clip_before_s),
        after=timedelta(seconds=objects.clip_after_s),
        ring_s=objects.ring_s,
        ring_bytes=objects.ring_mib << 20,
    )


def observe_rules_of(settings: Settings) -> ObserveRules:
    return ObserveRules(
        fusion=timedelta(seconds=settings.inference.fusion_s),
        doctor_id=settings.surgery.doctor_id,
        evidence=settings.objects.evidence,
    )


def evidence_of(settings: Settings, objects: Objects) -> Evidence | None:
    """None where none is kept."""
    return Evidence(objects, evidence_rules_of(settings)) if settings.objects.evidence else None


def start_rules_of(settings: Settings) -> StartRules:
    return StartRules(
        resume_window=timedelta(hours=settings.surgery.resume_window_h),
        timeout_s=settings.surgery.start_timeout_s,
        attempts=settings.surgery.start_attempts,
    )


def sight_rules_of(settings: Settings) -> SightRules:
    return SightRules(blind_alarm_s=settings.coverage.blind_alarm_s)


def terminals_of(settings: Settings) -> list[Terminal]:
    return [
        Terminal(id=room.voice_terminal, room=name, cameras=tuple(room.cameras))
        for name, room in settings.rooms.items()
        if room.voice_terminal
    ]


def zone_of(settings: Settings) -> tzinfo | None:
    """None: the server's own."""
    return ZoneInfo(settings.surgery.timezone) if settings.surgery.timezone else None


def batcher_of(model: Model, on_prediction: Callable[[Prediction], None], settings: Settings) -> Batcher:
    inference = settings.inference
    return Batcher(
        model,
        on_prediction,
        queue_max=inference.queue_max,
        batch_max=inference.batch_max,
        frame_age_max_s=inference.frame_age_max_s,
    )
