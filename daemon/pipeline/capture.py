"""One camera of one surgery: kept connected for as long as the surgery lasts."""

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace

from daemon import log as logs
from daemon.bridge import in_thread, left
from daemon.health import Health
from daemon.pipeline.sight import Figures, Sight, SightRules
from daemon.supervise import Backoff, keep_running
from streams.address import is_network, redacted
from streams.errors import (
    StreamError,
    StreamMoved,
    StreamNotFound,
    StreamStalled,
    StreamTransportRefused,
    StreamUnauthorized,
    StreamUnsupported,
    StreamUntrusted,
)
from streams.frame import Frame
from streams.ring import Ring
from streams.source import Source, SourceConfig
from streams.stats import StreamStats

log = logging.getLogger(__name__)

# Trying these again at once cannot help, and wrong passwords lock many cameras.
FINAL = (
    StreamUnauthorized,
    StreamNotFound,
    StreamUnsupported,
    StreamTransportRefused,
    StreamUntrusted,
    StreamMoved,
)

# In mid-surgery a refused password is tried again at a person's pace: somebody may be changing it.
UNAUTHORIZED_WAIT_S = 60.0

WORDS = {
    "StreamUnauthorized": "用户名或口令错误",
    "StreamNotFound": "RTSP 路径不存在",
    "StreamUnreachable": "无法连接",
    "StreamStalled": "连接后没有画面",
    "StreamBroken": "码流中断",
    "StreamUnsupported": "编码格式不支持",
    "StreamBusy": "连接数已满或设备忙",
    "StreamRefused": "摄像头拒绝了请求",
    "StreamTransportRefused": "传输方式不支持，请改用另一种（tcp/udp）",
    "StreamUntrusted": "TLS 证书不可信",
    "StreamMoved": "摄像头要求转到其他地址",
}


# A connection may be silent for its time-out; one whose thread shows no sign of life for so much longer hangs in a call
# that does not come back.
HANGS_AFTER_S = 5.0
STOPS_WITHIN_S = 5.0
LOOK_S = 0.25
# Between two looks: a suspended process, or a machine that was.
STANDS_STILL_S = 3.0
# With so many of one camera given up, another one would hang as well.
LEFT_MAX = 3


class CaptureHangs(StreamStalled):
    """The video library does not come back from a call, and its thread was given up."""

    hint = "Look at what the camera sends, a second video track for one; restart orwatch to be rid of the thread."


