"""A decoded frame straight to the model's size: one swscale call, no full-size RGB anywhere.

Measured on 1080p to 224x224, against cv2.INTER_AREA on full-size RGB (mean absolute difference of levels, CPU ms):
FAST_BILINEAR 6.5, 0.48 (it looks at few of the source pixels and aliases); AREA 1.1, 0.99; BILINEAR 1.4, 1.26;
BICUBIC 1.4, 1.76. So AREA, and BILINEAR where the source is smaller than the picture. A crop scales the whole frame
and cuts the middle out of the small picture: 1.28 ms, against 1.43 for a libavfilter graph that crops first.
"""

import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter

from streams.frame import Picture, Rgb

HD_HEIGHT = 720


class Scaler:
    """Makes pictures of one size; one per stream and thread."""

    def __init__(self, picture: Picture) -> None:
        self._picture = picture
        self._reformatter = VideoReformatter()  # keeps its swscale context while the shape stays the same

    def rgb(self, frame: VideoFrame) -> Rgb:
        """(height, width, 3) uint8, read-only."""
        picture = self._picture
        width, height = scaled_size(frame.width, frame.height, picture)
        enlarges = width > frame.width or height > frame.height
        scaled = self._reformatter.reformat(
            frame,
            width=width,
            height=height,
            format="rgb24",
            src_colorspace=_colorspace(frame),
            dst_color_range=ColorRange.JPEG,
            interpolation=Interpolation.BILINEAR if enlarges else Interpolation.AREA,
            threads=1,
        ).to_ndarray()
        left, top = (width - picture.width) // 2, (height - picture.height) // 2
        rgb: Rgb = np.ascontiguousarray(scaled[top : top + picture.height, left : left + picture.width], dtype=np.uint8)
        rgb.flags.writeable = False
        return rgb


def scaled_size(width: int, height: int, picture: Picture) -> tuple[int, int]:
    """(width, height) of the whole frame before a crop cuts the middle out of it."""
    if picture.fit == "stretch":
        return picture.width, picture.height
    ratio = max(picture.width / width, picture.height / height)
    return max(picture.width, round(width * ratio)), max(picture.height, round(height * ratio))


def _colorspace(frame: VideoFrame) -> int | None:
    """The frame's own where it names one; else what players assume: BT.709 from 720 lines up."""
    if frame.colorspace not in (0, 2):  # RGB or unspecified
        return None
    return Colorspace.ITU709 if frame.height >= HD_HEIGHT else Colorspace.ITU601
