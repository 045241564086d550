"""What all our WebSockets share: how one is refused, and how one ends."""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

from fastapi import WebSocket, WebSocketDisconnect

# Close codes of our own carry the HTTP status they stand for.
BAD_REQUEST, UNAUTHORIZED, FORBIDDEN, NOT_FOUND, TOO_MANY, FELL_BEHIND = 4422, 4401, 4403, 4404, 4429, 4408

# A close frame holds no more of a reason.
_REASON_BYTES_MAX = 123


class Refusal(Exception):
    """Why a socket is closed right after it was opened: the codes above, and a reason in Chinese."""

    def __init__(self, code: int, reason: str) -> None:
        self.code = code
        self.reason = reason.encode()[:_REASON_BYTES_MAX].decode(errors="ignore")


async def told_until_closed(socket: WebSocket, telling: Coroutine[Any, Any, None]) -> None:
    """Run `telling` until it ends or the client goes away; what either of them raises is raised here."""
    tasks = [asyncio.create_task(_until_closed(socket)), asyncio.create_task(telling)]
    done, running = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
    for task in done:
        with suppress(WebSocketDisconnect):
            task.result()


async def _until_closed(socket: WebSocket) -> None:
    """What a client sends is not ours to read; its going away is."""
    while (await socket.receive())["type"] != "websocket.disconnect":
        pass
