"""Slides that real writers made: what is sent, what is refused before that, and the tiles of a preview."""

import io
import os
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from imaging.errors import InputInvalid, InputTooLarge
from imaging.pathology.slides import PIXELS_MAX, check_slide, dzi, tile
from tests.slides import MPP, write_slide


@pytest.fixture(scope="module")
def slide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_slide(tmp_path_factory.mktemp("slides") / "胃窦 活检.tif")


def test_a_slide_is_known_by_its_pyramid(slide: Path) -> None:
    info = check_slide(slide)

    assert (info.width, info.height, info.levels, info.vendor) == (1024, 1024, 3, "generic-tiff")
    assert info.mpp == pytest.approx(MPP)
    assert info.size == slide.stat().st_size


@pytest.mark.parametrize("share", [0.01, 0.3, 0.6, 0.9, 0.99, 0.9999])
def test_a_slide_whose_end_is_missing_is_refused(slide: Path, tmp_path: Path, share: float) -> None:
    whole = slide.read_bytes()
    cut = tmp_path / "cut.tif"
    cut.write_bytes(whole[: int(len(whole) * share)])

    with pytest.raises(InputInvalid, match=r"切片 cut\.tif：.*不完整") as caught:
        check_slide(cut)
    assert (caught.value.field, caught.value.value) == ("slide", "cut.tif")


def test_a_slide_whose_finest_level_is_cut_behind_a_whole_directory_is_refused(slide: Path, tmp_path: Path) -> None:
    """As of a copy that was broken off and filled with zeros: the directories are there, the tiles are not."""
    with tifffile.TiffFile(slide) as read:
        last = read.pages[0].dataoffsets[-1]
    content = bytearray(slide.read_bytes())
    content[last : last + 4000] = bytes(4000)
    broken = tmp_path / "zeros.tif"
    broken.write_bytes(content)

    with pytest.raises(InputInvalid, match="不完整"):
        check_slide(broken)


def _nothing(path: Path) -> None:
    """Not made."""


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _picture(path: Path) -> None:
    Image.new("RGB", (64, 64)).save(path, "PNG")


WRONG: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "missing": ("a.svs", _nothing, "文件不存在"),
    "empty": ("a.svs", Path.touch, "文件是空的"),
    "a folder": ("a.svs", Path.mkdir, "不是普通文件"),
    "a pipe": ("a.svs", _pipe, "不是普通文件"),
    "text": ("a.svs", lambda path: path.write_text("no slide", encoding="utf-8"), "不是 OpenSlide 能打开的切片"),
    "a picture": ("a.tif", _picture, "不是 OpenSlide 能打开的切片"),
    "one of several files": ("a.mrxs", lambda path: path.write_bytes(b"x"), "多个文件"),
    "a name over two lines": ("a\nb.svs", lambda path: path.write_bytes(b"x"), "文件名"),
    "a name in another encoding": (
        os.fsdecode("切片.svs".encode("gbk")),
        lambda path: path.write_bytes(b"x"),
        "文件名",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_no_slide_is_refused_by_name(tmp_path: Path, case: str) -> None:
    name, make, said = WRONG[case]
    make(tmp_path / name)

    with pytest.raises(InputInvalid, match=said) as caught:
        check_slide(tmp_path / name)
    assert caught.value.field == "slide"
    assert str(tmp_path) not in caught.value.message
    assert caught.value.message.isprintable()


def test_a_tile_of_the_file_that_takes_too_much_memory_is_not_decoded(tmp_path: Path) -> None:
    side = int(PIXELS_MAX**0.5) + 16
    huge = tmp_path / "huge.tif"
    tifffile.imwrite(huge, np.zeros((side, side), np.uint8), tile=(side, side), compression="zlib", metadata=None)

    for ask in (check_slide, dzi, lambda path: tile(path, 0, 0, 0)):
        with pytest.raises(InputTooLarge, match="图块"):
            ask(huge)


def test_the_preview_says_its_size_and_has_every_tile(slide: Path) -> None:
    root = ET.fromstring(dzi(slide))
    [size] = root
    assert (root.attrib["TileSize"], root.attrib["Overlap"], root.attrib["Format"]) == ("254", "1", "jpeg")
    assert size.attrib == {"Width": "1024", "Height": "1024"}

    sizes = {}
    for level, column, row in [(0, 0, 0), (8, 1, 1), (10, 0, 0), (10, 2, 2), (10, 4, 4)]:
        picture = Image.open(io.BytesIO(tile(slide, level, column, row)))
        assert (picture.format, picture.mode) == ("JPEG", "RGB")
        sizes[level, column, row] = picture.size
    assert sizes == {
        (0, 0, 0): (1, 1),
        (8, 1, 1): (3, 3),
        (10, 0, 0): (255, 255),
        (10, 2, 2): (256, 256),
        (10, 4, 4): (9, 9),
    }


def test_a_tile_shows_what_is_there_in_the_slide(slide: Path) -> None:
    with tifffile.TiffFile(slide) as read:
        whole = read.pages[0].asarray()
    shown = np.asarray(Image.open(io.BytesIO(tile(slide, 10, 1, 2)))).astype(int)

    expected = whole[2 * 254 - 1 : 3 * 254 + 1, 254 - 1 : 2 * 254 + 1].astype(int)
    assert shown.shape == expected.shape
    assert np.abs(shown - expected).mean() < 12


@pytest.mark.parametrize(
    ("place", "field"), [((-1, 0, 0), "level"), ((11, 0, 0), "level"), ((10, 5, 0), "column"), ((10, 0, -1), "row")]
)
def test_a_tile_that_is_not_there_is_named(slide: Path, place: tuple[int, int, int], field: str) -> None:
    with pytest.raises(InputInvalid, match="不存在，") as caught:
        tile(slide, *place)
    assert caught.value.field == field


def test_a_slide_without_coarse_levels_is_not_read_whole_for_a_preview(tmp_path: Path) -> None:
    side = int(PIXELS_MAX**0.5) + 256
    flat = tmp_path / "flat.tif"
    tifffile.imwrite(flat, np.zeros((side, side), np.uint8), tile=(512, 512), compression="zlib", metadata=None)

    with pytest.raises(InputTooLarge, match="没有足够的低倍层"):
        tile(flat, 0, 0, 0)
    assert check_slide(flat).levels == 1
    assert tile(flat, 13, 0, 0)
