"""A whole daemon inside the test: real model, real ledger file, real cameras (clips), real HTTP on a loopback port."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from websockets.asyncio.client import ClientConnection, connect

from daemon.app import Composition
from daemon.app import serving as daemon_serving
from daemon.config import Settings, load
from tests.daemon.scenes import LABELS
from tests.waiting import DEADLINE_S

JSON = dict[str, Any]


def threads() -> set[threading.Thread]:
    """The daemon's own: cameras and the classifier."""
    return {thread for thread in threading.enumerate() if thread.name.startswith(("capture:", "classify"))}


class Events:
    """The facts of one surgery as its WebSocket tells them."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.seen: list[JSON] = []

    async def next(self) -> JSON:
        async with asyncio.timeout(DEADLINE_S):
            fact: JSON = json.loads(await self.socket.recv())
        self.seen.append(fact)
        return fact

    async def until(self, kind: str) -> JSON:
        while (fact := await self.next())["type"] != kind:
            pass
        return fact


@dataclass
class Daemon:
    parts: Composition
    settings: Settings
    http: httpx.AsyncClient
    address: str

    @property
    def url(self) -> str:
        return f"http://{self.address}"

    @asynccontextmanager
    async def events(
        self, surgery_id: str, *, query: str = "", headers: Mapping[str, str] | None = None, **options: Any
    ) -> AsyncIterator[Events]:
        url = f"ws://{self.address}/client/surgeries/{surgery_id}/events{query}"
        async with connect(url, additional_headers=headers, open_timeout=DEADLINE_S, **options) as socket:
            yield Events(socket)

    async def start(self, surgery_id: str, *cameras: str, candidates: list[str] | None = None) -> httpx.Response:
        request: JSON = {"surgery_id": surgery_id, "camera_ids": list(cameras)}
        if candidates is not None:
            request["candidate_consumables"] = candidates
        return await self.http.post("/client/surgeries/start", json=request)

    async def started(self, surgery_id: str, *cameras: str, candidates: list[str] | None = None) -> None:
        answer = await self.start(surgery_id, *cameras, candidates=candidates)
        assert answer.status_code == 200, answer.text

    async def end(self, surgery_id: str) -> httpx.Response:
        return await self.http.post("/client/surgeries/end", json={"surgery_id": surgery_id})

    async def get(self, path: str, headers: Mapping[str, str] | None = None) -> httpx.Response:
        return await self.http.get(f"/client/surgeries/{path}", headers=headers)

    async def ledger(self, surgery_id: str) -> list[JSON]:
        answer = await self.get(f"{surgery_id}/ledger")
        assert answer.status_code == 200, answer.text
        rows: list[JSON] = answer.json()["postings"]
        return rows

    async def heard(self, surgery_id: str, kind: str) -> JSON:
        """The first fact of this kind, past or coming."""
        async with self.events(surgery_id) as events:
            return await events.until(kind)

    async def question(self, surgery_id: str) -> str:
        return str((await self.heard(surgery_id, "asked"))["confirmation_id"])

    async def choose(self, surgery_id: str, confirmation_id: str, **answer: Any) -> httpx.Response:
        return await self.http.post(
            f"/client/surgeries/{surgery_id}/pending-confirmation/{confirmation_id}/choose", json=answer
        )


def settings_for(
    folder: Path, model: Path, cameras: Mapping[str, Path | str], overrides: JSON | None = None
) -> Settings:
    """Everything in `folder`; windows short enough that an item is booked within a second."""
    # A start that a test lets give up early must give each camera its whole attempt.
    connect_timeout_s = min(10.0, (overrides or {}).get("surgery", {}).get("start_timeout_s", 10.0))
    content: JSON = {
        "server": {"port": 0},
        "database": {"ledger": str(folder / "ledger.db")},
        "logs": {"folder": str(folder / "log")},
        "objects": {"folder": str(folder / "objects"), "spool": str(folder / "spool"), "clip_after_s": 0.5},
        "model": {"path": str(model), "device": "cpu"},
        "cameras": {
            name: {"url": str(url), "loop": "://" not in str(url), "connect_timeout_s": connect_timeout_s}
            for name, url in cameras.items()
        },
        "inference": {
            "sample_fps": 10,
            "window_s": 0.5,
            "absence_s": 0.4,
            "gap_max_s": 0.4,
            "decide_s": 0.6,
            # On a machine that does other things as well a frame may wait; it is no less true.
            "frame_age_max_s": 60,
            "background": [LABELS[0]],
        },
        # Voices and ears have tests of their own; here they would only make every start slower.
        "speech": {"tts": [], "asr": []},
        "surgery": {"start_timeout_s": 60, "start_attempts": 1, "timezone": "Asia/Shanghai"},
    }
    for section, values in (overrides or {}).items():
        content[section] = {**content.get(section, {}), **values}
    return load(None, content)


@asynccontextmanager
async def serving(settings: Settings, headers: Mapping[str, str] | None = None) -> AsyncIterator[Daemon]:
    """Whatever was done to the daemon, none of its threads outlives it."""
    others = threads()
    async with (
        daemon_serving(settings) as (parts, address),
        httpx.AsyncClient(base_url=f"http://{address}", timeout=DEADLINE_S, headers=headers, trust_env=False) as client,
    ):
        yield Daemon(parts, settings, client, address)
    for thread in threads() - others:
        # What it worked on may be over a moment before it is.
        thread.join(DEADLINE_S)
        assert not thread.is_alive(), thread.name
