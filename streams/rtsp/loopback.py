"""A door on loopback through which libav takes the one track, and nobody else: it opens once, to who knows the path.

libav is a client of RTSP here, too, over TCP, so that the connection carries packets in order and without loss.
"""

import secrets
import select
import socket

from streams.rtsp.message import NotRtsp, Receiver, Request

_PENDING_MAX = 8
_READ_BYTES = 8192
_SEND_BYTES = 256 << 10


class Loopback:
    """Polled by the thread that talks with the camera."""

    def __init__(self, sdp: str) -> None:
        self._sdp = sdp
        self._path = secrets.token_urlsafe(32)
        self._listening: socket.socket | None = socket.create_server(("127.0.0.1", 0), backlog=_PENDING_MAX)
        self._listening.setblocking(False)
        self._pending: dict[int, tuple[socket.socket, Receiver]] = {}
        self._libav: socket.socket | None = None
        self._asks = Receiver()
        self._plays = False
        self._unsent = bytearray()
        self.url = f"rtsp://127.0.0.1:{self._listening.getsockname()[1]}/{self._path}"
        self.has_left = False  # libav has closed its end

    @property
    def unsent_bytes(self) -> int:
        return len(self._unsent)

    def events(self) -> dict[int, int]:
        """Descriptor -> what to poll it for."""
        wanted = dict.fromkeys(self._pending, select.POLLIN)
        if self._listening is not None:
            wanted[self._listening.fileno()] = select.POLLIN
        if self._libav is not None:
            wanted[self._libav.fileno()] = select.POLLIN | (select.POLLOUT if self._plays and self._unsent else 0)
        return wanted

    def hand_on(self, packet: bytes) -> None:
        """Kept until libav takes it."""
        size = len(packet)
        self._unsent += bytes((0x24, 0, size >> 8, size & 255))
        self._unsent += packet

    def turn(self, ready: dict[int, int]) -> None:
        """ready: descriptor -> what there is of it, of those that were asked for, or of others."""
        if self._listening is not None and self._listening.fileno() in ready:
            self._accept()
        for fd in [fd for fd in self._pending if fd in ready]:
            if fd in self._pending:  # the door may have been shut behind one of them
                self._look_at(fd)
        if self._libav is not None and ready.get(self._libav.fileno(), 0) & ~select.POLLOUT:
            self._listen(self._libav, self._asks)
        self.flush()

    def flush(self) -> None:
        if self._libav is None or not self._plays:
            return
        try:
            while self._unsent:
                del self._unsent[: self._libav.send(memoryview(self._unsent)[:_SEND_BYTES])]
        except BlockingIOError:
            pass
        except ConnectionError:
            self.has_left = True

    def close(self) -> None:
        for each in (self._listening, self._libav, *(pending for pending, _ in self._pending.values())):
            if each is not None:
                each.close()
        self._listening = self._libav = None
        self._pending.clear()

    def _accept(self) -> None:
        assert self._listening is not None, "it was polled"
        try:
            accepted, _ = self._listening.accept()
        except OSError:
            return
        accepted.setblocking(False)
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if len(self._pending) >= _PENDING_MAX:
            # libav asks at once. Who says nothing keeps nobody out.
            silent, _ = self._pending.pop(next(iter(self._pending)))
            silent.close()
        self._pending[accepted.fileno()] = (accepted, Receiver())

    def _look_at(self, fd: int) -> None:
        """The first that knows the path is libav; the door is shut behind it."""
        pending, asks = self._pending.pop(fd)
        requests = self._requests(pending, asks)
        if requests is None or any(not request.url.endswith(self._path) for request in requests[:1]):
            pending.close()
            return
        if not requests:
            self._pending[fd] = (pending, asks)
            return
        self._libav, self._asks = pending, asks
        assert self._listening is not None, "nobody has come before"
        self._listening.close()
        self._listening = None
        for other, _ in self._pending.values():
            other.close()
        self._pending.clear()
        for request in requests:
            self._answer(pending, request)

    def _listen(self, libav: socket.socket, asks: Receiver) -> None:
        requests = self._requests(libav, asks)
        if requests is None:
            self.has_left = True
            return
        for request in requests:
            self._answer(libav, request)

    @staticmethod
    def _requests(asking: socket.socket, asks: Receiver) -> list[Request] | None:
        """None if that one is gone, or is no client of RTSP."""
        try:
            data = asking.recv(_READ_BYTES)
            return [each for each in asks.feed(data) if isinstance(each, Request)] if data else None
        except BlockingIOError:
            return []
        except (ConnectionError, NotRtsp):
            return None

    def _answer(self, libav: socket.socket, request: Request) -> None:
        lines, body = ["RTSP/1.0 200 OK", f"CSeq: {request.cseq}"], b""
        if request.method == "OPTIONS":
            lines.append("Public: DESCRIBE, SETUP, PLAY, TEARDOWN")
        elif request.method == "DESCRIBE":
            body = self._sdp.encode()
            lines += ["Content-Type: application/sdp", f"Content-Length: {len(body)}"]
        elif request.method == "SETUP":
            # It has nothing to keep alive here.
            lines += ["Session: 1;timeout=86400", "Transport: RTP/AVP/TCP;unicast;interleaved=0-1"]
        answer = ("\r\n".join(lines) + "\r\n\r\n").encode() + body
        if self._plays:
            return  # while it plays it asks nothing that needs an answer, and packets must not be cut in two
        try:
            libav.sendall(answer)  # a few hundred bytes into an empty buffer
        except OSError:
            self.has_left = True
            return
        self._plays = request.method == "PLAY"
