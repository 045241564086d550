"""What a stream is and how long it takes to show a picture: for `orwatch cameras probe` and `orwatch check`."""

import threading
import time
from dataclasses import dataclass
from typing import Literal

import av

from streams.address import is_network, redacted
from streams.errors import StreamBroken, StreamError
from streams.opening import in_our_words, opened
from streams.sampler import Groups
from streams.timeline import Timeline

READ_TIMEOUT_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamInfo:
    """What was seen; gop_frames and gop_s are None if no second key frame came in time."""

    url: str  # without credentials
    codec: str
    width: int
    height: int
    fps: float
    gop_frames: int | None
    gop_s: float | None
    bitrate_bps: float
    open_s: float
    first_key_frame_s: float


def probe(url: str, *, transport: Literal["tcp", "udp"], timeout_s: float) -> StreamInfo:
    """Connect and listen until a whole group of pictures has passed, at most timeout_s. Raises a StreamError."""
    start_mono_s = time.monotonic()
    with opened(
        url, transport=transport, connect_timeout_s=timeout_s, read_timeout_s=READ_TIMEOUT_S, stop=threading.Event()
    ) as connection:
        assert connection is not None, "nobody sets this stop"
        container, stream = connection
        open_s = time.monotonic() - start_mono_s
        timeline, groups = Timeline(), Groups()
        first_key_frame_s: float | None = None
        size_bytes, length_s, packets = 0, 0.0, 0
        failure: StreamError | None = None
        try:
            for packet in container.demux(stream):
                now_mono_s = time.monotonic()
                if not packet.size or now_mono_s - start_mono_s > timeout_s:
                    break
                stamp = packet.pts if packet.pts is not None else packet.dts
                if is_network(url):
                    length_s = timeline.stream_s(None if stamp is None else float(stamp * packet.time_base), now_mono_s)
                else:
                    length_s = 0.0 if stamp is None else float(stamp * packet.time_base)
                groups.packet(length_s, is_key=packet.is_keyframe)
                packets += 1
                size_bytes += packet.size
                if packet.is_keyframe and first_key_frame_s is None:
                    first_key_frame_s = now_mono_s - start_mono_s
                if groups.length_s is not None:
                    break
        except av.FFmpegError as error:
            failure = in_our_words(error, url, opening=False)
        if failure is not None:
            raise failure  # outside the except block: libav's error carries the address with its password
        if first_key_frame_s is None:
            raise StreamBroken(f"{redacted(url)}: no key frame in {timeout_s:g} s")
        context = stream.codec_context
        measured_fps = (packets - 1) / length_s if length_s > 0 else 0.0
        return StreamInfo(
            url=redacted(url),
            codec=context.name,
            width=context.width,
            height=context.height,
            fps=float(stream.average_rate or stream.guessed_rate or measured_fps),
            gop_frames=groups.frames or None,
            gop_s=groups.length_s,
            bitrate_bps=8 * size_bytes / length_s if length_s > 0 else 0.0,
            open_s=open_s,
            first_key_frame_s=first_key_frame_s,
        )
