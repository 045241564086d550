"""What `orwatch check` looks at of the imaging back ends that are configured; of the others it says nothing."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from daemon.cli.checks import gathered, unusable
from daemon.cli.fundus import checks as fundus
from daemon.cli.lines import OK, PROBLEM, Line
from daemon.cli.pathology import checks as pathology
from daemon.cli.retina import checks as retina
from daemon.cli.ultrasound import checks as ultrasound
from daemon.config import Settings
from daemon.imaging.fundus.setup import is_fundus_configured
from daemon.imaging.pathology.setup import is_pathology_configured
from daemon.imaging.retina.setup import is_retina_configured
from daemon.imaging.ultrasound.setup import is_ultrasound_configured

Check = Callable[[Settings], Iterator[Line]]


class Checks(NamedTuple):
    """look_at: connects to nothing. ask: leaves nothing behind; each is tried, whatever became of the one before."""

    name: str
    is_configured: Callable[[Settings], bool]
    look_at: Check
    ask: tuple[Check, ...]


_JOBS = (
    Checks("pathology", is_pathology_configured, pathology.looked_at, (pathology.answered,)),
    Checks("fundus", is_fundus_configured, fundus.looked_at, (fundus.answered,)),
    Checks("retina", is_retina_configured, retina.looked_at, (retina.model_answered, retina.buckets_answered)),
)
_AT_ONCE = (Checks("ultrasound", is_ultrasound_configured, ultrasound.looked_at, ()),)


def check_imaging(settings: Settings) -> list[Line]:
    """All that can be seen without connecting to anything."""
    has_jobs = any(each.is_configured(settings) for each in _JOBS)
    lines = gathered("imaging", lambda: _folders(settings)) if has_jobs else []
    for each in (*_JOBS, *_AT_ONCE):
        if each.is_configured(settings):
            lines += _gathered(each.name, each.look_at, settings)
    return lines


def check_imaging_servers(settings: Settings) -> list[Line]:
    """Log in and ask for something that leaves nothing behind."""
    return [
        line
        for each in (*_JOBS, *_AT_ONCE)
        if each.is_configured(settings)
        for ask in each.ask
        for line in _gathered(each.name, ask, settings)
    ]


def _gathered(name: str, check: Check, settings: Settings) -> list[Line]:
    return gathered(name, lambda: check(settings))


def _folders(settings: Settings) -> Iterator[Line]:
    folder = settings.imaging.folder
    yield unusable("imaging", folder, "imaging.folder") or Line(OK, "imaging", f"jobs in {folder}")
    slides = settings.imaging.pathology.slides_dir
    if slides is not None and not slides.is_dir():
        yield Line(
            PROBLEM, "imaging", f"imaging.pathology.slides_dir: {slides}: no such folder", "Make it, or unset it."
        )
