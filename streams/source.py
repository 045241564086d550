"""One camera: one blocking `run` is one connection attempt. Reconnecting is the caller's business.

The thread that calls `run` reads packets, decodes and scales. It asks the clock when a packet was and the picker
whether it is wanted, and hands on what is. Beside it runs one other for a camera, which only talks with it
(streams/rtsp), and ends before `run` returns. A consumer that blocks in `on_frame` holds the camera up: hand over and
return.
"""

from __future__ import annotations  # PyAV's Packet takes its stream only in the stubs

import logging
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime

import av
from av.container.input import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from streams.adaptive import Stillness
from streams.address import is_network, redacted
from streams.clock import Clock, FileClock, LiveClock
from streams.config import SourceConfig
from streams.decoder import Decoder
from streams.errors import StreamError
from streams.frame import Frame, Rgb
from streams.health import FROZEN_AFTER_S, GAP_MAX_S, GAP_MAX_SAMPLES, PictureHealth
from streams.opening import Opened, in_our_words, opened
from streams.picker import Pick, Picker
from streams.recording import Parts, packets_of, says_s
from streams.ring import Codec, Ring
from streams.scale import Scaler
from streams.stats import StreamStats
from streams.turned import Turn, turn_of_container

__all__ = ["Source", "SourceConfig"]

log = logging.getLogger(__name__)

PACE_TOLD, PACE_TOLD_AGAIN = 0.02, 0.1  # a change by more is worth a line
STAMPS_DISBELIEVED = "its stamps stand still, jump or are random: pictures count as taken when they arrive"
STAMPS_BELIEVED = "its stamps are in order again"


class Source:
    """A camera or a recording, read by whoever calls `run`."""

    def __init__(self, config: SourceConfig, ring: Ring | None = None) -> None:
        """ring: where the packets are kept for pictures and clips."""
        self.config = config
        self._ring = ring
        self.stats = StreamStats()
        self._told_pace = 1.0
        self._health = PictureHealth(FROZEN_AFTER_S, max(GAP_MAX_S, GAP_MAX_SAMPLES / config.sample_fps))

    def run(self, on_frame: Callable[[Frame], None], stop: threading.Event) -> None:
        """Read until stop is set or the recording ends; raise a StreamError otherwise.

        on_frame: called in this thread. stop: heard within a fraction of a second, whatever is waited for.
        """
        config = self.config
        with opened(
            config.classified_url,
            transport=config.transport,
            trust=config.trust,
            connect_timeout_s=config.connect_timeout_s,
            read_timeout_s=config.read_timeout_s,
            stop=stop,
        ) as connection:
            if connection is None:
                return
            connected = _Connection(config, self.stats, self._health, connection.stream, on_frame, self._ring)
            log.info(
                "%s: %s %dx%d from %s, decoded in %s",
                config.camera,
                self.stats.codec,
                self.stats.width,
                self.stats.height,
                redacted(config.classified_url),
                self.stats.decoder,
            )
            if is_network(config.classified_url):
                self._run_live(connected, connection, stop)
            else:
                self._run_file(connected, connection.container, connection.stream, stop)

    def _run_live(self, connected: _Connection, connection: Opened, stop: threading.Event) -> None:
        clock = LiveClock(datetime.now(UTC), time.monotonic())
        self.stats.by_arrival = False
        lost_before = self.stats.lost
        tick_s = connected.tick_s
        failure: StreamError | None = None
        try:
            for packet in connection.container.demux(connection.stream):
                now_mono_s = time.monotonic()
                if stop.is_set() or not packet.size:  # PyAV marks the end by an empty packet
                    break
                came = connection.arrival_of(packet)
                self.stats.lost = lost_before + connection.lost
                # libavformat holds a picture until the next one begins: it arrived one frame earlier.
                came_mono_s = came.mono_s if came is not None else now_mono_s - clock.step_s
                arrival = clock.arrived(_stamp_s(packet, tick_s), came_mono_s, seen=came is not None)
                self.stats.jumps += arrival.jumped
                self._tell_pace(clock)
                waited_s = max(0.0, now_mono_s - came.given_mono_s) if came is not None else 0.0
                connected.packet(
                    packet,
                    arrival.stream_s,
                    clock,
                    late_s=arrival.late_s + waited_s,
                    waited_s=waited_s,
                    lost=came.lost if came is not None else 0,
                )
        except av.FFmpegError as error:
            failure = in_our_words(error, self.config.classified_url, opening=False)
        if not stop.is_set():
            # Outside the except block: libav's error is not even the context of ours. The camera's comes first.
            raise connection.why_it_ended(failure)

    def _tell_pace(self, clock: LiveClock) -> None:
        stats, camera = self.stats, self.config.camera
        if abs(clock.pace / self._told_pace - 1.0) > (PACE_TOLD if self._told_pace == 1.0 else PACE_TOLD_AGAIN):
            self._told_pace = clock.pace
            log.warning("%s: its stamps count a second in %.3g s; the clock follows", camera, clock.pace)
        if clock.by_arrival != stats.by_arrival:
            log.warning("%s: %s", camera, STAMPS_DISBELIEVED if clock.by_arrival else STAMPS_BELIEVED)
        stats.pace, stats.by_arrival = clock.pace, clock.by_arrival

    def _run_file(
        self, connected: _Connection, container: InputContainer, stream: VideoStream, stop: threading.Event
    ) -> None:
        config = self.config
        clock, parts = FileClock(config.started_at or datetime.now(UTC)), Parts(self.stats.fps)
        start_mono_s, said_s = time.monotonic(), says_s(container, stream)
        self.stats.length_s = said_s
        failure: StreamError
        turned = False
        try:
            for packet, stream_s in packets_of(container, stream, parts, loop=config.loop):
                if packet.is_keyframe and not turned:
                    turned = True
                    connected.turn(turn_of_container(stream, packet))
                if config.pace == "live":
                    stop.wait(max(0.0, start_mono_s + stream_s - time.monotonic()))
                if stop.is_set():
                    return
                connected.packet(packet, stream_s, clock, late_s=0.0, waited_s=0.0, lost=0)
                # What a container says counts the hours between its joined parts, and perhaps only one of them.
                self.stats.length_s = parts.end_s if parts.has_joined else max(said_s, parts.end_s)
            connected.finish(clock)
        except av.FFmpegError as error:
            failure = in_our_words(error, config.classified_url, opening=False)
        else:
            return
        raise failure


