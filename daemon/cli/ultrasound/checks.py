"""What `orwatch check` looks at of ultrasound."""

from collections.abc import Iterator

from daemon.cli.checks import unusable
from daemon.cli.lines import NOTE, OK, PROBLEM, Line
from daemon.config import Settings
from daemon.imaging.ultrasound.setup import ultrasound_files_of, ultrasound_rules_of


def looked_at(settings: Settings) -> Iterator[Line]:
    """Its models are here: they are loaded and run once, as the daemon does."""
    from imaging.ultrasound.models import Ultrasound

    ultrasound_files_of(settings)
    engine, ultrasound = Ultrasound(ultrasound_rules_of(settings)), settings.imaging.ultrasound
    engine.load()
    served = [f"{dataset} ({task})" for task, dataset in engine.can()]
    yield Line(OK, "ultrasound", f"{len(served)} kinds of pictures, on {engine.provider}: {', '.join(served)}")
    for key, folder in (("upload_dir", ultrasound.upload_dir), ("output_dir", ultrasound.output_dir)):
        if line := unusable("ultrasound", folder, f"imaging.ultrasound.{key}"):
            yield line
    if ultrasound.data_dir is None:
        yield Line(NOTE, "ultrasound", "no data_dir: there are no random samples")
    elif not ultrasound.data_dir.is_dir():
        yield Line(
            PROBLEM,
            "ultrasound",
            f"imaging.ultrasound.data_dir: {ultrasound.data_dir}: no such folder",
            "Make it, or unset it.",
        )
