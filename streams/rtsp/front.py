"""One connection to a camera: a thread that talks with it, and hands its one video track to libav on loopback.

libav takes packets apart and finds the pictures in them; it never learns the camera's address or password. What it
cannot do is done here: passwords of today, TLS that is verified, a time-out that is whole, a stall of the track that
is read, losses that are counted, and a stop that is heard at once: the thread looks every POLL_S, and closes libav's
connection, which ends whatever libav waits for.

The thread is this file's own, and not the bridge's, because it lives and ends with one attempt of the caller's.
"""

import logging
import select
import threading
import time
from types import TracebackType
from typing import Literal, Self

from streams.address import redacted
from streams.errors import StreamBroken, StreamError, StreamStalled, StreamUnreachable, StreamUnsupported
from streams.rtsp.dialog import Dialog, Media
from streams.rtsp.loopback import Loopback
from streams.rtsp.message import NotRtsp, Response
from streams.rtsp.message import Request as CameraRequest
from streams.rtsp.rtp import Arrival, Packet, Pictures, Sequence, parsed
from streams.rtsp.tls import Trust
from streams.rtsp.udp import REPORT_EVERY_S
from streams.rtsp.wire import POLL_S, Patience, Stopped

log = logging.getLogger(__name__)

# A second of a camera of 32 Mbit/s; a reader that is held up by more holds the camera up.
UNREAD_BYTES_MAX = 4 << 20
STRANGE_MAX = 25  # packets of another payload type than was announced, before the first that was
DRAIN_S = 0.5  # for libav to take what came before the end
FAREWELL_S = 0.3
RESOLVER_LATE_S = 0.5  # the system's own time-outs are longer than ours
KEY_FRAME_WITHIN_S = 30.0  # after the first packet; an attempt that makes progress is not cut before
_JOIN_S = 2.0


