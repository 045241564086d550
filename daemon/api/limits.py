"""Bounds on what a caller may send: bytes per request and requests per minute. Plain ASGI, before anything parses."""

import json
from collections.abc import Callable
from typing import Any

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from daemon.api.errors import HTTP, body


class BodyLimit:
    """413 for a body over the limit, whether or not its length was announced."""

    def __init__(self, app: ASGIApp, *, max_bytes: Callable[[str], int]) -> None:
        """max_bytes: by path."""
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        max_bytes = self._max_bytes(scope["path"])
        announced = HTTPConnection(scope).headers.get("content-length", "")
        if announced.isdigit() and int(announced) > max_bytes:
            await self._refuse(send)
            return
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > max_bytes:
                raise HTTPException(413)
            return message

        await self._app(scope, counted, send)

    async def _refuse(self, send: Send) -> None:
        code, message = HTTP[413]
        # The connection stays: closing it with the body unread is a reset, and the client would never see the answer.
        await _answer(send, 413, body(code, message), {})


class RateLimit:
    """429 once an address exceeds its requests per minute. /health is free."""

    def __init__(self, app: ASGIApp, *, per_minute: int) -> None:
        self._app = app
        self._limit = RateLimitItemPerMinute(per_minute)
        self._window = MovingWindowRateLimiter(MemoryStorage())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket") or scope["path"] == "/health":
            await self._app(scope, receive, send)
            return
        connection = HTTPConnection(scope)
        # By address: guessing keys must not give each guess a fresh allowance.
        address = connection.client.host if connection.client else "local"
        if self._window.hit(self._limit, address):
            await self._app(scope, receive, send)
            return
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 4429, "reason": "请求过于频繁"})
            return
        message = f"请求过于频繁，上限为每分钟 {self._limit.amount} 次。"
        await _answer(send, 429, body("TOO_MANY_REQUESTS", message), {"retry-after": "60"})


async def _answer(send: Send, status: int, content: dict[str, Any], headers: dict[str, str]) -> None:
    payload = json.dumps(content, ensure_ascii=False).encode()
    all_headers = {"content-type": "application/json", "content-length": str(len(payload)), **headers}
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [(name.encode(), value.encode()) for name, value in all_headers.items()],
        }
    )
    await send({"type": "http.response.body", "body": payload})
