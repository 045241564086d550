"""What a stream is and how long it takes to show a picture: for `orwatch cameras probe` and `orwatch check`.

A camera is listened to for RATE_S at least: how many pictures it says to send and how many come are two things.
"""

import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

import av

from streams.address import is_network, redacted
from streams.clock import LiveClock
from streams.colors import said_matrix, said_range
from streams.errors import StreamBroken, StreamError
from streams.opening import in_our_words, opened
from streams.rtsp import Trust
from streams.sampler import Groups
from streams.timeline import Timeline
from streams.turned import UPRIGHT, Turn, turn_of_container

READ_TIMEOUT_S = 2.0
RATE_S = 4.0
RATE_TOLERANCE = 0.03


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamInfo:
    """What was seen; gop_frames and gop_s are None if no second key frame came in time.

    fps: pictures that come in a second; said_fps: that the stream says to have. pace: seconds that pass while its
    stamps count one; stamps_believed: False where they tell less of the time than the arrivals. color_matrix,
    color_range: as the stream says; None where it says nothing. turn: what its container wants done before it is shown.
    """

    url: str  # without credentials
    codec: str
    width: int
    height: int
    fps: float
    said_fps: float
    pace: float
    stamps_believed: bool
    color_matrix: str | None
    color_range: str | None
    turn: Turn
    gop_frames: int | None
    gop_s: float | None
    bitrate_bps: float
    open_s: float
    first_key_frame_s: float


def probe(url: str, *, transport: Literal["tcp", "udp"], trust: Trust, timeout_s: float) -> StreamInfo:
    """Connect and listen until a whole group of pictures has passed, at most timeout_s. Raises a StreamError."""
    start_mono_s = time.monotonic()
    with opened(
        url,
        transport=transport,
        trust=trust,
        connect_timeout_s=timeout_s,
        read_timeout_s=READ_TIMEOUT_S,
        stop=threading.Event(),
        ends_mono_s=start_mono_s + timeout_s,
    ) as connection:
        assert connection is not None, "nobody sets this stop"
        stream = connection.stream
        open_s = time.monotonic() - start_mono_s
        is_live, groups = is_network(url), Groups()
        clock, timeline = LiveClock(datetime.now(UTC), start_mono_s), Timeline()
        first_key_frame_s: float | None = None
        turn = UPRIGHT
        size_bytes, length_s, packets, listened_s = 0, 0.0, 0, 0.0
        first_mono_s: float | None = None
        failure: StreamError | None = None
        try:
            for packet in connection.container.demux(stream):
                now_mono_s = time.monotonic()
                if not packet.size or now_mono_s - start_mono_s > timeout_s:
                    break
                first_mono_s = now_mono_s if first_mono_s is None else first_mono_s
                listened_s = now_mono_s - first_mono_s
                stamp = packet.pts if packet.pts is not None else packet.dts
                stamp_s = None if stamp is None else float(stamp * packet.time_base)
                if is_live:
                    clock.arrived(stamp_s, now_mono_s)
                    length_s = timeline.stream_s(stamp_s, now_mono_s)
                else:
                    length_s = stamp_s or 0.0
                groups.packet(length_s, is_key=packet.is_keyframe)
                packets += 1
                size_bytes += packet.size
                if packet.is_keyframe and first_key_frame_s is None:
                    first_key_frame_s = now_mono_s - start_mono_s
                    turn = UPRIGHT if is_live else turn_of_container(stream, packet)
                if groups.length_s is not None and (not is_live or listened_s >= RATE_S):
                    break
        except av.FFmpegError as error:
            failure = in_our_words(error, url, opening=False)
        if connection.front is not None and first_key_frame_s is None:
            failure = connection.front.failure or failure
        if failure is not None:
            raise failure  # outside the except block: libav's error carries the address with its password
        if first_key_frame_s is None:
            raise StreamBroken(f"{redacted(url)}: no key frame in {timeout_s:g} s")
        context = stream.codec_context
        taken_s = listened_s if clock.by_arrival else length_s * clock.pace
        measured_fps = (packets - 1) / taken_s if taken_s > 0 else 0.0
        said_fps = float(stream.average_rate or stream.guessed_rate or measured_fps)
        as_said = not is_live or abs(measured_fps - said_fps) <= RATE_TOLERANCE * said_fps
        return StreamInfo(
            url=redacted(url),
            codec=context.name,
            width=context.width,
            height=context.height,
            fps=said_fps if as_said else measured_fps,
            said_fps=said_fps,
            pace=clock.pace,
            stamps_believed=not clock.by_arrival,
            color_matrix=said_matrix(context.colorspace),
            color_range=said_range(context.color_range),
            turn=turn,
            gop_frames=groups.frames or None,
            gop_s=groups.length_s if as_said or not groups.frames else groups.frames / measured_fps,
            bitrate_bps=8 * size_bytes / taken_s if taken_s > 0 else 0.0,
            open_s=open_s,
            first_key_frame_s=first_key_frame_s,
        )
