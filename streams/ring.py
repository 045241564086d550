"""The last seconds of one camera, as it sent them: for the picture and the clip that show a moment.

Packets are kept by reference, undecoded, in whole groups of pictures: the oldest group goes when the rest still holds
`seconds`, or when the ring is above `bytes_max`. A picture is decoded and a clip is written only when somebody asks,
in the thread that asks. A moment is a wall time; it is found on the stream by the frames that were handed on, whose
time the camera's clock has told.
"""

from __future__ import annotations  # PyAV's Packet takes its stream only in the stubs

import io
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from fractions import Fraction

import av
import cv2
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from streams.colors import AS_SAID, Colors
from streams.errors import StreamError
from streams.scale import whole
from streams.turned import UPRIGHT

_MARKS_MAX = 512  # frames handed on: more than the ring's seconds hold at any sampling rate
JPEG_QUALITY = 85
_CLIP_TICKS = 90_000
_SAME_S = 0.001  # wall times are kept in microseconds


class NotFilmed(StreamError, LookupError):
    """The ring holds nothing of that moment."""

    hint = "The camera was just connected, its groups of pictures are too long, or objects.ring_mib is too small."


@dataclass(frozen=True, slots=True)
class Kept:
    """A packet where it stands on the stream; lead_s: how long before its presentation it is decoded.

    is_whole: it and all that it refers to has come.
    """

    packet: Packet[VideoStream]
    stream_s: float
    lead_s: float
    is_whole: bool


class Codec:
    """What a decoder or a container needs to know besides the packets; outlives the connection it is taken from."""

    def __init__(self, stream: VideoStream, colors: Colors = AS_SAID) -> None:
        self.colors = colors
        self.turn = UPRIGHT  # known with the first key frame of a recording
        self.name = stream.codec_context.name
        self.extradata = stream.codec_context.extradata
        # A container that nothing is written to: it only keeps the description of the stream for those that are.
        self._keeper = av.open(io.BytesIO(), "w", format="mp4")
        self.template = self._keeper.add_stream_from_template(stream, opaque=True)


class _Group:
    __slots__ = ("bytes", "kept")

    def __init__(self) -> None:
        self.kept: list[Kept] = []
        self.bytes = 0


class Ring:
    """One per camera, for as long as it is kept connected. Filled by the capture thread, asked by any."""

    def __init__(self, *, seconds: float, bytes_max: int) -> None:
        self._seconds = seconds
        self._bytes_max = bytes_max
        self._lock = threading.Lock()
        self._codec: Codec | None = None
        self._groups: deque[_Group] = deque()
        self._marks: deque[tuple[datetime, float]] = deque(maxlen=_MARKS_MAX)
        self._bytes = 0

    @property
    def held_bytes(self) -> int:
        return self._bytes

    @property
    def length_s(self) -> float:
        with self._lock:
            return self._groups[-1].kept[-1].stream_s - self._groups[0].kept[0].stream_s if self._groups else 0.0

    def connected(self, codec: Codec) -> None:
        """A new connection: its packets do not continue those before."""
        with self._lock:
            self._codec = codec
            self._groups.clear()
            self._marks.clear()
            self._bytes = 0

    def packet(self, packet: Packet[VideoStream], stream_s: float, lead_s: float, *, is_whole: bool) -> None:
        with self._lock:
            if packet.is_keyframe:
                self._groups.append(_Group())
            elif not self._groups:
                return
            group = self._groups[-1]
            group.kept.append(Kept(packet, stream_s, lead_s, is_whole))
            group.bytes += packet.size
            self._bytes += packet.size
            self._trim(stream_s)

    def mark(self, at: datetime, stream_s: float) -> None:
        """The frame at `stream_s` was taken at `at`."""
        with self._lock:
            self._marks.append((at, stream_s))

    def reel(self) -> Reel:
        """What the ring holds now; only references are copied. Raises NotFilmed."""
        with self._lock:
            if self._codec is None or not self._groups or not self._marks:
                raise NotFilmed("no picture has come since the connection")
            return Reel(self._codec, [list(group.kept) for group in self._groups], list(self._marks))

    def _trim(self, newest_s: float) -> None:
        while len(self._groups) > 1 and (
            newest_s - self._groups[1].kept[0].stream_s >= self._seconds or self._bytes > self._bytes_max
        ):
            self._bytes -= self._groups.popleft().bytes
        if self._bytes > self._bytes_max:  # one group alone: an endless one, or a key frame that is too large
            self._groups.clear()
            self._bytes = 0


