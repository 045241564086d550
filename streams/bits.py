"""The few bits at the head of an H.264 or H.265 picture that say what it is and what it follows.

Only headers are read, up to the frame number: a few dozen bytes a picture, decoded or not. Names are those of the
standards (ITU-T H.264, 7.3; H.265, 7.3).
"""

from collections.abc import Iterator
from dataclasses import dataclass

_BLANK = bytes(16)
RECOVERY_POINT = 6  # the payload type of the SEI, in both standards
_HEADER_BYTES = 64  # more than a slice header has before its frame number
_WITH_CHROMA = frozenset({100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135})  # profiles


class Malformed(ValueError):
    """A header ends too early or says what cannot be."""


class Bits:
    """Reads a NAL unit's payload, its emulation prevention bytes taken out."""

    def __init__(self, payload: bytes) -> None:
        clean = payload.replace(b"\0\0\3", b"\0\0")
        self._value, self._left = int.from_bytes(clean), 8 * len(clean)

    def u(self, count: int) -> int:
        """Raises Malformed at the end."""
        if count > self._left:
            raise Malformed("the header ends too early")
        self._left -= count
        return self._value >> self._left & ((1 << count) - 1)

    def ue(self) -> int:
        zeros = 0
        while not self.u(1):
            zeros += 1
            if zeros > 32:
                raise Malformed("no such number")
        return (1 << zeros) - 1 + self.u(zeros)

    def se(self) -> int:
        code = self.ue()
        return (code + 1) // 2 if code % 2 else -(code // 2)


def nal_length_bytes(codec: str, extradata: bytes | None) -> int:
    """How many bytes say the length of a NAL unit in this stream's packets; 0: start codes part them (Annex B)."""
    if not extradata or len(extradata) < 7 or extradata[:3] == b"\0\0\1" or extradata[:4] == b"\0\0\0\1":
        return 0
    return (extradata[21 if codec == "hevc" and len(extradata) > 21 else 4] & 3) + 1


def sets_of(extradata: bytes | None, length_bytes: int) -> Iterator[bytes]:
    """The parameter sets of H.264 that stand outside of the packets."""
    if not extradata:
        return
    if not length_bytes:
        yield from nals_of(extradata, 0)
        return
    at = 5
    for mask in (31, 255):  # first the sequence parameter sets, then those of pictures
        if at >= len(extradata):
            return
        count, at = extradata[at] & mask, at + 1
        for _ in range(count):
            size = int.from_bytes(extradata[at : at + 2])
            yield extradata[at + 2 : at + 2 + size]
            at += 2 + size


def nals_of(data: bytes, length_bytes: int) -> Iterator[bytes]:
    """The NAL units of a packet in turn. Raises Malformed where a length says more than there is."""
    if length_bytes:
        at = 0
        while at < len(data):
            size, at = int.from_bytes(data[at : at + length_bytes]), at + length_bytes
            if not size or at + size > len(data):
                raise Malformed("a NAL unit is longer than its packet")
            yield data[at : at + size]
            at += size
        return
    at = data.find(b"\0\0\1")
    while at >= 0:
        after = data.find(b"\0\0\1", at + 3)
        nal = data[at + 3 : after if after >= 0 else len(data)]
        if nal:
            yield nal
        at = after


def is_overwritten(nal: bytes) -> bool:
    """A unit never holds three zero bytes in a row; a hole of a disk does. At its very end they may be padding."""
    hole = nal.find(b"\0\0\0")
    return hole >= 0 and any(nal[hole:])


def has_blank_end(nal: bytes) -> bool:
    return nal.endswith(_BLANK)


def recovery_count(sei: bytes, head_bytes: int) -> int | None:
    """After how many pictures the stream is right again if decoding begins here; None: the SEI is another one.

    sei: a NAL unit. H.264 counts frame numbers, H.265 the picture order; both may say 0.
    """
    payload = sei[head_bytes:].replace(b"\0\0\3", b"\0\0")
    at = 0
    while at + 2 < len(payload):
        kind, size = 0, 0
        while at < len(payload) and payload[at] == 255:
            kind, at = kind + 255, at + 1
        kind, at = kind + (payload[at] if at < len(payload) else 0), at + 1
        while at < len(payload) and payload[at] == 255:
            size, at = size + 255, at + 1
        size, at = size + (payload[at] if at < len(payload) else 0), at + 1
        if kind == RECOVERY_POINT:
            bits = Bits(payload[at : at + size])
            try:
                return bits.ue() if head_bytes == 1 else max(0, bits.se())
            except Malformed:
                return None
        at += size
    return None


@dataclass(frozen=True, slots=True)
class SequenceSet:
    """What of an H.264 sequence parameter set is needed to read a frame number."""

    frame_num_bits: int
    has_colour_planes: bool
    gaps_allowed: bool
    frames_only: bool


def sequence_set(nal: bytes) -> tuple[int, SequenceSet]:
    """(id, set). Raises Malformed."""
    bits = Bits(nal[1:])
    profile = bits.u(8)
    bits.u(16)
    number = bits.ue()
    planes = False
    if profile in _WITH_CHROMA:
        chroma = bits.ue()
        planes = chroma == 3 and bool(bits.u(1))
        bits.ue(), bits.ue(), bits.u(1)
        if bits.u(1):
            for index in range(12 if chroma == 3 else 8):
                if bits.u(1):
                    _skip_scaling_list(bits, 16 if index < 6 else 64)
    frame_num_bits = bits.ue() + 4
    order = bits.ue()
    if order == 0:
        bits.ue()
    elif order == 1:
        bits.u(1), bits.se(), bits.se()
        for _ in range(min(bits.ue(), 255)):
            bits.se()
    bits.ue()
    gaps_allowed = bool(bits.u(1))
    bits.ue(), bits.ue()
    if frame_num_bits > 16:
        raise Malformed("no such frame number")
    return number, SequenceSet(frame_num_bits, planes, gaps_allowed, bool(bits.u(1)))


def picture_set(nal: bytes) -> tuple[int, int]:
    """(id, id of its sequence set). Raises Malformed."""
    bits = Bits(nal[1 : 1 + _HEADER_BYTES])
    return bits.ue(), bits.ue()


@dataclass(frozen=True, slots=True)
class SliceHead:
    """The head of an H.264 slice up to its frame number."""

    is_intra: bool
    frame_num: int
    frame_num_max: int
    is_field: bool
    gaps_allowed: bool


def slice_head(nal: bytes, sequences: dict[int, SequenceSet], pictures: dict[int, int]) -> SliceHead | None:
    """None if its parameter sets were not seen. Raises Malformed."""
    bits = Bits(nal[1 : 1 + _HEADER_BYTES])
    bits.ue()
    kind = bits.ue() % 5
    sequence = sequences.get(pictures.get(bits.ue(), -1))
    if sequence is None:
        return None
    if sequence.has_colour_planes:
        bits.u(2)
    frame_num = bits.u(sequence.frame_num_bits)
    is_field = not sequence.frames_only and bool(bits.u(1))
    return SliceHead(kind in (2, 4), frame_num, 1 << sequence.frame_num_bits, is_field, sequence.gaps_allowed)


def _skip_scaling_list(bits: Bits, size: int) -> None:
    last = following = 8
    for _ in range(size):
        if following:
            following = (last + bits.se()) % 256
        last = following or last
