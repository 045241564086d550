"""From `[imaging.ultrasound]` to the rules of its models and to its folders."""

from typing import TYPE_CHECKING

from daemon.config import Settings

if TYPE_CHECKING:
    from imaging.ultrasound.files import UltrasoundFiles
    from imaging.ultrasound.models import UltrasoundRules


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
