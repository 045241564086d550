"""From `[imaging.ultrasound]` to its back end: the desk, the rules of its models, and its folders."""

from datetime import timedelta
from typing import TYPE_CHECKING

from daemon.config import Settings
from daemon.imaging.backend import BackEnd, Site

if TYPE_CHECKING:
    from daemon.imaging.ultrasound.desk import UltrasoundDesk
    from imaging.ultrasound.files import UltrasoundFiles
    from imaging.ultrasound.models import UltrasoundRules


def ultrasound_back_end(site: Site) -> BackEnd:
    """Raises NotConfigured where one of its folders holds another."""
    from daemon.imaging.ultrasound.routes import FORM_BYTES_MAX, PREDICTIONS, RECORD_BYTES_MAX, UPLOADS, routes

    ultrasound, desk = site.settings.imaging.ultrasound, ultrasound_desk_of(site)
    bytes_max = ultrasound.image_max_mib * 2**20
    records_bytes_max = max(ultrasound.records_max * RECORD_BYTES_MAX, FORM_BYTES_MAX)
    return BackEnd(
        name="ultrasound",
        routers=lambda _jobs: [routes(desk, file_bytes_max=bytes_max)],
        body_bytes_max={
            **dict.fromkeys(UPLOADS, bytes_max + FORM_BYTES_MAX),
            **dict.fromkeys(PREDICTIONS, records_bytes_max),
        },
        run=desk.run,
        readings=desk.readings,
    )


def ultrasound_desk_of(site: Site) -> "UltrasoundDesk":
    """Nothing is loaded yet. Raises NotConfigured where one of its folders holds another."""
    from daemon.imaging.ultrasound.desk import UltrasoundDesk
    from imaging.ultrasound.models import Ultrasound

    ultrasound = site.settings.imaging.ultrasound
    return UltrasoundDesk(
        site.unit,
        Ultrasound(ultrasound_rules_of(site.settings)),
        ultrasound_files_of(site.settings),
        site.health,
        is_wanted=is_ultrasound_configured(site.settings),
        records_max=ultrasound.records_max,
        queue_max=ultrasound.queue_max,
        keep=timedelta(days=ultrasound.keep_days),
        bytes_max=int(ultrasound.folder_gib_max * 2**30),
    )


def is_ultrasound_configured(settings: Settings) -> bool:
    ultrasound = settings.imaging.ultrasound
    for_all = (ultrasound.model, ultrasound.segmentation_model, ultrasound.classification_model)
    return any(for_all) or ultrasound.classification_model_4 is not None or bool(ultrasound.models)


def ultrasound_rules_of(settings: Settings) -> "UltrasoundRules":
    from imaging.ultrasound.models import UltrasoundRules

    ultrasound = settings.imaging.ultrasound
    return UltrasoundRules(
        model=ultrasound.model,
        segmentation_model=ultrasound.segmentation_model,
        classification_model=ultrasound.classification_model,
        classification_model_4=ultrasound.classification_model_4,
        models={name: (each.segmentation, each.classification) for name, each in ultrasound.models.items()},
        device=ultrasound.device,
        threads=ultrasound.threads,
        batch_max=ultrasound.batch_max,
        pixels_max=_pixels_max(settings),
    )


def ultrasound_files_of(settings: Settings) -> "UltrasoundFiles":
    """Raises NotConfigured where one folder holds another."""
    from imaging.ultrasound.files import Roots, UltrasoundFiles

    ultrasound = settings.imaging.ultrasound
    roots = Roots(data=ultrasound.data_dir, uploads=ultrasound.upload_dir, outputs=ultrasound.output_dir)
    return UltrasoundFiles(roots, bytes_max=ultrasound.image_max_mib << 20, pixels_max=_pixels_max(settings))


def _pixels_max(settings: Settings) -> int:
    return int(settings.imaging.ultrasound.megapixels_max * 1_000_000)
