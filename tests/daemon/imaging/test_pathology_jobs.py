"""Slides as jobs: a clerk uploads, walks away, and finds the result; what cannot be done is said before it is begun."""

import hashlib
import logging
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from tests.daemon.conftest import DaemonOn
from tests.daemon.harness import Daemon
from tests.daemon.imaging.clerk import Clerk
from tests.servers.cos import CosServer
from tests.servers.pathology import HALF_JSON, PASSWORD, RESET, UNAUTHORIZED, Fault, PathologyServer
from tests.waiting import until

STEPS = [
    "login_auth",
    "get_cos_credentials",
    "upload_wsi_to_cos",
    "create_wsi_file_record",
    "create_wsi_record",
    "get_ai_diagnosis_result",
]


@pytest.fixture
async def daemon(daemon_on: DaemonOn, pathology: dict[str, Any]) -> AsyncIterator[Daemon]:
    async with daemon_on(imaging=pathology) as running:
        yield running


async def test_a_slide_is_uploaded_analysed_and_its_diagnosis_found(
    daemon: Daemon, slide: Path, platform: PathologyServer, cos: CosServer
) -> None:
    platform.statuses.extendleft([3, 2, 1])
    clerk = Clerk.at(daemon)

    answer = await clerk.slide(slide)

    assert answer.status_code == 202, answer.text
    job_id = answer.json()["id"]
    assert answer.headers["Location"] == f"/imaging/jobs/{job_id}"
    seen = await clerk.watched(job_id)
    assert list(dict.fromkeys(state["step"] for state in seen)) == STEPS
    job = await clerk.job(job_id)
    assert (job["state"], job["error"], job["polls"]) == ("done", None, 3)
    assert job["result"]["modified_ai_diagnosis_result_map"]["value"] == platform.value
    digest = hashlib.md5(slide.read_bytes()).hexdigest()
    [(key, stored)] = cos.objects.items()
    day = job["created_at"][:10].replace("-", "")
    assert key == f"SLIDES/chunked_uploads/{day}/测试医院/{digest}/{slide.name}"
    assert stored.read_bytes() == slide.read_bytes()
    assert platform.seen.sent["create"] == [
        {"filename": slide.name, "total_md5": digest, "disease": 14, "source": 3696, "is_run": True}
    ]


async def test_what_was_received_is_stored_as_an_object(daemon: Daemon, slide: Path) -> None:
    clerk = Clerk.at(daemon)
    job_id = (await clerk.slide(slide)).json()["id"]
    await clerk.ended(job_id)

    await until_stored(clerk, job_id)

    [kept] = [path for path in (daemon.settings.objects.folder / "imaging").rglob("*") if path.is_file()]
    assert kept.read_bytes() == slide.read_bytes()
    again = await daemon.http.get(f"/imaging/jobs/{job_id}/files/1")
    assert again.content == slide.read_bytes()
    assert "attachment" in again.headers["Content-Disposition"]


async def until_stored(clerk: Clerk, job_id: str) -> None:
    states: list[str] = []

    def are_stored() -> bool:
        return states == ["stored"]

    while not are_stored():
        states = [file["state"] for file in (await clerk.job(job_id))["files"]]


async def test_a_slide_of_the_server_needs_no_upload_and_is_not_copied(
    daemon: Daemon, slide: Path, platform: PathologyServer
) -> None:
    folder = daemon.settings.imaging.pathology.slides_dir
    assert folder is not None
    shutil.copy(slide, folder / "a.tif")
    clerk = Clerk.at(daemon)

    answer = await daemon.http.post(
        "/imaging/pathology/analyses", json={"disease": 6, "path": "a.tif", "is_run": False}
    )

    assert answer.status_code == 202, answer.text
    job = await clerk.ended(answer.json()["id"])
    assert (job["state"], job["result"]["value"], job["result"]["slide_id"]) == ("done", None, "9000")
    assert platform.seen.sent["create"][0]["is_run"] is False
    assert (folder / "a.tif").read_bytes() == slide.read_bytes()
    assert not list(daemon.settings.imaging.folder.rglob("*.tif"))


async def test_a_slide_is_looked_at_in_tiles(daemon: Daemon, slide: Path) -> None:
    clerk = Clerk.at(daemon)
    job_id = (await clerk.slide(slide)).json()["id"]
    await clerk.ended(job_id)

    descriptor = await daemon.http.get(f"/imaging/jobs/{job_id}/slide.dzi")
    tile = await daemon.http.get(f"/imaging/jobs/{job_id}/slide_files/10/0_0.jpeg")
    outside = await daemon.http.get(f"/imaging/jobs/{job_id}/slide_files/10/9_9.jpeg")

    assert b'TileSize="254"' in descriptor.content
    assert tile.content[:3] == b"\xff\xd8\xff"
    assert (outside.status_code, outside.json()["detail"]["code"]) == (422, "IMAGING_INPUT_INVALID")


