"""All of imaging: which back ends there are, the jobs that they share, and one value that the composition holds."""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta

from fastapi import APIRouter
from prometheus_client.core import Metric

from daemon.domain.imaging import Job
from daemon.feed import Feed
from daemon.imaging.backend import BackEnd, Site
from daemon.imaging.fundus.setup import fundus_back_end
from daemon.imaging.http import events, jobs
from daemon.imaging.jobs.deliveries import Deliveries, DeliveryRules
from daemon.imaging.jobs.folder import JobFolder
from daemon.imaging.jobs.jobs import Imaging
from daemon.imaging.jobs.keeping import JobFiles
from daemon.imaging.jobs.running import JobRunner, RunRules
from daemon.imaging.jobs.steps import JobBackEnd
from daemon.imaging.pathology.setup import pathology_back_end
from daemon.imaging.retina.setup import retina_back_end, webhook_of
from daemon.imaging.ultrasound.setup import ultrasound_back_end
from daemon.storage.objects import ObjectStore

BACK_ENDS: tuple[Callable[[Site], BackEnd], ...] = (
    pathology_back_end,
    fundus_back_end,
    retina_back_end,
    ultrasound_back_end,
)


class Wing:
    """Imaging as the composition sees it: it works, is looked at, and is closed as one."""

    def __init__(self, imaging: Imaging, back_ends: Sequence[BackEnd]) -> None:
        self._imaging = imaging
        self._back_ends = back_ends

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._imaging.run())
            for each in self._back_ends:
                if each.run is not None:
                    group.create_task(each.run(), name=each.name)

    async def recover(self) -> None:
        """After a start, before the control plane listens. Raises LedgerUnavailable."""
        await self._imaging.recover()

    async def close(self) -> None:
        await self._imaging.close()

    def readings(self) -> Iterator[Metric]:
        yield from self._imaging.readings()
        for each in self._back_ends:
            if each.readings is not None:
                yield from each.readings()

    def routers(self) -> list[APIRouter]:
        of_all = [jobs.routes(self._imaging), events.routes(self._imaging)]
        return of_all + [router for each in self._back_ends for router in each.routers(self._imaging)]

    @property
    def body_bytes_max(self) -> Mapping[str, int]:
        """Bounds of request bodies by path, where the control plane's own does not hold."""
        return {path: bytes_max for each in self._back_ends for path, bytes_max in each.body_bytes_max.items()}


def wing_of(site: Site, store: ObjectStore) -> Wing:
    """Nothing is started and nothing is connected; the libraries of what is not configured are not even imported.

    store: for what the jobs receive. Raises NotConfigured where folders of ultrasound hold each other.
    """
    back_ends = [make(site) for make in BACK_ENDS]
    return Wing(imaging_of(site, store, [each.jobs for each in back_ends if each.jobs is not None]), back_ends)


def imaging_of(site: Site, store: ObjectStore, back_ends: Sequence[JobBackEnd]) -> Imaging:
    unit, health, imaging = site.unit, site.health, site.settings.imaging
    gateways = {each.kind: each.gateway for each in back_ends if each.gateway is not None}
    notices = {each.kind: each.notice for each in back_ends if each.notice is not None}
    feed = Feed[Job]()
    bytes_max = int(imaging.folder_gib_max * 2**30)
    folder = JobFolder(imaging.folder, bytes_max=bytes_max)
    rules = RunRules(workers=imaging.workers, retry_for=timedelta(hours=imaging.retry_for_h))
    owed = DeliveryRules(retry_for=timedelta(hours=imaging.retina.webhook_retry_for_h))
    deliveries = Deliveries(unit, webhook_of(site.settings), health, owed)
    runner = JobRunner(unit, gateways, folder, feed, rules, on_end=deliveries.wake, notices=notices)
    keep = timedelta(days=imaging.keep_days)
    # Room for what is coming is made before it is refused.
    files = JobFiles(unit, store, folder, health, keep=keep, bytes_max=int(bytes_max * 0.8))
    return Imaging(unit, back_ends, runner, files, folder, feed, deliveries, queue_max=imaging.queue_max)
