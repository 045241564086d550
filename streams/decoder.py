"""Packets to frames: one thread, in hardware where it exists and in software where not.

The decoder is ours and not the container's, because a hardware device that turns out to be missing (PyAV raises
PermissionError there) must not cost a second connection to the camera: only the decoder is made again.
"""

from __future__ import annotations  # PyAV's Packet takes its stream only in the stubs

import logging
from collections.abc import Iterator

import av
from av.codec.hwaccel import HWAccel, hwdevices_available
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from streams.errors import StreamUnsupported

log = logging.getLogger(__name__)

AUTO_ORDER = ("cuda", "vaapi", "qsv")
MISSING = (av.FFmpegError, OSError, RuntimeError, NotImplementedError)  # PermissionError is an OSError


class Decoder:
    """Decodes the packets of one stream; made anew per connection."""

    def __init__(self, stream: VideoStream, hwaccel: str) -> None:
        """hwaccel: "off", "auto", or a device. Raises StreamUnsupported if no decoder takes the stream."""
        self.codec_name = stream.codec_context.name
        self.extradata = stream.codec_context.extradata
        self._devices = list(_devices(hwaccel))
        self.name = "software"
        self._context = self._next_context()

    @property
    def reorders(self) -> bool:
        """The stream has B-frames: a picture comes out later than its packet goes in."""
        return bool(self._context.has_b_frames)

    @property
    def swallows(self) -> bool:
        """What misses a reference never comes out: libav's way with H.265. Of H.264, second fields do not either."""
        return self.codec_name == "hevc"

    def decode(self, packet: Packet[VideoStream]) -> list[VideoFrame]:
        """The frames that this packet settles. Raises av.FFmpegError for a damaged packet."""
        try:
            return self._context.decode(packet)
        except MISSING as error:
            if self.name == "software":
                raise
            log.warning("%s decoding failed (%s), trying without", self.name, type(error).__name__)
            self._context = self._next_context()
            raise

    def drain(self) -> list[VideoFrame]:
        """What a decoder that reorders still holds at the end of a recording."""
        return self._context.decode(None)

    def flush(self) -> None:
        """Forget everything: the next packet is a key frame."""
        if self._context.is_open:
            self._context.flush_buffers()

    def _next_context(self) -> VideoCodecContext:
        while self._devices:
            device = self._devices.pop(0)
            try:
                context = self._make(HWAccel(device, allow_software_fallback=False))
            except MISSING as error:
                log.warning("no %s decoder here (%s)", device, type(error).__name__)
                continue
            if context.is_hwaccel:
                self.name = device
                return context
        self.name = "software"
        try:
            return self._make(None)
        except av.FFmpegError as error:
            raise StreamUnsupported(f"{self.codec_name}: {error.strerror}") from None

    def _make(self, hwaccel: HWAccel | None) -> VideoCodecContext:
        context = av.CodecContext.create(self.codec_name, "r", hwaccel=hwaccel)
        assert isinstance(context, VideoCodecContext), f"{self.codec_name} is no video codec"
        context.extradata = self.extradata
        context.thread_count = 1  # a thread per camera is enough; frame threads add latency and a copy per thread
        context.open()
        return context


def _devices(hwaccel: str) -> Iterator[str]:
    available = hwdevices_available()
    if hwaccel == "auto":
        yield from (device for device in AUTO_ORDER if device in available)
    elif hwaccel != "off":
        yield hwaccel
