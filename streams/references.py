"""Whether everything that a picture refers to has come: from a loss on, nothing is believed until a clean beginning.

Three things tell of a loss. RTP numbers say it exactly, where they reach us (`lost`). A demuxer marks what it found cut
or out of step (a transport stream's continuity counters, a file that ends within a picture). And the stream's own
numbers tell of pictures that are gone altogether: an H.264 decoder goes on over them without a word. What only the
decoder can see (picker.py asks it) comes in by `damage`.

A clean beginning is a picture that needs no other, whole: an IDR, a CRA or BLA of H.265, an intra picture whose
recovery point is itself, any key frame of other codecs. Pictures that are shown before it are not covered by it, since
in an open group they refer to what was before: `Look.leads`. A stream that refreshes itself bit by bit and has no key
frames begins at a recovery point, and is right again as many pictures later as that says.
"""

from __future__ import annotations  # PyAV's Packet takes its stream only in the stubs

import logging
from dataclasses import dataclass
from enum import Enum

from av.packet import Packet
from av.video.stream import VideoStream

from streams.bits import (
    Malformed,
    SequenceSet,
    SliceHead,
    has_blank_end,
    is_overwritten,
    nal_length_bytes,
    nals_of,
    picture_set,
    recovery_count,
    sequence_set,
    sets_of,
    slice_head,
)

log = logging.getLogger(__name__)

_PADDED = 0.05  # of the slices so far
_RESET_JUMP = 3  # frame numbers; see _follows
_STRANGE, _STRANGE_OF_MIN = 0.25, 8  # of the steps between frame numbers, and of how many at least; see _is_believed


class Standing(Enum):
    WHOLE = "it and everything it refers to has come"
    MENDING = "to be decoded, not to be shown: the stream is refreshing itself"
    BROKEN = "something it needs is missing"


@dataclass(frozen=True, slots=True)
class Look:
    """What is known of one picture before it is decoded.

    begins: decoding can begin here, if it is whole. leads: pictures that are shown before it may be decoded after it,
    and refer to what was before. resumes: something of what was before is missing.
    """

    standing: Standing
    begins: bool = False
    leads: bool = False
    resumes: bool = False


@dataclass(frozen=True, slots=True)
class _Unit:
    """A picture by its own words. recovers_in: None where it says nothing; is_reference: later ones may need it."""

    begins: bool
    leads: bool
    recovers_in: int | None = None
    is_reference: bool = True
    head: SliceHead | None = None


_NO_PICTURE = _Unit(begins=False, leads=False)  # parameter sets alone, say


