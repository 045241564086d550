"""OCT images as jobs: queued only if they can run, analysed on a real server, told to a webhook once and in order."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import cv2
import numpy as np
import pytest

from daemon.log import QUIET
from tests import oct as scans
from tests.daemon.conftest import DaemonOn
from tests.daemon.imaging.retina import SECRET, Clinic, fill, from_azure, from_gcs, settings, slice_of, told
from tests.servers import azurite, s3
from tests.servers.azurite import AzuriteServer
from tests.servers.gcs import GcsServer
from tests.servers.kserve import GrpcServer, Rack
from tests.servers.s3 import S3Server
from tests.servers.webhooks import HALF, STALL, Fault, WebhookServer
from tests.waiting import DEADLINE_S


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    return {
        "oct": scans.model(folder / "oct.onnx"),
        "layers": scans.model(folder / "layers.onnx", gives=("scores", "maps"), height=31, width=47),
    }


@pytest.fixture
def triton(models: dict[str, Path]) -> Iterator[GrpcServer]:
    with GrpcServer(Rack(models)) as server:
        yield server


@pytest.fixture
def receiver() -> Iterator[WebhookServer]:
    with WebhookServer(SECRET) as server:
        yield server


@pytest.fixture(scope="module")
def gcs() -> Iterator[GcsServer]:
    with GcsServer() as server:
        yield server


@pytest.fixture
def bucket(gcs: GcsServer) -> str:
    name = f"oct-{uuid4().hex}"
    gcs.make(name)
    return name


@pytest.fixture
async def clinic(
    daemon_on: DaemonOn, tmp_path: Path, triton: GrpcServer, receiver: WebhookServer, gcs: GcsServer, bucket: str
) -> AsyncIterator[Clinic]:
    imaging = settings(
        tmp_path,
        triton,
        receiver,
        gcs_endpoint=gcs.endpoint,
        input_bucket=bucket,
        output_bucket=bucket,
        image_max_mib=1,
    )
    async with daemon_on(imaging=imaging) as daemon:
        yield Clinic(daemon, triton, receiver)


# --- what arrives ---


async def test_an_uploaded_image_is_analysed_and_its_result_arrives_signed(clinic: Clinic, tmp_path: Path) -> None:
    answer = await clinic.invoked(slice_of(tmp_path, "b-scan.png"), Examination_ID="E-17")

    assert answer == {
        "filename": "b-scan.png",
        "status": "sent",
        "result_path": None,
        "request_uuid": answer["request_uuid"],
    }
    [delivery] = await asyncio.to_thread(clinic.receiver.wait, 1)
    [body] = told([delivery])
    assert (body["request_uuid"], body["examination_id"]) == (answer["request_uuid"], "E-17")
    assert (body["filename"], body["status"], body["error"]) == ("b-scan.png", "success", None)
    [finding, other] = body["result"]["findings"]
    assert finding == {
        "label": "bright",
        "probability": pytest.approx(200 / 255, abs=0.01),
        "slice_idx": 0,
        "zone": "full",
    }
    assert other["label"] == "dark"
    job = await clinic.clerk.ended(answer["request_uuid"])
    assert (job["state"], job["kind"], job["result"]["zones"]) == ("done", "retina", body["result"]["zones"])
    await until_delivered(clinic, answer["request_uuid"])
    [row] = await clinic.deliveries(answer["request_uuid"])
    assert (row["state"], row["attempts"], row["id"]) == ("delivered", 1, delivery.headers["x-orwatch-delivery"])


async def test_a_folder_of_20_gives_lists_in_order_and_its_results_arrive_in_that_order(
    clinic: Clinic, gcs: GcsServer, bucket: str, tmp_path: Path
) -> None:
    names = fill(gcs, bucket, tmp_path, 20)

    answer = await clinic.from_bucket("exams/17/", Examination_ID="E-17", Write_To_GCS="true")

    assert answer.status_code == 200, answer.text
    sent = answer.json()
    assert sent["filename"] == names
    assert sent["result_path"] == [f"results/{job_id}/result.json" for job_id in sent["request_uuid"]]
    deliveries = await asyncio.to_thread(clinic.receiver.wait, 20)
    bodies = told(deliveries)
    assert [body["request_uuid"] for body in bodies] == sent["request_uuid"]
    assert [body["filename"] for body in bodies] == names
    assert [body["result_path"] for body in bodies] == sent["result_path"]
    bright = [next(f["probability"] for f in b["result"]["findings"] if f["label"] == "dark") for b in bodies]
    assert bright == sorted(bright, reverse=True)
    for job_id, path, body in zip(sent["request_uuid"], sent["result_path"], bodies, strict=True):
        stored = json.loads(from_gcs(gcs, bucket, path))
        assert (stored["request_uuid"], stored["status"]) == (job_id, "success")
        assert stored["result"]["findings"] == body["result"]["findings"]
    assert not list(tmp_path.glob("imaging/*/fetched"))


async def test_a_volume_is_judged_slice_by_slice_and_its_masks_lie_beside_the_result(
    daemon_on: DaemonOn, tmp_path: Path, triton: GrpcServer, receiver: WebhookServer, gcs: GcsServer, bucket: str
) -> None:
    frames = np.stack([np.full((31, 47), value, np.uint8) for value in (20, 220, 20)])
    path = scans.volume(tmp_path / "oct.dcm", frames)
    gcs.put(bucket, "volume/oct.dcm", path.read_bytes(), "application/dicom")
    imaging = settings(
        tmp_path, triton, receiver,
        model_name="layers", gcs_endpoint=gcs.endpoint, input_bucket=bucket, output_bucket=bucket,
    )  # fmt: skip
    async with daemon_on(imaging=imaging) as daemon:
        clinic = Clinic(daemon, triton, receiver)
        answer = await clinic.from_bucket("volume/oct.dcm", Write_To_GCS="true")
        assert answer.status_code == 200, answer.text
        [body] = told(await asyncio.to_thread(receiver.wait, 1))
        job_id = answer.json()["request_uuid"]
        mask = await daemon.http.get(f"/imaging/jobs/{job_id}/masks/2")

    result = body["result"]
    assert (result["slices"], result["pixel_spacing"]) == (3, {"row": 0.004, "column": 0.012})
    assert [zone["slice_idx"] for zone in result["zones"]] == [0, 1, 2]
    assert result["zones"][1]["areas"]["bright"]["pixels"] == 31 * 47
    assert result["zones"][1]["areas"]["bright"]["mm2"] == pytest.approx(31 * 47 * 0.004 * 0.012)
    assert [zone["mask"] for zone in result["zones"]] == ["mask_0001.png", "mask_0002.png", "mask_0003.png"]
    stored = from_gcs(gcs, bucket, f"results/{job_id}/mask_0002.png")
    assert mask.content == stored
    pixels = cv2.imdecode(np.frombuffer(stored, np.uint8), cv2.IMREAD_UNCHANGED)
    assert pixels.shape == (31, 47)
    assert (pixels == scans.LABELS.index("bright") + 1).all()


@pytest.mark.skipif(bool(azurite.why_unavailable()), reason=azurite.why_unavailable() or "available")
async def test_the_azure_route_reads_and_writes_azure_blob(
    daemon_on: DaemonOn, tmp_path: Path, triton: GrpcServer, receiver: WebhookServer
) -> None:
    with AzuriteServer(tmp_path / "azurite") as server:
        for name in ("in", "out"):
            server.make(f"oct-{name}")
        server.put("oct-in", "张三/b-scan.png", slice_of(tmp_path, "a.png").read_bytes(), "image/png")
        imaging = settings(
            tmp_path, triton, receiver,
            azure_connection_string=server.connection_string(),
            azure_input_bucket="oct-in", azure_output_bucket="oct-out",
        )  # fmt: skip
        async with daemon_on(imaging=imaging) as daemon:
            clinic = Clinic(daemon, triton, receiver)
            answer = await clinic.from_bucket(
                "%E5%BC%A0%E4%B8%89/b-scan.png", route="/bucket_invocations_azure_uae", Write_To_GCS="true"
            )
            assert answer.status_code == 200, answer.text
            [body] = told(await asyncio.to_thread(receiver.wait, 1))
        assert body["result_path"] == answer.json()["result_path"]
        assert json.loads(from_azure(server, "oct-out", body["result_path"]))["filename"] == "b-scan.png"


async def test_with_s3_in_the_place_of_gcs(
    daemon_on: DaemonOn, tmp_path: Path, triton: GrpcServer, receiver: WebhookServer
) -> None:
    with S3Server(tmp_path / "s3") as server:
        scan = server.root / s3.BUCKET / "exams"
        scan.mkdir()
        slice_of(scan, "a.png")
        imaging = settings(
            tmp_path, triton, receiver,
            bucket_store="s3", s3_endpoint=server.endpoint, s3_access_key=s3.ACCESS_KEY, s3_secret_key=s3.SECRET_KEY,
            s3_secure=False, input_bucket=s3.BUCKET, output_bucket=s3.BUCKET,
        )  # fmt: skip
        async with daemon_on(imaging=imaging) as daemon:
            clinic = Clinic(daemon, triton, receiver)
            answer = await clinic.from_bucket("exams/a.png", Write_To_GCS="true")
            assert answer.status_code == 200, answer.text
            [body] = told(await asyncio.to_thread(receiver.wait, 1))
        assert json.loads((server.root / s3.BUCKET / body["result_path"]).read_text())["status"] == "success"


async def test_a_local_model_in_the_place_of_a_server(
    daemon_on: DaemonOn, tmp_path: Path, triton: GrpcServer, receiver: WebhookServer, models: dict[str, Path]
) -> None:
    imaging = settings(tmp_path, triton, receiver)
    for name in ("server_url", "model_name"):
        del imaging["retina"][name]
    imaging["retina"]["model_path"] = str(models["oct"])
    async with daemon_on(imaging=imaging) as daemon:
        clinic = Clinic(daemon, triton, receiver)
        await clinic.invoked(slice_of(tmp_path, "a.jpg", 50), Inference_Parameters='{"low_confidence_p": 0.5}')
        [body] = told(await asyncio.to_thread(receiver.wait, 1))

    assert [finding["label"] for finding in body["result"]["findings"]] == ["dark"]
    assert triton.rack.requests == 0


async def test_the_routes_stand_under_imaging_retina_too(clinic: Clinic, tmp_path: Path) -> None:
    path = slice_of(tmp_path, "a.png")
    answer = await clinic.daemon.http.post(
        "/imaging/retina/invocations", headers=clinic.headers(), files={"image": (path.name, path.read_bytes())}
    )

    assert answer.status_code == 200, answer.text
    assert (await clinic.daemon.http.get("/imaging/retina/ping")).status_code == 200


async def test_an_object_that_is_no_image_after_all_is_told_by_its_name(
    clinic: Clinic, gcs: GcsServer, bucket: str
) -> None:
    gcs.put(bucket, "exams/broken.png", b"not a picture", "image/png")

    answer = await clinic.from_bucket("exams/broken.png")

    assert answer.status_code == 200, answer.text
    [body] = told(await asyncio.to_thread(clinic.receiver.wait, 1))
    assert (body["status"], body["error"]["code"]) == ("error", "INPUT_INVALID")
    assert "image：broken.png 既不是" in body["error"]["message"]


# --- the webhook ---


async def test_what_fails_is_told_as_a_failure(clinic: Clinic, tmp_path: Path) -> None:
    clinic.triton.rack.fault = "nan"
    answer = await clinic.invoked(slice_of(tmp_path, "a.png"))

    [body] = told(await asyncio.to_thread(clinic.receiver.wait, 1))
    assert (body["status"], body["result"], body["error"]["code"]) == ("error", None, "ANALYSIS_FAILED")
    assert "推理" in body["error"]["message"]
    job = await clinic.clerk.job(answer["request_uuid"])
    assert job["state"] == "failed"

    # A person lets it be tried again: what comes of that is told, too.
    clinic.triton.rack.fault = ""
    assert (await clinic.daemon.http.post(f"/imaging/jobs/{job['id']}/retry")).status_code == 200
    first, second = await asyncio.to_thread(clinic.receiver.wait, 2)
    assert told([first, second])[1]["status"] == "success"
    assert first.headers["x-orwatch-delivery"] != second.headers["x-orwatch-delivery"]


@pytest.mark.parametrize("status", [503, 404])
async def test_a_receiver_that_fails_is_told_again_until_it_says_yes(
    clinic: Clinic, tmp_path: Path, status: int
) -> None:
    clinic.receiver.next(Fault(status=status))
    await told_again(clinic, tmp_path)


async def test_a_receiver_that_stalls_is_told_again_until_it_says_yes(
    daemon_on: DaemonOn, tmp_path: Path, triton: GrpcServer, receiver: WebhookServer
) -> None:
    receiver.next(STALL)
    async with daemon_on(imaging=settings(tmp_path, triton, receiver, webhook_timeout_s=3.0)) as daemon:
        await told_again(Clinic(daemon, triton, receiver), tmp_path)


async def told_again(clinic: Clinic, tmp_path: Path) -> None:
    answer = await clinic.invoked(slice_of(tmp_path, "a.png"))

    first, second = await asyncio.to_thread(clinic.receiver.wait, 2)
    assert first.body == second.body
    assert first.headers["x-orwatch-delivery"] == second.headers["x-orwatch-delivery"]
    assert (first.headers["x-orwatch-attempt"], second.headers["x-orwatch-attempt"]) == ("1", "2")
    told([first, second])
    await until_delivered(clinic, answer["request_uuid"])
    assert len(clinic.receiver.deliveries) == 2


async def test_a_yes_whose_body_breaks_off_is_a_yes(clinic: Clinic, tmp_path: Path) -> None:
    clinic.receiver.next(HALF)
    answer = await clinic.invoked(slice_of(tmp_path, "a.png"))

    await until_delivered(clinic, answer["request_uuid"])
    assert len(clinic.receiver.deliveries) == 1


async def test_results_of_an_examination_keep_their_order_when_the_first_is_not_taken(
    clinic: Clinic, tmp_path: Path
) -> None:
    clinic.receiver.refuse(b"E-1")
    first = await clinic.invoked(slice_of(tmp_path, "1.png"), Examination_ID="E-1")
    await asyncio.to_thread(clinic.receiver.wait, 1)
    second = await clinic.invoked(slice_of(tmp_path, "2.png"), Examination_ID="E-1")
    other = await clinic.invoked(slice_of(tmp_path, "3.png"), Examination_ID="E-2")

    # The other examination does not wait.
    await until_delivered(clinic, other["request_uuid"])
    clinic.receiver.refuse(None)
    await until_delivered(clinic, second["request_uuid"])

    came = [body["request_uuid"] for body in told(clinic.receiver.deliveries)]
    assert came.count(first["request_uuid"]) >= 2
    assert [each for each in came if each != first["request_uuid"]] == [other["request_uuid"], second["request_uuid"]]
    assert came[-2:] == [first["request_uuid"], second["request_uuid"]]


async def test_a_later_result_of_an_examination_waits_for_an_earlier_one_that_is_not_there_yet(
    clinic: Clinic, tmp_path: Path
) -> None:
    clinic.triton.rack.fault = "busy"
    first = await clinic.invoked(slice_of(tmp_path, "1.png"), Examination_ID="E-1")
    await asyncio.to_thread(clinic.triton.rack.arrived.wait, DEADLINE_S)
    clinic.triton.rack.fault = ""
    second = await clinic.invoked(slice_of(tmp_path, "2.png"), Examination_ID="E-1")
    await clinic.clerk.ended(second["request_uuid"])

    bodies = told(await asyncio.to_thread(clinic.receiver.wait, 2))

    assert [body["request_uuid"] for body in bodies] == [first["request_uuid"], second["request_uuid"]]


async def test_a_cancelled_job_is_told_as_cancelled(clinic: Clinic, tmp_path: Path) -> None:
    clinic.triton.rack.fault = "stall"
    answer = await clinic.invoked(slice_of(tmp_path, "a.png"))
    await asyncio.to_thread(clinic.triton.rack.arrived.wait, DEADLINE_S)

    assert (await clinic.daemon.http.post(f"/imaging/jobs/{answer['request_uuid']}/cancel")).status_code == 200

    [body] = told(await asyncio.to_thread(clinic.receiver.wait, 1))
    assert (body["status"], body["error"]["code"]) == ("error", "CANCELLED")


async def test_what_a_webhook_url_holds_is_in_no_answer_and_no_log(
    clinic: Clinic, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    clinic.receiver.next(Fault(status=500))
    secret = "token-of-the-receiver"
    path = slice_of(tmp_path, "a.png")
    answer = await clinic.daemon.http.post(
        "/invocations",
        headers={"Webhook-Url": f"{clinic.receiver.url}?key={secret}"},
        files={"image": (path.name, path.read_bytes())},
    )
    job_id = answer.json()["request_uuid"]
    [first, _] = await asyncio.to_thread(clinic.receiver.wait, 2)

    assert first.path.endswith(f"?key={secret}")
    shown = [answer.text, (await clinic.daemon.http.get(f"/imaging/jobs/{job_id}")).text]
    shown += [
        (await clinic.daemon.http.get(path)).text
        for path in ("/metrics", "/ready", f"/imaging/jobs/{job_id}/deliveries")
    ]
    # These the daemon silences: httpx tells the whole URL of every call.
    ours = [record.getMessage() for record in caplog.records if record.name.split(".")[0] not in QUIET]
    assert [each for each in (*shown, *ours) if secret in each or SECRET in each] == []
    assert clinic.receiver.host in shown[-1]


async def test_no_attempt_follows_a_url_that_is_no_longer_allowed(
    daemon_on: DaemonOn, tmp_path: Path, triton: GrpcServer, receiver: WebhookServer
) -> None:
    receiver.next(*[Fault(status=500)] * 50)
    async with daemon_on(imaging=settings(tmp_path, triton, receiver)) as daemon:
        clinic = Clinic(daemon, triton, receiver)
        job_id = (await clinic.invoked(slice_of(tmp_path, "a.png")))["request_uuid"]
        await asyncio.to_thread(receiver.wait, 1)
    before = len(receiver.deliveries)
    elsewhere = settings(tmp_path, triton, receiver, webhook_hosts=["his.example"])
    async with daemon_on(imaging=elsewhere) as daemon:
        clinic = Clinic(daemon, triton, receiver)
        async with asyncio.timeout(DEADLINE_S):
            while "不允许" not in (await clinic.deliveries(job_id))[0]["error"]:
                pass

    assert len(receiver.deliveries) == before


# --- what is refused ---


BOMB = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x27\x11\x00\x00\x27\x11\x08\x00\x00\x00\x00"


@pytest.mark.parametrize(
    ("content", "headers", "status", "code", "named"),
    [
        (None, {"Webhook-Url": ""}, 400, "IMAGING_REQUEST_INVALID", "Webhook-Url"),
        (b"GIF89a...", {}, 400, "IMAGING_REQUEST_INVALID", "image"),
        (b"", {}, 422, "IMAGING_INPUT_INVALID", "image"),
        (b"\x89PNG\r\n\x1a\nbroken", {}, 422, "IMAGING_INPUT_INVALID", "image"),
        (BOMB, {}, 413, "IMAGING_INPUT_TOO_LARGE", "image"),
        (bytes(1_200_000), {}, 413, "IMAGING_INPUT_TOO_LARGE", "image"),
        (None, {"Webhook-Url": "https://elsewhere.example/"}, 403, "IMAGING_PATH_FORBIDDEN", "Webhook-Url"),
        (None, {"Webhook-Url": "ftp://localhost/"}, 422, "IMAGING_INPUT_INVALID", "Webhook-Url"),
        (None, {"Inference-Parameters": "{"}, 422, "IMAGING_INPUT_INVALID", "Inference-Parameters"),
        (
            None,
            {"Inference-Parameters": '{"mm_crop_zone": -6}'},
            422,
            "IMAGING_INPUT_INVALID",
            "Inference-Parameters.mm_crop_zone",
        ),
        (
            None,
            {"Inference-Parameters": '{"mm_crop_zone": 6}'},
            422,
            "IMAGING_INPUT_INVALID",
            "Inference-Parameters.mm_crop_zone",
        ),
        (None, {"Examination-ID": "x" * 101}, 422, "IMAGING_INPUT_INVALID", "Examination-ID"),
    ],
    ids=[
        "no webhook", "a GIF", "nothing", "broken", "bomb", "too large", "another host", "another scheme",
        "no JSON", "out of range", "no spacing", "long id",
    ],
)  # fmt: skip
async def test_what_cannot_run_is_refused_and_nothing_is_left(
    clinic: Clinic, tmp_path: Path, content: bytes | None, headers: dict[str, str], status: int, code: str, named: str
) -> None:
    content = slice_of(tmp_path, "ok.png").read_bytes() if content is None else content
    sent = {name: value for name, value in clinic.headers(headers).items() if value}

    answer = await clinic.daemon.http.post("/invocations", headers=sent, files={"image": ("a.png", content)})

    assert answer.status_code == status, answer.text
    body = answer.json()
    assert (body["status"], body["message"]) == ("error", body["detail"]["message"])
    assert (body["detail"]["code"], body["detail"]["field"]) == (code, named)
    if named == "image":
        assert body["detail"]["value"] == "a.png"
        assert body["message"].startswith(("image：a.png ", "文件 a.png "))
    assert await clinic.jobs() == []
    assert not list(tmp_path.glob("imaging/*"))
    assert clinic.receiver.deliveries == []


@pytest.mark.parametrize(
    ("location", "headers", "status", "code", "named"),
    [
        ("", {}, 422, "IMAGING_INPUT_INVALID", "Input-Location"),
        ("../secret.png", {}, 422, "IMAGING_INPUT_INVALID", "Input-Location"),
        ("missing.png", {}, 404, "IMAGING_INPUT_NOT_FOUND", "Input-Location"),
        ("missing/", {}, 404, "IMAGING_INPUT_NOT_FOUND", "Input-Location"),
        ("exams/17/notes.txt", {}, 400, "IMAGING_REQUEST_INVALID", "Input-Location"),
        ("exams/17/", {"Input-Bucket-Name": "another"}, 403, "IMAGING_PATH_FORBIDDEN", "Input-Bucket-Name"),
        (
            "exams/17/",
            {"Output-Bucket-Name": "another", "Write-To-GCS": "true"},
            403,
            "IMAGING_PATH_FORBIDDEN",
            "Output-Bucket-Name",
        ),
    ],
    ids=["none", "outside", "no object", "no folder", "a text", "another bucket", "another output"],
)
async def test_what_is_not_in_the_bucket_is_refused_and_nothing_is_left(
    clinic: Clinic,
    gcs: GcsServer,
    bucket: str,
    tmp_path: Path,
    location: str,
    headers: dict[str, str],
    status: int,
    code: str,
    named: str,
) -> None:
    fill(gcs, bucket, tmp_path, 1)
    answer = await clinic.daemon.http.post(
        "/bucket_invocations", headers={**clinic.headers(headers), "Input-Location": location}
    )

    assert answer.status_code == status, answer.text
    detail = answer.json()["detail"]
    assert (detail["code"], detail["field"]) == (code, named)
    assert await clinic.jobs() == []


async def test_write_to_gcs_that_is_neither_true_nor_false_is_named(clinic: Clinic) -> None:
    answer = await clinic.from_bucket("exams/17/", Write_To_GCS="perhaps")

    assert answer.status_code == 422
    assert "Write-To-GCS" in answer.json()["message"]


@pytest.mark.parametrize("fault", ["not_live", "not_ready", "away"])
async def test_a_server_that_is_away_is_said_at_once_and_nothing_is_queued(
    clinic: Clinic, tmp_path: Path, fault: str
) -> None:
    assert (await clinic.daemon.http.get("/ping")).status_code == 200
    if fault == "away":
        clinic.triton.break_off().wait(DEADLINE_S)
    clinic.triton.rack.fault = fault

    answer = await clinic.invoke(slice_of(tmp_path, "a.png"))

    assert (answer.status_code, answer.json()["detail"]["code"]) == (503, "IMAGING_BACK_END_AWAY")
    ping = await clinic.daemon.http.get("/ping")
    assert (ping.status_code, ping.content) == (400, b"")
    assert await clinic.jobs() == []
    assert not list(tmp_path.glob("imaging/*"))


async def test_only_keys_that_may_have_to_do_with_imaging_invoke_and_everyone_may_ping(
    daemon_on: DaemonOn, tmp_path: Path, triton: GrpcServer, receiver: WebhookServer
) -> None:
    keys = tmp_path / "keys.toml"
    roles = {"his": "his-key-0123456789abc", "nurse": "nurse-key-0123456789abc"}
    tables = "".join(f'[[keys]]\nname = "{role}"\nrole = "{role}"\nkey = "{key}"\n' for role, key in roles.items())
    keys.write_text(tables, encoding="utf-8")
    keys.chmod(0o600)
    path = slice_of(tmp_path, "a.png")
    async with daemon_on(imaging=settings(tmp_path, triton, receiver), auth={"keys_file": str(keys)}) as daemon:
        assert (await daemon.http.get("/ping")).status_code == 200
        for key, status in (("", 401), (roles["nurse"], 403), (roles["his"], 200)):
            answer = await daemon.http.post(
                "/invocations",
                headers={"Webhook-Url": receiver.url, "X-API-Key": key},
                files={"image": (path.name, path.read_bytes())},
            )
            assert answer.status_code == status, answer.text
            assert answer.json()["status"] == ("sent" if status == 200 else "error")


async def test_unconfigured_it_says_so(daemon_on: DaemonOn, tmp_path: Path) -> None:
    async with daemon_on(imaging={"folder": str(tmp_path / "imaging")}) as daemon:
        assert (await daemon.http.get("/ping")).status_code == 400
        for route in ("/invocations", "/bucket_invocations", "/bucket_invocations_azure_uae"):
            answer = await daemon.http.post(route, headers={"Webhook-Url": "https://his.example/"})
            assert (answer.status_code, answer.json()["detail"]["code"]) == (503, "IMAGING_NOT_CONFIGURED"), answer.text
            assert answer.json()["status"] == "error"


async def test_more_than_the_queue_takes_is_refused_whole(
    daemon_on: DaemonOn, tmp_path: Path, triton: GrpcServer, receiver: WebhookServer, gcs: GcsServer, bucket: str
) -> None:
    fill(gcs, bucket, tmp_path, 5)
    imaging = settings(tmp_path, triton, receiver, gcs_endpoint=gcs.endpoint, input_bucket=bucket)
    async with daemon_on(imaging=imaging | {"queue_max": 4}) as daemon:
        clinic = Clinic(daemon, triton, receiver)
        answer = await clinic.from_bucket("exams/17/")
        assert (answer.status_code, answer.json()["detail"]["code"]) == (503, "IMAGING_QUEUE_FULL")
        assert await clinic.jobs() == []


async def until_delivered(clinic: Clinic, job_id: str) -> None:
    states: list[Any] = []

    async def look() -> None:
        while not states or states[-1] != ["delivered"]:
            states.append([row["state"] for row in await clinic.deliveries(job_id)])

    async with asyncio.timeout(DEADLINE_S):
        await look()
