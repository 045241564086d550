"""A camera that speaks RTSP (RFC 2326) and RTP by hand, so that it can speak them as oddly as cameras do.

    with OddCamera(h264, Manners(delay_s={"DESCRIBE": 6.0}, challenges=(digest("SHA-256"), digest("MD5")))) as camera:
        Source(rules.camera(camera.url)).run(...)
        assert camera.requests[0].method == "OPTIONS"

What it does by default is what a well-behaved camera does; each of `Manners` bends one thing. Times are seconds since
that client's PLAY. `camera.say(...)` sends bytes to whoever plays, in mid-stream; `camera.hang_up()` closes on them.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

from tests.servers.rtp_payloads import JPEG_PAYLOAD_TYPE, RtpClip
from tests.waiting import DEADLINE_S

CLOCK_HZ = 90_000
HASHES: dict[str, Callable[[bytes], hashlib._Hash]] = {
    "MD5": hashlib.md5,
    "SHA-256": hashlib.sha256,
    "SHA-512-256": lambda data: hashlib.new("sha512_256", data),
}


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    url: str
    headers: Mapping[str, str]
    at_mono_s: float
    connection: int


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    reason: str = "OK"
    headers: tuple[str, ...] = ()
    body: str = ""


def digest(algorithm: str | None, *, qop: str | None = "auth", stale: bool | None = None, realm: str = "cam") -> str:
    """A challenge, with %s in the place of the nonce."""
    parts = [f'realm="{realm}"', 'nonce="%s"']
    parts += [f"algorithm={algorithm}"] if algorithm else []
    parts += [f'qop="{qop}"'] if qop else []
    parts += [f"stale={str(stale).lower()}"] if stale is not None else []
    return "Digest " + ", ".join(parts)


BASIC = 'Basic realm="cam"'


def as_it_is(cseq: str) -> str:
    return cseq


def all_of_them(_track: int, _frame: int, packets: list[bytes]) -> Iterable[bytes]:
    return packets


def never(_track: int, _seconds: float) -> bool:
    return False


@dataclass(kw_only=True)
class Manners:
    """How this camera differs from a good one."""

    user: str = ""
    password: str = ""
    challenges: tuple[str, ...] = ()
    one_header: bool = False  # all challenges in one line
    nonce_lasts_s: float = 1e9
    delay_s: dict[str, float] = field(default_factory=dict)  # before the answer to a method
    # method -> an answer, or what makes one of the request; None: as a good camera would.
    answers: dict[str, Reply | Callable[[Request], Reply | None]] = field(default_factory=dict)
    closes_after: tuple[str, ...] = ()  # methods after whose answer the connection is closed
    closes_after_401: bool = False
    before_answer: dict[str, bytes] = field(default_factory=dict)  # method -> bytes that go first
    newline: str = "\r\n"
    cseq: Callable[[str], str] = as_it_is
    public: str | None = "OPTIONS, DESCRIBE, SETUP, TEARDOWN, PLAY, GET_PARAMETER"
    transports: tuple[str, ...] = ("tcp", "udp")
    channels: tuple[int, int] | None = None  # others than those asked for
    session: str = "{id};timeout={timeout}"
    session_timeout_s: float = 60.0
    drops_idle_sessions: bool = False  # at session_timeout_s without a keep-alive
    keeps_alive: tuple[str, ...] = ("GET_PARAMETER", "OPTIONS", "SET_PARAMETER")
    content_base: str | None = "{url}/"  # None: the header is missing
    session_control: str | None = "*"
    controls: tuple[str, ...] = ("trackID=1", "trackID=2")
    videos: int = 1
    other_media: str = ""  # SDP of tracks before the video: audio, metadata
    sets_in_sdp: bool = True
    fps: float | None = None  # at which it really sends
    # (frame number, seconds since PLAY, seconds in the clip) -> RTP ticks
    stamp: Callable[[int, float, float], int] | None = None
    start_ticks: int = 1_000
    start_sequence: int | None = None
    # (video track, its frame number, the packets of this picture) -> those that are sent, in this order
    packets: Callable[[int, int, list[bytes]], Iterable[bytes]] = all_of_them
    frozen: Callable[[int, float], bool] = never  # this track sends nothing now
    first_unit: int = 0
    sends_reports: bool = False  # RTCP sender reports, each second
    tls: ssl.SSLContext | None = None
    host: str = "127.0.0.1"
    path: str = "/stream"


class OddCamera:
    """Listens from when it is made; a context manager."""

    def __init__(self, clip: Path | RtpClip, manners: Manners | None = None) -> None:
        self.clip = clip if isinstance(clip, RtpClip) else RtpClip.of(clip)
        self.manners = manners or Manners()
        self.requests: list[Request] = []
        self.closed = threading.Event()
        self._changed = threading.Condition()
        self._clients: list[_Client] = []
        self._served = 0
        self._nonce, self._nonce_mono_s = "", 0.0
        family = socket.AF_INET6 if ":" in self.manners.host else socket.AF_INET
        self._socket = socket.create_server((self.manners.host, 0), family=family, backlog=32)
        self.port = int(self._socket.getsockname()[1])
        threading.Thread(target=self._accept, name=f"odd-camera:{self.port}", daemon=True).start()

    @property
    def plain_url(self) -> str:
        host = f"[{self.manners.host}]" if ":" in self.manners.host else self.manners.host
        return f"rtsp{'s' if self.manners.tls else ''}://{host}:{self.port}{self.manners.path}"

    @property
    def url(self) -> str:
        """With the credentials in it, percent-encoded."""
        who = f"{quote(self.manners.user, safe='')}:{quote(self.manners.password, safe='')}@"
        return self.plain_url.replace("://", f"://{who}", 1) if self.manners.user else self.plain_url

    @property
    def methods(self) -> list[str]:
        return [request.method for request in self.requests]

    @property
    def told(self) -> list[str]:
        """Every Authorization that it was given."""
        return [request.headers["authorization"] for request in self.requests if "authorization" in request.headers]

    def wait_until(self, holds: Callable[[], object]) -> None:
        """Looked at after each request, connection and end of one."""
        with self._changed:
            assert self._changed.wait_for(holds, DEADLINE_S), f"not with {self.methods}"

    @property
    def open_connections(self) -> int:
        return len(self._clients)

    def say(self, data: bytes) -> None:
        for client in list(self._clients):
            client.send(data)

    def hang_up(self) -> None:
        for client in list(self._clients):
            client.shut()

    def close(self) -> None:
        self.closed.set()
        self._socket.close()
        self.hang_up()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def tell(
        self, *, request: Request | None = None, opened: _Client | None = None, ended: _Client | None = None
    ) -> None:
        with self._changed:
            if request is not None:
                self.requests.append(request)
            if opened is not None:
                self._clients.append(opened)
            if ended is not None:
                self._clients.remove(ended)
            self._changed.notify_all()

    def sdp(self) -> str:
        manners, clip = self.manners, self.clip
        lines = ["v=0", "o=- 1 1 IN IP4 127.0.0.1", "s=odd camera", "c=IN IP4 0.0.0.0", "t=0 0"]
        lines += [f"a=control:{manners.session_control}"] if manners.session_control else []
        lines += manners.other_media.splitlines()
        for number in range(manners.videos):
            kind = self.payload_type(number)
            lines += [f"m=video 0 RTP/AVP {kind}", f"a=rtpmap:{kind} {clip.encoding}/{CLOCK_HZ}"]
            if manners.sets_in_sdp and (parameters := clip.format_parameters()):
                lines.append(f"a=fmtp:{kind} {parameters}")
            lines.append(f"a=control:{manners.controls[number]}")
        return "".join(line + "\r\n" for line in lines)

    def payload_type(self, track: int) -> int:
        return JPEG_PAYLOAD_TYPE if self.clip.codec == "mjpeg" else 96 + track

    def nonce(self) -> str:
        """The one that is good now."""
        with self._changed:
            if not self._nonce or time.monotonic() - self._nonce_mono_s > self.manners.nonce_lasts_s:
                self._nonce, self._nonce_mono_s = os.urandom(8).hex(), time.monotonic()
            return self._nonce

    def _accept(self) -> None:
        while not self.closed.is_set():
            try:
                accepted, _ = self._socket.accept()
            except OSError:
                return
            self._served += 1
            client = _Client(self, accepted, self._served)
            threading.Thread(target=client.serve, name=f"odd-client:{self.port}", daemon=True).start()


class _Client:
    """One connection to the camera."""

    def __init__(self, camera: OddCamera, accepted: socket.socket, number: int) -> None:
        self._camera, self._manners, self._number = camera, camera.manners, number
        self._socket = accepted
        self._write = threading.Lock()
        self._over = threading.Event()
        self._session = os.urandom(4).hex()
        self._alive_mono_s = time.monotonic()
        self._tracks: list[_Track] = []

    def serve(self) -> None:
        self._camera.tell(opened=self)
        try:
            if self._manners.tls is not None:
                self._socket = self._manners.tls.wrap_socket(self._socket, server_side=True)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._listen()
        except (OSError, ValueError):
            return  # the far side is gone, or does not trust us
        finally:
            self._over.set()
            self._socket.close()
            for track in self._tracks:
                track.close()
            self._camera.tell(ended=self)

    def send(self, data: bytes) -> None:
        with self._write:
            self._socket.sendall(data)

    def shut(self) -> None:
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def _listen(self) -> None:
        buffer = b""
        while data := self._socket.recv(65536):
            buffer += data
            while buffer:
                if buffer[0] == 0x24:
                    if len(buffer) < 4 or len(buffer) < 4 + int.from_bytes(buffer[2:4], "big"):
                        break
                    buffer = buffer[4 + int.from_bytes(buffer[2:4], "big") :]
                    continue
                head, end, rest = buffer.partition(b"\r\n\r\n")
                if not end:
                    break
                buffer = rest
                line, *lines = head.decode("utf-8", "replace").split("\r\n")
                if line.startswith("RTSP/"):
                    continue  # the answer to what was said to the client
                pairs = (each.partition(":") for each in lines)
                headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
                method, url, _ = line.split(" ")
                request = Request(method, url, headers, time.monotonic(), self._number)
                self._camera.tell(request=request)
                self._answer(request)

    def _answer(self, request: Request) -> None:
        manners, method = self._manners, request.method
        if wait_s := manners.delay_s.get(method):
            self._over.wait(wait_s)
        reply = manners.answers.get(method)
        reply = reply(request) if callable(reply) else reply
        if reply is None and method != "OPTIONS" and not self._is_authorized(request):
            reply = Reply(401, "Unauthorized", tuple(self._challenges()))
        if reply is None:
            reply = self._good(request)
        if method in manners.keeps_alive and reply.status == 200:
            self._alive_mono_s = time.monotonic()
        newline = manners.newline
        lines = [f"RTSP/1.0 {reply.status} {reply.reason}", f"CSeq: {manners.cseq(request.headers.get('cseq', ''))}"]
        lines += reply.headers
        lines += [f"Content-Length: {len(reply.body)}"] if reply.body else []
        head = "".join(line + newline for line in lines) + newline
        self.send(manners.before_answer.get(method, b"") + head.encode() + reply.body.encode())
        if method in manners.closes_after or (reply.status == 401 and manners.closes_after_401):
            self.shut()
        elif method == "PLAY" and reply.status == 200:
            threading.Thread(target=self._play, name=f"odd-play:{self._camera.port}", daemon=True).start()

    def _good(self, request: Request) -> Reply:
        manners, session = self._manners, f"Session: {self._session}"
        if request.method == "OPTIONS":
            return Reply(200, headers=(f"Public: {manners.public}",) if manners.public else ())
        if request.method == "DESCRIBE":
            base = manners.content_base
            headers = (f"Content-Base: {base.format(url=request.url)}",) if base else ()
            return Reply(200, headers=(*headers, "Content-Type: application/sdp"), body=self._camera.sdp())
        if request.method == "SETUP":
            return self._set_up(request)
        if request.method == "TEARDOWN":
            self._over.set()
        return Reply(200, headers=(session,))

    def _set_up(self, request: Request) -> Reply:
        manners, wanted = self._manners, request.headers.get("transport", "")
        kind = "tcp" if "interleaved" in wanted else "udp"
        if kind not in manners.transports:
            return Reply(461, "Unsupported Transport")
        number = next((i for i, control in enumerate(manners.controls) if request.url.endswith(control)), None)
        if number is None or number >= manners.videos:
            return Reply(404, "Stream Not Found")
        found = re.search(r"(?:interleaved|client_port)=(\d+)-(\d+)", wanted)
        assert found is not None, wanted
        pair = (int(found[1]), int(found[2]))
        if kind == "tcp":
            pair = manners.channels or pair
            self._tracks.append(_Track(number, channels=pair))
            transport = f"RTP/AVP/TCP;unicast;interleaved={pair[0]}-{pair[1]}"
        else:
            track = _Track(number, to=(self._socket.getpeername()[0], pair[0]))
            self._tracks.append(track)
            port = track.port
            transport = f"RTP/AVP;unicast;client_port={pair[0]}-{pair[1]};server_port={port}-{port + 1}"
        session = manners.session.format(id=self._session, timeout=int(manners.session_timeout_s))
        return Reply(200, headers=(f"Session: {session}", f"Transport: {transport}"))

    def _challenges(self) -> Iterable[str]:
        nonce = self._camera.nonce()
        offered = [each % nonce if "%s" in each else each for each in self._manners.challenges]
        if self._manners.one_header:
            return [f"WWW-Authenticate: {', '.join(offered)}"]
        return [f"WWW-Authenticate: {each}" for each in offered]

    def _is_authorized(self, request: Request) -> bool:
        manners = self._manners
        if not manners.challenges:
            return True
        scheme, _, rest = request.headers.get("authorization", "").partition(" ")
        if scheme == "Basic" and BASIC in manners.challenges:
            return base64.b64decode(rest).decode() == f"{manners.user}:{manners.password}"
        given = {name.lower(): value.strip('"') for name, value in re.findall(r'(\w+)=("[^"]*"|[^,\s]+)', rest)}
        algorithm = given.get("algorithm", "MD5").upper()
        offered = [each for each in manners.challenges if each.startswith("Digest")]
        asked = {(found[1].upper() if (found := re.search(r"algorithm=([\w-]+)", each)) else "MD5") for each in offered}
        if scheme != "Digest" or algorithm not in asked or given.get("nonce") != self._camera.nonce():
            return False
        return given.get("response") == self._response(request, given, algorithm)

    def _response(self, request: Request, given: Mapping[str, str], algorithm: str) -> str:
        hashed = HASHES[algorithm.removesuffix("-SESS")]

        def h(text: str) -> str:
            return hashed(text.encode()).hexdigest()

        secret = h(f"{self._manners.user}:{given['realm']}:{self._manners.password}")
        if algorithm.endswith("-SESS"):
            secret = h(f"{secret}:{given['nonce']}:{given['cnonce']}")
        what = f"{request.method}:{given['uri']}"
        if given.get("qop") == "auth-int":
            what += f":{h('')}"
        if "qop" in given:
            return h(f"{secret}:{given['nonce']}:{given['nc']}:{given['cnonce']}:{given['qop']}:{h(what)}")
        return h(f"{secret}:{given['nonce']}:{h(what)}")

    def _play(self) -> None:
        with suppress(OSError, ValueError):  # the far side is gone
            self._send_pictures()

    def _send_pictures(self) -> None:
        manners, clip = self._manners, self._camera.clip
        start_mono_s, fps = time.monotonic(), manners.fps or clip.fps
        length_s = len(clip.units) / clip.fps
        for track in self._tracks:
            track.begin(self._camera.payload_type(track.number), manners.start_sequence)
        frame = 0
        while not self._over.wait(max(0.0, start_mono_s + frame / fps - time.monotonic())):
            now_s = time.monotonic() - start_mono_s
            if manners.drops_idle_sessions and time.monotonic() - self._alive_mono_s > manners.session_timeout_s:
                self.shut()
                return
            turn, index = divmod(manners.first_unit + frame, len(clip.units))
            unit = clip.units[index]
            media_s = turn * length_s + unit.at_s
            ticks = round(media_s * CLOCK_HZ) + manners.start_ticks
            if manners.stamp is not None:
                ticks = manners.stamp(frame, now_s, media_s)
            for track in self._tracks:
                if manners.sends_reports and frame % round(fps) == 0:
                    self._send(track, track.report(ticks), is_report=True)
                if not manners.frozen(track.number, now_s):
                    packets = track.packets(unit.payloads, ticks)
                    for packet in manners.packets(track.number, frame, packets):
                        self._send(track, packet)
            frame += 1

    def _send(self, track: _Track, packet: bytes, *, is_report: bool = False) -> None:
        if track.channels is None:
            track.send(packet, is_report=is_report)
        else:
            self.send(struct.pack(">cBH", b"$", track.channels[is_report], len(packet)) + packet)


class _Track:
    """What was SETUP, and the numbers that its packets carry."""

    def __init__(
        self, number: int, *, channels: tuple[int, int] | None = None, to: tuple[str, int] | None = None
    ) -> None:
        self.number, self.channels, self._to = number, channels, to
        self._sockets: list[socket.socket] = []
        self._kind, self._sequence, self._ssrc = 0, 0, int.from_bytes(os.urandom(4), "big")
        if to is not None:
            family = socket.AF_INET6 if ":" in to[0] else socket.AF_INET
            for _ in range(2):
                each = socket.socket(family, socket.SOCK_DGRAM)
                each.bind(("::1" if family == socket.AF_INET6 else "127.0.0.1", 0))
                self._sockets.append(each)

    @property
    def port(self) -> int:
        return int(self._sockets[0].getsockname()[1])

    def begin(self, kind: int, sequence: int | None) -> None:
        self._kind = kind
        self._sequence = int.from_bytes(os.urandom(2), "big") if sequence is None else sequence

    def packets(self, payloads: Iterable[bytes], ticks: int) -> list[bytes]:
        made, payloads = [], list(payloads)
        for place, payload in enumerate(payloads, 1):
            marker = 0x80 if place == len(payloads) else 0
            head = (0x80, marker | self._kind, self._sequence, ticks & 0xFFFFFFFF, self._ssrc)
            made.append(struct.pack(">BBHII", *head) + payload)
            self._sequence = self._sequence + 1 & 0xFFFF
        return made

    def report(self, ticks: int) -> bytes:
        now_s = time.time() + 2_208_988_800
        ntp = (int(now_s), int(now_s % 1 * 2**32))
        return struct.pack(">BBHIIIIII", 0x80, 200, 6, self._ssrc, *ntp, ticks & 0xFFFFFFFF, 0, 0)

    def send(self, packet: bytes, *, is_report: bool) -> None:
        assert self._to is not None
        self._sockets[is_report].sendto(packet, (self._to[0], self._to[1] + is_report))

    def close(self) -> None:
        for each in self._sockets:
            each.close()
