"""From a door to a camera that plays: OPTIONS, DESCRIBE, SETUP, PLAY, and what cameras answer on the way.

The whole of it has one deadline, and any step may take what is left of it. The connection stays where it was made,
whatever addresses the camera names in its answers: another host gets neither a connection nor the password.
"""

import time
from dataclasses import dataclass

from net.address import looks_encoded
from streams.address import door_of, redacted
from streams.errors import (
    StreamBroken,
    StreamError,
    StreamMoved,
    StreamStalled,
    StreamUnauthorized,
    StreamUnreachable,
    StreamUnsupported,
)
from streams.rtsp import headers
from streams.rtsp.auth import Authorizer, Unanswerable, challenges, is_stale
from streams.rtsp.message import NotRtsp, Receiver, Request, Response
from streams.rtsp.redirects import MOVED, REDIRECTS_MAX, Moved, followed
from streams.rtsp.refusals import refusal
from streams.rtsp.sdp import Track, described, joined, resolved
from streams.rtsp.tls import Trust
from streams.rtsp.udp import Ports
from streams.rtsp.wire import Patience, Wire, connected

ASKED_AGAIN_MAX = 3  # for a password or for a nonce that is gone
EARLY_BYTES_MAX = 4 << 20
STRAY_S = 0.5  # for the right answer after one with another number
_OTHERS_MAX = 50  # answers to something else


@dataclass(frozen=True, slots=True, kw_only=True)
class Media:
    """What plays, and how it comes. channel: of interleaved RTP; None with UDP."""

    track: Track
    channel: int | None
    report_channel: int | None
    ports: Ports | None


class _HungUp(ConnectionError):
    """The camera closed the connection in mid-question."""


