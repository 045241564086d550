"""RTP (RFC 3550): packets in the order of their numbers, what is missing among them, and when each picture came."""

import struct
from collections import deque
from dataclasses import dataclass
from typing import NamedTuple

HELD_S = 0.1  # a packet that overtook others waits so long for them
HELD_PACKETS_MAX = 300
AHEAD_MAX = 3000  # numbers that jump by more have begun anew (RFC 3550, A.1)
PICTURES_KEPT = 1024
SAME_PICTURE_S = 0.01  # some cameras mark every slice as the last; a stamp that stands still is not one picture

_HEADER = struct.Struct(">BBHII")
_FIRST_STAMP = 90_000  # libav takes its first stamp for the zero, unless it is 0
_SEQUENCES = 1 << 16
_STAMPS = 1 << 32


@dataclass(frozen=True, slots=True)
class Arrival:
    """When the last packet of a picture came to our socket, and how many packets before it or in it are missing.

    given_mono_s: when libav could give it out. It holds a picture until the next one begins, over a pause as well.
    """

    mono_s: float
    lost: int
    given_mono_s: float


class Packet(NamedTuple):
    """payload_type, sequence and so on as the camera sent them. payload: without padding, extension and sources."""

    marker: bool
    payload_type: int
    sequence: int
    stamp: int
    source: int
    payload: bytes
    arrived_mono_s: float


def parsed(data: bytes, now_mono_s: float) -> Packet | None:
    """None if it is no RTP packet of version 2, or an empty one."""
    if len(data) < 13 or data[0] >> 6 != 2:
        return None
    first, second, sequence, stamp, source = _HEADER.unpack_from(data)
    start, end = 12 + 4 * (first & 15), len(data)
    if first & 0x10:
        if end < start + 4:
            return None
        start += 4 + 4 * (data[start + 2] << 8 | data[start + 3])
    if first & 0x20:
        end -= data[-1]
    if end <= start:
        return None
    return Packet(second > 127, second & 127, sequence, stamp, source, data[start:end], now_mono_s)


class Sequence:
    """Puts the packets of one source in order and counts those that are missing."""

    def __init__(self) -> None:
        self.lost = 0
        self.received = 0
        self.highest = 0  # with the number of turns in the upper half, as a receiver report wants it
        self.source: int | None = None
        self._next: int | None = None
        self._held: dict[int, Packet] = {}
        self._strays = 0

    def push(self, packet: Packet) -> list[tuple[Packet, int]]:
        """Those whose turn it is now, each with the number of packets missing directly before it."""
        if packet.source != self.source or self._next is None:
            return self._begin(packet)
        ahead = packet.sequence - self._next & 0xFFFF
        if ahead == 0 and not self._held:
            self._strays = 0
            return [(self._take(packet), 0)]
        if ahead < AHEAD_MAX:
            self._strays = 0
            self._held.setdefault(packet.sequence, packet)
            return self._whole_run() or (self._give_up() if len(self._held) > HELD_PACKETS_MAX else [])
        if ahead >= _SEQUENCES - AHEAD_MAX:
            return []  # came twice, or after it was given up
        self._strays += 1
        return self._begin(packet) if self._strays > 1 else []  # two of them: the numbers have begun anew

    def overdue(self, now_mono_s: float) -> list[tuple[Packet, int]]:
        """Those that have waited long enough for what they overtook."""
        due_s = self.due_mono_s
        return self._give_up() if due_s is not None and now_mono_s >= due_s else []

    @property
    def due_mono_s(self) -> float | None:
        if not self._held:
            return None
        return min(each.arrived_mono_s for each in self._held.values()) + HELD_S

    def rest(self) -> list[tuple[Packet, int]]:
        """All that is held: nothing comes any more."""
        given: list[tuple[Packet, int]] = []
        while self._held:
            given += self._give_up()
        return given

    def _begin(self, packet: Packet) -> list[tuple[Packet, int]]:
        """The first of all, or of numbers that have begun anew: then nobody knows what is missing in between."""
        given = self.rest()
        missing = 0 if self._next is None else 1
        self.lost += missing
        self.source, self._strays = packet.source, 0
        self.highest = (self.highest & ~0xFFFF) | packet.sequence
        self._next = packet.sequence
        return [*given, (self._take(packet), missing)]

    def _take(self, packet: Packet) -> Packet:
        if packet.sequence < self.highest & 0xFFFF:
            self.highest += _SEQUENCES
        self.highest = (self.highest & ~0xFFFF) | packet.sequence
        self._next = packet.sequence + 1 & 0xFFFF
        self.received += 1
        return packet

    def _whole_run(self) -> list[tuple[Packet, int]]:
        given = []
        while self._next is not None and (packet := self._held.pop(self._next, None)) is not None:
            given.append((self._take(packet), 0))
        return given

    def _give_up(self) -> list[tuple[Packet, int]]:
        """The nearest of those that are held, and what follows it without a gap."""
        assert self._next is not None, "what is held came after something"
        expected = self._next
        nearest = min(self._held, key=lambda sequence: sequence - expected & 0xFFFF)
        missing = nearest - expected & 0xFFFF
        self.lost += missing
        first = self._take(self._held.pop(nearest))
        return [(first, missing), *self._whole_run()]