async def test_a_lost_login_is_mended_in_the_middle(daemon: Daemon, slide: Path, platform: PathologyServer) -> None:
    platform.next("callback", UNAUTHORIZED)
    clerk = Clerk.at(daemon)

    job = await clerk.ended((await clerk.slide(slide)).json()["id"])

    assert job["state"] == "done"
    assert platform.seen.calls["login"] == 2


@pytest.mark.parametrize("route", ["login", "credentials", "list"])
async def test_what_is_safe_to_repeat_is_tried_again(
    daemon: Daemon, slide: Path, platform: PathologyServer, route: str
) -> None:
    platform.next(route, RESET)
    clerk = Clerk.at(daemon)

    job = await clerk.ended((await clerk.slide(slide)).json()["id"])

    assert job["state"] == "done"


@pytest.mark.parametrize("route", ["callback", "create"])
async def test_a_record_that_may_have_been_made_is_not_made_twice(
    daemon: Daemon, slide: Path, platform: PathologyServer, route: str
) -> None:
    platform.next(route, Fault(how="reset", acts=True))
    clerk = Clerk.at(daemon)

    job = await clerk.ended((await clerk.slide(slide)).json()["id"])

    assert (job["state"], job["error"]["code"]) == ("failed", "OUTCOME_UNKNOWN")
    assert "核对" in job["message"]
    assert platform.seen.calls[route] == 1
    retried = await daemon.http.post(f"/imaging/jobs/{job['id']}/retry")
    assert retried.status_code == 200
    job = await clerk.ended(job["id"])
    assert (job["state"], platform.seen.calls[route]) == ("done", 2)


@pytest.mark.parametrize(("status", "told"), [(5, "AI 分析失败"), (0, "状态未知"), (77, "状态未知")])
async def test_an_analysis_that_failed_is_told_as_such(
    daemon: Daemon, slide: Path, platform: PathologyServer, status: int, told: str
) -> None:
    platform.statuses.clear()
    platform.statuses.append(status)
    clerk = Clerk.at(daemon)

    job = await clerk.ended((await clerk.slide(slide)).json()["id"])

    assert (job["state"], job["error"]["code"], job["error"]["vendor_code"]) == (
        "failed",
        "ANALYSIS_FAILED",
        str(status),
    )
    assert told in job["message"]


async def test_a_job_that_waits_can_be_cancelled_and_an_ended_one_cannot(
    daemon: Daemon, slide: Path, platform: PathologyServer
) -> None:
    platform.statuses.clear()
    platform.statuses.append(3)
    clerk = Clerk.at(daemon)
    job_id = (await clerk.slide(slide)).json()["id"]
    await clerk.watched(job_id, until=lambda state: state["polls"] > 1)

    cancelled = await daemon.http.post(f"/imaging/jobs/{job_id}/cancel")

    assert (cancelled.status_code, cancelled.json()["state"]) == (200, "cancelled")
    again = await daemon.http.post(f"/imaging/jobs/{job_id}/cancel")
    assert (again.status_code, again.json()["detail"]["code"]) == (409, "IMAGING_JOB_ENDED")
    retried = await daemon.http.post(f"/imaging/jobs/{job_id}/retry")
    assert (retried.status_code, retried.json()["detail"]["code"]) == (409, "IMAGING_JOB_NOT_FAILED")
    asked = platform.seen.calls["list"]
    assert (await clerk.job(job_id))["state"] == "cancelled"
    assert platform.seen.calls["list"] <= asked + 1


async def test_an_upload_cancelled_in_the_middle_stops(
    daemon: Daemon, tmp_path: Path, cos: CosServer, platform: PathologyServer
) -> None:
    from tests.slides import write_slide

    big = write_slide(tmp_path / "big.tif", side=4096, levels=1)
    assert big.stat().st_size > 2 * 2**20
    cos.holds_after = 1
    clerk = Clerk.at(daemon)
    job_id = (await clerk.slide(big)).json()["id"]
    await until(lambda: cos.actions["part"] > 1)

    cancelled = await daemon.http.post(f"/imaging/jobs/{job_id}/cancel")

    assert cancelled.json()["state"] == "cancelled"
    assert not cos.objects
    assert platform.seen.calls["callback"] == 0


