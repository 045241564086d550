"""Any frame to exactly the model's size."""

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams import Picture
from streams.scale import Scaler, scaled_size


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
