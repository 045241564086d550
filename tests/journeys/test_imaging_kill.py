"""The whole program killed at each step of an imaging job: after the restart it ends right, and nothing is there twice.

A part of the steps in the normal suite; `bash scripts/test -m "soak or not soak" tests/journeys/test_imaging_kill.py`
has all.
"""

import json
import socket
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tests.journeys.program import Program
from tests.servers.cos import CosServer
from tests.servers.fundus import APP_ID, TOKEN, FundusServer
from tests.servers.fundus import Fault as FundusFault
from tests.servers.fundus_answers import ultra_wide_answer
from tests.servers.pathology import PASSWORD, STALL, USERNAME, Fault, PathologyServer
from tests.slides import write_slide

JSON = dict[str, Any]
SOAK = partial(pytest.param, marks=pytest.mark.soak)


@pytest.fixture
def cos(tmp_path: Path) -> Iterator[CosServer]:
    with CosServer(tmp_path / "cos") as server:
        yield server


@pytest.fixture
def platform(cos: CosServer) -> Iterator[PathologyServer]:
    with PathologyServer(cos) as server:
        yield server


@pytest.fixture
def eyes() -> Iterator[FundusServer]:
    with FundusServer(ultra_wide_answer()) as server:
        yield server


@pytest.fixture
def program(tmp_path: Path, cos: CosServer, platform: PathologyServer, eyes: FundusServer) -> Iterator[Program]:
    more = f"""
[speech]
tts = []
asr = []
[imaging.pathology]
base_url = "{platform.url}"
username = "{USERNAME}"
password = "{PASSWORD}"
cos_endpoint = "127.0.0.1:{cos.port}"
cos_secure = false
cos_bucket = "{cos.bucket}"
cos_region = "{cos.region}"
organization = "测试医院"
part_size_mib = 1
poll_interval_s = 0.1
[imaging.fundus]
base_url = "{eyes.url}"
app_id = "{APP_ID}"
token = "{TOKEN}"
poll_interval_s = 0.1
"""
    with Program(tmp_path, cameras={}, more=more) as running:
        yield running


def submit_slide(program: Program, path: Path) -> str:
    with path.open("rb") as file:
        answer = program.client.post(
            "/imaging/pathology/analyses", data={"disease": "14"}, files={"slide": (path.name, file)}
        )
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def submit_eye(program: Program, folder: Path) -> str:
    path = folder / "p_OD.png"
    cv2.imwrite(str(path), np.zeros((64, 64, 3), np.uint8))
    answer = program.client.post("/imaging/fundus/studies", files={"images": (path.name, path.read_bytes())})
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def killed_when(program: Program, holds: Callable[[], bool]) -> None:
    program.until(holds)
    program.kill()
    program.start()


def ended(program: Program, job_id: str) -> JSON:
    found: JSON = {}

    def has_ended() -> bool:
        found.update(program.client.get(f"/imaging/jobs/{job_id}").json())
        return found["state"] in ("done", "failed", "cancelled")

    program.until(has_ended)
    return found


@pytest.mark.parametrize("route", [SOAK("login"), SOAK("credentials"), "list"])
def test_killed_in_a_step_that_is_safe_to_repeat_the_job_is_done(
    program: Program, platform: PathologyServer, tmp_path: Path, route: str
) -> None:
    platform.next(route, STALL)
    job_id = submit_slide(program, write_slide(tmp_path / "a.tif"))

    killed_when(program, lambda: platform.seen.calls[route] == 1)

    assert ended(program, job_id)["state"] == "done"
    assert (platform.seen.calls["callback"], platform.seen.calls["create"]) == (1, 1)


@pytest.mark.parametrize("route", [SOAK("callback"), "create"])
def test_killed_in_a_step_that_is_not_safe_to_repeat_it_is_not_repeated_unasked(
    program: Program, platform: PathologyServer, tmp_path: Path, route: str
) -> None:
    platform.next(route, Fault(how="stall", acts=True))
    job_id = submit_slide(program, write_slide(tmp_path / "a.tif"))

    killed_when(program, lambda: platform.seen.calls[route] == 1)

    job = ended(program, job_id)
    assert (job["state"], job["error"]["code"]) == ("failed", "OUTCOME_UNKNOWN")
    assert platform.seen.calls[route] == 1
    assert program.client.post(f"/imaging/jobs/{job_id}/retry").status_code == 200
    assert ended(program, job_id)["state"] == "done"