async def test_the_same_request_sent_twice_is_one_job(daemon: Daemon, slide: Path, platform: PathologyServer) -> None:
    async def send(disease: str) -> Any:
        return await daemon.http.post(
            "/imaging/pathology/analyses",
            data={"disease": disease},
            files={"slide": (slide.name, slide.read_bytes(), "image/tiff")},
            headers={"Idempotency-Key": "one"},
        )

    first, second, other = await send("14"), await send("14"), await send("6")

    assert (first.status_code, second.status_code) == (202, 200)
    assert first.json()["id"] == second.json()["id"]
    assert (other.status_code, other.json()["detail"]["code"]) == (409, "IDEMPOTENCY_KEY_REUSED")
    listed = (await daemon.http.get("/imaging/jobs")).json()["jobs"]
    assert [job["id"] for job in listed] == [first.json()["id"]]
    assert len(list(daemon.settings.imaging.folder.iterdir())) == 1


BAD = {
    "empty": (b"", "14", 422, "IMAGING_INPUT_INVALID", "slide"),
    "no slide": (b"not a slide at all", "14", 422, "IMAGING_INPUT_INVALID", "slide"),
    "unknown disease": (None, "9", 422, "IMAGING_INPUT_INVALID", "disease"),
    "disease no number": (None, "stomach", 422, "VALIDATION_ERROR", "disease"),
}


@pytest.mark.parametrize("what", BAD)
async def test_bad_input_is_refused_before_anything_is_called(
    daemon: Daemon, slide: Path, tmp_path: Path, platform: PathologyServer, what: str
) -> None:
    content, disease, status, code, field = BAD[what]
    path = slide
    if content is not None:
        path = tmp_path / "bad.svs"
        path.write_bytes(content)

    answer = await Clerk.at(daemon).slide(path, disease=disease)

    detail = answer.json()["detail"]
    assert (answer.status_code, detail["code"]) == (status, code), answer.text
    assert field in str(detail.get("field") or detail.get("errors"))
    await nothing_is_left(daemon, platform)


async def nothing_is_left(daemon: Daemon, platform: PathologyServer) -> None:
    assert sum(platform.seen.calls.values()) == 0
    assert (await daemon.http.get("/imaging/jobs")).json() == {"jobs": []}
    assert not list(daemon.settings.imaging.folder.glob("*"))


