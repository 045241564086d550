"""Files of jobs: into the object store whatever it takes, and out of here by age and by size."""

import asyncio
import hashlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from daemon.domain.errors import ImagingStorageFull
from daemon.domain.imaging import FileState, Job, JobKind, JobState
from daemon.health import Health
from daemon.imaging.jobs.folder import JobFolder, inside, safe_name
from daemon.imaging.jobs.keeping import JobFiles
from daemon.storage.objects import FolderStore, ObjectMissing
from tests.daemon.conftest import DaemonOn
from tests.daemon.harness import Daemon
from tests.daemon.imaging.clerk import Clerk
from tests.servers.s3 import ACCESS_KEY, BUCKET, SECRET_KEY, S3Server
from tests.waiting import until


def keeper(daemon: Daemon, *, keep_days: float = 30.0, bytes_max: int = 1 << 40) -> JobFiles:
    settings = daemon.settings
    return JobFiles(
        daemon.parts.context.unit,
        FolderStore(settings.objects.folder),
        JobFolder(settings.imaging.folder, bytes_max=1 << 40),
        Health(),
        keep=timedelta(days=keep_days),
        bytes_max=bytes_max,
    )


async def stored_job(daemon: Daemon, path: Path) -> UUID:
    clerk = Clerk.at(daemon)
    job = await clerk.ended((await clerk.study(path)).json()["id"])
    files = job["files"]
    while files[0]["state"] != "stored":
        files = (await clerk.job(job["id"]))["files"]
    return UUID(job["id"])


async def test_what_is_too_old_is_deleted_here_and_in_the_store(
    daemon_on: DaemonOn, fundus: dict[str, Any], left_eye: Path
) -> None:
    async with daemon_on(imaging=fundus) as daemon:
        job_id = await stored_job(daemon, left_eye)
        key = f"imaging/fundus/{job_id}/01.bin"
        store = FolderStore(daemon.settings.objects.folder)
        assert store.get(key, bytes_max=1 << 30) == left_eye.read_bytes()

        await keeper(daemon).clean(datetime.now(UTC) + timedelta(days=29))
        assert store.get(key, bytes_max=1 << 30)
        await keeper(daemon).clean(datetime.now(UTC) + timedelta(days=31))

        with pytest.raises(ObjectMissing):
            store.get(key, bytes_max=1 << 30)
        assert not list(daemon.settings.imaging.folder.iterdir())
        job = await Clerk.at(daemon).job(str(job_id))
        assert (job["state"], job["files"][0]["state"]) == ("done", "expired")
        gone = await daemon.http.get(f"/imaging/jobs/{job_id}/files/1")
        assert (gone.status_code, gone.json()["detail"]["code"]) == (404, "IMAGING_FILE_NOT_FOUND")


async def test_what_was_made_for_a_picture_of_a_bucket_goes_by_age_and_only_after_its_end(
    daemon_on: DaemonOn, fundus: dict[str, Any]
) -> None:
    async with daemon_on(imaging=fundus) as daemon:
        now, unit = datetime.now(UTC), daemon.parts.context.unit
        folder = JobFolder(daemon.settings.imaging.folder, bytes_max=1 << 40)
        waiting = Job(
            id=uuid4(),
            kind=JobKind.FUNDUS,
            state=JobState.QUEUED,
            step="query_result",
            message="",
            inputs={},
            created_by="-",
            created_at=now,
            changed_at=now,
            step_at=now,
            # Not for the daemon of this test.
            next_at=now + timedelta(hours=1),
        )
        over = replace(waiting, id=uuid4()).cancelled(now, "")
        async with unit.begin() as tx:
            for job in (waiting, over):
                await tx.imaging.add(job, [])
                (folder.make(job.id) / "fetched").write_bytes(b"pixels")

        await keeper(daemon).clean(now + timedelta(days=29))
        assert {path.name for path in folder.root.iterdir()} == {str(waiting.id), str(over.id)}
        await keeper(daemon).clean(now + timedelta(days=31))
        assert [path.name for path in folder.root.iterdir()] == [str(waiting.id)]