def test_killed_in_the_upload_no_part_that_arrived_is_sent_again(
    program: Program, platform: PathologyServer, cos: CosServer, tmp_path: Path
) -> None:
    slide = write_slide(tmp_path / "big.tif", side=6144, levels=1)
    parts = -(-slide.stat().st_size // 2**20)
    assert parts >= 4
    cos.holds_after = 2
    job_id = submit_slide(program, slide)

    program.until(lambda: cos.actions["part"] > 2 and sum(len(each.parts) for each in cos.uploads.values()) >= 2)
    program.kill()
    [upload] = cos.uploads.values()
    arrived = set(upload.parts)
    cos.holds_after = None
    cos.release()
    program.start()

    assert ended(program, job_id)["state"] == "done"
    [(key, stored)] = cos.objects.items()
    assert stored.read_bytes() == slide.read_bytes()
    assert len(arrived) >= 2
    assert [number for number in arrived if cos.asked[key, number] > 1] == []
    assert (platform.seen.calls["callback"], platform.seen.calls["create"]) == (1, 1)


@pytest.mark.parametrize("has_arrived", [True, SOAK(False)], ids=["arrived", "did not arrive"])
def test_killed_in_the_upload_of_a_study_it_is_there_once(
    program: Program, eyes: FundusServer, tmp_path: Path, has_arrived: bool
) -> None:
    eyes.next("upload", FundusFault(how="stall", is_kept=has_arrived))
    job_id = submit_eye(program, tmp_path)

    killed_when(program, lambda: eyes.calls["upload"] == 1 and len(eyes.studies) == has_arrived)

    job = ended(program, job_id)
    assert job["state"] == "done"
    assert (eyes.calls["upload"], len(eyes.studies)) == (1 if has_arrived else 2, 1)


@pytest.mark.soak
def test_killed_while_it_waits_for_a_result_it_asks_on(program: Program, eyes: FundusServer, tmp_path: Path) -> None:
    answer, eyes.answer = eyes.answer, None
    job_id = submit_eye(program, tmp_path)

    killed_when(program, lambda: eyes.calls["query"] >= 2)
    eyes.answer = answer

    assert ended(program, job_id)["state"] == "done"
    assert eyes.calls["upload"] == 1


def test_an_upload_cut_off_by_a_kill_leaves_nothing(program: Program, tmp_path: Path) -> None:
    with socket.create_connection(("127.0.0.1", program.port)) as client:
        head = (
            "POST /imaging/pathology/analyses HTTP/1.1\r\nHost: x\r\nContent-Length: 3000000\r\n"
            "Content-Type: multipart/form-data; boundary=b\r\n\r\n"
            '--b\r\nContent-Disposition: form-data; name="slide"; filename="a.svs"\r\n\r\n'
        )
        client.sendall(head.encode() + bytes(1_000_000))
        folder = tmp_path / "var" / "imaging"

        killed_when(program, lambda: any(path.stat().st_size for path in folder.rglob("*.svs")))

    assert not list(folder.iterdir())
    assert program.client.get("/imaging/jobs").json() == {"jobs": []}


@pytest.mark.soak
def test_stopped_by_sigterm_the_job_goes_on_after_the_start(
    program: Program, eyes: FundusServer, platform: PathologyServer, tmp_path: Path
) -> None:
    platform.statuses.clear()
    platform.statuses.append(3)
    job_id = submit_slide(program, write_slide(tmp_path / "a.tif"))
    program.until(lambda: platform.seen.calls["list"] >= 1)

    assert program.stop() == 0
    platform.statuses[0] = 4
    program.start()

    job = ended(program, job_id)
    assert job["state"] == "done", json.dumps(job, ensure_ascii=False)
    assert platform.seen.calls["create"] == 1
