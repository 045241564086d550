"""Opening a stream or a file with a deadline, and libav's errors in our words.

PyAV's own time-outs interrupt every wait of libav. They are polled every 0.1 s, hence the margin. libav's errors
carry the address with its password in their text, so none of them leaves this package, not even as the cause of ours.
"""

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import av
from av.container.input import InputContainer
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
from streams.reachable import knock

log = logging.getLogger(__name__)

POLL_MARGIN_S = 0.15
FILE_BUFFER_BYTES = 1 << 18


@contextmanager
def opened(
    url: str,
    *,
    transport: Literal["tcp", "udp"],
    connect_timeout_s: float,
    read_timeout_s: float,
    stop: threading.Event,
) -> Iterator[tuple[InputContainer, VideoStream] | None]:
    """The container and its first video stream; None if stop was set while connecting.

    Takes at most connect_timeout_s. Raises a StreamError.
    """
    container = (
        _open_network(url, transport, connect_timeout_s, read_timeout_s, stop) if scheme_of(url) else _open_file(url)
    )
    if container is None:
        yield None
        return
    with container:
        streams = container.streams.video
        if not streams:
            raise StreamUnsupported(f"{redacted(url)}: has no video track")
        stream = streams[0]
        if stream.codec_context is None:  # PyAV found no decoder
            raise StreamUnsupported(f"{redacted(url)}: no decoder for its codec")
        yield container, stream


def _open_network(
    url: str, transport: str, connect_timeout_s: float, read_timeout_s: float, stop: threading.Event
) -> InputContainer | None:
    if not is_network(url):
        raise StreamUnsupported(f"{redacted(url)}: expected rtsp://, rtsps:// or the path of a file")
    deadline_mono_s = time.monotonic() + connect_timeout_s
    if not knock(url, deadline_mono_s=deadline_mono_s, stop=stop):
        return None
    options = {
        "rtsp_transport": transport,
        # With an audio track set up, its packets would keep the read time-out quiet while the picture stands still.
        "allowed_media_types": "video",
        "timeout": str(int(connect_timeout_s * 1e6)),  # of single socket operations, the farewell at close among them
        "fpsprobesize": "0",  # the frame rate is not worth 0.8 s of waiting
    }
    # libav opens in two steps, and PyAV gives each of them the time-out.
    open_timeout_s = max(0.1, (deadline_mono_s - time.monotonic()) / 2)
    failure: StreamError
    try:
        return av.open(url, options=options, timeout=(open_timeout_s, interrupted_after_s(read_timeout_s)))
    except (av.FFmpegError, ValueError) as error:
        failure = in_our_words(error, url, opening=True)
    if time.monotonic() >= deadline_mono_s - open_timeout_s:  # libav also says "invalid data" when it was interrupted
        failure = StreamStalled(f"{redacted(url)}: answers RTSP, but sent no picture within the connect timeout")
    raise failure  # outside the except block, so that libav's error is not even its context


def interrupted_after_s(read_timeout_s: float) -> float:
    """What PyAV is told, so that a stall is over within read_timeout_s."""
    return max(0.1, read_timeout_s - POLL_MARGIN_S)


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