class Front:
    """with Front(...) as front: the camera is connected while the block runs."""

    def __init__(
        self,
        url: str,
        *,
        transport: Literal["tcp", "udp"],
        trust: Trust,
        connect_timeout_s: float,
        read_timeout_s: float,
        stop: threading.Event,
        ends_mono_s: float,
    ) -> None:
        """connect_timeout_s: to the first packet of video, all steps together. read_timeout_s: between two.

        ends_mono_s: when it is over in any case, without a failure.
        """
        self._url, self._transport, self._trust = url, transport, trust
        self._address = redacted(url)
        self._read_timeout_s = read_timeout_s
        self._connect_timeout_s = connect_timeout_s
        self._deadline_mono_s = min(time.monotonic() + connect_timeout_s, ends_mono_s)
        self._ends_mono_s = ends_mono_s
        self._reader_within_mono_s: float | None = None  # until when libav has to have found a picture
        self._stop = stop
        self._closing = threading.Event()
        self._settled = threading.Event()  # video comes, or it never will
        self._dialog: Dialog | None = None
        self._loopback: Loopback | None = None
        self._pictures: Pictures | None = None
        self._sequence = Sequence()
        self.failure: StreamError | None = None
        self._thread = threading.Thread(
            target=self._run, name=f"camera:{self._address.partition('@')[2] or self._address}"[:60], daemon=True
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        # A resolver that hangs is left to end by itself: nothing waits for it, and it finds that it is not wanted.
        self._thread.join(_JOIN_S if not self._is_connecting else 3 * POLL_S)

    def wait_for_video(self) -> str | None:
        """The address on loopback at which libav finds the track; None if stop was set. Raises a StreamError."""
        while not self._settled.wait(POLL_S):
            if self._stop.is_set():
                return None
            if self._is_connecting and time.monotonic() > self._deadline_mono_s + RESOLVER_LATE_S:
                raise StreamUnreachable(f"{self._address}: the name of its host could not be looked up in time")
        if self._stop.is_set():
            return None
        if self.failure is not None:
            raise self.failure
        assert self._loopback is not None, "video comes through it"
        return self._loopback.url

    def read(self) -> None:
        """libav has found out what the track is."""
        self._reader_within_mono_s = None

    def arrival_of(self, pts: int | None) -> Arrival | None:
        """The picture with this stamp of libav's. Asked once for each, in their order."""
        return self._pictures.arrival_of(pts) if self._pictures is not None else None

    @property
    def lost(self) -> int:
        """RTP packets that never came."""
        return self._sequence.lost

    @property
    def _is_connecting(self) -> bool:
        return self._dialog is None or self._dialog.is_connecting

    def _is_unwanted(self) -> bool:
        return self._stop.is_set() or self._closing.is_set()

    def _has_passed(self) -> bool:
        """Its whole time, after video came; before that the deadline tells more."""
        return self._settled.is_set() and time.monotonic() >= self._ends_mono_s

    def _run(self) -> None:
        try:
            patience = Patience(self._deadline_mono_s, self._is_unwanted)
            dialog = Dialog(self._url, transport=self._transport, trust=self._trust, patience=patience)
            self._dialog = dialog
            dialog.play()
            self._relay(dialog)
        except StreamError as error:
            self.failure = self.failure or error
        except NotRtsp as error:
            self.failure = self.failure or StreamBroken(f"{self._address}: {error}")
        except Stopped:
            pass
        except OSError as error:
            self.failure = self.failure or StreamBroken(f"{self._address}: {error.strerror or error}")
        finally:
            self._end()

    def _end(self) -> None:
        """libav first: who waits for it must not wait for the camera, too."""
        if self._loopback is not None:
            self._loopback.close()
        is_left = self._loopback is not None and self._loopback.has_left  # libav knows why
        if self.failure is None and not (is_left or self._is_unwanted() or self._has_passed()):
            self.failure = StreamBroken(f"{self._address}: the connection ended")
        self._settled.set()
        if self._dialog is not None:
            if self._dialog.leave():
                self._wait_for_farewell(self._dialog)
            self._dialog.close()

    @staticmethod
    def _wait_for_farewell(dialog: Dialog) -> None:
        """A connection that is closed with unread video in it is reset, and the farewell is lost with it."""
        wire = dialog.wire
        assert wire is not None, "the farewell was sent over it"
        patience = Patience(time.monotonic() + FAREWELL_S, lambda: False)
        try:
            while patience.wait(wire.fileno(), wire.events):
                wire.flush()
                for data in wire.receive():
                    if not data or any(isinstance(each, Response) for each in dialog.receiver.feed(data)):
                        return
        except (OSError, NotRtsp):
            return

    # --- while it plays ---

    def _relay(self, dialog: Dialog) -> None:
        media = dialog.media
        assert media is not None, "it plays"
        self._pictures = Pictures(media.track.payload_type)
        self._loopback = loopback = Loopback(media.track.for_libav())
        relay = _Relay(dialog, media, self._sequence, self._pictures, loopback)
        for channel, data, mono_s in dialog.early:
            relay.frame(channel, data, mono_s)
        dialog.early.clear()
        while not self._is_unwanted() and not self._has_passed() and not loopback.has_left:
            relay.turn()
            if relay.last_mono_s is not None and not self._settled.is_set():
                self._reader_within_mono_s = time.monotonic() + KEY_FRAME_WITHIN_S
                self._settled.set()
            if (failure := relay.failure or self._silence(relay)) is not None:
                relay.drain()
                raise failure

    def _silence(self, relay: "_Relay") -> StreamError | None:
        now_mono_s = time.monotonic()
        if relay.last_mono_s is None:
            if now_mono_s < self._deadline_mono_s:
                return None
            return StreamStalled(
                f"{self._address}: plays, but sent no picture within the connect timeout"
                f" ({self._connect_timeout_s:g} s){relay.instead}"
            )
        if now_mono_s - relay.last_mono_s >= self._read_timeout_s:
            return StreamStalled(f"{self._address}: no packet in {self._read_timeout_s:g} s{relay.instead}")
        reader_within_mono_s = self._reader_within_mono_s
        if reader_within_mono_s is not None and now_mono_s >= reader_within_mono_s:
            return StreamUnsupported(f"{self._address}: no key frame in {KEY_FRAME_WITHIN_S:g} s")
        return None


class _Relay:
    """Turns of the loop between the camera and libav."""

    def __init__(
        self, dialog: Dialog, media: Media, sequence: Sequence, pictures: Pictures, loopback: Loopback
    ) -> None:
        assert dialog.wire is not None, "it plays"
        self._dialog, self._media, self._wire, self._loopback = dialog, media, dialog.wire, loopback
        self._sequence, self._pictures = sequence, pictures
        self._payload_type: int | None = None
        self._strange = 0  # packets that are not of the track
        self.last_mono_s: float | None = None  # when the last packet of the track came
        self.failure: StreamError | None = None
        self._poller = select.poll()
        self._watched: dict[int, int] = {}
        now_mono_s = time.monotonic()
        self._alive_mono_s = now_mono_s + dialog.keep_alive_every_s
        self._report_mono_s = now_mono_s + REPORT_EVERY_S

    @property
    def instead(self) -> str:
        """What came in the place of the track, for the one on call."""
        strangers = self._media.ports.strangers if self._media.ports is not None else 0
        return (f"; {self._strange} packets of something else came" if self._strange else "") + (
            f"; {strangers} packets came from another address than the camera's" if strangers else ""
        )

    def turn(self) -> None:
        """Wait for something to do, at most POLL_S, and do it."""
        is_full = self._loopback.unsent_bytes > UNREAD_BYTES_MAX
        wanted = self._loopback.events()
        if not is_full:
            wanted[self._wire.fileno()] = self._wire.events
            if self._media.ports is not None:
                wanted[self._media.ports.fileno()] = select.POLLIN
        ready = self._polled(wanted)
        now_mono_s = time.monotonic()
        if is_full:
            # The camera waits for the reader here: that is no silence of the camera's.
            self.last_mono_s = now_mono_s if self.last_mono_s is not None else None
        else:
            self._hear(ready, now_mono_s)
        for packet, missing in self._sequence.overdue(now_mono_s):
            self._hand_on(packet, missing)
        self._loopback.turn(ready)
        self._keep_up(now_mono_s)

    def _polled(self, wanted: dict[int, int]) -> dict[int, int]:
        if wanted != self._watched:
            for fd in self._watched.keys() - wanted.keys():
                self._poller.unregister(fd)
            for fd, events in wanted.items():
                self._poller.register(fd, events)
            self._watched = wanted
        return dict(self._poller.poll(self._wait_ms()))

    def _wait_ms(self) -> float:
        if self._wire.has_pending:
            return 0
        due_s = self._sequence.due_mono_s
        wait_s = POLL_S if due_s is None else min(POLL_S, max(0.0, due_s - time.monotonic()))
        return wait_s * 1000 + (0.5 if due_s is not None else 0.0)

    def _hear(self, ready: dict[int, int], now_mono_s: float) -> None:
        if self._media.ports is not None and self._media.ports.fileno() in ready:
            for data in self._media.ports.receive():
                self.packet(data, now_mono_s)
        events = ready.get(self._wire.fileno(), 0)
        if events & select.POLLOUT:
            self._wire.flush()
        if not events & ~select.POLLOUT and not self._wire.has_pending:
            return
        for data in self._wire.receive():
            if not data:
                self.failure = StreamBroken(f"{self._dialog.address}: the camera ended the stream")
                return
            for each in self._dialog.receiver.feed(data):
                if isinstance(each, Response):
                    self._dialog.heard(each)
                elif isinstance(each, CameraRequest):
                    self._dialog.heard_request(each)
                else:
                    self.frame(each[0], each[1], now_mono_s)

    def _keep_up(self, now_mono_s: float) -> None:
        if now_mono_s >= self._alive_mono_s:
            self._alive_mono_s = now_mono_s + self._dialog.keep_alive_every_s
            self._dialog.keep_alive()
        if self._media.ports is not None and now_mono_s >= self._report_mono_s:
            self._report_mono_s = now_mono_s + REPORT_EVERY_S
            self._media.ports.report(self._sequence)

    def frame(self, channel: int, data: bytes, now_mono_s: float) -> None:
        if channel == self._media.channel:
            self.packet(data, now_mono_s)
        elif channel != self._media.report_channel:
            self._strange += 1

    def packet(self, data: bytes, now_mono_s: float) -> None:
        packet = parsed(data, now_mono_s)
        if packet is None or not self._is_of_track(packet):
            self._strange += 1
            return
        self.last_mono_s = now_mono_s
        for each, missing in self._sequence.push(packet):
            self._hand_on(each, missing)

    def _is_of_track(self, packet: Packet) -> bool:
        """By its payload type. Some cameras send another than they have announced, from the start and always."""
        if self._payload_type is None:
            is_announced = packet.payload_type == self._media.track.payload_type
            if is_announced or self._strange >= STRANGE_MAX:
                self._payload_type = packet.payload_type
        return packet.payload_type == self._payload_type

    def _hand_on(self, packet: Packet, missing: int) -> None:
        self._loopback.hand_on(self._pictures.handed_on(packet, missing))

    def drain(self) -> None:
        """It is over: what came before goes to libav still, if it takes it."""
        for packet, missing in self._sequence.rest():
            self._hand_on(packet, missing)
        ends_mono_s = time.monotonic() + DRAIN_S
        while self._loopback.unsent_bytes and not self._loopback.has_left and time.monotonic() < ends_mono_s:
            poller = select.poll()
            for fd, events in self._loopback.events().items():
                poller.register(fd, events)
            self._loopback.turn(dict(poller.poll(POLL_S * 1000)))
