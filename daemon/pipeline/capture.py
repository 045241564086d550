"""One camera of one surgery: kept connected for as long as the surgery lasts."""

import asyncio
import logging
import threading
from collections.abc import Callable

from daemon import log as logs
from daemon.bridge import in_thread
from daemon.health import Health
from daemon.supervise import Backoff, keep_running
from streams.errors import (
    StreamError,
    StreamMoved,
    StreamNotFound,
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


class Capture:
    """on_frame runs in the capture thread; on_gap, after the stream broke, in the event loop."""

    def __init__(
        self,
        config: SourceConfig,
        *,
        on_frame: Callable[[Frame], None],
        on_gap: Callable[[str], None],
        health: Health,
        backoff: Backoff,
        ring: Ring | None = None,
    ) -> None:
        self.camera = config.camera
        self.first_frame = asyncio.Event()
        self.failed_finally = asyncio.Event()
        self.failure: StreamError | None = None
        self.reconnects = 0
        self._source = Source(config, ring)
        self._on_frame = on_frame
        self._on_gap = on_gap
        self._health = health
        self._backoff = backoff
        self.is_up = False
        self._loop = asyncio.get_running_loop()

    @property
    def stats(self) -> StreamStats:
        return self._source.stats

    async def run(self) -> None:
        """Until cancelled, or until a file in the place of a camera ends."""
        logs.bind(camera=self.camera)
        try:
            await keep_running(self._attempt, on_failure=self._failed, backoff=self._backoff)
        finally:
            self.is_up = False
            self._health.forget(self._component)

    def look(self) -> None:
        """Report a picture that comes and shows nothing: a covered lens, a frozen encoder."""
        if not self.is_up:
            return
        problem = "picture frozen" if self.stats.frozen_since else "picture covered" if self.stats.covered_since else ""
        if self._health.set(self._component, ok=not problem, why=problem):
            log.log(logging.WARNING if problem else logging.INFO, "camera %s: %s", self.camera, problem or "sees again")

    @property
    def _component(self) -> str:
        return f"camera:{self.camera}"

    async def _attempt(self) -> None:
        if isinstance(self.failure, StreamUnauthorized):
            await asyncio.sleep(UNAUTHORIZED_WAIT_S)
        has_frame = False

        def deliver(frame: Frame) -> None:
            nonlocal has_frame
            if not has_frame:
                has_frame = True
                self._loop.call_soon_threadsafe(self._up)
            self._on_frame(frame)

        def work(stop: threading.Event) -> None:
            self._source.run(deliver, stop)

        await in_thread(f"capture:{self.camera}", work)

    def _up(self) -> None:
        self.is_up = True
        self.failure = None
        self.first_frame.set()
        if self._health.set(self._component, ok=True):
            log.info("camera %s gives frames", self.camera)

    def _failed(self, error: Exception, wait_s: float) -> None:
        self.is_up = False
        self._on_gap(self.camera)
        self.reconnects += 1
        if isinstance(error, StreamError):
            self.failure = error
            if isinstance(error, FINAL):
                self.failed_finally.set()
            # Said once when it breaks and once when it is back; every further attempt only counts.
            if self._health.set(self._component, ok=False, why=f"{type(error).__name__}: {error}"):
                log.warning("camera %s: %s Trying again in %.1f s. %s", self.camera, error, wait_s, error.hint)
        else:
            self._health.set(self._component, ok=False, why=f"internal error: {type(error).__name__}")
            log.error("camera %s: internal error", self.camera, exc_info=error)


def reason(capture: Capture, timeout_s: float) -> str:
    """Why a camera is not up, for the client."""
    if capture.failure is None:
        return f"{timeout_s:g} 秒内没有收到首帧"
    name = next((cls.__name__ for cls in type(capture.failure).__mro__ if cls.__name__ in WORDS), "")
    return WORDS.get(name, "码流错误")
