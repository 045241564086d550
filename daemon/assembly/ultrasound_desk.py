"""From `[imaging.ultrasound]` to the desk that works on it."""

from datetime import timedelta

from daemon.config import Settings
from daemon.health import Health
from daemon.imaging.ultrasound.desk import UltrasoundDesk
from daemon.imaging.ultrasound.setup import ultrasound_files_of, ultrasound_rules_of
from daemon.storage.database import Unit


def ultrasound_desk_of(settings: Settings, unit: Unit, health: Health) -> UltrasoundDesk:
    """Nothing is loaded yet. Raises NotConfigured where one of its folders holds another."""
    from imaging.ultrasound.models import Ultrasound

    ultrasound = settings.imaging.ultrasound
    models = (
        ultrasound.model,
        ultrasound.segmentation_model,
        ultrasound.classification_model,
        ultrasound.classification_model_4,
    )
    return UltrasoundDesk(
        unit,
        Ultrasound(ultrasound_rules_of(settings)),
        ultrasound_files_of(settings),
        health,
        is_wanted=any(models) or bool(ultrasound.models),
        queue_max=ultrasound.queue_max,
        keep=timedelta(days=ultrasound.keep_days),
        bytes_max=int(ultrasound.folder_gib_max * 2**30),
    )