class Reel:
    """A ring at one moment. Asked in a worker thread: a picture is decoded, a clip is only put together."""

    def __init__(self, codec: Codec, groups: list[list[Kept]], marks: list[tuple[datetime, float]]) -> None:
        self._codec, self._groups, self._marks = codec, groups, marks

    def has(self, at: datetime) -> bool:
        at_s = self._stream_s(at)
        return self._groups[0][0].stream_s <= at_s <= self._groups[-1][-1].stream_s

    def clip(self, first: datetime, last: datetime) -> bytes:
        """MP4 of the packets from the key frame before `first` to `last`, as the camera sent them. Raises NotFilmed."""
        first_s, last_s = self._stream_s(first), self._stream_s(last)
        begin = max((i for i, group in enumerate(self._groups) if group[0].stream_s <= first_s), default=0)
        sent = [kept for group in self._groups[begin:] for kept in group]
        # In the order of decoding, so that what a picture refers to is there.
        chosen = sent[: max((i + 1 for i, kept in enumerate(sent) if kept.stream_s <= last_s + _SAME_S), default=0)]
        if not chosen:
            raise NotFilmed("the clip would be empty")
        return _muxed(self._codec, chosen)

    def picture(self, at: datetime) -> bytes:
        """JPEG of the frame of that moment at the camera's size, or of the nearest one kept. Raises NotFilmed."""
        at_s = self._stream_s(at)
        groups = [group for group in self._groups if any(kept.is_whole for kept in group)]
        if not groups:
            raise NotFilmed("all of its pictures are damaged")
        group = next((group for group in reversed(groups) if group[0].stream_s <= at_s + _SAME_S), groups[0])
        frame = _decoded(self._codec, group, at_s)
        bgr = whole(frame, self._codec.colors, self._codec.turn)[:, :, ::-1]
        done, jpeg = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
        assert done, "any picture can be a JPEG"
        return jpeg.tobytes()

    def _stream_s(self, at: datetime) -> float:
        known_at, known_s = min(self._marks, key=lambda mark: abs(mark[0] - at))
        return known_s + (at - known_at) / timedelta(seconds=1)


def _muxed(codec: Codec, chosen: Sequence[Kept]) -> bytes:
    file = io.BytesIO()
    tick = Fraction(1, _CLIP_TICKS)
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream_from_template(codec.template, opaque=True)
        stream.time_base = tick
        start_s = min(kept.stream_s for kept in chosen)
        last_dts = -_CLIP_TICKS
        for kept in chosen:
            packet = Packet(bytes(kept.packet))
            packet.stream, packet.time_base = stream, tick
            packet.is_keyframe = kept.packet.is_keyframe
            packet.pts = round((kept.stream_s - start_s) * _CLIP_TICKS)
            last_dts = max(last_dts + 1, min(packet.pts - round(kept.lead_s * _CLIP_TICKS), packet.pts))
            packet.dts = last_dts
            packet.pts = max(packet.pts, last_dts)  # where two have one stamp
            container.mux(packet)
    return file.getvalue()


def _decoded(codec: Codec, group: Sequence[Kept], at_s: float) -> av.VideoFrame:
    """The frame nearest to `at_s` of those that are whole."""
    whole = {kept.packet.pts for kept in group if kept.is_whole}
    last = max(index for index, kept in enumerate(group) if kept.is_whole)
    context = av.CodecContext.create(codec.name, "r")
    assert isinstance(context, VideoCodecContext), f"{codec.name} is no video codec"
    context.extradata = codec.extradata
    context.thread_count = 1
    context.open()
    best: tuple[float, av.VideoFrame] | None = None
    try:
        for packet in [*(kept.packet for kept in group[: last + 1]), None]:
            for frame in context.decode(packet):
                if frame.pts is None or frame.time_base is None or frame.is_corrupt or frame.pts not in whole:
                    continue
                away_s = abs(float(frame.pts * frame.time_base) - at_s)
                if best is None or away_s < best[0]:
                    best = (away_s, frame)
                elif best is not None:
                    return best[1]
    except av.FFmpegError:
        if best is None:
            raise NotFilmed("its packets are damaged") from None
    if best is None:
        raise NotFilmed("its packets give no picture")
    return best[1]