class Capture:
    """on_frame runs in the capture thread; on_gap, after the stream broke, in the event loop.

    ring: makes the ring of a connection whose predecessor may still be written to.
    """

    def __init__(
        self,
        config: SourceConfig,
        *,
        on_frame: Callable[[Frame], None],
        on_gap: Callable[[str], None],
        health: Health,
        backoff: Backoff,
        sight: SightRules,
        ring: Callable[[], Ring] | None = None,
    ) -> None:
        self.camera = config.camera
        self.first_sample = asyncio.Event()
        self.failed_finally = asyncio.Event()
        self.failure: StreamError | None = None
        self.reconnects = 0
        self.blind_s = 0.0
        self.began_mono_s = time.monotonic()
        self.sight = Sight(sight, config.sample_fps, self.began_mono_s)
        self._config = config
        self._ring = ring
        self._source = Source(config, ring() if ring is not None else None)
        self._on_frame = on_frame
        self._on_gap = on_gap
        self._health = health
        self._backoff = backoff
        self._is_up = self._is_trying = self._has_ended = False
        self._hung: StreamStats | None = None  # of a source whose thread was given up
        self._down = ""  # why the connection broke, until the next one gives a sample
        self._faults: tuple[str, ...] = ()
        self._attempt_mono_s = self._looked_mono_s = self.began_mono_s
        self._works_since_mono_s: float | None = None

    @property
    def stats(self) -> StreamStats:
        return self._source.stats

    @property
    def sees(self) -> bool:
        return self._is_up and not self._faults

    @property
    def fault(self) -> str:
        """Why it does not see, or sees nothing that counts; empty while it does, or before that is known."""
        return "; ".join(self._faults)

    async def run(self) -> None:
        """Until cancelled. A file in the place of a camera that ends is one that sees no more."""
        logs.bind(camera=self.camera)
        try:
            await keep_running(
                self._attempt,
                on_failure=self._failed,
                backoff=self._backoff,
                works_since=lambda: self._works_since_mono_s,
            )
            self._is_up, self._has_ended, self._faults = False, True, ("its recording has ended",)
            self._health.set(self._component, ok=False, why=self.fault)
            log.warning("camera %s: %s", self.camera, self.fault)
            await asyncio.Event().wait()
        finally:
            self._is_up, self._has_ended = False, True
            self._health.forget(self._component)

    def saw(self, captured_mono_s: float) -> None:
        """The scores of a frame arrived, and voted where there is somebody to count them."""
        self.sight.saw()
        # What was on its way when a connection broke says nothing of the next one.
        if self._is_up or not self._is_trying or captured_mono_s < self._attempt_mono_s:
            return
        self._is_up, self.failure = True, None
        self._works_since_mono_s = time.monotonic()
        self.first_sample.set()
        self.sight.begin()
        was_down, self._down = self._down, ""
        self._tell("gives frames" if was_down or self._component not in self._health.components else "sees again")

    def look(self, on_the_way: Figures) -> None:
        """Report what is there and shows nothing: too few samples, a covered lens, a frozen encoder.

        on_the_way: what is counted behind the camera; its own is added here.
        """
        now_mono_s, stats = time.monotonic(), self.stats
        saw = self.sees
        passed_s = now_mono_s - self._looked_mono_s
        stood_still = passed_s > STANDS_STILL_S
        if not saw or stood_still:
            self.blind_s += passed_s
        if stood_still:
            log.warning("camera %s: the process stood still for %.1f s, and nobody looked", self.camera, passed_s)
        self._looked_mono_s = now_mono_s
        if self._has_ended:
            return
        figures = replace(
            on_the_way,
            packets=stats.packets,
            key_frames=stats.key_frames,
            decoded=stats.decoded,
            sampled=stats.sampled,
            behind=stats.behind,
            hiccups=stats.hiccups,
            lost=stats.lost,
            damaged=stats.damaged,
            jumps=stats.jumps,
            late_s=stats.lag_s,
            silent_s=now_mono_s - stats.last_packet_mono_s if stats.last_packet_mono_s is not None else 0.0,
            connecting_s=None if self._had_packet else now_mono_s - self._attempt_mono_s,
        )
        self.sight.look(figures, now_mono_s)
        self._tell("sees again")
        if saw and self.sight.blind:
            self.blind_s += self.sight.window_s  # that it was known only now does not make it shorter

    @property
    def _component(self) -> str:
        return f"camera:{self.camera}"

    @property
    def _had_packet(self) -> bool:
        """Whether this connection gave any."""
        last_mono_s = self.stats.last_packet_mono_s
        return last_mono_s is not None and last_mono_s >= self._attempt_mono_s

    def _tell(self, mended: str) -> None:
        """Said once when it breaks and once when it is back. mended: what is said then."""
        shown = "picture frozen" if self.stats.frozen_since else "picture covered" if self.stats.covered_since else ""
        # A connection that broke says more than "no packets arrive"; of the next one only what it gives and shows.
        blind = self.sight.blind if not self._down or self._had_packet else ""
        self._faults = tuple(each for each in (self._down, blind, shown if self._is_up else "") if each)
        if not self._faults and not self._is_up:
            return
        if self._health.set(self._component, ok=not self._faults, why=self.fault):
            if self._faults:
                log.warning("camera %s: %s", self.camera, self.fault)
            else:
                log.info("camera %s%s %s", self.camera, "" if mended == "gives frames" else ":", mended)

    async def _attempt(self) -> None:
        """One connection. Raises a StreamError."""
        self._works_since_mono_s = None
        if isinstance(self.failure, StreamUnauthorized):
            await asyncio.sleep(UNAUTHORIZED_WAIT_S)
        name = f"capture:{self.camera}"
        if sum(each.name == name for each in left()) >= LEFT_MAX:
            raise CaptureHangs(f"{LEFT_MAX} threads hang already, no other is started until one of them ends")
        if self._hung is not None:
            # Nothing of it is used again: it may go on writing at any time.
            self._source = Source(self._config, self._ring() if self._ring is not None else None)
            self._source.stats, self._hung = self._hung, None
        self._attempt_mono_s, self._is_trying = time.monotonic(), True

        def work(stop: threading.Event) -> None:
            def deliver(frame: Frame) -> None:
                # What a thread that was given up still finds is nobody's.
                if not stop.is_set():
                    self._on_frame(frame)

            source.run(deliver, stop)

        source = self._source
        thread = asyncio.ensure_future(in_thread(name, work, stop_within_s=STOPS_WITHIN_S))
        try:
            if await self._comes_to_an_end(thread):
                return await thread
        finally:
            thread.cancel()
            await asyncio.wait([thread])
            if not thread.cancelled():
                thread.exception()
        self._hung = replace(source.stats)
        raise CaptureHangs(redacted(self._config.classified_url))

    async def _comes_to_an_end(self, thread: "asyncio.Future[None]") -> bool:
        """False once the thread has shown no sign of life for longer than anything it waits for."""
        config, stats = self._config, self._source.stats
        is_live = is_network(config.classified_url)
        seen, moved_mono_s = (0, 0, 0), time.monotonic()
        while True:
            await asyncio.wait([thread], timeout=LOOK_S)
            if thread.done():
                return True
            now = (stats.packets, stats.decoded, stats.sampled)
            if now != seen:
                seen, moved_mono_s = now, time.monotonic()
            # A recording may hold a pause of any length.
            within_s = config.read_timeout_s + (0.0 if self._had_packet else config.connect_timeout_s) + HANGS_AFTER_S
            if (is_live or not self._had_packet) and time.monotonic() - moved_mono_s > within_s:
                return False

    def _failed(self, error: Exception, wait_s: float) -> None:
        self._is_up = self._is_trying = False
        self.reconnects += 1
        if isinstance(error, StreamError):
            self.failure = error
            if isinstance(error, FINAL):
                self.failed_finally.set()
            if isinstance(error, StreamUnauthorized):
                wait_s += UNAUTHORIZED_WAIT_S
            why = f"{type(error).__name__}: {error}"
            # Every further attempt only counts.
            if not self._down:
                log.warning("camera %s: %s Trying again in %.1f s. %s", self.camera, error, wait_s, error.hint)
        else:
            why = f"internal error: {type(error).__name__}"
            log.error("camera %s: internal error", self.camera, exc_info=error)
        self._down, self._faults = why, (why,)
        self._health.set(self._component, ok=False, why=why)
        self._on_gap(self.camera)


def reason(capture: Capture, timeout_s: float) -> str:
    """Why a camera is not up, for the client."""
    if capture.failure is None:
        if capture.stats.sampled:
            return f"{timeout_s:g} 秒内有画面，但没有识别结果"
        return f"{timeout_s:g} 秒内没有收到首帧"
    name = next((cls.__name__ for cls in type(capture.failure).__mro__ if cls.__name__ in WORDS), "")
    return WORDS.get(name, "码流错误")
