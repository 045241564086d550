"""A Google Cloud Storage for tests: gcp-storage-emulator in a process of its own. It knows no credentials."""

from __future__ import annotations

import sys

import httpx

from tests.servers.process import ServerProcess


class GcsServer(ServerProcess):
    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def make(self, bucket: str) -> None:
        answer = httpx.post(f"{self.endpoint}/storage/v1/b?project=test", json={"name": bucket}, trust_env=False)
        answer.raise_for_status()

    def put(self, bucket: str, key: str, content: bytes, media_type: str) -> None:
        answer = httpx.post(
            f"{self.endpoint}/upload/storage/v1/b/{bucket}/o",
            params={"uploadType": "media", "name": key},
            headers={"Content-Type": media_type},
            content=content,
            trust_env=False,
        )
        answer.raise_for_status()

    def command(self) -> list[str]:
        program = [sys.executable, "-m", "gcp_storage_emulator", "start"]
        return [*program, "--host", "127.0.0.1", "--port", str(self.port), "--in-memory"]
