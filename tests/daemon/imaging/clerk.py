"""A department's clerk at the control plane: sends pictures, watches, looks at what came of it."""

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
from websockets.asyncio.client import connect

from tests.daemon.harness import JSON, Daemon
from tests.waiting import DEADLINE_S


class Clerk:
    def __init__(self, http: httpx.AsyncClient, address: str) -> None:
        self.http = http
        self.address = address

    @classmethod
    def at(cls, daemon: Daemon) -> "Clerk":
        return cls(daemon.http, daemon.address)

    async def slide(self, path: Path, *, name: str | None = None, **fields: Any) -> httpx.Response:
        with path.open("rb") as file:
            return await self.http.post(
                "/imaging/pathology/analyses",
                data={"disease": "14", **fields},
                files={"slide": (name or path.name, file, "image/tiff")},
            )

    async def study(self, *paths: Path, headers: dict[str, str] | None = None, **fields: Any) -> httpx.Response:
        files = [("images", (path.name, path.read_bytes(), "application/octet-stream")) for path in paths]
        return await self.http.post("/imaging/fundus/studies", data=fields, files=files, headers=headers)

    async def job(self, job_id: str) -> JSON:
        answer = await self.http.get(f"/imaging/jobs/{job_id}")
        assert answer.status_code == 200, answer.text
        found: JSON = answer.json()
        return found

    async def watched(self, job_id: str, until: Any = None) -> list[JSON]:
        """Every state of the job that the WebSocket tells, up to its end, or up to the first that `until` holds for."""
        seen: list[JSON] = []
        async with (
            asyncio.timeout(DEADLINE_S),
            connect(f"ws://{self.address}/imaging/jobs/{job_id}/events", open_timeout=DEADLINE_S) as socket,
        ):
            async for text in socket:
                seen.append(json.loads(text))
                if until is not None and until(seen[-1]):
                    break
        return seen

    async def ended(self, job_id: str) -> JSON:
        await self.watched(job_id)
        return await self.job(job_id)