async def test_room_is_made_by_what_is_over_and_stored_oldest_first(
    daemon_on: DaemonOn, fundus: dict[str, Any], left_eye: Path, right_eye: Path
) -> None:
    async with daemon_on(imaging=fundus) as daemon:
        old, new = await stored_job(daemon, left_eye), await stored_job(daemon, right_eye)
        folder = JobFolder(daemon.settings.imaging.folder, bytes_max=1)
        held = folder.held_bytes()

        await keeper(daemon, bytes_max=held - 1).clean(datetime.now(UTC))

        assert not folder.of(old).exists()
        assert folder.of(new).exists()
        assert FolderStore(daemon.settings.objects.folder).get(f"imaging/fundus/{old}/01.bin", bytes_max=1 << 30)


async def test_jobs_go_on_while_the_object_store_is_away_and_their_files_arrive_later(
    daemon_on: DaemonOn, fundus: dict[str, Any], left_eye: Path, tmp_path: Path
) -> None:
    server = S3Server(tmp_path / "s3")
    objects = {
        "backend": "minio",
        "endpoint": server.endpoint,
        "bucket": BUCKET,
        "access_key": ACCESS_KEY,
        "secret_key": SECRET_KEY,
        "secure": False,
    }
    async with daemon_on(imaging=fundus, objects=objects) as daemon:
        clerk, health = Clerk.at(daemon), daemon.parts.context.health
        job = await clerk.ended((await clerk.study(left_eye)).json()["id"])
        assert (job["state"], job["files"][0]["state"]) == ("done", "waiting")
        await until(lambda: not health.components["imaging files"].ok)

        with server:
            await until(lambda: health.components["imaging files"].ok)
            async with daemon.parts.context.unit.read() as tx:
                [file] = await tx.imaging.files(UUID(job["id"]))
            assert file.state is FileState.STORED
            assert file.sha256 == hashlib.sha256(left_eye.read_bytes()).hexdigest()


async def test_a_file_that_the_store_refuses_holds_up_no_other(
    daemon_on: DaemonOn, fundus: dict[str, Any], left_eye: Path, right_eye: Path, tmp_path: Path
) -> None:
    async with daemon_on(imaging=fundus) as daemon:
        unit = daemon.parts.context.unit
        first, second = await stored_job(daemon, left_eye), await stored_job(daemon, right_eye)
        async with unit.begin() as tx:
            for job_id in (first, second):
                await tx.imaging.mark_file(job_id, 1, FileState.WAITING)
        elsewhere, health = tmp_path / "elsewhere", Health()
        (elsewhere / f"imaging/fundus/{first}/01.bin").mkdir(parents=True)
        folder = JobFolder(daemon.settings.imaging.folder, bytes_max=1 << 40)
        files = JobFiles(
            unit, FolderStore(elsewhere), folder, health, keep=timedelta(days=1), bytes_max=1 << 40, every_s=3600
        )

        running = asyncio.create_task(files.run())
        try:
            await until((elsewhere / f"imaging/fundus/{second}/01.bin").is_file)
            await until(lambda: "imaging files" in health.components)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

        assert not health.components["imaging files"].ok
        async with unit.read() as tx:
            states = [(await tx.imaging.files(job_id))[0].state for job_id in (first, second)]
        assert states == [FileState.WAITING, FileState.STORED]


def test_what_does_not_fit_is_refused_and_taken_as_soon_as_there_is_room(tmp_path: Path) -> None:
    folder = JobFolder(tmp_path / "imaging", bytes_max=100)
    folder.check_room(10)
    job_id = uuid4()
    # Since it was last looked at, and unannounced.
    (folder.make(job_id) / "a.svs").write_bytes(bytes(95))

    folder.check_room(10)
    for _ in range(2):
        with pytest.raises(ImagingStorageFull, match="95"):
            folder.check_room(90)
    folder.drop(job_id)
    folder.check_room(90)


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("活检 01.svs", "活检_01.svs"),
        ("../../etc/passwd", "passwd"),
        ("C:\\slides\\a.svs", "a.svs"),
        ("..", "file"),
        ("", "file"),
        ("a\0b\n.jpg", "a_b_.jpg"),
        ("长" * 200 + ".svs", "长" * 38 + ".svs"),
        (".hidden", "hidden"),
    ],
)
def test_a_name_is_made_safe(name: str, safe: str) -> None:
    assert safe_name(name) == safe


def test_a_path_inside_is_found_through_links_and_dots(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    file = tmp_path / "a.svs"
    file.touch()
    (tmp_path / "sub" / "link.svs").symlink_to(file)

    assert inside(tmp_path, "sub/../a.svs", "path") == file
    assert inside(tmp_path, "sub/link.svs", "path") == file
    assert inside(tmp_path, str(file), "path") == file