class References:
    """One per connection. Packets come in the order of decoding, all of them, also those that are not decoded."""

    def __init__(self, codec: str, extradata: bytes | None) -> None:
        """codec: libav's name. extradata: of the container, or what the camera's SDP said."""
        self.is_damaged = False  # what is missing was lost; False: it was left out on purpose
        self._codec = codec
        self._length_bytes = nal_length_bytes(codec, extradata)
        self._sequences: dict[int, SequenceSet] = {}
        self._pictures: dict[int, int] = {}
        self._is_broken = True
        self._mending: _Mending | None = None
        self._frame_num: int | None = None  # of the last reference picture
        self._was_frame = False  # not a field
        self._steps = self._strange_steps = 0
        self._slices = self._blank_ends = 0
        if codec == "h264":
            for nal in sets_of(extradata, self._length_bytes):
                self._parameter_set(nal[0] & 31 if nal else 0, nal)

    def look(self, packet: Packet[VideoStream], lost: int) -> Look:
        """lost: RTP packets that are missing within this picture or between it and its neighbours."""
        try:
            unit = self._unit(packet)
        except Malformed:
            unit = None
        if unit is None or lost or packet.is_corrupt:
            self._frame_num = None
            self.damage()
            return Look(Standing.BROKEN, begins=packet.is_keyframe if unit is None else unit.begins)
        is_gap = not self._follows(unit)
        if unit.begins:
            resumes = self._is_broken or is_gap
            self._mended()
            return Look(Standing.WHOLE, begins=True, leads=unit.leads, resumes=resumes)
        if is_gap:
            self.damage()
        return Look(self._standing(unit))

    def damage(self) -> None:
        """Something of the stream was lost or cannot be decoded."""
        self._is_broken, self._mending, self.is_damaged = True, None, True

    def leave_out(self) -> None:
        """The decoder is not given what comes now."""
        self._is_broken, self._mending = True, None

    def _standing(self, unit: _Unit) -> Standing:
        if not self._is_broken:
            return Standing.WHOLE
        if self._mending is None:
            if unit.recovers_in is None:
                return Standing.BROKEN
            self._mending = _Mending(unit)
        if not self._mending.is_over(unit):
            return Standing.MENDING
        self._mended()
        return Standing.WHOLE

    def _mended(self) -> None:
        self._is_broken, self._mending, self.is_damaged = False, None, False

    def _unit(self, packet: Packet[VideoStream]) -> _Unit:
        """Raises Malformed if the packet was cut or overwritten."""
        if self._codec == "h264":
            return self._h264(bytes(packet), is_keyframe=packet.is_keyframe)
        if self._codec == "hevc":
            return self._h265(bytes(packet))
        return _Unit(begins=packet.is_keyframe, leads=True)

    def _h264(self, data: bytes, *, is_keyframe: bool) -> _Unit:
        found: _Unit | None = None
        recovers_in: int | None = None
        for nal in nals_of(data, self._length_bytes):
            kind = nal[0] & 31
            if kind in (7, 8):
                self._parameter_set(kind, nal)
            elif kind == 6 and found is None:
                count = recovery_count(nal, 1)
                recovers_in = count if count is not None else recovers_in
            elif 1 <= kind <= 5:
                if self._length_bytes and self._has_hole(nal):
                    raise Malformed("a hole in a slice")
                if found is None:
                    head = self._slice_head(nal)
                    is_intra = is_keyframe if head is None else head.is_intra
                    # Without a recovery point libav calls a picture a key frame if the stream keeps one reference.
                    begins = kind == 5 or (is_intra and (recovers_in == 0 or (recovers_in is None and is_keyframe)))
                    found = _Unit(begins, kind != 5, recovers_in, bool(nal[0] & 0x60), head)
                    if not self._length_bytes:
                        break  # the rest is slices, and looking for their beginnings costs
        return found or _NO_PICTURE

    def _slice_head(self, nal: bytes) -> SliceHead | None:
        try:
            return slice_head(nal, self._sequences, self._pictures)
        except Malformed:
            return None

    def _h265(self, data: bytes) -> _Unit:
        found: _Unit | None = None
        recovers_in: int | None = None
        for nal in nals_of(data, self._length_bytes):
            kind = nal[0] >> 1 & 63
            if kind == 39 and found is None:
                count = recovery_count(nal, 2)
                recovers_in = count if count is not None else recovers_in
            elif kind <= 31:
                if self._length_bytes and self._has_hole(nal):
                    raise Malformed("a hole in a slice")
                if found is None:
                    if len(nal) < 3 or not nal[2] & 0x80:
                        raise Malformed("its first slice is missing")
                    found = _Unit(16 <= kind <= 21, kind not in (19, 20), recovers_in)
                    if not self._length_bytes:
                        break
        return found or _NO_PICTURE

    def _has_hole(self, nal: bytes) -> bool:
        """Encoders that fill a constant bit rate may end pictures with zeros: then many of them, and from the start."""
        self._slices += 1
        if not has_blank_end(nal):
            return is_overwritten(nal)
        self._blank_ends += 1
        return self._blank_ends < _PADDED * self._slices or is_overwritten(nal)

    def _parameter_set(self, kind: int, nal: bytes) -> None:
        """One that cannot be read is the decoder's business: the numbers that need it are not read either."""
        try:
            if kind == 7:
                number, sequence = sequence_set(nal)
                self._sequences[number] = sequence
            elif kind == 8:
                number, of = picture_set(nal)
                self._pictures[number] = of
        except Malformed:
            log.debug("a parameter set could not be read", exc_info=True)

    def _follows(self, unit: _Unit) -> bool:
        """No reference picture is missing before this one, as far as H.264's frame numbers tell."""
        head, before = unit.head, self._frame_num
        if head is None:
            return True
        was_frame, self._was_frame = self._was_frame, unit.is_reference and not head.is_field
        if unit.is_reference:
            self._frame_num = head.frame_num
        if before is None or head.gaps_allowed or (unit.begins and not unit.leads):
            return True
        step = (head.frame_num - before) % head.frame_num_max
        if step == 0:  # of two frames that others refer to, each has a number of its own
            follows = not (was_frame and unit.is_reference and not head.is_field)
        else:
            # A picture may set the numbers back, so that the next is 1; how far it jumps tells that from a short gap.
            follows = step == 1 or (head.frame_num == 1 and step > _RESET_JUMP)
        return self._is_believed(follows)

    def _is_believed(self, follows: bool) -> bool:
        """An encoder that counts in its own way breaks the order all the time; losses do so now and then."""
        self._steps += 1
        self._strange_steps += not follows
        return follows or (self._steps >= _STRANGE_OF_MIN and self._strange_steps > _STRANGE * self._steps)


class _Mending:
    """The way from a recovery point to where the stream is right again."""

    def __init__(self, unit: _Unit) -> None:
        assert unit.recovers_in is not None, "it begins at a recovery point"
        self._count = unit.recovers_in
        self._first = unit.head
        self._passed = -1

    def is_over(self, unit: _Unit) -> bool:
        """Asked once with each picture from the recovery point on."""
        self._passed += 1
        first, head = self._first, unit.head
        if first is None or head is None or self._count >= first.frame_num_max:
            return self._passed >= self._count
        return self._passed > 0 and (head.frame_num - first.frame_num) % head.frame_num_max >= self._count
