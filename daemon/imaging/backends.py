"""From `[imaging]` to the part that works on imaging jobs, and a gateway for each back end that is configured."""

from collections.abc import Mapping
from datetime import timedelta
from functools import partial

from daemon.assembly import store_of, zone_of
from daemon.bridge import off_loop
from daemon.config import Settings
from daemon.domain.imaging import Job, JobKind
from daemon.feed import Feed
from daemon.health import Health
from daemon.imaging.fundus.setup import fundus_rules_of
from daemon.imaging.jobs.deliveries import Deliveries, DeliveryRules
from daemon.imaging.jobs.folder import JobFolder
from daemon.imaging.jobs.jobs import Imaging
from daemon.imaging.jobs.keeping import JobFiles
from daemon.imaging.jobs.running import JobRunner, RunRules
from daemon.imaging.jobs.steps import Gateway
from daemon.imaging.pathology.setup import cos_rules_of, pathology_rules_of
from daemon.imaging.retina.setup import is_retina_configured, retina_gateway_of, webhook_of
from daemon.storage.database import Unit


def imaging_of(settings: Settings, unit: Unit, health: Health, gateways: Mapping[JobKind, Gateway]) -> Imaging:
    """Nothing is started and nothing is connected."""
    imaging, feed = settings.imaging, Feed[Job]()
    bytes_max = int(imaging.folder_gib_max * 2**30)
    folder = JobFolder(imaging.folder, bytes_max=bytes_max)
    rules = RunRules(workers=imaging.workers, retry_for=timedelta(hours=imaging.retry_for_h))
    owed = DeliveryRules(retry_for=timedelta(hours=imaging.retina.webhook_retry_for_h))
    deliveries = Deliveries(unit, webhook_of(settings), health, owed)
    runner = JobRunner(unit, gateways, folder, feed, rules, on_end=deliveries.wake)
    keep = timedelta(days=imaging.keep_days)
    # Room for what is coming is made before it is refused.
    files = JobFiles(unit, store_of(settings), folder, health, keep=keep, bytes_max=int(bytes_max * 0.8))
    return Imaging(unit, gateways, runner, files, folder, feed, deliveries, queue_max=imaging.queue_max)


def gateways_of(settings: Settings) -> dict[JobKind, Gateway]:
    """One for each back end that is configured; the libraries of another are not even imported."""
    gateways: dict[JobKind, Gateway] = {}
    if is_configured(settings, JobKind.PATHOLOGY):
        gateways[JobKind.PATHOLOGY] = _pathology(settings)
    if is_configured(settings, JobKind.FUNDUS):
        gateways[JobKind.FUNDUS] = _fundus(settings)
    if is_configured(settings, JobKind.RETINA):
        gateways[JobKind.RETINA] = retina_gateway_of(settings)
    return gateways


def is_configured(settings: Settings, kind: JobKind) -> bool:
    if kind is JobKind.FUNDUS:
        return settings.imaging.fundus.base_url is not None
    if kind is JobKind.RETINA:
        return is_retina_configured(settings)
    pathology = settings.imaging.pathology
    return pathology.base_url is not None or pathology.create_url is not None


def _pathology(settings: Settings) -> Gateway:
    from daemon.imaging.pathology.job import PathologyGateway, PathologyJobRules
    from imaging.pathology.client import Pathology

    pathology = settings.imaging.pathology
    rules = PathologyJobRules(
        username=pathology.username.get_secret_value() if pathology.username else None,
        password=pathology.password.get_secret_value() if pathology.password else None,
        organization=pathology.organization,
        source=pathology.source,
        cos=partial(cos_rules_of, settings),
        poll_interval_s=pathology.poll_interval_s,
        polls_max=max(1, int(pathology.poll_for_h * 3600 / pathology.poll_interval_s)),
        zone=zone_of(settings),
    )
    return PathologyGateway(Pathology(pathology_rules_of(settings)), rules)


def _fundus(settings: Settings) -> Gateway:
    from daemon.imaging.fundus.job import FundusGateway
    from imaging.fundus.client import FundusClient

    return FundusGateway(FundusClient(fundus_rules_of(settings), off_loop=off_loop))
