"""What `orwatch check` looks at of the imaging back ends that are configured; of the others it says nothing."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from daemon.cli.checks import OK, PROBLEM, Line, gathered, unusable
from daemon.cli.fundus import checks as fundus
from daemon.cli.pathology import checks as pathology
from daemon.cli.retina import checks as retina
from daemon.cli.ultrasound import checks as ultrasound
from daemon.config import Settings
from daemon.domain.imaging import JobKind
from daemon.imaging.backends import is_configured
from daemon.imaging.ultrasound.setup import is_ultrasound_configured

Check = Callable[[Settings], Iterator[Line]]


class Checks(NamedTuple):
    """look_at: connects to nothing. ask: leaves nothing behind; each is tried, whatever became of the one before."""

    look_at: Check
    ask: tuple[Check, ...]


_JOBS = {
    JobKind.PATHOLOGY: Checks(pathology.looked_at, (pathology.answered,)),
    JobKind.FUNDUS: Checks(fundus.looked_at, (fundus.answered,)),
    JobKind.RETINA: Checks(retina.looked_at, (retina.model_answered, retina.buckets_answered)),
}


def check_imaging(settings: Settings) -> list[Line]:
    """All that can be seen without connecting to anything."""
    kinds = [kind for kind in _JOBS if is_configured(settings, kind)]
    lines = gathered("imaging", lambda: _folders(settings)) if kinds else []
    for kind in kinds:
        lines += _gathered(kind.value, _JOBS[kind].look_at, settings)
    if is_ultrasound_configured(settings):
        lines += _gathered("ultrasound", ultrasound.looked_at, settings)
    return lines


def check_imaging_servers(settings: Settings) -> list[Line]:
    """Log in and ask for something that leaves nothing behind."""
    return [
        line
        for kind, checks in _JOBS.items()
        if is_configured(settings, kind)
        for ask in checks.ask
        for line in _gathered(kind.value, ask, settings)
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
