"""A surgery from recordings: started, played and ended by the daemon's own verbs, on a ledger that lasts as long."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from daemon.assembly import background_of, load_catalogue, observe_rules_of, rules_of, zone_of
from daemon.bridge import off_loop
from daemon.config import Settings
from daemon.domain.catalogue import Candidates, resolve_candidates
from daemon.domain.facts import Fact
from daemon.feed import Feed
from daemon.health import Health
from daemon.pipeline.offline import Recordings
from daemon.services import read
from daemon.services.surgeries import Labels, StartRules, Surgeries
from daemon.services.telling import Telling
from daemon.storage import migrate
from daemon.storage.consumption_log import ConsumptionLog
from daemon.storage.database import Unit, open_engine
from inference.model import Model
from inference.replay import Trace


@dataclass(frozen=True, slots=True, kw_only=True)
class Tallied:
    """What came of it. candidates: what was asked for, resolved. pages: TSV and Markdown."""

    overview: read.Overview
    facts: list[Fact]
    candidates: Candidates
    pages: tuple[Path, Path]


async def tally(
    traces: Mapping[str, Trace],
    model: Model,
    settings: Settings,
    *,
    surgery_id: str,
    candidates: tuple[str, ...],
    started_at: datetime,
    folder: Path,
) -> Tallied:
    """traces: by camera. folder: for the consumption log. Raises ConfigError, CatalogueBroken, OSError."""
    catalogue = load_catalogue(settings)
    background = background_of(settings, model)
    labels = Labels(names=model.labels, background=background)
    with tempfile.TemporaryDirectory(prefix="orwatch-") as scratch:
        ledger = Path(scratch) / "ledger.db"
        await off_loop(migrate.ensure, ledger)
        engine = open_engine(ledger)
        try:
            pages, health = ConsumptionLog(folder, zone_of(settings)), Health()
            telling = Telling(pages, Feed[Fact](), health)
            unit = Unit(engine, telling)
            telling.read_from(unit)
            cameras = Recordings(
                traces,
                started_at=started_at,
                rules=rules_of(settings, background),
                unit=unit,
                # Recordings are evidence themselves.
                observe_rules=replace(observe_rules_of(settings), evidence=False),
            )
            # The ledger is new and files are simply there: nothing to resume, wait for or try again.
            rules = StartRules(resume_window=timedelta(0), timeout_s=1.0, attempts=1)
            surgeries = Surgeries(unit, cameras, catalogue, labels, rules)
            await surgeries.start(surgery_id, tuple(traces), candidates, started_at)
            await cameras.play()
            await surgeries.end(surgery_id, cameras.now)
            if (log := health.components["log"]) and not log.ok:
                raise OSError(f"the consumption log cannot be written: {log.why}")
            overview = await read.overview(unit, surgery_id)
            _, facts = await read.facts(unit, surgery_id)
        finally:
            await engine.dispose()
    return Tallied(
        overview=overview,
        facts=facts,
        candidates=resolve_candidates(candidates, catalogue, labels.names, labels.background),
        pages=pages.paths(overview.surgery),
    )
