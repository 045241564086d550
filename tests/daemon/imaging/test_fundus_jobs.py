"""Fundus pictures as jobs: sent once, asked for until done, reported and drawn over."""

import hashlib
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tests.daemon.conftest import DaemonOn
from tests.daemon.harness import Daemon
from tests.daemon.imaging.clerk import Clerk
from tests.servers.fundus import PROCESSING, STALL, TOKEN, Fault, FundusServer
from tests.servers.fundus_answers import ultra_wide_answer


@pytest.fixture
async def daemon(daemon_on: DaemonOn, fundus: dict[str, Any]) -> AsyncIterator[Daemon]:
    async with daemon_on(imaging=fundus) as running:
        yield running


async def test_both_eyes_are_sent_polled_reported_and_drawn_over(
    daemon: Daemon, left_eye: Path, right_eye: Path, eyes: FundusServer
) -> None:
    eyes.next("query", *[PROCESSING] * 3)
    clerk = Clerk.at(daemon)

    answer = await clerk.study(left_eye, right_eye, patient_id="p001", patient_birthday="1980-01-01")

    assert answer.status_code == 202, answer.text
    job = await clerk.ended(answer.json()["id"])
    assert (job["state"], job["polls"]) == ("done", 3)
    [(study_id, kept)] = eyes.studies.items()
    assert study_id == job["result"]["study_id"]
    assert [(sent.eye, sent.sha256) for sent in kept.images] == [
        ("1", hashlib.sha256(left_eye.read_bytes()).hexdigest()),
        ("2", hashlib.sha256(right_eye.read_bytes()).hexdigest()),
    ]
    assert kept.fields["patientId"] == "p001"
    assert job["result"]["signs"]["left"]["refractiveMediaOpacity"] == 1
    assert [note for note in job["result"]["notes"] if "2000" in note]
    report = await daemon.http.get(f"/imaging/jobs/{job['id']}/report.md")
    assert "| 黄斑裂孔 | ⚠️ **阳性** | ✅ 阴性 |" in report.text
    assert report.headers["Content-Type"] == "text/markdown; charset=utf-8"
    raw = (await daemon.http.get(f"/imaging/jobs/{job['id']}/answer.json")).json()
    assert raw["data"]["ultraWideResult"]["status"] == 200


async def test_marks_are_drawn_where_they_are_and_only_over_their_eye(
    daemon: Daemon, left_eye: Path, right_eye: Path
) -> None:
    clerk = Clerk.at(daemon)
    job = await clerk.ended((await clerk.study(left_eye, right_eye)).json()["id"])

    drawn = await daemon.http.get(f"/imaging/jobs/{job['id']}/overlays/1")
    none = await daemon.http.get(f"/imaging/jobs/{job['id']}/overlays/2")

    assert job["result"]["overlays"] == [1]
    assert (none.status_code, none.json()["detail"]["code"]) == (404, "IMAGING_FILE_NOT_FOUND")
    before = cv2.imread(str(left_eye)).astype(int)
    after = cv2.imdecode(np.frombuffer(drawn.content, np.uint8), cv2.IMREAD_COLOR).astype(int)
    changed = np.abs(after[:100] - before).max(axis=2) > 40
    assert changed[40, 40]
    assert changed[10:31, 70:72].any()
    assert not changed[75:, :].any()


async def test_an_upload_that_broke_off_but_arrived_is_not_sent_again(
    daemon: Daemon, left_eye: Path, eyes: FundusServer
) -> None:
    eyes.next("upload", Fault(how="reset", is_kept=True))
    clerk = Clerk.at(daemon)

    job = await clerk.ended((await clerk.study(left_eye)).json()["id"])

    assert job["state"] == "done"
    assert (eyes.calls["upload"], len(eyes.studies)) == (1, 1)


async def test_an_upload_that_broke_off_and_did_not_arrive_is_sent_again(
    daemon: Daemon, left_eye: Path, eyes: FundusServer
) -> None:
    eyes.next("upload", Fault(how="reset"))
    clerk = Clerk.at(daemon)

    job = await clerk.ended((await clerk.study(left_eye)).json()["id"])

    assert job["state"] == "done"
    assert (eyes.calls["upload"], len(eyes.studies)) == (2, 1)


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (1, "VENDOR_REFUSED"),
        (90001, "VENDOR_UNAUTHORIZED"),
        (90002, "VENDOR_UNAUTHORIZED"),
        (90003, "VENDOR_REFUSED"),
        (12345, "VENDOR_REFUSED"),
    ],
)
async def test_a_code_of_theirs_ends_the_job_with_its_meaning(
    daemon: Daemon, left_eye: Path, eyes: FundusServer, code: int, error: str
) -> None:
    eyes.next("query", Fault(code=code, message="said by them"))
    clerk = Clerk.at(daemon)

    job = await clerk.ended((await clerk.study(left_eye)).json()["id"])

    assert (job["state"], job["error"]["code"], job["error"]["vendor_code"]) == ("failed", error, str(code))


