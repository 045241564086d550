"""Any frame to exactly the model's size."""

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams import Picture
from streams.colors import AS_SAID, Colors, Matrix, Range, said_matrix, said_range
from streams.scale import Scaler, scaled_size, whole
from streams.turned import UPRIGHT, Turn


def frame_of(rgb: np.ndarray) -> av.VideoFrame:
    return av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(format="yuv420p")


def halves(width: int, height: int) -> np.ndarray:
    """Left third red, middle green, right third blue."""
    rgb = np.zeros((height, width, 3), np.uint8)
    for third in range(3):
        rgb[:, third * width // 3 : (third + 1) * width // 3, third] = 220
    return rgb


@settings(max_examples=40)
@given(
    source=st.tuples(st.integers(16, 400), st.integers(16, 400)),
    size=st.tuples(st.integers(1, 256), st.integers(1, 256)),
    fit=st.sampled_from(["stretch", "crop"]),
)
def test_the_picture_has_exactly_the_size_asked_for(source: tuple[int, int], size: tuple[int, int], fit: str) -> None:
    picture = Picture(width=size[0], height=size[1], fit=fit)  # type: ignore[arg-type]
    rgb = Scaler(picture).rgb(frame_of(halves(source[0] // 2 * 2, source[1] // 2 * 2)))
    assert rgb.shape == (size[1], size[0], 3)
    assert rgb.dtype == np.uint8
    assert rgb.flags.c_contiguous
    assert not rgb.flags.writeable


def test_a_stretch_shows_the_whole_frame() -> None:
    rgb = Scaler(Picture(width=90, height=90, fit="stretch")).rgb(frame_of(halves(640, 360)))
    assert rgb[45, 10].argmax() == 0
    assert rgb[45, 45].argmax() == 1
    assert rgb[45, 80].argmax() == 2


def test_a_crop_keeps_the_shape_and_shows_the_middle() -> None:
    pixels = halves(640, 360)
    yy, xx = np.mgrid[:360, :640]
    pixels[(xx - 320) ** 2 + (yy - 180) ** 2 < 100**2] = 255
    rgb = Scaler(Picture(width=180, height=180, fit="crop")).rgb(frame_of(pixels))
    white = (rgb.min(axis=2) > 200).nonzero()
    height, width = np.ptp(white[0]) + 1, np.ptp(white[1]) + 1
    assert height == pytest.approx(100, abs=3)
    assert width == pytest.approx(100, abs=3)
    # 360 of 640 columns are left: the outer parts of the outer thirds are gone, their inner parts are not.
    assert rgb[5, 5].argmax() == 0
    assert rgb[5, 175].argmax() == 2


@pytest.mark.parametrize(
    ("source", "size", "expected"),
    [
        ((1920, 1080), (224, 224), (398, 224)),
        ((1080, 1920), (224, 224), (224, 398)),
        ((100, 100), (224, 224), (224, 224)),
        ((1920, 1080), (320, 180), (320, 180)),
        ((1920, 1080), (100, 300), (533, 300)),
    ],
)
def test_a_crop_scales_the_shorter_side_to_the_size(
    source: tuple[int, int], size: tuple[int, int], expected: tuple[int, int]
) -> None:
    assert scaled_size(*source, Picture(width=size[0], height=size[1], fit="crop")) == expected


@pytest.mark.parametrize("color_range", [1, 2])
def test_gray_levels_come_out_as_they_went_in(color_range: int) -> None:
    gray = np.repeat(np.linspace(0, 255, 8).astype(np.uint8), 40)[None, :, None].repeat(64, 0).repeat(3, 2)
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(gray), format="rgb24").reformat(
        format="yuv420p", dst_color_range=color_range
    )
    frame.color_range = color_range
    rgb = Scaler(Picture(width=320, height=64, fit="stretch")).rgb(frame)
    assert np.abs(rgb.astype(int) - gray).max() <= 3


def test_a_size_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1x1, got 0x224"):
        Picture(width=0, height=224, fit="crop")


# Orange as BT.601 and as BT.709 write it, in the limited range.
ORANGE = (230, 120, 40)
YUV = {"bt601": (139, 77, 182), "bt709": (134, 82, 180)}


def plain(matrix: str, height: int, colorspace: int) -> av.VideoFrame:
    """One colour, written by this matrix, that says of itself `colorspace`."""
    frame = av.VideoFrame(2 * height, height, "yuv420p")
    for plane, level in zip(frame.planes, YUV[matrix], strict=True):
        plane.update(bytes([level]) * plane.buffer_size)
    frame.colorspace = colorspace
    return frame


@pytest.mark.parametrize("height", [360, 720, 1080])
@pytest.mark.parametrize(
    ("set_to", "said", "written"),
    [
        ("auto", 2, "bt601"),
        ("auto", 6, "bt601"),
        ("auto", 1, "bt709"),
        ("bt601", 2, "bt601"),
        ("bt601", 1, "bt601"),
        ("bt709", 2, "bt709"),
        ("bt709", 6, "bt709"),
    ],
)
def test_colours_are_as_the_stream_or_the_setting_says_and_else_as_training_pictures(
    height: int, set_to: Matrix, said: int, written: str
) -> None:
    colors = Colors(matrix=set_to, range="auto")
    frame = plain(written, height, said)
    rgb = Scaler(Picture(width=32, height=16, fit="stretch"), colors).rgb(frame)
    assert np.abs(rgb[8, 16].astype(int) - ORANGE).max() <= 3
    assert np.abs(whole(frame, colors, UPRIGHT)[8, 16].astype(int) - ORANGE).max() <= 3


def test_what_is_not_said_comes_out_as_ffmpeg_itself_has_it() -> None:
    frame = plain("bt601", 1080, 2)
    by_default = frame.to_ndarray(format="rgb24")[500, 500].astype(int)
    ours = Scaler(Picture(width=32, height=16, fit="stretch"), AS_SAID).rgb(frame)[8, 16]
    assert np.abs(ours - by_default).max() <= 1


@pytest.mark.parametrize(("set_to", "white"), [("auto", 255), ("limited", 255), ("full", 235)])
def test_the_range_of_a_camera_that_says_none_can_be_set(set_to: Range, white: int) -> None:
    frame = plain("bt601", 360, 2)
    for plane, level in zip(frame.planes, (235, 128, 128), strict=True):
        plane.update(bytes([level]) * plane.buffer_size)
    rgb = Scaler(Picture(width=32, height=16, fit="stretch"), Colors(matrix="auto", range=set_to)).rgb(frame)
    assert np.abs(rgb[8, 16].astype(int) - white).max() <= 2


def test_a_colour_setting_that_is_unknown_is_refused() -> None:
    with pytest.raises(ValueError, match="matrix must be one of auto, bt601, bt709, got 'bt2020'"):
        Colors(matrix="bt2020", range="auto")  # type: ignore[arg-type]


def test_what_a_stream_says_of_its_colours_has_a_name() -> None:
    assert [said_matrix(number) for number in (1, 2, 5, 6, 9)] == ["bt709", None, "bt601", "bt601", "bt2020"]
    assert [said_range(number) for number in (0, 1, 2)] == [None, "limited", "full"]


CORNERS = np.arange(4, dtype=np.uint8).reshape(2, 2, 1).repeat(3, 2) * 60 + 30


@pytest.mark.parametrize(
    ("turn", "corners", "told"),
    [
        (UPRIGHT, [[0, 1], [2, 3]], "as it is"),
        (Turn(True, True, False), [[2, 0], [3, 1]], "turned by 90 degrees"),
        (Turn(False, True, True), [[3, 2], [1, 0]], "turned by 180 degrees"),
        (Turn(True, False, True), [[1, 3], [0, 2]], "turned by 270 degrees"),
        (Turn(False, True, False), [[1, 0], [3, 2]], "left and right exchanged"),
        (Turn(False, False, True), [[2, 3], [0, 1]], "top and bottom exchanged"),
        (Turn(True, False, False), [[0, 2], [1, 3]], "mirrored across a diagonal"),
        (Turn(True, True, True), [[3, 1], [2, 0]], "mirrored across a diagonal"),
    ],
)
@pytest.mark.parametrize("fit", ["stretch", "crop"])
def test_a_picture_is_shown_the_right_way_up(turn: Turn, corners: list[list[int]], told: str, fit: str) -> None:
    frame = frame_of(CORNERS.repeat(90, 0).repeat(160, 1))
    scaler = Scaler(Picture(width=60, height=60, fit=fit))  # type: ignore[arg-type]
    scaler.turn = turn
    rgb = scaler.rgb(frame)
    seen = rgb[[10, 10, 50, 50], [10, 50, 10, 50], 1].astype(int).reshape(2, 2)
    assert np.abs(seen - (np.array(corners) * 60 + 30)).max() <= 4
    assert turn.told == told
    assert whole(frame, AS_SAID, turn).shape[:2] == ((320, 180) if turn.across else (180, 320))
