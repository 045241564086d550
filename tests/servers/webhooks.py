"""A receiver of results on loopback: it verifies every signature in its own way, and can fail in every way.

with WebhookServer(secret) as receiver:
    receiver.next(Fault(status=503), STALL)
    ...
    [delivery] = receiver.wait(1)
"""

from __future__ import annotations

import contextlib
import hashlib
import socket
import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer
from pathlib import Path
from types import TracebackType

from tests.servers.vendor import Vendor, VendorHandler, send
from tests.waiting import DEADLINE_S

SIGNED_WITHIN_S = 300
_BODY_MAX = 64 * 2**20
_BLOCK = 64


@dataclass(frozen=True, slots=True)
class Fault:
    """What one delivery gets. how: as Vendor.misbehave has them, or "half": the head of a 200 and less than it says."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    how: str = ""


STALL, RESET, FLOOD, TRICKLE, TRICKLE_HEAD, HALF = (
    Fault(how=how) for how in ("stall", "reset", "flood", "trickle", "trickle_head", "half")
)


@dataclass(frozen=True, slots=True)
class Delivery:
    """One POST as it came. problem: of its signature; "" for none. headers: their names in lower case."""

    path: str
    headers: Mapping[str, str]
    body: bytes
    problem: str


class WebhookServer(Vendor):
    def __init__(self, secret: str, *, tls: tuple[Path, Path] | None = None) -> None:
        super().__init__("webhooks", tls=tls)
        self.deliveries: list[Delivery] = []
        self._secret = secret
        self._faults: deque[Fault] = deque()
        self._refused: bytes | None = None
        self._came = threading.Condition(self._lock)
        self._connections: set[socket.socket] = set()
        self._is_up = True

    @property
    def url(self) -> str:
        return f"{self._scheme}://localhost:{self.port}/results"

    @property
    def host(self) -> str:
        """As the list of allowed hosts has it."""
        return f"localhost:{self.port}"

    def next(self, *faults: Fault) -> None:
        """The deliveries to come get these, in this order; after them, 204."""
        with self._lock:
            self._faults.extend(faults)

    def refuse(self, part: bytes | None) -> None:
        """Deliveries whose body has this in it get 500, until another is said or None."""
        with self._lock:
            self._refused = part

    def wait(self, count: int, *, within_s: float = DEADLINE_S) -> list[Delivery]:
        """Until so many have come; all that came."""
        with self._came:
            came = self._came.wait_for(lambda: len(self.deliveries) >= count, within_s)
            assert came, f"{len(self.deliveries)} of {count} deliveries came"
            return list(self.deliveries)

    def down(self) -> None:
        """Nobody listens there any more, and who was connected is thrown out."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self._is_up = False
        with self._lock:
            connections, self._connections = self._connections, set()
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def up(self) -> None:
        """Again, on the same port; plain HTTP only."""
        assert self._scheme == "http", "a receiver with TLS does not come back"
        handler = self._server.RequestHandlerClass
        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), name="webhooks")
        self._thread.start()
        self._is_up = True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._is_up:
            super().__exit__(kind, error, trace)
        else:
            self._released.set()

    def take(self, handler: VendorHandler) -> None:
        length = int(handler.headers.get("Content-Length", "0"))
        assert length <= _BODY_MAX, f"{length} bytes are more than {_BODY_MAX}"
        body = handler.rfile.read(length)
        headers = {name.lower(): value for name, value in handler.headers.items()}
        problem = signature_problem(self._secret, headers.get("x-orwatch-signature", ""), body)
        with self._came:
            self._connections.add(handler.connection)
            self.deliveries.append(Delivery(handler.path, headers, body, problem))
            if self._refused is not None and self._refused in body:
                fault = Fault(status=500)
            else:
                fault = self._faults.popleft() if self._faults else Fault(status=401 if problem else 204)
            self._came.notify_all()
        if fault.how == "half":
            handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4000\r\n\r\nok")
            handler.close_connection = True
        elif fault.how:
            self.misbehave(handler, fault.how)
        else:
            send(handler, fault.status, fault.body, "text/plain", fault.headers)


def signature_problem(secret: str, header: str, body: bytes, *, now_s: float | None = None) -> str:
    """What is wrong with it; "" for nothing. HMAC as RFC 2104 writes it, so that it shares nothing with the sender."""
    fields = dict(each.split("=", 1) for each in header.split(",") if "=" in each)
    if set(fields) != {"t", "v1"}:
        return f"the header is {header[:60]!r}"
    if abs((time.time() if now_s is None else now_s) - int(fields["t"])) > SIGNED_WITHIN_S:
        return "the time is not now"
    key = secret.encode()
    if len(key) > _BLOCK:
        key = hashlib.sha256(key).digest()
    key = key.ljust(_BLOCK, b"\0")
    inner = hashlib.sha256(bytes(each ^ 0x36 for each in key) + fields["t"].encode() + b"." + body).digest()
    outer = hashlib.sha256(bytes(each ^ 0x5C for each in key) + inner).hexdigest()
    return "" if outer == fields["v1"] else "the signature is not of this body"
