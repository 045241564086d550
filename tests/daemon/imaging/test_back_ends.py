"""The imaging back ends as the daemon holds them: one value each, whether or not it is configured."""

import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest

from daemon.config import load
from daemon.domain.delivery import DeliveryState
from daemon.domain.imaging import Job, JobError, JobKind, JobState
from daemon.health import Health
from daemon.imaging.backend import BackEnd, Site
from daemon.imaging.backends import BACK_ENDS, wing_of
from daemon.imaging.jobs.deliveries import save_job
from daemon.imaging.jobs.steps import Notice
from daemon.imaging.retina.notice import notice
from daemon.storage.database import Unit
from daemon.storage.objects import FolderStore
from tests.test_architecture import BACK_ENDS as FOLDERS
from tests.waiting import DEADLINE_S

NOW = datetime(2026, 5, 1, 8, tzinfo=UTC)


@pytest.fixture
def site(unit: Unit) -> Site:
    """With nothing of imaging configured."""
    return Site(settings=load(None, {"auth": {"mode": "none"}}), unit=unit, health=Health(), zone=None)


@pytest.fixture
def back_ends(site: Site) -> list[BackEnd]:
    return [make(site) for make in BACK_ENDS]


def test_each_folder_has_a_back_end_and_each_kind_of_job_one(back_ends: list[BackEnd]) -> None:
    assert sorted(each.name for each in back_ends) == sorted(FOLDERS)
    assert Counter(each.jobs.kind for each in back_ends if each.jobs is not None) == Counter(JobKind)
    assert [each.jobs.gateway for each in back_ends if each.jobs is not None] == [None, None, None]


def test_what_takes_large_bodies_has_a_bound_of_its_own(site: Site, tmp_path: Path) -> None:
    mib = 2**20

    assert wing_of(site, FolderStore(tmp_path)).body_bytes_max == {
        "/imaging/pathology/analyses": 8192 * mib,
        "/imaging/fundus/studies": 8192 * mib,
        **dict.fromkeys(["/invocations", "/imaging/retina/invocations"], 513 * mib),
        **dict.fromkeys(
            ["/upload", "/upload/", "/imaging/ultrasound/upload", "/imaging/ultrasound/upload/"], 50 * mib + mib // 4
        ),
        **dict.fromkeys(
            [
                f"{path}{slash}"
                for path in ("/segment", "/segment2", "/imaging/ultrasound/predict")
                for slash in ("", "/")
            ],
            8 * mib,
        ),
    }


def test_a_back_end_that_is_not_configured_loads_none_of_its_libraries(tmp_path: Path) -> None:
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from daemon.config import load\n"
        "from daemon.health import Health\n"
        "from daemon.imaging.backend import Site\n"
        "from daemon.imaging.backends import wing_of\n"
        "from daemon.storage.database import Unit, open_engine\n"
        "from daemon.storage.objects import FolderStore\n"
        "async def told(facts): ...\n"
        "unit = Unit(open_engine(Path('ledger.db')), told)\n"
        "settings = load(None, {'auth': {'mode': 'none'}})\n"
        "wing = wing_of(Site(settings=settings, unit=unit, health=Health(), zone=None), FolderStore(Path('objects')))\n"
        "assert wing.routers()\n"
        "heavy = ('openslide', 'qcloud_cos', 'tritonclient', 'grpc', 'google.cloud.storage', 'azure', 'pydicom',\n"
        "         'gdcm', 'tifffile', 'onnxruntime', 'daemon.imaging.pathology.job', 'daemon.imaging.fundus.job')\n"
        "print('loaded:', [name for name in heavy if name in sys.modules])\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=False,
        timeout=DEADLINE_S,
        cwd=tmp_path,
        env={"PYTHONPATH": str(Path(__file__).parents[3])},
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "loaded: []"


# --- what a webhook is told ---


async def ended(unit: Unit, notice_of_it: Notice | None) -> tuple[DeliveryState, str | None]:
    """A job ends that a webhook waits for; what is owed then."""
    job = Job(
        id=uuid4(),
        kind=JobKind.RETINA,
        state=JobState.QUEUED,
        step="infer",
        message="",
        inputs={"filename": "a.png", "examination_id": None},
        created_by="-",
        created_at=NOW,
        changed_at=NOW,
        step_at=NOW,
        next_at=NOW,
    )
    async with unit.begin() as tx:
        await tx.imaging.add(job, [])
        await tx.deliveries.add(job.id, str(job.id), "https://his.example/oct", NOW)
        await save_job(tx, job.failed(JobError.UNREACHABLE, NOW, "无法连接"), notice_of_it)
    async with unit.read() as tx:
        [row] = await tx.deliveries.of(job.id)
    return row.state, row.body


async def test_a_webhook_is_told_in_the_words_of_the_back_end(unit: Unit) -> None:
    assert await ended(unit, lambda job: f"{job.kind} {job.state}") == (DeliveryState.READY, "retina failed")

    state, body = await ended(unit, notice)
    assert state is DeliveryState.READY
    assert body is not None
    assert '"status":"error"' in body
    assert '"error":{"code":"VENDOR_UNREACHABLE","message":"无法连接"}' in body


async def test_of_a_back_end_without_a_notice_nobody_is_owed_one(unit: Unit) -> None:
    assert await ended(unit, None) == (DeliveryState.WAITING, None)
