"""How a picture is to be turned before it is shown: the display matrix that a phone, or a camera on its side, writes.

The matrix belongs to the container, so the decoder of its own stream says it with each picture; ours, made apart from
it, does not.
"""

from __future__ import annotations  # PyAV's Packet takes its stream only in the stubs

import struct
from dataclasses import dataclass
from typing import cast

import av
import numpy as np
import numpy.typing as npt
from av.packet import Packet
from av.sidedata.sidedata import SideDataContainer, Type
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from streams.frame import Rgb


@dataclass(frozen=True, slots=True)
class Turn:
    """First across the diagonal, then left and right, then top and bottom change places."""

    across: bool = False
    left_right: bool = False
    top_bottom: bool = False

    def turned(self, pixels: npt.NDArray[np.uint8]) -> Rgb:
        """(height, width, 3), a view."""
        if self.across:
            pixels = pixels.transpose(1, 0, 2)
        return pixels[:: -1 if self.top_bottom else 1, :: -1 if self.left_right else 1]

    def size(self, width: int, height: int) -> tuple[int, int]:
        """(width, height) after it; the same call goes back."""
        return (height, width) if self.across else (width, height)

    @property
    def told(self) -> str:
        """Such as "turned by 90 degrees", clockwise."""
        flips = (self.left_right, self.top_bottom)
        if self.across:
            return {(True, False): "turned by 90 degrees", (False, True): "turned by 270 degrees"}.get(
                flips, "mirrored across a diagonal"
            )
        return {
            (True, True): "turned by 180 degrees",
            (True, False): "left and right exchanged",
            (False, True): "top and bottom exchanged",
        }.get(flips, "as it is")


UPRIGHT = Turn()


def turn_of(frame: VideoFrame) -> Turn:
    """What the display matrix of a picture asks for; an angle that is no right one is left alone."""
    try:
        matrix = cast(SideDataContainer, frame.side_data)[Type.DISPLAYMATRIX]
    except KeyError:
        return UPRIGHT
    # Row vectors: x' = a x + c y, y' = b x + d y, with y downwards.
    a, b, _, c, d, *_ = struct.unpack("9i", bytes(matrix))
    if not b and not c:
        return Turn(False, a < 0, d < 0)
    if not a and not d:
        return Turn(True, c < 0, b < 0)
    return UPRIGHT


def turn_of_container(stream: VideoStream, key: Packet[VideoStream]) -> Turn:
    """What the container asks for, told by decoding one key frame."""
    context = stream.codec_context
    try:
        frames = [*context.decode(key), *context.decode(None)]
        context.flush_buffers()
    except av.FFmpegError:
        return UPRIGHT  # the picture is damaged: nothing is known of the stream yet
    return turn_of(frames[0]) if frames else UPRIGHT
