"""The packets of a recording, from its first frame on and around again, in seconds that only run on.

Exports of a recorder are often parts put one behind the other: the stamps start over in the middle, wrap, or jump by
hours. Where decoding would go back, or where more than GAP_MAX_S are left out, the next part begins one frame after
the last picture of the one before. A shorter gap is time that was not filmed, and stays.
"""

from __future__ import annotations  # PyAV's Packet takes its stream only in the stubs

import logging
from collections.abc import Iterator

import av
from av.container.input import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream

log = logging.getLogger(__name__)

GAP_MAX_S = 600.0
BACK_MAX_S = 0.1  # what is less is untidy, and no time is told to go back for it
REORDERED_MAX_S = 0.5  # B-frames, where packets have no stamps of decoding
FPS_ASSUMED = 25.0


def says_s(container: InputContainer, stream: VideoStream) -> float:
    """How long the recording says it is; 0 if it does not."""
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    if container.duration is None:
        return 0.0
    duration_s = container.duration / av.time_base
    # These count from zero, wherever the first stamp is.
    counts_from_zero = container.format.name.startswith(("matroska", "flv")) and container.start_time is not None
    return duration_s - (container.start_time or 0) / av.time_base if counts_from_zero else duration_s


def packets_of(
    container: InputContainer, stream: VideoStream, parts: Parts, *, loop: bool
) -> Iterator[tuple[Packet[VideoStream], float]]:
    """(packet, seconds since the first frame) in decode order; over the loop, time runs on. Raises av.FFmpegError."""
    tick = stream.time_base
    assert tick is not None, "a demuxer gives every stream its clock"
    # What an edit list leaves out is only decoded; the frames begin where it says.
    start_s = None if stream.start_time is None else float(stream.start_time * tick)
    while True:
        progressed = False
        for packet in container.demux(stream):
            if not packet.size:
                continue  # PyAV's mark for the end
            pts_s = None if packet.pts is None else float(packet.pts * tick)
            dts_s = None if packet.dts is None else float(packet.dts * tick)
            stream_s = parts.stream_s(pts_s, dts_s, start_s if packet.is_discard else None)
            progressed = True
            yield packet, stream_s
        if parts.joins:
            log.warning(
                "%s: stamps start over or jump by hours (%d): time runs on over it", container.name, parts.joins
            )
            parts.joins = 0
        if not loop or not progressed:
            return
        parts.begin()
        container.seek(0, stream=stream)


class Parts:
    """The stamps of parts that stand one behind the other."""

    def __init__(self, fps: float) -> None:
        """fps: of the stream as its container says, 0 where it does not."""
        self.joins = 0
        self.has_joined = False
        self.end_s = 0.0  # of the last picture
        self._frame_s = 1.0 / (fps or FPS_ASSUMED)
        self._shift_s: float | None = None
        self._last_s: float | None = None  # of decoding, or of presentation where that is all there is
        self._counts_dts = False

    def begin(self) -> None:
        """What comes next has nothing to do with the stamps before."""
        self._shift_s = self._last_s = None

    def stream_s(self, pts_s: float | None, dts_s: float | None, start_s: float | None) -> float:
        """start_s: where presentation begins, said with what comes before it."""
        stamp_s = dts_s if pts_s is None else pts_s
        if stamp_s is None:
            at_s = self.end_s
        else:
            if self._is_new_part(dts_s if dts_s is not None else stamp_s, dts_s is not None):
                self.joins += 1
                self.has_joined = True
                self._shift_s = None
            if self._shift_s is None:
                self._shift_s = self.end_s - (stamp_s if start_s is None else start_s)
            at_s = stamp_s + self._shift_s
        self.end_s = max(self.end_s, at_s + self._frame_s)
        return at_s

    def _is_new_part(self, at_s: float, counts_dts: bool) -> bool:
        last_s = self._last_s if counts_dts == self._counts_dts else None
        self._last_s, self._counts_dts = at_s, counts_dts
        if last_s is None:
            return False
        return at_s < last_s - (BACK_MAX_S if counts_dts else REORDERED_MAX_S) or at_s > last_s + GAP_MAX_S
