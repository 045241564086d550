"""How a request to the COS of the tests goes wrong, and how any is answered."""

import socket
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from xml.sax.saxutils import escape

from tests.waiting import DEADLINE_S


@dataclass(frozen=True, slots=True)
class Fault:
    """What one request gets. how: "reset" and "stall" after half the body, "lost": done but not answered, "half" of
    the XML, "lie" about the ETag, "trickle": a byte of the header now and then, "flood" without end, "elsewhere": a
    redirect, "spoil": stores another byte than was sent, or leaves out the last part; otherwise an
    error of this status and code.
    """

    how: str = ""
    status: int = 500
    code: str = "InternalError"


RESET, STALL, LOST, HALF, LIE = Fault("reset"), Fault("stall"), Fault("lost"), Fault("half"), Fault("lie")
TRICKLE, FLOOD, ELSEWHERE, SPOIL = Fault("trickle"), Fault("flood"), Fault("elsewhere"), Fault("spoil")
BROKEN, BUSY = Fault(), Fault(status=503, code="SlowDown")


@dataclass(slots=True)
class Request:
    handler: BaseHTTPRequestHandler
    action: str
    key: str
    params: dict[str, str]
    headers: dict[str, str]
    length: int
    fault: Fault | None = None

    @property
    def part(self) -> int:
        return int(self.params.get("partNumber", "0"))


def misbehaves(request: Request, fault: Fault, released: threading.Event) -> bool:
    """False where its work is to be done all the same."""
    if fault.how in ("lost", "half", "lie", "spoil"):
        return False
    handler = request.handler
    if fault.how in ("reset", "stall"):
        handler.rfile.read(request.length // 2)
        if fault.how == "stall":
            released.wait(DEADLINE_S)
        reset(handler)
        return True
    drain(request)
    if fault.how == "trickle":
        for byte in b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 4000:
            if released.wait(0.05):
                break
            handler.wfile.write(bytes([byte]))
    elif fault.how == "flood":
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/xml\r\n\r\n")
        while not released.is_set():
            handler.wfile.write(bytes(65_536))
    elif fault.how == "elsewhere":
        send(handler, 301, {"Location": f"http://{request.headers['host']}/elsewhere"})
    else:
        refuse(request, fault.status, fault.code)
    return True


def drain(request: Request) -> None:
    left = request.length
    while left > 0 and (block := request.handler.rfile.read(min(left, 65_536))):
        left -= len(block)


def refuse(request: Request, status: int, code: str) -> None:
    xml = (
        f"<?xml version='1.0' encoding='utf-8' ?><Error><Code>{code}</Code><Message>as documented</Message>"
        f"<Resource>{escape(request.key)}</Resource><RequestId>NjA=</RequestId><TraceId>OGE=</TraceId></Error>"
    )
    send(request.handler, status, {"Content-Type": "application/xml"}, xml.encode())


def send(
    handler: BaseHTTPRequestHandler,
    status: int,
    headers: dict[str, str],
    body: bytes = b"",
    *,
    length: int | None = None,
) -> None:
    """length: of a body that HEAD only announces."""
    handler.send_response(status)
    for name, value in {**headers, "x-cos-request-id": "NjA="}.items():
        handler.send_header(name, value)
    if status != 204:
        handler.send_header("Content-Length", str(len(body) if length is None else length))
    if handler.close_connection:
        handler.send_header("Connection", "close")
    handler.end_headers()
    if handler.command != "HEAD":
        handler.wfile.write(body)


def reset(handler: BaseHTTPRequestHandler) -> None:
    """A close that does not linger is a reset."""
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    handler.close_connection = True