async def test_a_slide_cut_off_is_refused(
    daemon: Daemon, slide: Path, tmp_path: Path, platform: PathologyServer
) -> None:
    cut = tmp_path / "cut.tif"
    cut.write_bytes(slide.read_bytes()[: slide.stat().st_size // 2])

    answer = await Clerk.at(daemon).slide(cut)

    assert (answer.status_code, answer.json()["detail"]["field"]) == (422, "slide")
    await nothing_is_left(daemon, platform)


@pytest.mark.parametrize("path", ["../secret.tif", "link.tif", "folder", "missing.tif", "a\0b.tif"])
async def test_a_path_outside_the_allowed_folder_is_forbidden(
    daemon: Daemon, slide: Path, platform: PathologyServer, path: str
) -> None:
    folder = daemon.settings.imaging.pathology.slides_dir
    assert folder is not None
    shutil.copy(slide, folder.parent / "secret.tif")
    (folder / "link.tif").symlink_to(folder.parent / "secret.tif")
    (folder / "folder").mkdir()

    answer = await daemon.http.post("/imaging/pathology/analyses", json={"disease": 14, "path": path})

    assert (answer.status_code, answer.json()["detail"]["code"]) == (403, "IMAGING_PATH_FORBIDDEN")
    await nothing_is_left(daemon, platform)


async def test_a_slide_too_large_is_refused_while_it_comes(
    daemon_on: DaemonOn, pathology: dict[str, Any], tmp_path: Path, platform: PathologyServer
) -> None:
    large = tmp_path / "large.svs"
    large.write_bytes(bytes(3 * 2**20))
    async with daemon_on(imaging={**pathology, "upload_max_mib": 2}) as daemon:
        answer = await Clerk.at(daemon).slide(large)

        assert (answer.status_code, answer.json()["detail"]["code"]) == (413, "BODY_TOO_LARGE")
        await nothing_is_left(daemon, platform)


async def test_a_full_folder_takes_no_more(
    daemon_on: DaemonOn, pathology: dict[str, Any], slide: Path, platform: PathologyServer
) -> None:
    async with daemon_on(imaging={**pathology, "folder_gib_max": 1e-6}) as daemon:
        answer = await Clerk.at(daemon).slide(slide)

        assert (answer.status_code, answer.json()["detail"]["code"]) == (503, "IMAGING_STORAGE_FULL")
        await nothing_is_left(daemon, platform)


async def test_nothing_configured_is_said_so(daemon_on: DaemonOn, slide: Path, tmp_path: Path) -> None:
    async with daemon_on(imaging={"folder": str(tmp_path / "imaging")}) as daemon:
        answer = await Clerk.at(daemon).slide(slide)

        assert (answer.status_code, answer.json()["detail"]["code"]) == (503, "IMAGING_NOT_CONFIGURED")
        assert "imaging.pathology" in answer.json()["detail"]["message"]


async def test_a_back_end_that_talks_nonsense_leaves_the_job_waiting_not_lost(
    daemon: Daemon, slide: Path, platform: PathologyServer
) -> None:
    platform.next("login", *[HALF_JSON] * 3)
    clerk = Clerk.at(daemon)
    job_id = (await clerk.slide(slide)).json()["id"]

    [*_, waiting] = await clerk.watched(job_id, until=lambda state: state["attempts"] == 1)

    assert "不是有效的 JSON" in waiting["message"]
    assert (await clerk.ended(job_id))["state"] == "done"


async def test_secrets_are_in_no_answer_log_or_file(
    daemon: Daemon, slide: Path, platform: PathologyServer, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    caplog.set_level(logging.DEBUG)
    platform.next("create", Fault(status=500, body=PASSWORD.encode()))
    clerk = Clerk.at(daemon)
    job_id = (await clerk.slide(slide)).json()["id"]
    job = await clerk.ended(job_id)
    metrics = (await daemon.http.get("/metrics")).text

    assert job["state"] == "failed"
    texts = [caplog.text, metrics, str(job), (await daemon.http.get("/ready")).text]
    found = [path for path in tmp_path.rglob("*") if path.is_file() and not path.is_relative_to(tmp_path / "cos")]
    for secret in platform.secrets:
        assert not [line for text in texts for line in text.splitlines() if secret in line]
        assert not [path for path in found if secret.encode() in path.read_bytes()]


async def test_every_access_leaves_a_row(daemon: Daemon, slide: Path) -> None:
    clerk = Clerk.at(daemon)
    job_id = (await clerk.slide(slide)).json()["id"]
    await clerk.ended(job_id)
    await daemon.http.get(f"/imaging/jobs/{job_id}/files/1")
    await daemon.http.post(f"/imaging/jobs/{job_id}/cancel")

    rows = (await daemon.http.get(f"/imaging/jobs/{job_id}/accesses")).json()["accesses"]

    assert [(row["action"], row["outcome"]) for row in rows] == [
        ("create", "ok"),
        ("watch", "ok"),
        ("read", "ok"),
        ("file", "ok"),
        ("cancel", "ImagingJobEnded"),
        ("audit", "ok"),
    ]
    assert {(row["caller"], row["address"]) for row in rows} == {("-", "127.0.0.1")}


async def test_only_keys_that_may_have_to_do_with_imaging(
    daemon_on: DaemonOn, pathology: dict[str, Any], slide: Path, tmp_path: Path
) -> None:
    keys = tmp_path / "keys.toml"
    roles = {"his": "his-key-0123456789abc", "nurse": "nurse-key-0123456789abc", "admin": "admin-key-0123456789abc"}
    tables = "".join(f'[[keys]]\nname = "{role}"\nrole = "{role}"\nkey = "{key}"\n' for role, key in roles.items())
    keys.write_text(tables, encoding="utf-8")
    keys.chmod(0o600)
    async with daemon_on(imaging=pathology, auth={"keys_file": str(keys)}) as daemon:

        async def status(role: str, path: str) -> int:
            return (await daemon.http.get(path, headers={"X-API-Key": roles[role]})).status_code

        daemon.http.headers["X-API-Key"] = roles["his"]
        job_id = (await Clerk.at(daemon).slide(slide)).json()["id"]
        del daemon.http.headers["X-API-Key"]

        assert [await status(role, f"/imaging/jobs/{job_id}") for role in roles] == [200, 403, 200]
        assert [await status(role, f"/imaging/jobs/{job_id}/accesses") for role in roles] == [403, 403, 200]
        assert (await daemon.http.get(f"/imaging/jobs/{job_id}")).status_code == 401
        assert (await Clerk.at(daemon).slide(slide)).status_code == 401


@pytest.mark.parametrize(
    ("job_id", "code"), [("00000000-0000-4000-8000-000000000000", 4404), ("one", 4422)], ids=["unknown", "no id"]
)
async def test_a_socket_for_a_job_that_is_none_is_refused(daemon: Daemon, job_id: str, code: int) -> None:
    async with connect(f"ws://{daemon.address}/imaging/jobs/{job_id}/events") as socket:
        with pytest.raises(ConnectionClosed) as closed:
            await socket.recv()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == code
