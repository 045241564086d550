"""What the tests of retina jobs share: the inference server, the receiver of results, and settings for both."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import numpy as np
from azure.storage.blob import BlobServiceClient

from tests import oct as scans
from tests.daemon.harness import Daemon
from tests.daemon.imaging.clerk import Clerk
from tests.servers.azurite import AzuriteServer
from tests.servers.gcs import GcsServer
from tests.servers.kserve import GrpcServer
from tests.servers.webhooks import Delivery, WebhookServer
from tests.waiting import DEADLINE_S

SECRET = "a-secret-of-the-tests"
JSON = dict[str, Any]


@dataclass(frozen=True)
class Clinic:
    """Who sends OCT images, and where the results arrive."""

    daemon: Daemon
    triton: GrpcServer
    receiver: WebhookServer

    @property
    def clerk(self) -> Clerk:
        return Clerk.at(self.daemon)

    def headers(self, more: Mapping[str, str] | None = None) -> dict[str, str]:
        return {"Webhook-Url": self.receiver.url, **(more or {})}

    async def invoke(self, path: Path, **more: str) -> httpx.Response:
        """more: headers, with _ for -."""
        headers = self.headers({name.replace("_", "-"): value for name, value in more.items()})
        files = {"image": (path.name, path.read_bytes(), "application/octet-stream")}
        return await self.daemon.http.post("/invocations", headers=headers, files=files)

    async def invoked(self, path: Path, **more: str) -> JSON:
        answer = await self.invoke(path, **more)
        assert answer.status_code == 200, answer.text
        told: JSON = answer.json()
        return told

    async def from_bucket(self, location: str, *, route: str = "/bucket_invocations", **more: str) -> httpx.Response:
        headers = self.headers({name.replace("_", "-"): value for name, value in more.items()})
        return await self.daemon.http.post(route, headers={"Input-Location": location, **headers})

    async def jobs(self) -> list[JSON]:
        return list((await self.daemon.http.get("/imaging/jobs", params={"limit": 200})).json()["jobs"])

    async def deliveries(self, job_id: str) -> list[JSON]:
        return list((await self.daemon.http.get(f"/imaging/jobs/{job_id}/deliveries")).json()["deliveries"])


def told(deliveries: list[Delivery]) -> list[JSON]:
    """The bodies, of which each has a signature that holds."""
    assert [each.problem for each in deliveries if each.problem] == []
    return [json.loads(each.body) for each in deliveries]


def settings(folder: Path, triton: GrpcServer, receiver: WebhookServer, **more: Any) -> JSON:
    """imaging=... of the settings."""
    retina = {
        "server_url": triton.url,
        "model_name": "oct",
        "labels": list(scans.LABELS),
        "timeout_s": DEADLINE_S,
        "webhook_hosts": [receiver.host],
        "webhook_secret": SECRET,
        "webhook_timeout_s": DEADLINE_S,
    }
    return {"folder": str(folder / "imaging"), "retina": retina | more}


def slice_of(folder: Path, name: str, brightness: int = 200, *, width: int = 97) -> Path:
    return scans.picture(folder / name, scans.b_scan(width, background=brightness))


def fill(gcs: GcsServer, bucket: str, folder: Path, count: int, prefix: str = "exams/17/") -> list[str]:
    """So many B-scans, each brighter than the one before, and something that is none; returns the names in order."""
    names = [f"slice_{number}.png" for number in range(1, count + 1)]
    for number, name in enumerate(names):
        path = scans.picture(folder / name, np.full((31, 47), 10 + 10 * number, np.uint8))
        gcs.put(bucket, prefix + name, path.read_bytes(), "image/png")
    gcs.put(bucket, prefix + "notes.txt", b"not a picture", "text/plain")
    gcs.put(bucket, prefix + "deeper/slice_0.png", b"not looked at", "image/png")
    return names


def from_gcs(gcs: GcsServer, bucket: str, key: str) -> bytes:
    place = f"{gcs.endpoint}/download/storage/v1/b/{bucket}/o/{quote(key, safe='')}"
    answer = httpx.get(place, params={"alt": "media"}, trust_env=False)
    assert answer.status_code == 200, key
    return answer.content


def from_azure(azurite: AzuriteServer, bucket: str, key: str) -> bytes:
    with BlobServiceClient.from_connection_string(azurite.connection_string()) as client:
        return bytes(client.get_blob_client(bucket, key).download_blob().readall())