@pytest.mark.parametrize(("status", "told"), [(-2, "处理失败"), (-3, "屈光介质混浊"), (-4, "图像不可用")])
async def test_a_picture_that_cannot_be_judged_fails_with_why(
    daemon: Daemon, left_eye: Path, eyes: FundusServer, status: int, told: str
) -> None:
    eyes.answer = ultra_wide_answer(status=status)
    clerk = Clerk.at(daemon)

    job = await clerk.ended((await clerk.study(left_eye)).json()["id"])

    assert (job["error"]["code"], job["error"]["vendor_code"]) == ("ANALYSIS_FAILED", str(status))
    assert told in job["message"]
    report = await daemon.http.get(f"/imaging/jobs/{job['id']}/report.md")
    assert (report.status_code, report.json()["detail"]["code"]) == (409, "IMAGING_RESULT_NOT_READY")


async def test_no_result_after_all_polls_is_said_and_a_retry_asks_on(
    daemon_on: DaemonOn, fundus: dict[str, Any], left_eye: Path, eyes: FundusServer
) -> None:
    answer, eyes.answer = eyes.answer, None
    fundus["fundus"] |= {"polls_max": 3}
    async with daemon_on(imaging=fundus) as daemon:
        clerk = Clerk.at(daemon)
        job = await clerk.ended((await clerk.study(left_eye)).json()["id"])
        assert (job["error"]["code"], eyes.calls["query"]) == ("ANALYSIS_TIMED_OUT", 3)
        eyes.answer = answer

        await daemon.http.post(f"/imaging/jobs/{job['id']}/retry")

        assert (await clerk.ended(job["id"]))["state"] == "done"
        assert eyes.calls["upload"] == 1


async def test_a_back_end_that_stalls_holds_up_no_other_job(
    daemon: Daemon, left_eye: Path, right_eye: Path, eyes: FundusServer
) -> None:
    eyes.next("query", STALL)
    clerk = Clerk.at(daemon)
    first = (await clerk.study(left_eye)).json()["id"]
    second = (await clerk.study(right_eye)).json()["id"]

    assert (await clerk.ended(second))["state"] == "done"
    assert (await clerk.ended(first))["state"] == "done"


BAD = {
    "text": ("a_OD.jpg", b"hello", {}, 422, "images"),
    "empty": ("a_OD.jpg", b"", {}, 422, "images"),
    "eyes do not match": (None, b"", {"eyes": ["left", "right"]}, 422, "eyes"),
    "45 degrees is not configured": (None, b"", {"ai_type": "0"}, 503, ""),
    "an analysis that is none": (None, b"", {"ai_type": "7"}, 422, "ai_type"),
    "an unknown field": (None, b"", {"colour": "red"}, 422, "colour"),
    "a birthday that is none": (None, b"", {"patient_birthday": "1980-13-01"}, 422, "patient_birthday"),
}


@pytest.mark.parametrize("what", BAD)
async def test_bad_input_is_refused_and_nothing_is_sent_or_left(
    daemon: Daemon, left_eye: Path, tmp_path: Path, eyes: FundusServer, what: str
) -> None:
    name, content, fields, status, field = BAD[what]
    path = left_eye
    if name is not None:
        path = tmp_path / name
        path.write_bytes(content)

    answer = await Clerk.at(daemon).study(path, **fields)

    detail = answer.json()["detail"]
    assert answer.status_code == status, answer.text
    assert field in str(detail.get("field") or detail.get("errors") or "")
    assert sum(eyes.calls.values()) == 0
    assert not list(daemon.settings.imaging.folder.glob("*"))
    assert (await daemon.http.get("/imaging/jobs")).json() == {"jobs": []}


async def test_too_many_pictures_are_refused(daemon: Daemon, left_eye: Path, eyes: FundusServer) -> None:
    answer = await Clerk.at(daemon).study(*[left_eye] * 21)

    assert (answer.status_code, answer.json()["detail"]["code"]) == (413, "IMAGING_INPUT_TOO_LARGE")
    assert not list(daemon.settings.imaging.folder.glob("*"))


async def test_the_token_is_in_no_answer_log_or_file(
    daemon: Daemon, left_eye: Path, eyes: FundusServer, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    caplog.set_level(logging.DEBUG)
    eyes.next("query", Fault(code=4711, message=f"echo {TOKEN}"))
    clerk = Clerk.at(daemon)
    job = await clerk.ended((await clerk.study(left_eye)).json()["id"])

    assert job["state"] == "failed"
    texts = [caplog.text, str(job), (await daemon.http.get("/metrics")).text]
    assert not [line for text in texts for line in text.splitlines() if TOKEN in line]
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not [path for path in files if TOKEN.encode() in path.read_bytes()]
