"""Opening a stream or a file with a deadline, and libav's errors in our words.

A camera is talked with in streams/rtsp; libav reads what comes of it on loopback. Its errors carry the address that
it opened in their text, so none of them leaves this package, not even as the cause of ours.
"""

from __future__ import annotations  # PyAV's Packet takes its stream only in the stubs

import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import av
from av.container.input import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from streams.address import is_network, redacted, scheme_of
from streams.errors import (
    StreamBroken,
    StreamError,
    StreamNotFound,
    StreamStalled,
    StreamUnauthorized,
    StreamUnreachable,
    StreamUnsupported,
)
from streams.rtsp import Arrival, Front, Trust

FILE_BUFFER_BYTES = 1 << 18
# libav looks for a picture in what it gets; when that is over is said by streams/rtsp.
_LOOKS_FOR_US = 60_000_000
_LOOKS_FOR_BYTES = 64 << 20
_OPTIONS = {
    "rtsp_transport": "tcp",
    "fpsprobesize": "0",  # the frame rate is not worth 0.8 s of waiting
    "analyzeduration": str(_LOOKS_FOR_US),
    "probesize": str(_LOOKS_FOR_BYTES),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A stream whose packets can be read. front: the conversation with the camera; None for a file."""

    container: InputContainer
    stream: VideoStream
    address: str  # without credentials
    front: Front | None

    def arrival_of(self, packet: Packet[VideoStream]) -> Arrival | None:
        """Once per packet, before its pts is changed; None for a file."""
        return self.front.arrival_of(packet.pts) if self.front is not None else None

    @property
    def lost(self) -> int:
        """RTP packets that never came, since it was opened."""
        return self.front.lost if self.front is not None else 0

    def why_it_ended(self, failure: StreamError | None = None) -> StreamError:
        """After the last packet of a camera. failure: what libav said; the camera's own end is known better."""
        seen = self.front.failure if self.front is not None else None
        return seen or failure or StreamBroken(f"{self.address}: the camera ended the stream")


@contextmanager
def opened(
    url: str,
    *,
    transport: Literal["tcp", "udp"],
    trust: Trust,
    connect_timeout_s: float,
    read_timeout_s: float,
    stop: threading.Event,
    ends_mono_s: float = math.inf,
) -> Iterator[Opened | None]:
    """The first video stream of a camera or a file; None if stop was set while connecting.

    connect_timeout_s: to the first packet of a camera. While packets come, its first picture may take longer, up to
    streams.rtsp.front.KEY_FRAME_WITHIN_S. ends_mono_s: then a camera's packets end without a failure. A stop ends them
    within a fraction of a second, too, whatever libav waits for. Raises a StreamError.
    """
    if not scheme_of(url):
        with _open_file(url) as container:
            yield Opened(container=container, stream=_video_of(container, url), address=url, front=None)
        return
    if not is_network(url):
        raise StreamUnsupported(f"{redacted(url)}: expected rtsp://, rtsps:// or the path of a file")
    with Front(
        url,
        transport=transport,
        trust=trust,
        connect_timeout_s=connect_timeout_s,
        read_timeout_s=read_timeout_s,
        stop=stop,
        ends_mono_s=ends_mono_s,
    ) as front:
        local = front.wait_for_video()
        found = _open_network(local, url, front, stop) if local is not None else None
        if found is None:
            yield None
            return
        with found:
            yield Opened(container=found, stream=_video_of(found, url), address=redacted(url), front=front)


def _video_of(container: InputContainer, url: str) -> VideoStream:
    streams = container.streams.video
    if not streams:
        raise StreamUnsupported(f"{redacted(url)}: has no video track")
    if streams[0].codec_context is None:  # PyAV found no decoder
        raise StreamUnsupported(f"{redacted(url)}: no decoder for its codec")
    return streams[0]


def _open_network(local: str, url: str, front: Front, stop: threading.Event) -> InputContainer | None:
    failure: StreamError
    try:
        container = av.open(local, options=_OPTIONS)
    except (av.FFmpegError, ValueError) as error:
        failure = in_our_words(error, url, opening=True)
    else:
        front.read()
        if front.failure is None and not stop.is_set():
            return container
        failure = front.failure or StreamBroken(redacted(url))
        container.close()
    if stop.is_set():
        return None
    raise front.failure or failure  # outside the except block, so that libav's error is not even its context


def _open_file(path: str) -> InputContainer:
    failure: StreamError
    try:
        return av.open(path, buffer_size=FILE_BUFFER_BYTES)
    except (av.FFmpegError, ValueError) as error:
        failure = in_our_words(error, path, opening=True)
    raise failure


def in_our_words(error: Exception, url: str, *, opening: bool) -> StreamError:
    """The StreamError for what libav raised."""
    shown = redacted(url)
    text = getattr(error, "strerror", None) or type(error).__name__
    if isinstance(error, (av.HTTPUnauthorizedError, av.HTTPForbiddenError)):
        return StreamUnauthorized(shown)
    if isinstance(error, (av.HTTPNotFoundError, FileNotFoundError)):
        return StreamNotFound(shown)
    if isinstance(error, (av.ExitError, TimeoutError)):
        return StreamStalled(shown)
    if isinstance(error, (av.LookupError, av.PatchWelcomeError)) or (not is_network(url) and opening):
        return StreamUnsupported(f"{shown}: {text}")
    if isinstance(error, ConnectionRefusedError):
        return StreamUnreachable(f"{shown}: {text}")
    return StreamBroken(f"{shown}: {text}")