class _Connection:
    """What one attempt keeps between two packets."""

    def __init__(
        self,
        config: SourceConfig,
        stats: StreamStats,
        health: PictureHealth,
        stream: VideoStream,
        on_frame: Callable[[Frame], None],
        ring: Ring | None,
    ) -> None:
        assert stream.time_base is not None, "a demuxer gives every stream its clock"
        self.tick_s = float(stream.time_base)  # of the stamps; fractions are slow, twice a packet
        self._config, self._stats, self._health, self._on_frame = config, stats, health, on_frame
        health.connected()
        stats.frozen_since = stats.covered_since = None
        decoder = Decoder(stream, config.hwaccel)
        context = stream.codec_context
        self._stillness = Stillness(context.width * context.height) if config.adaptive else None
        self._picker = Picker(decoder, config.sample_fps, self._stillness, stats)
        self._scaler = Scaler(config.picture, config.colors)
        self._last_rgb: Rgb | None = None
        self._last_s = float("-inf")
        self._ring = ring
        self._codec = Codec(stream, config.colors) if ring is not None else None
        if ring is not None and self._codec is not None:
            ring.connected(self._codec)
        stats.codec, stats.width, stats.height = context.name, context.width, context.height
        stats.fps = float(stream.average_rate or stream.guessed_rate or 0)
        stats.decoder = decoder.name

    def packet(
        self,
        packet: Packet[VideoStream],
        stream_s: float,
        clock: Clock,
        *,
        late_s: float,
        waited_s: float,
        lost: int,
    ) -> None:
        stats = self._stats
        stats.packets += 1
        stats.bytes += packet.size
        stats.lag_s = late_s
        stats.last_packet_mono_s = time.monotonic()
        # From here on stamps are seconds of our own timeline, so that a frame comes out of the decoder with its time.
        lead_s = (packet.pts - packet.dts) * self.tick_s if packet.pts is not None and packet.dts is not None else 0.0
        packet.pts = round(stream_s / self.tick_s)
        for pick in self._picker.push(packet, stream_s, late_s, waited_s, lost=lost):
            self._hand_on(pick, clock)
        if self._ring is not None:
            self._ring.packet(packet, stream_s, lead_s, is_whole=self._picker.is_whole)

    def turn(self, turn: Turn) -> None:
        """Whatever is shown from here on is turned so."""
        self._scaler.turn = turn
        if self._codec is not None:
            self._codec.turn = turn

    def finish(self, clock: Clock) -> None:
        for pick in self._picker.finish():
            self._hand_on(pick, clock)

    def _hand_on(self, pick: Pick, clock: Clock) -> None:
        # Where stamps are missing or go back, pictures may come out of order: time does not go back with them.
        self._last_s = stream_s = max(self._last_s, pick.stream_s)
        captured_at, captured_mono_s = clock.captured(stream_s, time.monotonic())
        stats = self._stats
        repeated = pick.frame is None
        if pick.frame is not None:
            self._last_rgb = self._scaler.rgb(pick.frame)
            self._health.look(self._last_rgb, captured_at)
            if self._stillness is not None:
                self._stillness.picture(self._last_rgb, stream_s)
            stats.width, stats.height = pick.frame.width, pick.frame.height
            stats.frozen_since, stats.covered_since = self._health.frozen_since, self._health.covered_since
        assert self._last_rgb is not None, "a picture is repeated only after one was decoded"
        stats.sampled += 1
        stats.repeated += repeated
        stats.last_frame_at = captured_at
        if self._ring is not None:
            self._ring.mark(captured_at, pick.stream_s)
        self._on_frame(
            Frame(
                camera=self._config.camera,
                rgb=self._last_rgb,
                captured_at=captured_at,
                captured_mono_s=captured_mono_s,
                stream_s=stream_s,
                repeated=repeated,
            )
        )


def _stamp_s(packet: Packet[VideoStream], tick_s: float) -> float | None:
    stamp = packet.pts if packet.pts is not None else packet.dts
    return None if stamp is None else stamp * tick_s
