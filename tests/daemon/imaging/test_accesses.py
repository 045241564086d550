"""What the audit says of an access: ok of what was seen to end well, why not of the rest, and a row of each."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from starlette.requests import Request

from daemon.config import load
from daemon.domain.errors import ImagingQueueFull
from daemon.domain.imaging import FileState, Job, JobFile, JobKind, JobState
from daemon.health import Health
from daemon.imaging.backend import Site
from daemon.imaging.backends import imaging_of
from daemon.imaging.fundus.setup import fundus_back_end
from daemon.imaging.http.drafts import creation
from daemon.imaging.jobs.accesses import Who, noted
from daemon.imaging.jobs.jobs import Imaging
from daemon.imaging.ultrasound.setup import ultrasound_desk_of
from daemon.storage.database import LedgerUnavailable, Unit
from daemon.storage.objects import FolderStore
from tests.daemon.conftest import DaemonOn
from tests.daemon.harness import DEADLINE_S, Daemon
from tests.daemon.imaging import ultrasound_room as room
from tests.waiting import until

WHO = Who(name="clerk", address="127.0.0.1")
NOW = datetime(2026, 5, 1, 8, tzinfo=UTC)


def rows(ledger: Path) -> list[tuple[str, str]]:
    connection = sqlite3.connect(ledger)
    found = connection.execute("SELECT action, outcome FROM imaging_accesses ORDER BY seq").fetchall()
    connection.close()
    return [(action, outcome) for action, outcome in found]


def job(kind: JobKind, now: datetime, **more: Any) -> Job:
    """One that nobody works on within the hour."""
    return Job(
        id=uuid4(),
        kind=kind,
        state=JobState.QUEUED,
        step="query_result",
        message="",
        inputs={},
        created_by="-",
        created_at=now,
        changed_at=now,
        step_at=now,
        next_at=now + timedelta(hours=1),
        **more,
    )


async def added(unit: Unit, kind: JobKind, now: datetime) -> UUID:
    made = job(kind, now)
    async with unit.begin() as tx:
        await tx.imaging.add(made, [])
    return made.id


def site_file(place: Path) -> JobFile:
    """A file that a client named where it lay."""
    return JobFile(
        number=1,
        name=place.name,
        path=str(place),
        media_type="application/octet-stream",
        size=place.stat().st_size,
        sha256=None,
        key=None,
        state=FileState.WAITING,
    )


async def cancelled(task: "asyncio.Task[Any]") -> None:
    task.cancel()
    await asyncio.wait([task], timeout=DEADLINE_S)
    assert task.cancelled()


# --- the one way to note it ---


async def test_what_ends_well_is_ok(unit: Unit, tmp_path: Path) -> None:
    async with noted(unit, WHO, "read", NOW):
        assert rows(tmp_path / "ledger.db") == []

    assert rows(tmp_path / "ledger.db") == [("read", "ok")]


@pytest.mark.parametrize(
    ("error", "outcome"),
    [(ImagingQueueFull("满"), "ImagingQueueFull"), (ZeroDivisionError(), "broke off"), (OSError(), "broke off")],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
async def test_what_does_not_is_named(unit: Unit, tmp_path: Path, error: Exception, outcome: str) -> None:
    with pytest.raises(type(error)):
        async with noted(unit, WHO, "read", NOW):
            raise error

    assert rows(tmp_path / "ledger.db") == [("read", outcome)]


async def test_an_access_that_is_cancelled_broke_off_however_often_it_is_told_so(unit: Unit, tmp_path: Path) -> None:
    inside = asyncio.Event()

    async def access() -> None:
        async with noted(unit, WHO, "read", NOW):
            inside.set()
            await asyncio.get_running_loop().create_future()

    task = asyncio.create_task(access())
    await inside.wait()
    async with unit.begin():
        others = asyncio.all_tasks()
        task.cancel()
        # The row is on its way and waits for the ledger's one writer, who is here.
        await until(lambda: asyncio.all_tasks() - others)
        task.cancel()
    await asyncio.wait([task], timeout=DEADLINE_S)

    assert task.cancelled()
    assert rows(tmp_path / "ledger.db") == [("read", "broke off")]


async def test_without_a_row_nothing_is_given_but_a_stop_stays_a_stop(unit: Unit, tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "ledger.db")
    connection.execute("DROP TABLE imaging_accesses")
    connection.commit()
    connection.close()
    inside = asyncio.Event()

    async def access() -> None:
        async with noted(unit, WHO, "read", NOW):
            inside.set()
            await asyncio.get_running_loop().create_future()

    with pytest.raises(LedgerUnavailable):
        async with noted(unit, WHO, "read", NOW):
            pass
    task = asyncio.create_task(access())
    await inside.wait()
    await cancelled(task)


# --- jobs and ultrasound say the same of what broke off ---


@pytest.fixture
def site(unit: Unit, tmp_path: Path) -> Site:
    fundus = {"base_url": "https://127.0.0.1:9", "app_id": "1", "token": "2"}
    imaging = room.settings(tmp_path) | {"fundus": fundus}
    settings = load(None, {"auth": {"mode": "none"}, "imaging": imaging})
    return Site(settings=settings, unit=unit, health=Health(), zone=None)


@pytest.fixture
async def imaging(site: Site, tmp_path: Path) -> AsyncIterator[Imaging]:
    back_end = fundus_back_end(site).jobs
    assert back_end is not None
    made = imaging_of(site, FolderStore(tmp_path / "objects"), [back_end])
    yield made
    await made.close()


async def test_a_job_that_is_touched_when_the_daemon_stops_broke_off(
    unit: Unit, imaging: Imaging, tmp_path: Path
) -> None:
    job_id = await added(unit, JobKind.FUNDUS, NOW)
    async with unit.begin():
        task = asyncio.create_task(imaging.retry(job_id, WHO, NOW))
        # One turn of the loop: now it waits for the ledger's one writer, who is here.
        await asyncio.sleep(0)
        task.cancel()
    await asyncio.wait([task], timeout=DEADLINE_S)

    assert task.cancelled()
    assert rows(tmp_path / "ledger.db") == [("retry", "broke off")]


async def test_a_picture_of_ultrasound_that_is_received_when_the_daemon_stops_broke_off(
    site: Site, tmp_path: Path
) -> None:
    receiving = asyncio.Event()

    async def never(_folder: Path) -> tuple[Path, str]:
        receiving.set()
        await asyncio.get_running_loop().create_future()
        raise AssertionError

    task = asyncio.create_task(ultrasound_desk_of(site).upload(never, 0, WHO, NOW))
    await receiving.wait()
    await cancelled(task)

    assert rows(tmp_path / "ledger.db") == [("ultrasound upload", "broke off")]


async def test_a_creation_in_the_middle_of_a_stop_broke_off_and_what_it_left_goes_at_the_next_start(
    imaging: Imaging, tmp_path: Path
) -> None:
    receiving = asyncio.Event()

    async def receive() -> None:
        async with creation(imaging, JobKind.FUNDUS, Request({"type": "http", "headers": []}), WHO) as draft:
            (imaging.folder.make(draft.job_id) / "a.jpg").write_bytes(b"half")
            receiving.set()
            await asyncio.get_running_loop().create_future()

    task = asyncio.create_task(receive())
    await receiving.wait()
    await cancelled(task)

    assert rows(tmp_path / "ledger.db") == [("create", "broke off")]
    # Cancelled in its commit it would be a job, which needs its files.
    assert len(imaging.folder.ids()) == 1
    await imaging.recover()
    assert imaging.folder.ids() == []


async def test_a_creation_that_meets_a_bug_broke_off_and_leaves_nothing(imaging: Imaging, tmp_path: Path) -> None:
    async def meets() -> None:
        async with creation(imaging, JobKind.FUNDUS, Request({"type": "http", "headers": []}), WHO) as draft:
            imaging.folder.make(draft.job_id)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await meets()

    assert rows(tmp_path / "ledger.db") == [("create", "broke off")]
    assert imaging.folder.ids() == []


# --- over HTTP ---


@pytest.fixture
async def daemon(daemon_on: DaemonOn, tmp_path: Path) -> AsyncIterator[Daemon]:
    """Fundus is configured, and nobody is there."""
    fundus = {"base_url": "https://127.0.0.1:9", "app_id": "1", "token": "2"}
    imaging = room.settings(tmp_path, records_max=1) | {"fundus": fundus}
    async with daemon_on(cameras={}, imaging=imaging) as running:
        yield running


def told(daemon: Daemon) -> list[tuple[str, str]]:
    return rows(daemon.settings.database.ledger)


@pytest.mark.parametrize(
    ("path", "action", "status", "outcome"),
    [
        ("files/1", "file", 404, "ImagingFileNotFound"),
        ("answer.json", "answer", 404, "ImagingFileNotFound"),
        ("overlays/1", "overlay", 404, "ImagingFileNotFound"),
        ("masks/1", "mask", 404, "ImagingFileNotFound"),
        ("slide.dzi", "preview", 404, "ImagingFileNotFound"),
        ("report.md", "report", 409, "ImagingResultNotReady"),
        ("deliveries", "deliveries", 200, "ok"),
        ("accesses", "audit", 200, "ok"),
    ],
)
async def test_a_look_at_what_is_not_there_is_not_ok(
    daemon: Daemon, path: str, action: str, status: int, outcome: str
) -> None:
    job_id = await added(daemon.parts.context.unit, JobKind.FUNDUS, datetime.now(UTC))

    answer = await daemon.http.get(f"/imaging/jobs/{job_id}/{path}")
    nobody = await daemon.http.get(f"/imaging/jobs/{uuid4()}/{path}")

    assert (answer.status_code, nobody.status_code) == (status, 404)
    assert told(daemon) == [(action, outcome), (action, "ImagingJobNotFound")]


async def test_a_file_that_is_no_slide_is_not_seen_in_a_preview(daemon: Daemon) -> None:
    unit, now = daemon.parts.context.unit, datetime.now(UTC)
    kinds = (JobKind.FUNDUS, JobKind.PATHOLOGY)
    async with unit.begin() as tx:
        ids = []
        for kind in kinds:
            made = job(kind, now)
            place = daemon.settings.imaging.folder / f"{made.id}.svs"
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(b"no slide")
            await tx.imaging.add(made, [site_file(place)])
            ids.append(made.id)

    answers = [await daemon.http.get(f"/imaging/jobs/{job_id}/slide.dzi") for job_id in ids]

    assert [answer.status_code for answer in answers] == [404, 422]
    assert told(daemon) == [("preview", "ImagingFileNotFound"), ("preview", "ImagingInputInvalid")]


async def _half() -> AsyncIterator[bytes]:
    yield b'--x\r\nContent-Disposition: form-data; name="images"; filename="a.png"\r\n\r\nhalf'


async def test_an_upload_that_is_not_whole_broke_off(daemon: Daemon) -> None:
    headers = {"Content-Type": "multipart/form-data; boundary=x"}

    job_answer = await daemon.http.post("/imaging/fundus/studies", content=_half(), headers=headers)
    ultrasound_answer = await daemon.http.post("/upload", content=_half(), headers=headers)

    assert (job_answer.status_code, ultrasound_answer.status_code) == (400, 400)
    assert told(daemon) == [("create", "broke off"), ("ultrasound upload", "broke off")]


async def test_a_client_that_goes_away_in_its_upload_broke_off(daemon: Daemon) -> None:
    host, _, port = daemon.address.rpartition(":")
    _, writer = await asyncio.open_connection(host, int(port))
    writer.write(
        b"POST /imaging/fundus/studies HTTP/1.1\r\nHost: x\r\nContent-Length: 3000000\r\n"
        b"Content-Type: multipart/form-data; boundary=x\r\n\r\n"
        b'--x\r\nContent-Disposition: form-data; name="images"; filename="a.png"\r\n\r\nhalf'
    )
    await writer.drain()
    folder = daemon.settings.imaging.folder
    await until(lambda: list(folder.rglob("*.png")))
    writer.close()

    await until(lambda: told(daemon))
    assert told(daemon) == [("create", "broke off")]
    await until(lambda: not list(folder.iterdir()))


async def test_what_a_creation_is_refused_for_is_named(daemon: Daemon) -> None:
    unknown = await daemon.http.post("/imaging/fundus/studies", files={"images": ("a.png", b"")}, data={"eye": "left"})
    broken = await daemon.http.post("/imaging/fundus/studies", files={"images": ("a.png", b"no picture")})
    elsewhere = await daemon.http.post("/imaging/pathology/analyses", json={"disease": 14, "path": "a.svs"})

    assert [answer.status_code for answer in (unknown, broken, elsewhere)] == [422, 422, 503]
    refused = ["RequestValidationError", "ImagingInputInvalid", "ImagingNotConfigured"]
    assert told(daemon) == [("create", outcome) for outcome in refused]


@pytest.mark.parametrize("route", ["/invocations", "/bucket_invocations", "/bucket_invocations_azure_uae"])
async def test_each_way_to_ask_for_a_retina_leaves_a_row_where_it_is_not_configured(daemon: Daemon, route: str) -> None:
    assert (await daemon.http.post(route)).status_code == 503

    assert told(daemon) == [("create", "ImagingNotConfigured")]


async def test_a_call_of_ultrasound_with_no_or_too_many_records_leaves_a_row(daemon: Daemon) -> None:
    answers = [await daemon.http.post("/segment2/", json=[room.SEED] * count) for count in (0, 2)]

    assert [answer.status_code for answer in answers] == [422, 413]
    assert told(daemon) == [
        ("ultrasound predict", "ImagingInputInvalid"),
        ("ultrasound predict", "ImagingInputTooLarge"),
    ]
