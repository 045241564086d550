"""What an imaging back end is to the daemon: one value, made from the settings by `setup.py` in its own folder.

Imported by the command line, too, so what it names is imported for the type checker only.
"""

from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import tzinfo
from typing import TYPE_CHECKING, Any

from daemon.imaging.jobs.steps import JobBackEnd

if TYPE_CHECKING:
    from fastapi import APIRouter
    from prometheus_client.core import Metric

    from daemon.config import Settings
    from daemon.health import Health
    from daemon.imaging.jobs.jobs import Imaging
    from daemon.storage.database import Unit


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """What back ends are made from. zone: of the day in a name; None: the server's own."""

    settings: "Settings"
    unit: "Unit"
    health: "Health"
    zone: tzinfo | None


@dataclass(frozen=True, slots=True, kw_only=True)
class BackEnd:
    """One back end, configured or not; nothing is started and nothing is connected.

    jobs: None where it answers at once. routers: those of one that is not configured say so. body_bytes_max: of a
    request, by path, where it takes more than the control plane. run: its own work, until cancelled.
    """

    name: str
    routers: "Callable[[Imaging], Sequence[APIRouter]]"
    body_bytes_max: Mapping[str, int] = field(default_factory=dict)
    jobs: JobBackEnd | None = None
    run: Callable[[], Coroutine[Any, Any, None]] | None = None
    readings: "Callable[[], Iterable[Metric]] | None" = None
