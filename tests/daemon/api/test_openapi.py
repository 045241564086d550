"""The OpenAPI document is true: nothing answers what it does not say, whatever is sent."""

import asyncio
import sys
from asyncio.subprocess import PIPE, STDOUT
from pathlib import Path

from tests.daemon.conftest import DaemonOn
from tests.waiting import DEADLINE_S

HERE = Path(__file__).parent
KEY = "admin-key-0123456789"
ROUTES = {
    "/health": {"get"},
    "/ready": {"get"},
    "/metrics": {"get"},
    "/client/surgeries": {"get"},
    "/client/surgeries/start": {"post"},
    "/client/surgeries/end": {"post"},
    "/client/surgeries/{surgery_id}": {"get"},
    "/client/surgeries/{surgery_id}/result": {"get"},
    "/client/surgeries/{surgery_id}/ledger": {"get"},
    "/client/surgeries/{surgery_id}/corrections": {"post"},
    "/client/surgeries/{surgery_id}/report.{form}": {"get"},
    "/client/surgeries/{surgery_id}/evidence/{sighting_id}.{ending}": {"get"},
    "/client/surgeries/{surgery_id}/pending-confirmation": {"get"},
    "/client/surgeries/{surgery_id}/pending-confirmation/{confirmation_id}/resolve": {"post"},
    "/client/surgeries/{surgery_id}/pending-confirmation/{confirmation_id}/choose": {"post"},
    "/client/voice-terminals/{terminal_id}/assignment": {"get"},
    "/imaging/pathology/analyses": {"post"},
    "/imaging/fundus/studies": {"post"},
    "/imaging/jobs": {"get"},
    "/imaging/jobs/{job_id}": {"get"},
    "/imaging/jobs/{job_id}/cancel": {"post"},
    "/imaging/jobs/{job_id}/retry": {"post"},
    "/imaging/jobs/{job_id}/accesses": {"get"},
    "/imaging/jobs/{job_id}/deliveries": {"get"},
    "/imaging/jobs/{job_id}/masks/{number}": {"get"},
    "/ping": {"get"},
    "/invocations": {"post"},
    "/bucket_invocations": {"post"},
    "/bucket_invocations_azure_uae": {"post"},
    "/imaging/retina/ping": {"get"},
    "/imaging/retina/invocations": {"post"},
    "/imaging/retina/bucket_invocations": {"post"},
    "/imaging/retina/bucket_invocations_azure_uae": {"post"},
    "/imaging/jobs/{job_id}/report.md": {"get"},
    "/imaging/jobs/{job_id}/answer.json": {"get"},
    "/imaging/jobs/{job_id}/overlays/{number}": {"get"},
    "/imaging/jobs/{job_id}/files/{number}": {"get"},
    "/imaging/jobs/{job_id}/slide.dzi": {"get"},
    "/imaging/jobs/{job_id}/slide_files/{level}/{column}_{row}.jpeg": {"get"},
    "/upload": {"post"},
    "/random_sample/": {"get"},
    "/segment2/": {"post"},
    "/segment/": {"post"},
    "/staticapi_in/{path}": {"get"},
    "/staticapi_out/{path}": {"get"},
    "/staticdata/{path}": {"get"},
    "/imaging/ultrasound/upload": {"post"},
    "/imaging/ultrasound/random_sample": {"get"},
    "/imaging/ultrasound/predict": {"post"},
    "/imaging/ultrasound/parts": {"get"},
    "/imaging/ultrasound/uploads/{path}": {"get"},
    "/imaging/ultrasound/answers/{path}": {"get"},
    "/imaging/ultrasound/data/{path}": {"get"},
}


async def test_nothing_answers_what_the_document_does_not_say(daemon_on: DaemonOn, tmp_path: Path) -> None:
    keys = tmp_path / "keys.toml"
    keys.write_text(f'[[keys]]\nname = "all"\nrole = "admin"\nkey = "{KEY}"\n', encoding="utf-8")
    keys.chmod(0o600)
    # The names and the id of the document's own examples.
    cameras = {"or-cam-01": "doubtful", "or-cam-02": "nothing"}
    overrides = {"auth": {"keys_file": str(keys)}, "server": {"rate_per_minute": 1_000_000}}
    async with daemon_on(cameras=cameras, headers={"X-API-Key": KEY}, **overrides) as daemon:
        await daemon.started("123456", "or-cam-01")
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "schemathesis.cli",
            "--config-file", str(HERE / "schemathesis.toml"),
            "run", f"{daemon.url}/openapi.json",
            "--checks", "all",
            "--phases", "examples,coverage,fuzzing",
            "--header", f"X-API-Key: {KEY}",
            # Two threads in ast.parse at once are a SystemError on Python 3.11.2 (cpython gh-106905).
            "--workers", "1",
            "--no-color",
            cwd=tmp_path, stdout=PIPE, stderr=STDOUT,
        )  # fmt: skip
        try:
            async with asyncio.timeout(4 * DEADLINE_S):
                output, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        assert process.returncode == 0, output.decode()[-8000:]
        assert (await daemon.http.get("/health")).status_code == 200


async def test_the_document_lists_the_routes_and_their_refusals(daemon_on: DaemonOn) -> None:
    async with daemon_on() as daemon:
        document = (await daemon.http.get("/openapi.json")).json()
    assert {path: set(verbs) for path, verbs in document["paths"].items()} == ROUTES
    for path, verbs in document["paths"].items():
        for operation in verbs.values():
            assert operation["summary"], path
            if path not in ("/health", "/ping", "/imaging/retina/ping"):
                assert {"401", "403", "422", "429", "503"} <= set(operation["responses"]), path
                assert operation["security"], path
    start = document["paths"]["/client/surgeries/start"]["post"]["responses"]
    assert "CAMERA_ALREADY_IN_USE" in start["409"]["description"]
    assert "RECORDING_CANNOT_START" in start["503"]["description"]
