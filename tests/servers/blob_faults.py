"""A store that answers every GET with what a test wrote: heads as all three stores understand them, and any body."""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.servers.vendor import Vendor, VendorHandler

# A close with unread room for lingering data is a reset.
_AT_ONCE = (socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")


@dataclass(frozen=True, slots=True)
class Told:
    """size: what the head says, as of the body; None: nothing, the connection ends it. ends: how, as Vendor has it."""

    status: int = 200
    body: bytes = b""
    size: int | None = None
    version: str = "7"
    headers: Mapping[str, str] = field(default_factory=dict)
    ends: str = ""


class LyingStore(Vendor):
    def __init__(self) -> None:
        super().__init__("store")
        self.requests: list[tuple[str, dict[str, str]]] = []
        self._told: deque[Told] = deque()

    def next(self, *told: Told) -> None:
        """The last of them stays."""
        self._told.extend(told)

    def take(self, handler: VendorHandler) -> None:
        with self._lock:
            self.requests.append((handler.path, {name.lower(): value for name, value in handler.headers.items()}))
            told = self._told.popleft() if len(self._told) > 1 else self._told[0]
        if told.ends in ("stall", "trickle_head"):
            self.misbehave(handler, told.ends)
            return
        handler.send_response(told.status)
        heads = {
            "ETag": f'"{told.version}"',
            "x-goog-generation": told.version,
            "x-ms-blob-type": "BlockBlob",
            "x-ms-version": "2025-01-05",
            "Last-Modified": "Mon, 01 Mar 2027 08:00:00 GMT",
            "Content-Type": "application/octet-stream",
            # Unsaid, a client that is quicker than the end of the connection loses a try on it.
            "Connection": "close",
            **told.headers,
        }
        if told.size is not None:
            heads["Content-Length"] = str(told.size)
            # The Azure client asks for a range, and learns the whole size from this.
            heads["Content-Range"] = f"bytes 0-{told.size - 1}/{told.size}"
        for name, value in heads.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(told.body)
        if told.ends == "trickle":
            while not self._released.wait(0.1):
                handler.wfile.write(b"x")
        elif told.ends == "flood":
            while not self._released.is_set():
                handler.wfile.write(bytes(65_536))
        elif told.ends == "reset":
            handler.connection.setsockopt(*_AT_ONCE)
        handler.close_connection = True
