"""What the vendors' servers share: a thread each, requests one by one to `take`, and the ways to misbehave."""

import socket
import ssl
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Self

from tests.servers.ports import free_port
from tests.waiting import DEADLINE_S

_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 4000\r\n\r\n"


class VendorHandler(BaseHTTPRequestHandler):
    """has_answered: whether this is not the first request on its connection."""

    protocol_version = "HTTP/1.1"
    vendor: "Vendor"
    has_answered = False

    def do_POST(self) -> None:
        try:
            self.vendor.take(self)
        except OSError:
            self.close_connection = True  # the client has gone
        self.has_answered = True

    def do_GET(self) -> None:
        self.do_POST()

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", "0")))

    def log_message(self, *_args: Any) -> None:
        """A test says what it saw."""


class Vendor:
    def __init__(self, name: str, *, tls: tuple[Path, Path] | None = None) -> None:
        self._lock = threading.Lock()
        self._released = threading.Event()
        handler = type("Handler", (VendorHandler,), {"vendor": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", free_port()), handler)
        self._server.daemon_threads = True
        self._scheme = "http"
        if tls is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*tls)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
            self._scheme = "https"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), name=name)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def port(self) -> int:
        return self._server.server_port

    def take(self, handler: VendorHandler) -> None:
        raise NotImplementedError

    def misbehave(self, handler: VendorHandler, how: str) -> None:
        """reset: in the middle; stall: before anything; flood: without end; trickle: a byte now and then, in the body
        or (trickle_head) already before it.
        """
        if how == "reset":
            handler.wfile.write(_HEAD + b'{"code"')
            # A close with unread room for lingering data is a reset.
            linger = b"\x01\x00\x00\x00\x00\x00\x00\x00"
            handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        elif how == "stall":
            self._released.wait(DEADLINE_S)
        elif how == "flood":
            handler.wfile.write(_HEAD.replace(b"Content-Length: 4000\r\n", b""))
            while not self._released.is_set():
                handler.wfile.write(bytes(65_536))
        else:
            if how == "trickle":
                handler.wfile.write(_HEAD)
            for byte in (b" " if how == "trickle" else _HEAD) * 4000:
                if self._released.wait(0.1):
                    break
                handler.wfile.write(bytes([byte]))
        handler.close_connection = True


def send(
    handler: VendorHandler,
    status: int,
    body: bytes,
    kind: str = "application/json",
    headers: Mapping[str, str] = MappingProxyType({}),
) -> None:
    handler.send_response(status)
    for key, value in headers.items():
        handler.send_header(key, value)
    handler.send_header("Content-Type", kind)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)
