"""A clip's pictures as RTP payloads: H.264 (RFC 6184), H.265 (RFC 7798), JPEG (RFC 2435), MPEG-4 (RFC 6416)."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import av
from av.bitstream import BitStreamFilterContext

PAYLOAD_MAX = 1300
JPEG_PAYLOAD_TYPE = 26
_TO_ANNEX_B = {"h264": "h264_mp4toannexb", "hevc": "hevc_mp4toannexb"}
_ENCODINGS = {"h264": "H264", "hevc": "H265", "mjpeg": "JPEG", "mpeg4": "MP4V-ES"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """One picture in decode order. at_s: when it is shown, from the start of the clip."""

    is_key: bool
    at_s: float
    payloads: tuple[bytes, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RtpClip:
    """A clip, cut up for RTP. sets: its parameter sets (H.264, H.265) or its header (MPEG-4), for the SDP."""

    codec: str
    fps: float
    units: tuple[Unit, ...]
    sets: tuple[bytes, ...] = field(repr=False)

    @property
    def encoding(self) -> str:
        return _ENCODINGS[self.codec]

    def format_parameters(self) -> str:
        """What stands behind `a=fmtp:96 `; empty where there is nothing to say."""
        if self.codec == "h264":
            sets = ",".join(base64.b64encode(each).decode() for each in self.sets)
            return f"packetization-mode=1;profile-level-id={self.sets[0][1:4].hex()};sprop-parameter-sets={sets}"
        if self.codec == "hevc":
            names = {32: "sprop-vps", 33: "sprop-sps", 34: "sprop-pps"}
            return ";".join(f"{names[each[0] >> 1 & 63]}={base64.b64encode(each).decode()}" for each in self.sets)
        return f"config={self.sets[0].hex()}" if self.codec == "mpeg4" else ""

    @classmethod
    def of(cls, path: Path) -> RtpClip:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            codec, fps = stream.codec_context.name, float(stream.average_rate or 25)
            extradata = stream.codec_context.extradata or b""
            raw = list(_pictures(container, codec))
        cut = _CUTTERS[codec]
        start_s = min(at_s for _, at_s, _ in raw)
        units = tuple(Unit(is_key=is_key, at_s=at_s - start_s, payloads=tuple(cut(data))) for is_key, at_s, data in raw)
        sets = (extradata,) if codec == "mpeg4" else tuple(_parameter_sets(codec, raw[0][2]))
        return cls(codec=codec, fps=fps, units=units, sets=sets)


def _pictures(container: av.container.InputContainer, codec: str) -> Iterator[tuple[bool, float, bytes]]:
    stream = container.streams.video[0]
    to_annex_b = BitStreamFilterContext(_TO_ANNEX_B[codec], in_stream=stream) if codec in _TO_ANNEX_B else None
    for packet in container.demux(stream):
        if to_annex_b is None:
            if packet.size:
                yield packet.is_keyframe, float((packet.pts or 0) * packet.time_base), bytes(packet)
            continue
        for unit in to_annex_b.filter(packet if packet.size else None):
            yield unit.is_keyframe, float((unit.pts or 0) * unit.time_base), bytes(unit)


def nals_of(data: bytes) -> list[bytes]:
    """The NAL units of an annex-B access unit."""
    return [nal for nal in (part.rstrip(b"\0") for part in re.split(b"\0\0\0?\1", data)) if nal]


def _parameter_sets(codec: str, data: bytes) -> Iterator[bytes]:
    for nal in nals_of(data) if codec in _TO_ANNEX_B else ():
        if (codec == "h264" and nal[0] & 31 in (7, 8)) or (codec == "hevc" and nal[0] >> 1 & 63 in (32, 33, 34)):
            yield nal


def _pieces(data: bytes, size: int) -> Iterator[tuple[int, bytes, bool]]:
    for offset in range(0, len(data), size):
        yield offset, data[offset : offset + size], offset + size >= len(data)


def _h264(data: bytes) -> Iterator[bytes]:
    for nal in nals_of(data):
        if len(nal) <= PAYLOAD_MAX:
            yield nal
            continue
        indicator, kind = nal[0] & 0xE0 | 28, nal[0] & 31  # FU-A
        for offset, part, is_last in _pieces(nal[1:], PAYLOAD_MAX):
            yield bytes((indicator, (not offset) << 7 | is_last << 6 | kind)) + part


def _h265(data: bytes) -> Iterator[bytes]:
    for nal in nals_of(data):
        if len(nal) <= PAYLOAD_MAX:
            yield nal
            continue
        head, kind = nal[0] & 0x81 | 49 << 1, nal[0] >> 1 & 63  # FU
        for offset, part, is_last in _pieces(nal[2:], PAYLOAD_MAX):
            yield bytes((head, nal[1], (not offset) << 7 | is_last << 6 | kind)) + part


def _mpeg4(data: bytes) -> Iterator[bytes]:
    yield from (part for _, part, _ in _pieces(data, PAYLOAD_MAX))


def _jpeg(data: bytes) -> Iterator[bytes]:
    """Baseline JPEG of standard Huffman tables, its quantization tables in band (Q = 255)."""
    tables, kind, width, height, at = b"", 0, 0, 0, 2
    while data[at : at + 2] != b"\xff\xda":
        marker, size = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        body = data[at + 4 : at + 2 + size]
        if marker == 0xDB:
            while body:
                tables, body = tables + body[1:65], body[65:]
        elif marker == 0xC0:
            height, width = int.from_bytes(body[1:3], "big"), int.from_bytes(body[3:5], "big")
            kind = 1 if body[7] == 0x22 else 0
        at += 2 + size
    at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    quantization = b"\0\0" + len(tables).to_bytes(2, "big") + tables
    for offset, part, _ in _pieces(data[at:].removesuffix(b"\xff\xd9"), PAYLOAD_MAX):
        head = bytes((0,)) + offset.to_bytes(3, "big") + bytes((kind, 255, width // 8, height // 8))
        yield head + (b"" if offset else quantization) + part


_CUTTERS: dict[str, Callable[[bytes], Iterator[bytes]]] = {
    "h264": _h264,
    "hevc": _h265,
    "mjpeg": _jpeg,
    "mpeg4": _mpeg4,
}
