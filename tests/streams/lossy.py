"""What becomes of a clip on its way over RTP: cut into packets, some of them lost, put together by a depacketizer.

libav's depacketizers (rtpdec_h264.c, rtpdec_hevc.c) join the fragments of a unit that came, holes and all.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from streams.adaptive import Stillness
from streams.decoder import Decoder
from streams.picker import Picker
from streams.stats import StreamStats
from tests.servers.rtsp import FILTERS

PAYLOAD_BYTES = 120  # small pictures of many packets
TICKS = 90_000

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Sent:
    """One picture as the camera sent it, in the order of decoding."""

    nals: tuple[bytes, ...]
    shown_s: float
    is_key: bool


@dataclass(frozen=True, slots=True)
class Came:
    """What of it arrived; lost: packets missing in it or beside it."""

    data: bytes
    sent: Sent
    lost: int


class Clip:
    """A clip, its pictures as they were sent, and how each of them looks."""

    def __init__(self, path: Path) -> None:
        self.has_key_frames = "refresh" not in path.name
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            self.codec, extradata = stream.codec_context.name, stream.codec_context.extradata
            to_annexb = FILTERS[self.codec].split(",")[0] if self.codec in FILTERS else None
            self.extradata = None if to_annexb else extradata
            self.sent = list(_sent(container, stream, to_annexb))
        with av.open(str(path)) as container:
            self.looks = {_ms(frame): _pixels(frame) for frame in container.decode(video=0)}

    def through(self, is_lost: Callable[[int, int], bool]) -> list[Came]:
        """is_lost(picture, packet of it): both counted from 0."""
        head = 1 if self.codec == "h264" else 2
        came: list[Came] = []
        waiting = 0
        for number, sent in enumerate(self.sent):
            parts = [(nal, at) for nal in sent.nals for at in _cuts(nal, head)]
            data, lost = bytearray(), 0
            for index, (nal, at) in enumerate(parts):
                if is_lost(number, index):
                    lost += 1
                    continue
                if at <= head:
                    data += b"\0\0\0\1" + nal[:head]
                data += nal[max(at, head) : at + PAYLOAD_BYTES]
            if data:
                came.append(Came(bytes(data), sent, lost + waiting))
                waiting = 0
            else:
                waiting += lost
        return came


def at_random(share: float, seed: int) -> Callable[[int, int], bool]:
    chance = random.Random(seed)
    return lambda number, index: chance.random() < share


class Watched:
    """Everything that a picker shows of what came."""

    def __init__(
        self, clip: Clip, came: list[Came], *, sample_fps: float, told: bool, stillness: Stillness | None = None
    ) -> None:
        """told: the picker hears of lost packets, as from a camera; else as from a file."""
        self.stats = StreamStats()
        self.shown: list[tuple[int, Pixels]] = []  # (ms, RGB)
        self.repeated: list[int] = []  # ms
        self._stillness = stillness
        picker = Picker(Decoder(_described(clip), "off"), sample_fps, stillness, self.stats)
        for each in came:
            packet: Packet[VideoStream] = Packet(each.data)
            packet.time_base, packet.pts = Fraction(1, TICKS), round(each.sent.shown_s * TICKS)
            packet.is_keyframe = each.sent.is_key
            for pick in picker.push(packet, each.sent.shown_s, 0.0, 0.0, lost=each.lost if told else 0):
                self._keep(pick.stream_s, pick.frame)
        for pick in picker.finish():
            self._keep(pick.stream_s, pick.frame)

    def differing(self, clip: Clip) -> list[int]:
        """When pictures were shown that are not what they should be, to the bit where the stream has key frames."""
        is_right = np.array_equal if clip.has_key_frames else _alike
        return [ms for ms, pixels in self.shown if not is_right(pixels, clip.looks[ms])]

    def _keep(self, stream_s: float, frame: VideoFrame | None) -> None:
        if frame is None:
            self.repeated.append(round(stream_s * 1000))
            return
        pixels = _pixels(frame)
        self.shown.append((round(stream_s * 1000), pixels))
        if self._stillness is not None:
            self._stillness.picture(pixels, stream_s)


def _described(clip: Clip) -> VideoStream:
    """A stream as a demuxer describes it: only its codec context is asked for."""
    context = av.CodecContext.create(clip.codec, "r")
    context.extradata = clip.extradata
    return _Described(context)  # type: ignore[return-value]


@dataclass
class _Described:
    codec_context: av.CodecContext


def _sent(container: av.container.InputContainer, stream: VideoStream, to_annexb: str | None) -> Iterator[Sent]:
    from av.bitstream import BitStreamFilterContext

    cut = BitStreamFilterContext(to_annexb, in_stream=stream) if to_annexb else None
    for packet in container.demux(stream):
        for unit in cut.filter(packet if packet.size else None) if cut else [packet] if packet.size else []:
            assert unit.pts is not None
            nals = tuple(part for part in bytes(unit).replace(b"\0\0\0\1", b"\0\0\1").split(b"\0\0\1") if part)
            yield Sent(nals, float(unit.pts * unit.time_base), unit.is_keyframe)


def _cuts(nal: bytes, head: int) -> range:
    """Where the packets of a unit begin: it is whole in one, or in fragments without its own header."""
    return range(1) if len(nal) <= PAYLOAD_BYTES else range(head, len(nal), PAYLOAD_BYTES)


def _ms(frame: VideoFrame) -> int:
    assert frame.pts is not None
    assert frame.time_base is not None
    return round(frame.pts * frame.time_base * 1000)


def _pixels(frame: VideoFrame) -> Pixels:
    return frame.to_ndarray(format="rgb24")  # type: ignore[return-value]


def _alike(one: Pixels, other: Pixels) -> bool:
    """No difference that anybody would see: a stream that refreshes itself comes near to what it was."""
    apart = np.abs(one.astype(np.int16) - other).mean(axis=2)
    rows, columns = apart.shape[0] // 16, apart.shape[1] // 16
    blocks = apart[: rows * 16, : columns * 16].reshape(rows, 16, columns, 16).mean(axis=(1, 3))
    return float(apart.mean()) <= 4 and float(blocks.max()) <= 25
