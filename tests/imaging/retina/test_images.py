"""OCT images by their content: B-scans and volumes, one slice at a time, and everything else named."""

import struct
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, RLELossless

from imaging.errors import InputInvalid, InputTooLarge
from imaging.pictures import Kind
from imaging.retina.images import look, slices
from tests.oct import b_scan, decoders, jpeg_volume, picture, volume

FRAMES = np.random.default_rng(3).integers(0, 256, (7, 61, 97), np.uint8)


def refused(path: Path, what: str, kind: type[InputInvalid] = InputInvalid, slices_max: int = 100) -> None:
    with pytest.raises(kind, match=what) as caught:
        look(path, slices_max=slices_max)
    assert (caught.value.field, caught.value.value) == ("image", path.name)
    assert caught.value.message.startswith(f"image：{path.name}")
    assert str(path.parent) not in caught.value.message


@pytest.mark.parametrize(("name", "kind"), [("a.png", Kind.PNG), ("a.jpg", Kind.JPEG)])
def test_a_b_scan_is_one_slice(tmp_path: Path, name: str, kind: Kind) -> None:
    path = picture(tmp_path / name, b_scan(97, 61, background=80))
    info = look(path, slices_max=1)

    assert (info.kind, info.width, info.height, info.slices) == (kind, 97, 61, 1)
    assert (info.size, info.spacing_mm) == (path.stat().st_size, None)
    [(index, grey)] = slices(path, None)
    assert (index, grey.shape, grey.dtype) == (0, (61, 97), np.uint8)
    assert abs(grey.astype(int) - 80).max() <= 1


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless])
def test_a_volume_has_all_its_slices_and_its_spacing(tmp_path: Path, syntax: str) -> None:
    path = volume(tmp_path / "v.dcm", FRAMES, syntax=syntax)
    info = look(path, slices_max=7)

    assert (info.kind, info.width, info.height, info.slices) == (Kind.DICOM, 97, 61, 7)
    assert info.spacing_mm == (0.004, 0.012)
    found = list(slices(path, None))
    assert [index for index, _ in found] == list(range(7))
    assert all((grey == FRAMES[index]).all() for index, grey in found)


def test_only_the_slices_asked_for_are_given_in_that_order(tmp_path: Path) -> None:
    path = volume(tmp_path / "v.dcm", FRAMES, syntax=RLELossless)
    found = list(slices(path, [5, 0, 3]))

    assert [index for index, _ in found] == [5, 0, 3]
    assert all((grey == FRAMES[index]).all() for index, grey in found)


def test_a_dicom_of_one_frame_is_one_slice(tmp_path: Path) -> None:
    path = volume(tmp_path / "one.dcm", FRAMES[:1], spacing_mm=None, PixelSpacing=[0.002, 0.011])

    assert look(path, slices_max=1).spacing_mm == (0.002, 0.011)
    [(index, grey)] = slices(path, None)
    assert index == 0
    assert (grey == FRAMES[0]).all()


def test_a_volume_in_colour_becomes_grey(tmp_path: Path) -> None:
    rgb = np.zeros((2, 20, 30, 3), np.uint8)
    rgb[0], rgb[1] = (200, 0, 0), (0, 0, 200)
    found = [int(grey[5, 5]) for _, grey in slices(volume(tmp_path / "c.dcm", rgb), None)]

    assert found == [60, 23]


def test_the_window_and_rescale_of_a_frame_come_before_those_of_all(tmp_path: Path) -> None:
    frames = np.tile(np.arange(1000, dtype=np.uint16).reshape(1, 20, 50), (2, 1, 1))

    def group(**keys: Any) -> Dataset:
        held = Dataset()
        for name, tags in keys.items():
            item = Dataset()
            for tag, value in tags.items():
                setattr(item, tag, value)
            setattr(held, name, Sequence([item]))
        return held

    window = {"WindowCenter": "500.5", "WindowWidth": "1001"}
    path = volume(
        tmp_path / "w.dcm",
        frames,
        SharedFunctionalGroupsSequence=Sequence([group(FrameVOILUTSequence=window)]),
        PerFrameFunctionalGroupsSequence=Sequence(
            [
                group(FrameVOILUTSequence={"WindowCenter": "100.5", "WindowWidth": "201"}),
                group(PixelValueTransformationSequence={"RescaleSlope": "2", "RescaleIntercept": "0"}),
            ]
        ),
    )
    narrow, doubled = (grey.ravel() for _, grey in slices(path, None))

    assert (narrow[0], narrow[200], narrow[999]) == (0, 255, 255)
    assert abs(int(narrow[100]) - 128) <= 1
    assert (doubled[0], doubled[500]) == (0, 255)
    assert abs(int(doubled[250]) - 128) <= 1


@pytest.mark.parametrize("spacing", [[0, 0.01], [-1, 1], [99, 0.01]])
def test_a_spacing_that_cannot_be_is_no_spacing(tmp_path: Path, spacing: list[float]) -> None:
    path = volume(tmp_path / "v.dcm", FRAMES, spacing_mm=None, PixelSpacing=spacing)

    assert look(path, slices_max=7).spacing_mm is None


