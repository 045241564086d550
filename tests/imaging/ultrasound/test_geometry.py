"""What the model sees of a picture of any shape, and that nothing drifts, is lost or is bent on the way back."""

from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imaging.ultrasound.geometry import WINDOWS_MAX, Mosaic, Plan, middle, stretched, whole, windows

SIDE = 224
SHAPES = [(480, 640), (819, 1008), (900, 300), (300, 900), (224, 224), (100, 100), (1, 1), (1, 40), (40, 1), (7, 2000)]


def seen_and_back(rgb: npt.NDArray[np.uint8], plan: Plan) -> npt.NDArray[np.uint8]:
    """The mask of a model for which a pixel's probability is its red."""
    mosaic = Mosaic(plan)
    for index, window in enumerate(windows(rgb, plan)):
        mosaic.add(index, window[0])
    return mosaic.mask()


def zoomed(plane: npt.NDArray[np.floating], rows: int, columns: int) -> npt.NDArray[np.floating]:
    """scipy.ndimage.zoom(order=1), by which the training scaled: corner pixels on corner pixels."""
    down = np.linspace(0, plane.shape[0] - 1, rows)
    along = np.linspace(0, plane.shape[1] - 1, columns)
    wide = np.array([np.interp(along, np.arange(plane.shape[1]), row) for row in plane])
    return np.array([np.interp(down, np.arange(plane.shape[0]), column) for column in wide.T]).T


@pytest.mark.parametrize(("height", "width"), [(300, 300), (819, 1008), (511, 300), (50, 61)])
def test_the_middle_is_the_centre_crop_of_the_training_to_the_letter(height: int, width: int) -> None:
    rgb = np.random.default_rng(1).integers(0, 256, (height, width, 3), np.uint8)
    factor = SIDE / min(height, width)
    rows, columns = round(height * factor), round(width * factor)
    top, left = rows // 2 - SIDE // 2, columns // 2 - SIDE // 2
    scaled = np.stack([zoomed(rgb[..., channel] / 255.0, rows, columns) for channel in range(3)])

    [window] = windows(rgb, middle(height, width, SIDE))

    assert window.dtype == np.float32
    np.testing.assert_allclose(window, scaled[:, top : top + SIDE, left : left + SIDE], atol=2e-6)


def test_a_square_picture_is_seen_the_same_for_both_tasks() -> None:
    assert whole(500, 500, SIDE) == middle(500, 500, SIDE)
    assert len(whole(500, 500, SIDE).starts) == 1


@pytest.mark.parametrize(("height", "width"), SHAPES)
def test_windows_reach_both_ends_and_leave_no_gap(height: int, width: int) -> None:
    plan = whole(height, width, SIDE)

    assert plan.seen == 1.0
    covered = np.zeros(plan.scaled, bool)
    for top, left in plan.starts:
        covered[max(0, top) : top + SIDE, max(0, left) : left + SIDE] = True
    assert covered.all()


def test_windows_overlap_so_that_no_edge_is_judged_from_one_side_only() -> None:
    lefts = [left for _, left in whole(224, 1000, SIDE).starts]

    assert lefts[0] == 0
    assert lefts[-1] == 1000 - SIDE
    assert max(later - earlier for earlier, later in pairwise(lefts)) <= SIDE * 0.75


