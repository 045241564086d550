"""From `[database]` to the ledger, its archive, and what tells of each commit."""

from dataclasses import dataclass
from functools import partial

from daemon.assembly import zone_of
from daemon.config import Settings
from daemon.domain.facts import Fact
from daemon.feed import Feed
from daemon.health import Health
from daemon.services.archive import Archiver
from daemon.services.telling import Telling
from daemon.storage import migrate
from daemon.storage.archive import Archive
from daemon.storage.consumption_log import ConsumptionLog
from daemon.storage.database import Unit, open_engine


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """The ledger as the parts use it. archive, archiver: None without `database.url`."""

    unit: Unit
    pages: ConsumptionLog
    telling: Telling
    archive: Archive | None
    archiver: Archiver | None


def ledger_of(settings: Settings, feed: Feed[Fact], health: Health) -> Ledger:
    """Its schema is up to date already, see `migrate.ensure`. Nothing is read yet."""
    pages = ConsumptionLog(settings.logs.folder / "consumption", zone_of(settings))
    telling = Telling(pages, feed, health)
    unit = Unit(open_engine(settings.database.ledger), telling)
    telling.read_from(unit)
    url = settings.database.url
    archive = Archive(migrate.archive_at(url.get_secret_value())) if url else None
    archiver = Archiver(unit, archive, partial(migrate.ensure, archive.url), health) if archive else None
    if archiver is not None:
        telling.wakes(archiver)
    return Ledger(unit=unit, pages=pages, telling=telling, archive=archive, archiver=archiver)