class _Picture:
    """Written by the thread that receives until the next picture begins; only then libav gives it out."""

    __slots__ = ("begun_mono_s", "has_marker", "lost", "mono_s", "stamp")

    def __init__(self, stamp: int, mono_s: float, lost: int) -> None:
        self.stamp, self.lost, self.has_marker = stamp, lost, False
        self.begun_mono_s = self.mono_s = mono_s


class Pictures:
    """Hands packets on with numbers without gaps, and remembers when each picture came and what it lacks.

    The stamps are the camera's own, counted from the first. libav drops what it takes for out of step, and loses
    count of a stamp that begins at 0: hence numbers and a beginning of our own.
    """

    def __init__(self, payload_type: int) -> None:
        self._payload_type = payload_type
        self._sequence = 0
        self._shift: int | None = None
        self._pictures: deque[_Picture] = deque(maxlen=PICTURES_KEPT)
        self._current: _Picture | None = None

    def handed_on(self, packet: Packet, missing: int) -> bytes:
        """The packet as libav gets it."""
        if self._shift is None:
            self._shift = _FIRST_STAMP - packet.stamp
        stamp = packet.stamp + self._shift & 0xFFFFFFFF
        self._remember((stamp - _FIRST_STAMP) % _STAMPS, packet, missing)
        self._sequence = self._sequence + 1 & 0xFFFF
        second = self._payload_type | (128 if packet.marker else 0)
        return _HEADER.pack(128, second, self._sequence, stamp, 1) + packet.payload

    def _remember(self, stamp: int, packet: Packet, missing: int) -> None:
        current = self._current
        is_new = current is None or current.stamp != stamp
        if current is not None and not is_new:
            is_new = current.has_marker and packet.arrived_mono_s - current.mono_s > SAME_PICTURE_S
        if current is None or is_new:
            if current is not None and missing and not current.has_marker:
                current.lost += missing  # its end may be among them
            self._current = current = _Picture(stamp, packet.arrived_mono_s, missing)
            self._pictures.append(current)
        else:
            current.lost += missing
            current.mono_s = max(current.mono_s, packet.arrived_mono_s)
        current.has_marker = current.has_marker or packet.marker

    def arrival_of(self, pts: int | None) -> Arrival | None:
        """The picture with this stamp, in the order in which they came; None if it is not known.

        What was handed on and came out as no picture of its own leaves its losses to the next.
        """
        wanted = None if pts is None else pts % _STAMPS
        lost = 0
        for place, picture in enumerate(list(self._pictures)):
            lost += picture.lost
            if wanted is None or picture.stamp == wanted:
                for _ in range(place + 1):
                    gone = self._pictures.popleft()
                if gone is self._current:
                    self._current = None  # what it still lacks is the next one's
                begun_mono_s = self._pictures[0].begun_mono_s if self._pictures else picture.mono_s
                return Arrival(picture.mono_s, lost, max(picture.mono_s, begun_mono_s))
        return None