# --- what is no image ---


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.dcm"])
def test_an_empty_file_and_one_that_is_no_image_are_named(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"")
    refused(path, "是空文件")
    path.write_bytes(b"<html>" + bytes(1000))
    refused(path, "既不是 JPEG、PNG，也不是 DICOM")
    path.unlink()
    refused(path, "不存在")


@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
def test_half_a_b_scan_is_refused(tmp_path: Path, name: str) -> None:
    path = picture(tmp_path / name, FRAMES[0])
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    refused(path, "被截断或已损坏")


def test_a_bomb_is_refused_by_its_header(tmp_path: Path) -> None:
    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", 10_001, 10_000, 8, 0, 0, 0, 0)
    pixels = zlib.compress(bytes(10_002 * 10_000), 9)
    path = tmp_path / "bomb.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b""))
    tracemalloc.start()
    refused(path, "10001×10000 像素，每个切片的上限是 100 百万像素", InputTooLarge)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20

    path = picture(tmp_path / "bomb.jpg", FRAMES[0])
    content = bytearray(path.read_bytes())
    at = content.index(b"\xff\xc0") + 5
    content[at : at + 4] = struct.pack(">HH", 10_000, 10_001)
    path.write_bytes(content)
    with pytest.raises(InputTooLarge, match="10001×10000 像素"):
        look(path, slices_max=1)


@pytest.mark.parametrize(
    ("change", "kind", "what"),
    [
        ({"Rows": 10_001, "Columns": 10_000}, InputTooLarge, "10000×10001 像素"),
        ({"NumberOfFrames": 101}, InputTooLarge, "101 个切片，上限 100"),
        ({"NumberOfFrames": 8}, InputInvalid, "不完整（被截断）：8 帧"),
        ({"NumberOfFrames": -2}, InputInvalid, "-2 帧无效"),
        ({"Columns": 0}, InputInvalid, "无效"),
    ],
    ids=["pixels", "slices", "fewer", "negative", "no columns"],
)
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless])
def test_a_volume_that_claims_what_is_not_there_is_refused(
    tmp_path: Path, syntax: str, change: dict[str, Any], kind: type[InputInvalid], what: str
) -> None:
    path = volume(tmp_path / "v.dcm", FRAMES, syntax=syntax)
    dataset = pydicom.dcmread(path)
    for tag, value in change.items():
        setattr(dataset, tag, value)
    dataset.save_as(path)
    refused(path, what, kind)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless])
@pytest.mark.parametrize("keep", [0.3, 0.9])
@pytest.mark.filterwarnings("ignore:End of file reached before delimiter:UserWarning")
def test_half_a_volume_is_refused(tmp_path: Path, syntax: str, keep: float) -> None:
    path = volume(tmp_path / "v.dcm", FRAMES, syntax=syntax)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * keep)])
    refused(path, "无法使用的 DICOM")


def test_a_deflated_volume_is_refused_before_it_is_inflated(tmp_path: Path) -> None:
    path = volume(tmp_path / "v.dcm", FRAMES)
    dataset = pydicom.dcmread(path)
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    dataset.save_as(path)
    refused(path, "Deflated")


def test_a_volume_whose_first_frame_cannot_be_decoded_is_refused_at_once(tmp_path: Path) -> None:
    refused(jpeg_volume(tmp_path / "v.dcm", FRAMES, broken=0), "压缩的像素数据已损坏")


def test_a_frame_that_would_end_the_process_is_an_error_at_that_frame(tmp_path: Path) -> None:
    path = jpeg_volume(tmp_path / "v.dcm", FRAMES, broken=4)
    look(path, slices_max=7)
    found = []
    with pytest.raises(InputInvalid, match="压缩的像素数据已损坏") as caught:
        found.extend(index for index, _ in slices(path, None))

    assert caught.value.field == "image"
    assert len(list(slices(path, [0, 1, 2, 3, 5, 6]))) == 6


def test_a_frame_of_another_size_than_the_others_is_an_error(tmp_path: Path) -> None:
    encoded = [cv2.imencode(".jpg", frame)[1].tobytes() for frame in (FRAMES[0], FRAMES[1][:50, :50])]
    path = volume(tmp_path / "v.dcm", FRAMES[:2], syntax="1.2.840.10008.1.2.4.50", encapsulated=encoded)
    with pytest.raises(InputInvalid, match="DICOM"):
        list(slices(path, None))


# --- what a volume costs ---


def test_never_a_whole_volume_is_in_memory(tmp_path: Path) -> None:
    path = volume(tmp_path / "v.dcm", np.tile(FRAMES[:1], (2000, 1, 1)))
    assert path.stat().st_size > 11_000_000
    tracemalloc.start()
    look(path, slices_max=2000)
    count = sum(1 for _ in slices(path, None))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert count == 2000
    assert peak < 3_000_000


def test_the_decoder_ends_with_its_reader(tmp_path: Path) -> None:
    path = volume(tmp_path / "v.dcm", np.tile(FRAMES, (20, 1, 1)))
    reading = slices(path, None)
    next(reading)
    (decoder,) = decoders()
    reading.close()

    assert not decoder.is_running()
    assert list(reading) == []