def test_a_picture_that_is_too_long_is_shown_whole_on_black() -> None:
    plan = whole(20, 4000, SIDE)
    [window] = windows(np.full((20, 4000, 3), 255, np.uint8), plan)

    assert len(plan.starts) == 1
    assert plan.scaled == (1, SIDE)
    assert window.sum() == pytest.approx(3 * SIDE)
    assert window[:, SIDE // 2 - 1 : SIDE // 2 + 1].sum() == pytest.approx(3 * SIDE)


def test_never_more_windows_than_the_bound() -> None:
    assert max(len(whole(100, width, SIDE).starts) for width in range(100, 3000, 7)) == WINDOWS_MAX


# The last one is so long that it is seen whole: its short side becomes a single pixel.
@pytest.mark.parametrize(("height", "width"), SHAPES[:-1])
@pytest.mark.parametrize("axis", [0, 1])
def test_an_edge_comes_back_where_it_was_to_a_pixel(height: int, width: int, axis: int) -> None:
    """A ramp crosses a half exactly in the middle: half a pixel of drift at the scale of the model would show."""
    size = (height, width)[axis]
    ramp = np.round(np.linspace(0, 255, size)) if size > 1 else np.array([255.0])
    rgb = np.broadcast_to(ramp[:, None, None] if axis == 0 else ramp[None, :, None], (height, width, 3))

    mask = seen_and_back(rgb.astype(np.uint8), whole(height, width, SIDE))

    line = (mask.max(axis=1 - axis) > 0), (mask.min(axis=1 - axis) > 0)
    assert mask.shape == (height, width)
    assert set(np.unique(mask)) <= {0, 255}
    expected = int((ramp < 127.5).sum())
    assert abs(int(size - line[0].sum()) - expected) <= 1
    assert abs(int(size - line[1].sum()) - expected) <= 1


@pytest.mark.parametrize(("height", "width"), [(300, 900), (900, 300), (480, 640)])
def test_edges_at_the_very_ends_are_kept_within_a_pixel_of_the_model(height: int, width: int) -> None:
    rgb = np.zeros((height, width, 3), np.uint8)
    border = 40
    rgb[border:-border, border:-border] = 255

    mask = seen_and_back(rgb, whole(height, width, SIDE))

    ys, xs = np.nonzero(mask)
    step = min(height, width) / SIDE  # one pixel of the model, in pixels of the picture
    assert abs(xs.min() - border) <= step
    assert abs(xs.max() - (width - border - 1)) <= step
    assert abs(ys.min() - border) <= step
    assert abs(ys.max() - (height - border - 1)) <= step


def test_probabilities_are_averaged_where_windows_overlap_and_no_seam_stays() -> None:
    plan = whole(224, 392, SIDE)  # two windows: at 0 and 168
    mosaic = Mosaic(plan)
    mosaic.add(0, np.full((SIDE, SIDE), 0.2, np.float32))
    mosaic.add(1, np.full((SIDE, SIDE), 0.9, np.float32))
    mask = mosaic.mask()

    assert len(plan.starts) == 2
    assert not mask[:, :168].any()
    assert mask[:, SIDE:].all()
    # The weights fall towards each window's edge, so the change lies in the overlap and not at either end of it.
    change = int((mask[0] == 0).sum())
    assert 180 < change < 212


@pytest.mark.parametrize(("height", "width"), SHAPES)
def test_a_stretched_picture_is_seen_whole_and_comes_back(height: int, width: int) -> None:
    rgb = np.zeros((height, width, 3), np.uint8)
    rgb[height // 2 :] = 255
    plan = stretched(height, width, SIDE)

    mask = seen_and_back(rgb, plan)

    assert len(plan.starts) == 1
    assert mask[-1].all()
    assert abs(int((mask[:, 0] == 0).sum()) - height // 2) <= max(1, height / SIDE)


def test_the_middle_of_a_line_needs_no_memory_for_the_scaled_line() -> None:
    [window] = windows(np.full((1, 20_000, 3), 255, np.uint8), middle(1, 20_000, SIDE))

    assert window.shape == (3, SIDE, SIDE)
    np.testing.assert_allclose(window, 1.0, atol=1e-6)


def test_the_share_that_is_seen_is_told() -> None:
    assert middle(500, 500, SIDE).seen == 1.0
    assert middle(500, 1000, SIDE).seen == pytest.approx(0.5)


@settings(max_examples=60)
@given(st.integers(1, 600), st.integers(1, 600), st.sampled_from([0, 255]), st.sampled_from([32, 224]))
def test_any_size_comes_back_exactly_as_large_and_as_plain(height: int, width: int, level: int, side: int) -> None:
    mask = seen_and_back(np.full((height, width, 3), level, np.uint8), whole(height, width, side))

    assert mask.shape == (height, width)
    assert mask.dtype == np.uint8
    assert (mask == level).all()
