"""From the YUV of a stream to RGB: by which matrix, and over which range.

A stream may say both. Many cameras say neither, and then it is a guess: players take BT.709 from 720 lines up, but
ffmpeg, OpenCV and PyAV take BT.601 for pictures of any size, and with these the pictures are grabbed that models are
trained on. A model must see the colours that it was trained on, so what is not said is BT.601 here, too. (OpenCV does
not even look at what is said: for a model trained on its pictures, "bt601" whatever the stream says.)
"""

from dataclasses import dataclass
from typing import Literal, get_args

from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace

Matrix = Literal["auto", "bt601", "bt709"]
Range = Literal["auto", "limited", "full"]
UNSAID = 2  # of matrices; 0 is RGB
MATRICES = {1: "bt709", 4: "fcc", 5: "bt601", 6: "bt601", 7: "smpte240m", 9: "bt2020", 10: "bt2020"}
RANGES = {1: "limited", 2: "full"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Colors:
    """auto: what the stream says, else BT.601 and the limited range; anything else holds whatever it says."""

    matrix: Matrix
    range: Range

    def __post_init__(self) -> None:
        for name, value, known in (("matrix", self.matrix, Matrix), ("range", self.range, Range)):
            if value not in get_args(known):
                raise ValueError(f"color {name} must be one of {', '.join(get_args(known))}, got {value!r}")

    def matrix_of(self, frame: VideoFrame) -> int | None:
        """For swscale; None where the frame says its own, or is no YUV."""
        if frame.format.is_rgb or frame.colorspace == 0:
            return None
        if self.matrix == "auto":
            return Colorspace.ITU601 if frame.colorspace == UNSAID else None
        return Colorspace.ITU709 if self.matrix == "bt709" else Colorspace.ITU601

    def range_of(self, frame: VideoFrame) -> int | None:
        """For swscale; None for what the frame says, or for the limited range where it says nothing."""
        if self.range == "auto" or frame.format.is_rgb:
            return None
        return ColorRange.JPEG if self.range == "full" else ColorRange.MPEG


AS_SAID = Colors(matrix="auto", range="auto")


def said_matrix(colorspace: int) -> str | None:
    """The name of a matrix as libav numbers them; None where the stream says none."""
    return MATRICES.get(colorspace)


def said_range(color_range: int) -> str | None:
    """The name of a range as libav numbers them; None where the stream says none."""
    return RANGES.get(color_range)
