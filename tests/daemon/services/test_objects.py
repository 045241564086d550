"""From the spool to the store: later, whole, once; or lost, and said. And what is thrown away in the end."""

import asyncio
import logging
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest

from daemon.domain.facts import Fact, FactKind
from daemon.domain.objects import KeptObject, ObjectKind, ObjectState, evidence_key
from daemon.domain.surgery import Surgery, SurgeryState
from daemon.health import Health
from daemon.services.objects import Objects, Retention
from daemon.services.observe import observe
from daemon.storage.database import Unit
from daemon.storage.objects import FolderStore, ObjectStore, Spool, StoreUnavailable, s3
from daemon.supervise import Backoff
from tests import rules
from tests.daemon.conftest import Told
from tests.daemon.rows import CANDIDATES, at, saved, seen, sighting, surgery
from tests.daemon.storage.test_objects import at as store_at
from tests.servers.proxy import FaultProxy
from tests.servers.s3 import BUCKET, S3Server
from tests.waiting import until

QUICK = Backoff(initial_s=0.05, max_s=0.2)
FOR_EVER = Retention(age=None, bytes_max=None, archived_only=False)
CONTENT = bytes(range(256)) * 80_000  # 20 MB: several parts


@pytest.fixture
def server(tmp_path: Path) -> Iterator[S3Server]:
    with S3Server(tmp_path / "s3") as running:
        yield running


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root may mount a small disk")
    yield disk
    subprocess.run(["umount", disk], check=True)


def files(folder: Path, pattern: str) -> list[Path]:
    return [path for path in folder.rglob(pattern) if path.is_file()]


async def seen_in(unit: Unit, run: Surgery) -> UUID:
    async with unit.begin() as tx:
        await tx.sightings.add(row := sighting(run))
    return row.id


def objects_on(
    unit: Unit, store: ObjectStore, folder: Path, *, spool_max: int = 1 << 30, retention: Retention = FOR_EVER
) -> tuple[Objects, Health]:
    health = Health()
    spool = Spool(folder / "spool", bytes_max=spool_max)
    return Objects(unit, store, spool, health, retention, backoff=QUICK), health


@asynccontextmanager
async def delivering(objects: Objects) -> AsyncIterator[None]:
    running = asyncio.create_task(objects.run())
    try:
        yield
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def row_of(unit: Unit, run: Surgery, sighting_id: UUID) -> KeptObject:
    async with unit.read() as tx:
        found = await tx.objects.get(evidence_key(run.surgery_id, run.id, sighting_id))
    assert found is not None
    return found


def is_full(health: Health) -> bool:
    found = health.components.get("objects")
    return found is not None and "No space left" in found.why


def told_of(told: Told, kind: FactKind) -> list[Fact]:
    return [fact for facts in told for fact in facts if fact.kind is kind]


async def test_what_waited_goes_on_after_a_restart(unit: Unit, told: Told, tmp_path: Path) -> None:
    run = await saved(unit, surgery())
    one = await seen_in(unit, run)
    before, _ = objects_on(unit, FolderStore(tmp_path / "objects"), tmp_path)
    await before.keep(run, one, ObjectKind.PICTURE, b"picture")
    after, _ = objects_on(unit, FolderStore(tmp_path / "objects"), tmp_path)
    assert await after.evidence(unit, run.surgery_id, one, ObjectKind.PICTURE) == b"picture"
    async with delivering(after):
        await until(lambda: told_of(told, FactKind.OBJECT_STORED))
    assert await after.evidence(unit, run.surgery_id, one, ObjectKind.PICTURE) == b"picture"


async def test_a_full_spool_loses_evidence_and_says_so(unit: Unit, told: Told, tmp_path: Path) -> None:
    run = await saved(unit, surgery())
    one = await seen_in(unit, run)
    objects, health = objects_on(unit, FolderStore(tmp_path / "objects"), tmp_path, spool_max=3)
    await objects.keep(run, one, ObjectKind.PICTURE, b"picture")
    assert (await row_of(unit, run, one)).state is ObjectState.LOST
    (fact,) = told_of(told, FactKind.OBJECT_LOST)
    assert fact.sighting_id == one
    assert "evidence is lost" in health.components["objects"].why
    assert objects.outcomes == {"lost": 1}


