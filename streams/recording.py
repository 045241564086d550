"""The packets of a recording, from its first frame on and around again."""

from __future__ import annotations  # PyAV's Packet takes its stream only in the stubs

from collections.abc import Iterator

import av
from av.container.input import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream


def says_s(container: InputContainer, stream: VideoStream) -> float:
    """How long the recording says it is; 0 if it does not."""
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    return container.duration / av.time_base if container.duration is not None else 0.0


def packets_of(
    container: InputContainer, stream: VideoStream, *, loop: bool
) -> Iterator[tuple[Packet[VideoStream], float]]:
    """(packet, seconds since the first frame) in decode order; over the loop, time runs on. Raises av.FFmpegError."""
    first_s: float | None = None
    shift_s = end_s = 0.0
    frame_s = 1.0 / float(stream.average_rate or stream.guessed_rate or 25)
    while True:
        progressed = False
        for packet in container.demux(stream):
            if not packet.size:
                continue  # PyAV's mark for the end
            stamp = packet.pts if packet.pts is not None else packet.dts
            stamp_s = end_s - shift_s if stamp is None else float(stamp * packet.time_base)
            if first_s is None:
                first_s = stamp_s
            stream_s = stamp_s - first_s + shift_s
            end_s = max(end_s, stream_s + frame_s)
            progressed = True
            yield packet, stream_s
        if not loop or not progressed:
            return
        shift_s = end_s
        container.seek(0, stream=stream)