class Dialog:
    """One camera; `play` once, then `keep_alive`, `heard` and `leave` by whoever reads the wire."""

    def __init__(self, url: str, *, transport: str, trust: Trust, patience: Patience) -> None:
        """transport: "tcp" or "udp". Raises StreamUnreachable where the address has no clear reading."""
        self.address = redacted(url)
        try:
            self._door = door_of(url)
        except ValueError as error:
            raise StreamUnreachable(str(error), hint="Percent-encode what is special in the url.") from None
        self._configured = self._door
        # Inside TLS only what comes over the same connection is encrypted.
        self._transport = "tcp" if self._door.scheme == "rtsps" else transport
        self._trust, self._patience = trust, patience
        self._authorizer = (
            Authorizer(self._door.user, self._door.password or "") if self._door.user is not None else None
        )
        self.wire: Wire | None = None
        self.receiver = Receiver()
        self.early: list[tuple[int, bytes, float]] = []  # frames that came before the answer to PLAY, and when
        self._early_bytes = 0
        self.media: Media | None = None
        self.keep_alive_every_s = headers.SESSION_TIMEOUT_S / 2
        self.is_connecting = True
        self._answers: list[Response] = []
        self._cseq = 0
        self._miscounts = False  # this camera's answers carry another number than their request
        self._has_spoken = self._has_hung_up = False
        self._may_reconnect = self._may_ask_again = False
        self._public = ""
        self._session: str | None = None
        self._aggregate = ""
        self._alive_method = ""
        self._ports: Ports | None = None

    def play(self) -> None:
        """Until the camera has said that it plays. Raises StreamError, Stopped."""
        for _ in range(REDIRECTS_MAX + 1):
            try:
                self._connect()
                self._greet()
                self._set_up_and_play(*self._describe())
                return
            except Moved as moved:
                self._close_wire()
                self._door = moved.door
            except (_HungUp, OSError) as error:
                if isinstance(error, StreamError):
                    raise
                reason = "closed the connection" if isinstance(error, _HungUp) else error.strerror or str(error)
                kind = StreamBroken if self._has_spoken else StreamUnreachable
                raise kind(f"{self.address}: {reason}") from None
            except NotRtsp as error:
                raise StreamBroken(f"{self.address}: {error}") from None
        raise StreamMoved(f"{self.address}: redirects more than {REDIRECTS_MAX} times")

    def close(self) -> None:
        self._close_wire()
        if self._ports is not None:
            self._ports.close()

    # --- the steps ---

    def _connect(self) -> None:
        self.is_connecting = True
        self.wire = connected(self._door, self._trust, self.address, self._patience, tls_host=self._configured.host)
        self.is_connecting = False
        self.receiver = Receiver()
        self._answers.clear()
        self._has_spoken = self._has_hung_up = self._miscounts = False
        self._session = None

    def _greet(self) -> None:
        """OPTIONS tells which methods there are; a camera that refuses it may play all the same."""
        response = self._ask("OPTIONS", self._door.plain_url)
        if response.status in MOVED:
            raise self._moved(response)
        self._public = ",".join(response.all("public") + response.all("allow")).upper()

    def _describe(self) -> tuple[Track, str, str]:
        """(track, its base, the control of the whole)."""
        url = self._door.plain_url
        response = self._ask("DESCRIBE", url, "Accept: application/sdp")
        self._insist(response, "DESCRIBE")
        base = resolved(url, response.get("content-base") or response.get("content-location") or url)
        description = described(response.body.decode("utf-8", "replace"))
        track = description.read
        if track is None:
            others = f"; it has {', '.join(sorted(set(description.others)))}" if description.others else ""
            raise StreamUnsupported(f"{self.address}: has no video track{others}")
        if not track.is_taken:
            raise StreamUnsupported(f"{self.address}: sends {track.encoding[:40]!a}, which cannot be decoded here")
        if track.protocol.startswith("RTP/SAVP"):
            raise StreamUnsupported(
                f"{self.address}: encrypts its video with SRTP",
                hint="Turn SRTP off on the camera's own page; rtsps:// encrypts all of it.",
            )
        return track, base, description.control

    def _set_up_and_play(self, track: Track, base: str, control: str) -> None:
        self._aggregate = joined(base, control)[0]
        ways = joined(base, track.control) if track.control else [self._aggregate]
        response = self._set_up(ways[0])
        used = ways[0]
        for other in ways[1:]:
            if response.status == 404:
                response, used = self._set_up(other), other
        self._insist(response, "SETUP")
        self._heed_session(response)
        self._heed_transport(response, track)
        response = self._ask("PLAY", self._aggregate, "Range: npt=0.000-")
        if response.status == 457:  # no Range is live video, too
            response = self._ask("PLAY", self._aggregate)
        if response.status in (404, 459, 460) and used != self._aggregate:  # wants the track, not the whole
            self._aggregate = used
            response = self._ask("PLAY", used, "Range: npt=0.000-")
        self._insist(response, "PLAY")
        self._heed_session(response)
        assert self.media is not None, "the answer to SETUP said how it comes"
        self.receiver.channels = frozenset(
            each for each in (self.media.channel, self.media.report_channel) if each is not None
        )
        self._alive_method = "GET_PARAMETER" if "GET_PARAMETER" in self._public else "OPTIONS"

    def _set_up(self, url: str) -> Response:
        if self._transport == "tcp":
            return self._ask("SETUP", url, "Transport: RTP/AVP/TCP;unicast;interleaved=0-1")
        assert self.wire is not None, "it is connected"
        if self._ports is None:
            self._ports = Ports(self.wire.family, self.wire.local)
        port = self._ports.port
        return self._ask("SETUP", url, f"Transport: RTP/AVP;unicast;client_port={port}-{port + 1}")

    def _heed_session(self, response: Response) -> None:
        value = response.get("session")
        if value is None:
            return
        self._session, timeout_s = headers.session(value)
        if timeout_s is not None:
            self.keep_alive_every_s = max(0.5, timeout_s / 2)  # half of it, so that one answer may be slow

    def _heed_transport(self, response: Response, track: Track) -> None:
        given = headers.transport(response.get("transport") or "")
        first, second = given.channels
        if self._transport == "tcp" or first is not None:
            channel = 0 if first is None else first
            self.media = Media(
                track=track, channel=channel, report_channel=channel + 1 if second is None else second, ports=None
            )
            return
        assert self._ports is not None, "they were named in SETUP"
        assert self.wire is not None, "it is connected"
        self._ports.expect(self.wire.peer, given.source, *given.ports)
        self.media = Media(track=track, channel=None, report_channel=None, ports=self._ports)

    def _insist(self, response: Response, method: str) -> None:
        """Raises what a status other than success means."""
        if response.status in MOVED:
            raise self._moved(response)
        if not 200 <= response.status < 300:
            raise refusal(response.status, response.reason, method, transport=self._transport, address=self.address)

    def _moved(self, response: Response) -> Moved:
        assert self.wire is not None, "it has answered"
        moved = followed(
            response, self._door, configured=self._configured.host, peer=self.wire.peer, address=self.address
        )
        if moved.door.scheme == "rtsps":
            self._transport = "tcp"
        return moved

    # --- one question ---

    def _ask(self, method: str, url: str, *lines: str) -> Response:
        """The answer, once the camera has taken the password where it asks for one."""
        answered_this = False
        for _ in range(ASKED_AGAIN_MAX + 1):
            try:
                self._send(method, url, lines)
                response = self._answer(method)
            except ConnectionError as error:
                if isinstance(error, StreamError) or not self._may_reconnect:
                    raise
                # Some close the connection with the 401, and expect the password on a new one.
                self._may_reconnect = answered_this = False
                self._close_wire()
                self._connect()
                continue
            if self._authorizer is not None:
                self._authorizer.told(response.get("authentication-info"))
            if response.status != 401:
                self._may_reconnect = False
                return response
            self._heed_challenge(response, answered_this=answered_this)
            answered_this = True
            self._may_reconnect = method in ("OPTIONS", "DESCRIBE")
        raise self._unauthorized("asks for the password again and again")

    def _heed_challenge(self, response: Response, *, answered_this: bool) -> None:
        """answered_this: the password was already given to the very challenge of this question."""
        offered = challenges(response.all("www-authenticate"))
        if self._authorizer is None:
            raise self._unauthorized(
                "asks for a user and a password, and the url has none",
                hint="Write them into the url: rtsp://user:${NAME}@host/path.",
            )
        # Never the same password twice for nothing: a few wrong ones lock the account of many a camera.
        may_be_right = is_stale(offered) if answered_this else self._authorizer.has_new_nonce(offered)
        if not may_be_right:
            raise self._unauthorized("")
        try:
            self._authorizer.take(offered)
        except Unanswerable as error:
            raise self._unauthorized(
                str(error), hint="Allow Digest with SHA-256 or MD5 on the camera's own page."
            ) from None

    def _unauthorized(self, why: str, *, hint: str | None = None) -> StreamError:
        if not why and looks_encoded(self._door.password or ""):
            why = "a % and two digits stand in the password itself: what ${NAME} stands for is not to be encoded"
        return StreamUnauthorized(f"{self.address}: {why}" if why else self.address, hint=hint)

    def _send(self, method: str, url: str, more: tuple[str, ...]) -> None:
        assert self.wire is not None, "it is connected"
        self._cseq += 1
        lines = [f"{method} {url} RTSP/1.0", f"CSeq: {self._cseq}", "User-Agent: orwatch", *more]
        lines += [f"Session: {self._session}"] if self._session else []
        if self._authorizer is not None and (value := self._authorizer.header(method, url)):
            lines.append(f"Authorization: {value}")
        if any("\r" in line or "\n" in line for line in lines):
            raise StreamBroken(f"{self.address}: it named an address with a line break in it")
        self.wire.send(("\r\n".join(lines) + "\r\n\r\n").encode())

    def _answer(self, method: str) -> Response:
        """The final one to what was asked last. Raises StreamError when the time is over."""
        assert self.wire is not None, "it is connected"
        others = 0
        stray: Response | None = None
        stray_until_mono_s: float | None = None
        while True:
            while self._answers:  # a camera may refuse and hang up in one
                response = self._answers.pop(0)
                if response.status >= 200 and (self._miscounts or response.cseq in (self._cseq, None)):
                    return response
                others += 1
                if others > _OTHERS_MAX:
                    raise NotRtsp("answers again and again, but not what was asked")
                if response.status >= 200:
                    # An earlier question once more, if the right answer follows; else this camera cannot count.
                    stray, stray_until_mono_s = response, time.monotonic() + STRAY_S
            if self._has_hung_up:
                raise _HungUp
            wire = self.wire
            if not self._patience.wait(wire.fileno(), wire.events, stray_until_mono_s, is_ready=wire.has_pending):
                if stray is not None:
                    self._miscounts = True
                    return stray
                if not self._has_spoken:
                    raise StreamUnreachable(f"{self.address}: accepts connections but does not answer RTSP")
                raise StreamStalled(
                    f"{self.address}: answers RTSP, but not {method} within the connect timeout",
                    hint="Raise connect_timeout_s for a camera that wakes slowly; else restart the camera.",
                )
            self.wire.flush()
            self._receive()

    def _receive(self) -> None:
        assert self.wire is not None, "it is connected"
        for data in self.wire.receive():
            if not data:
                self._has_hung_up = True
                return
            now_mono_s = time.monotonic()
            for each in self.receiver.feed(data):
                if isinstance(each, Response):
                    self._has_spoken = True
                    self._answers.append(each)
                elif isinstance(each, Request):
                    self.heard_request(each)
                elif self._early_bytes < EARLY_BYTES_MAX:
                    self._early_bytes += len(each[1])
                    self.early.append((*each, now_mono_s))

    # --- while it plays ---

    def keep_alive(self) -> None:
        """Tell the camera that somebody still looks."""
        self._may_ask_again = True
        self._send(self._alive_method, self._aggregate, ())

    def _keep_alive_again(self) -> None:
        """Once, in another way than the camera refused."""
        if self._may_ask_again:
            self._may_ask_again = False
            self._send(self._alive_method, self._aggregate, ())

    def heard(self, response: Response) -> None:
        """An answer while it plays: to a keep-alive. Raises StreamBroken if the camera knows the session no more."""
        if self._authorizer is not None:
            self._authorizer.told(response.get("authentication-info"))
        if response.status == 401 and self._authorizer is not None:
            offered = challenges(response.all("www-authenticate"))
            if self._authorizer.has_new_nonce(offered):
                try:
                    self._authorizer.take(offered)
                except Unanswerable:
                    return  # it plays on for as long as it likes
                self._keep_alive_again()
        elif response.status in (405, 451, 501, 551) and self._alive_method == "GET_PARAMETER":
            self._alive_method = "OPTIONS"
            self._keep_alive_again()
        elif response.status == 454:
            raise StreamBroken(f"{self.address}: it ended the session ({response.status} {response.reason})")

    def heard_request(self, request: Request) -> None:
        """Cameras ask, too. Raises StreamBroken where that ends the stream."""
        assert self.wire is not None, "it has spoken"
        known = request.method in ("OPTIONS", "ANNOUNCE", "GET_PARAMETER", "SET_PARAMETER", "REDIRECT", "TEARDOWN")
        lines = [f"RTSP/1.0 {'200 OK' if known else '501 Not Implemented'}"]
        lines += [f"CSeq: {request.cseq}"] if request.cseq is not None else []
        lines += [f"Session: {self._session}"] if self._session else []
        lines += ["Public: OPTIONS, ANNOUNCE, GET_PARAMETER, SET_PARAMETER, REDIRECT, TEARDOWN"] if known else []
        self.wire.send(("\r\n".join(lines) + "\r\n\r\n").encode())
        if request.method == "REDIRECT":
            where = redacted(request.get("location") or "an address that it did not name")[:200]
            raise StreamBroken(f"{self.address}: it sends its viewers to {where} from now on")
        if request.method == "TEARDOWN":
            raise StreamBroken(f"{self.address}: it ended the session")

    def leave(self) -> bool:
        """Say farewell, so that the camera frees the place at once. True if there is somebody to say it to."""
        if self.wire is None or self._session is None:
            return False
        try:
            self._send("TEARDOWN", self._aggregate, ())
        except OSError:
            return False
        return True

    def _close_wire(self) -> None:
        if self.wire is not None:
            self.wire.close()
            self.wire = None