@pytest.mark.parametrize("bound", ["age", "size"])
async def test_retention_spares_what_runs_or_is_not_archived(
    unit: Unit, told: Told, tmp_path: Path, bound: str
) -> None:
    over = await saved(unit, surgery("100001", state=SurgeryState.ENDED, cameras=("a",)))
    runs = await saved(unit, surgery("100002", cameras=("b",)))
    store = FolderStore(tmp_path / "objects")
    kept = {run.id: await seen_in(unit, run) for run in (over, runs)}
    age, size = (timedelta(days=1), None) if bound == "age" else (None, 1)

    def on(*, archived_only: bool) -> Objects:
        rules = Retention(age=age, bytes_max=size, archived_only=archived_only)
        return objects_on(unit, store, tmp_path, retention=rules)[0]

    objects = on(archived_only=False)
    for run in (over, runs):
        await objects.keep(run, kept[run.id], ObjectKind.PICTURE, b"picture")
    async with delivering(objects):
        await until(lambda: objects.outcomes["stored"] == 2)
    later = datetime.now(UTC) + timedelta(days=2)
    assert await on(archived_only=True).retain(later) == 0
    assert await on(archived_only=False).retain(later) == 1
    assert (await row_of(unit, over, kept[over.id])).state is ObjectState.EXPIRED
    assert [fact.run_id for fact in told_of(told, FactKind.OBJECT_EXPIRED)] == [over.id]
    assert (await row_of(unit, runs, kept[runs.id])).state is ObjectState.STORED
    assert [path.name for path in (tmp_path / "objects").rglob("*.jpg")] == [f"{kept[runs.id]}.jpg"]


async def test_on_a_full_disk_objects_wait_and_arrive_when_there_is_room(
    unit: Unit, told: Told, tmp_path: Path, small_disk: Path
) -> None:
    run = await saved(unit, surgery())
    one, other = await seen_in(unit, run), await seen_in(unit, run)
    objects, health = objects_on(unit, FolderStore(small_disk / "objects"), tmp_path)
    filler = small_disk / "filler"
    filler.write_bytes(bytes(600_000))
    await objects.keep(run, one, ObjectKind.PICTURE, CONTENT[:300_000])
    await objects.keep(run, other, ObjectKind.PICTURE, CONTENT[:700_000])
    async with delivering(objects):
        await until(lambda: "objects" in health.components and not health.components["objects"].ok)
        assert "No space left" in health.components["objects"].why
        assert (await row_of(unit, run, one)).state is ObjectState.STORED
        assert (await row_of(unit, run, other)).state is ObjectState.WAITING
        assert not files(small_disk, ".*"), "nothing half written stays behind"
        filler.unlink()
        await until(lambda: len(told_of(told, FactKind.OBJECT_STORED)) == 2)
    stored = small_disk / "objects" / evidence_key(run.surgery_id, run.id, other)
    assert stored.read_bytes() == CONTENT[:700_000]


async def test_what_is_small_is_stored_while_something_large_still_finds_no_room(
    unit: Unit, told: Told, tmp_path: Path, small_disk: Path
) -> None:
    run = await saved(unit, surgery())
    large, small = await seen_in(unit, run), await seen_in(unit, run)
    spool = Spool(tmp_path / "spool", bytes_max=1 << 30)
    patient = Backoff(initial_s=1000, max_s=1000)
    health = Health()
    objects = Objects(unit, FolderStore(small_disk / "objects"), spool, health, FOR_EVER, backoff=patient)
    await objects.keep(run, large, ObjectKind.PICTURE, CONTENT[:2_000_000])
    async with delivering(objects):
        await until(lambda: is_full(health))
        await objects.keep(run, small, ObjectKind.PICTURE, CONTENT[:10_000])
        await until(lambda: told_of(told, FactKind.OBJECT_STORED))
    assert (await row_of(unit, run, small)).state is ObjectState.STORED
    assert (await row_of(unit, run, large)).state is ObjectState.WAITING


def test_what_finds_no_room_takes_none_from_others_meanwhile(small_disk: Path) -> None:
    store = FolderStore(small_disk)
    before = small_disk.stat().st_mtime_ns
    with pytest.raises(StoreUnavailable, match="No space left"):
        store.put("large", CONTENT[:2_000_000], "image/jpeg")
    assert small_disk.stat().st_mtime_ns == before, "something was written"
    store.put("small", CONTENT[:10_000], "image/jpeg")


async def test_a_spool_file_that_cannot_be_read_holds_up_no_other(unit: Unit, told: Told, tmp_path: Path) -> None:
    run = await saved(unit, surgery())
    unreadable, other = await seen_in(unit, run), await seen_in(unit, run)
    objects, health = objects_on(unit, FolderStore(tmp_path / "objects"), tmp_path)
    for one in (unreadable, other):
        await objects.keep(run, one, ObjectKind.PICTURE, b"picture")
    (file,) = files(tmp_path / "spool", f"*{unreadable}*")
    file.unlink()
    file.mkdir()
    async with delivering(objects):
        await until(lambda: told_of(told, FactKind.OBJECT_STORED))
        await until(lambda: "its spool file: Is a directory" in health.components["objects"].why)
    assert (await row_of(unit, run, other)).state is ObjectState.STORED


async def test_on_a_full_disk_of_the_spool_an_object_is_lost_and_said(
    unit: Unit, told: Told, tmp_path: Path, small_disk: Path
) -> None:
    run = await saved(unit, surgery())
    one = await seen_in(unit, run)
    objects, health = objects_on(unit, FolderStore(tmp_path / "objects"), small_disk)
    await objects.keep(run, one, ObjectKind.PICTURE, CONTENT[:2_000_000])
    (lost,) = told_of(told, FactKind.OBJECT_LOST)
    assert lost.reason == "No space left on device"
    assert (await row_of(unit, run, one)).state is ObjectState.LOST
    assert not health.components["objects"].ok
    assert not files(small_disk, "*")


