"""A server in the place of any back end that is broken, whatever it is asked: one answer to everything, or none.

It reads requests of HTTP/1.1 of every method, and the beginning of gRPC.
"""

import json
import threading
from email.message import Message

from tests.servers.vendor import Vendor, VendorHandler, send

_PAGE = b"<html><body>Welcome to the hospital's network</body></html>"
# Status, kind and body of an answer.
ANSWERS = {
    "an HTML page": (200, "text/html", _PAGE),
    "an HTML page with 500": (500, "text/html", _PAGE),
    "a 500": (500, "application/json", b'{"code": 500, "message": "out of memory"}'),
    "nothing": (200, "application/json", b""),
    "another JSON": (200, "application/json", b'{"hello": ["world"]}'),
    "a JSON list": (200, "application/json", b"[1, 2]"),
    "half a JSON": (200, "application/json", b'{"code": 0, "data": {"tok'),
    "JSON nested without end": (200, "application/json", b"[" * 200_000),
    "a 404": (404, "text/plain", b"not here"),
    "a redirect": (302, "text/html", b""),
    "a 401": (401, "application/json", b'{"detail": "who are you"}'),
    "a 403": (403, "application/json", b'{"detail": "not you"}'),
}
# A refusal, and a "no" inside a 200, that say again all that was sent.
ECHOES = {"an echo": 200, "an echo with 400": 400, "an echo with 401": 401}
# As Vendor knows them; "cut short": fewer bytes than were announced.
BREAKS = ("cut short", "reset", "flood")
LATE = ("stall", "trickle", "trickle_head")


class Broken(Vendor):
    def __init__(self, how: str) -> None:
        """how: of ANSWERS, ECHOES, BREAKS or LATE."""
        super().__init__("broken")
        self._server.RequestHandlerClass = type("Handler", (_Handler,), {"vendor": self})
        self._how = how
        self.requests = 0
        self.arrived = threading.Event()

    def take(self, handler: VendorHandler) -> None:
        content = handler.body()
        with self._lock:
            self.requests += 1
        self.arrived.set()
        handler.close_connection = True
        if self._how in ANSWERS:
            status, kind, body = ANSWERS[self._how]
            headers = {"Location": "http://127.0.0.1:9/elsewhere"} if status == 302 else {}
            send(handler, status, b"" if handler.command == "HEAD" else body, kind, headers)
        elif self._how in ECHOES:
            # Words are cut short when they are shown: what is secret comes first, in the body and in our own headers.
            ours = reversed(handler.headers.items())
            said = f"{content[:2000].decode(errors='replace')} {dict(ours)} {handler.path}".strip()
            body = json.dumps({"code": 4711, "message": said, "msg": said, "error": said}, ensure_ascii=False).encode()
            send(handler, ECHOES[self._how], b"" if handler.command == "HEAD" else body)
        elif self._how == "cut short":
            handler.wfile.write(
                b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 400\r\n\r\n{"code"'
            )
        else:
            self.misbehave(handler, self._how)


class _Handler(VendorHandler):
    do_PUT = do_HEAD = do_DELETE = do_PRI = VendorHandler.do_POST  # noqa: N815

    def parse_request(self) -> bool:
        if not self.raw_requestline.startswith(b"PRI "):
            return super().parse_request()
        # So begins HTTP/2, which the library would refuse before it is asked.
        self.command, self.path, self.request_version = "PRI", "*", "HTTP/1.1"
        self.headers = Message()  # type: ignore[assignment]
        return True