async def test_an_object_that_the_store_refuses_holds_up_no_other(unit: Unit, told: Told, tmp_path: Path) -> None:
    run = await saved(unit, surgery())
    refused, other = await seen_in(unit, run), await seen_in(unit, run)
    objects, health = objects_on(unit, FolderStore(tmp_path / "objects"), tmp_path)
    in_the_way = tmp_path / "objects" / evidence_key(run.surgery_id, run.id, refused)
    (in_the_way / "a folder, not empty").mkdir(parents=True)
    for one in (refused, other):
        await objects.keep(run, one, ObjectKind.PICTURE, b"picture")
    async with delivering(objects):
        await until(lambda: told_of(told, FactKind.OBJECT_STORED))
        assert (await row_of(unit, run, other)).state is ObjectState.STORED
        await until(lambda: not health.components["objects"].ok)
        assert str(refused) in health.components["objects"].why
        (in_the_way / "a folder, not empty").rmdir()
        in_the_way.rmdir()
        await until(lambda: len(told_of(told, FactKind.OBJECT_STORED)) == 2)
        await until(lambda: health.components["objects"].ok)


async def test_an_object_whose_answer_drips_holds_up_no_other(
    unit: Unit, told: Told, tmp_path: Path, server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3, "READ_TIMEOUT_S", 1.0)
    run = await saved(unit, surgery())
    dripped, other = await seen_in(unit, run), await seen_in(unit, run)
    with FaultProxy(server.port) as proxy:
        objects, health = objects_on(unit, store_at(proxy), tmp_path)
        proxy.drip(evidence_key(run.surgery_id, run.id, dripped).encode())
        for one in (dripped, other):
            await objects.keep(run, one, ObjectKind.PICTURE, b"picture")
        async with delivering(objects):
            await until(lambda: told_of(told, FactKind.OBJECT_STORED))
            assert (await row_of(unit, run, other)).state is ObjectState.STORED
            assert (await row_of(unit, run, dripped)).state is ObjectState.WAITING
            await until(lambda: f"{dripped}.jpg: put bucket {BUCKET}" in health.components["objects"].why)
            assert not health.is_ready
            proxy.flow()
            await until(lambda: len(told_of(told, FactKind.OBJECT_STORED)) == 2)
            await until(lambda: health.is_ready)
    assert objects.spool_bytes == 0


async def test_what_is_refused_again_and_again_is_said_once_and_once_when_it_has_arrived(
    unit: Unit, told: Told, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A store that can be asked is not one that takes everything: no round in between says that all is well."""
    caplog.set_level(logging.DEBUG, logger="daemon.services.objects")
    run = await saved(unit, surgery())
    refused = await seen_in(unit, run)
    objects, health = objects_on(unit, FolderStore(tmp_path / "objects"), tmp_path)
    in_the_way = tmp_path / "objects" / evidence_key(run.surgery_id, run.id, refused)
    (in_the_way / "a folder, not empty").mkdir(parents=True)
    await objects.keep(run, refused, ObjectKind.PICTURE, b"picture")
    async with delivering(objects):
        await until(lambda: caplog.text.count(f"{refused}.jpg waits") > 5)
        (in_the_way / "a folder, not empty").rmdir()
        in_the_way.rmdir()
        await until(lambda: told_of(told, FactKind.OBJECT_STORED))
        await until(lambda: health.is_ready)
    assert caplog.text.count("Bookings go on") == 1
    assert caplog.text.count("evidence is being stored") == 2, "before it was refused, and since it has arrived"


async def test_evidence_that_a_kill_left_promised_is_told_as_lost(unit: Unit, told: Told, tmp_path: Path) -> None:
    run = await saved(unit, surgery())
    apart = rules.observing(fusion=timedelta(0))
    for second in (0, 10):
        await observe(unit, run, CANDIDATES, seen(second), apart, at(second))
    first, second = (fact.sighting_id for fact in told_of(told, FactKind.BOOKED))
    assert first is not None
    assert second is not None
    objects, _ = objects_on(unit, FolderStore(tmp_path / "objects"), tmp_path)
    await objects.keep(run, first, ObjectKind.PICTURE, b"picture")
    await objects.recover()
    lost = {fact.evidence for fact in told_of(told, FactKind.OBJECT_LOST)}
    picture, clip = ObjectKind.PICTURE, ObjectKind.CLIP
    missing = [(first, clip), (second, picture), (second, clip)]
    assert lost == {evidence_key(run.surgery_id, run.id, one, kind) for one, kind in missing}
    await objects.recover()
    assert len(told_of(told, FactKind.OBJECT_LOST)) == 3
