"""Pictures by their content: whole ones pass, and everything else is named before it is decoded or sent."""

import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileMetaDataset
from pydicom.uid import (
    MPEG2MPML,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    RLELossless,
    SecondaryCaptureImageStorage,
    generate_uid,
)

from imaging.errors import InputInvalid, InputTooLarge
from imaging.pictures import Kind, check_picture, open_rgb

RNG = np.random.default_rng(7)
NOISE = RNG.integers(0, 255, (80, 120, 3), np.uint8)  # RGB


def written(path: Path, rgb: np.ndarray = NOISE, *options: int) -> Path:
    encoded = cv2.imencode(path.suffix, cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), list(options))[1]
    path.write_bytes(encoded.tobytes())
    return path


def refused(path: Path, what: str, kind: type[InputInvalid] = InputInvalid) -> None:
    for look in (check_picture, open_rgb):
        with pytest.raises(kind, match=what) as caught:
            look(path)
        assert (caught.value.field, caught.value.value) == ("images", path.name)
        assert path.name in caught.value.message
        assert str(path.parent) not in caught.value.message


@pytest.mark.parametrize(
    ("name", "options", "kind"),
    [
        ("a.jpg", (), Kind.JPEG),
        ("b.jpg", (cv2.IMWRITE_JPEG_PROGRESSIVE, 1), Kind.JPEG),
        ("c.jpg", (cv2.IMWRITE_JPEG_RST_INTERVAL, 2), Kind.JPEG),
        ("d.png", (), Kind.PNG),
    ],
)
def test_a_picture_is_known_by_its_content(tmp_path: Path, name: str, options: tuple[int, ...], kind: Kind) -> None:
    path = written(tmp_path / name, NOISE, *options).rename(tmp_path / "x.dat")
    found = check_picture(path)

    assert (found.kind, found.width, found.height, found.size) == (kind, 120, 80, path.stat().st_size)
    assert found.media_type == f"image/{kind.lower()}"
    assert np.abs(open_rgb(path).astype(int) - NOISE).mean() < (1 if kind is Kind.PNG else 60)


def test_what_comes_behind_the_end_is_nobodys(tmp_path: Path) -> None:
    for name in ("a.jpg", "a.png"):
        path = written(tmp_path / name)
        with path.open("ab") as file:
            file.write(b"\xff\xd8 more" * 1000)
        assert check_picture(path).width == 120


@pytest.mark.parametrize("name", ["a.jpg", "a.png"])
@pytest.mark.parametrize("keep", [0.03, 0.5, 0.98])
def test_a_truncated_picture_is_refused(tmp_path: Path, name: str, keep: float) -> None:
    path = written(tmp_path / name)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])
    refused(path, "被截断或已损坏")


def test_a_png_with_one_wrong_bit_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "a.png")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    refused(path, "被截断或已损坏")


def png(width: int, height: int, pixels: bytes = b"") -> bytes:
    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")


def test_a_picture_with_too_many_pixels_is_refused_by_its_header(tmp_path: Path) -> None:
    (tmp_path / "bomb.png").write_bytes(png(60_000, 60_000))
    refused(tmp_path / "bomb.png", "60000×60000 像素，上限 200 百万像素", InputTooLarge)
    path = written(tmp_path / "bomb.jpg")
    content = bytearray(path.read_bytes())
    at = content.index(b"\xff\xc0") + 5
    content[at : at + 4] = struct.pack(">HH", 65_000, 65_000)
    path.write_bytes(content)
    refused(path, "65000×65000 像素", InputTooLarge)


@pytest.mark.parametrize(
    ("content", "what"),
    [(b"", "是空文件"), (b"GIF89a" + bytes(500), "既不是 JPEG"), (b"\xff\xd8\xff", "被截断"), (png(0, 5), "0×5 无效")],
)
def test_what_is_no_picture_is_named(tmp_path: Path, content: bytes, what: str) -> None:
    (tmp_path / "a.jpg").write_bytes(content)
    refused(tmp_path / "a.jpg", what)


def test_what_is_no_file_is_named(tmp_path: Path) -> None:
    refused(tmp_path / "none.jpg", "不存在")
    (tmp_path / "folder.jpg").mkdir()
    refused(tmp_path / "folder.jpg", "不是普通文件")


def test_too_many_bytes_are_refused_unread(tmp_path: Path) -> None:
    path = written(tmp_path / "a.jpg")
    with path.open("ab") as file:
        file.truncate(100 * 2**20 + 1)
    refused(path, "上限 100 MB", InputTooLarge)


@pytest.mark.parametrize(("side", "is_told"), [(1999, True), (2000, False)])
def test_a_small_ultra_wide_picture_is_told_and_not_refused(tmp_path: Path, side: int, is_told: bool) -> None:
    note = check_picture(written(tmp_path / "a.jpg", np.zeros((side, 2100, 3), np.uint8))).ultra_wide_note
    assert ("建议 ≥ 2000×2000" in note) is is_told


# --- DICOM ---

Write = Callable[..., Path]


@pytest.fixture
def dicom(tmp_path: Path) -> Write:
    def write(pixels: np.ndarray, photometric: str, syntax: str = ExplicitVRLittleEndian, **tags: Any) -> Path:
        dataset = pydicom.Dataset()
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        frame = pixels[0] if "NumberOfFrames" in tags else pixels
        dataset.Rows, dataset.Columns = frame.shape[:2]
        dataset.SamplesPerPixel = 3 if frame.ndim == 3 else 1
        dataset.PhotometricInterpretation = photometric
        dataset.BitsAllocated = dataset.BitsStored = pixels.itemsize * 8
        dataset.HighBit, dataset.PixelRepresentation = dataset.BitsStored - 1, 0
        if dataset.SamplesPerPixel == 3:
            dataset.PlanarConfiguration = 0
        dataset.PixelData = pixels.tobytes()
        for tag, value in tags.items():
            setattr(dataset, tag, value)
        if syntax == RLELossless:
            dataset.compress(syntax)
        elif syntax != ExplicitVRLittleEndian:
            dataset.file_meta.TransferSyntaxUID = syntax
            if isinstance(tags.get("PixelData"), bytes) and syntax != DeflatedExplicitVRLittleEndian:
                dataset.PixelData = pydicom.encaps.encapsulate([tags["PixelData"]])
                dataset["PixelData"].is_undefined_length = True
        path = tmp_path / "picture"
        dataset.save_as(path, enforce_file_format=True)
        return path

    return write


GREY = np.arange(80 * 120, dtype=np.uint16).reshape(80, 120)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless])
def test_a_dicom_in_colour_is_what_it_was(dicom: Write, syntax: str) -> None:
    path = dicom(NOISE, "RGB", syntax)
    found = check_picture(path)

    assert (found.kind, found.width, found.height, found.media_type) == (Kind.DICOM, 120, 80, "application/dicom")
    assert (open_rgb(path) == NOISE).all()


def test_a_dicom_in_grey_of_16_bits_is_stretched_or_windowed(dicom: Write) -> None:
    whole = open_rgb(dicom(GREY, "MONOCHROME2"))
    assert (whole[0, 0].tolist(), whole[-1, -1].tolist()) == ([0, 0, 0], [255, 255, 255])
    inverse = open_rgb(dicom(GREY, "MONOCHROME1"))
    assert (inverse == 255 - whole).all()
    window = open_rgb(dicom(GREY, "MONOCHROME2", WindowCenter="1000.5", WindowWidth="1001"))[..., 0].ravel()
    assert (window[500], window[1500], window[0], window[5000]) == (0, 255, 0, 255)
    assert abs(int(window[1000]) - 128) <= 1


def test_a_dicom_in_grey_of_8_bits_keeps_its_values(dicom: Write) -> None:
    grey = np.full((80, 120), 77, np.uint8)
    grey[0, 0] = 90
    assert open_rgb(dicom(grey, "MONOCHROME2"))[5, 5].tolist() == [77, 77, 77]


def test_a_dicom_with_a_palette_is_in_its_colours(dicom: Write) -> None:
    ramp = (np.arange(256, dtype=np.uint16) * 257).tobytes()
    tags = {}
    for colour, content in (("Red", ramp), ("Green", bytes(512)), ("Blue", ramp)):
        tags[f"{colour}PaletteColorLookupTableDescriptor"] = [256, 0, 16]
        tags[f"{colour}PaletteColorLookupTableData"] = content
    index = RNG.integers(0, 255, (80, 120), np.uint8)
    shown = open_rgb(dicom(index, "PALETTE COLOR", **tags))

    assert (shown[..., 0] == index).all()
    assert not shown[..., 1].any()


def test_a_dicom_in_ybr_is_turned_to_rgb(dicom: Write) -> None:
    from pydicom.pixels import convert_color_space

    ybr = convert_color_space(NOISE, "RGB", "YBR_FULL")
    assert np.abs(open_rgb(dicom(ybr, "YBR_FULL")).astype(int) - NOISE).max() <= 3


def smooth() -> np.ndarray:
    return np.dstack([np.tile(np.linspace(20, 200, 120), (80, 1))] * 3).astype(np.uint8)


def test_a_compressed_dicom_is_decoded(dicom: Write) -> None:
    bgr = cv2.cvtColor(smooth(), cv2.COLOR_RGB2BGR)
    for form, syntax, photometric in (
        (".jpg", JPEGBaseline8Bit, "YBR_FULL_422"),
        (".jp2", JPEG2000Lossless, "RGB"),
    ):
        frame = cv2.imencode(form, bgr)[1].tobytes()
        if form == ".jp2":
            frame = frame[frame.index(b"\xff\x4f\xff\x51") :]
        path = dicom(smooth(), photometric, syntax, PixelData=frame)
        assert np.abs(open_rgb(path).astype(int) - smooth()).mean() < 6, form


def test_the_first_of_many_frames_is_shown(dicom: Write) -> None:
    frames = np.stack([NOISE, 255 - NOISE])
    assert (open_rgb(dicom(frames, "RGB", NumberOfFrames=2)) == NOISE).all()


@pytest.mark.parametrize(
    ("change", "kind", "what"),
    [
        ({"Rows": 50_000, "Columns": 50_000}, InputTooLarge, "50000×50000 像素"),
        ({"Rows": 0}, InputInvalid, "无效"),
        ({"PixelData": b"12"}, InputInvalid, "DICOM 无法使用"),
        ({"PhotometricInterpretation": "XYZ"}, InputInvalid, "DICOM 无法使用"),
        ({"syntax": DeflatedExplicitVRLittleEndian}, InputInvalid, "Deflated"),
        ({"syntax": MPEG2MPML, "PixelData": bytes(500)}, InputInvalid, "DICOM 无法使用"),
    ],
)
def test_a_dicom_that_cannot_be_used_is_named(
    dicom: Write, change: dict[str, Any], kind: type[InputInvalid], what: str
) -> None:
    refused(dicom(NOISE, "RGB", **change), what, kind)


def test_a_compressed_frame_larger_than_it_says_is_not_decoded(dicom: Write) -> None:
    frame = cv2.imencode(".jpg", np.zeros((900, 900, 3), np.uint8))[1].tobytes()
    refused(dicom(NOISE, "YBR_FULL_422", JPEGBaseline8Bit, PixelData=frame), "900×900 与 DICOM 标签 120×80 不符")


def test_a_compressed_frame_that_would_end_the_process_does_not(dicom: Write) -> None:
    whole = cv2.imencode(".jpg", NOISE)[1].tobytes()
    # An unknown marker aborts GDCM, a sample of 255 bits makes it read where nothing is.
    for at, byte in ((whole.index(b"\xff\xdb") + 1, 0), (whole.index(b"\xff\xc0") + 4, 255)):
        broken = whole[:at] + bytes([byte]) + whole[at + 1 :]
        refused(dicom(NOISE, "YBR_FULL_422", JPEGBaseline8Bit, PixelData=broken), "压缩的像素数据已损坏")


def test_a_truncated_dicom_is_refused(dicom: Write) -> None:
    path = dicom(NOISE, "RGB")
    path.write_bytes(path.read_bytes()[:-5000])
    refused(path, "DICOM 无法使用")


def test_a_dicom_without_pixels_is_refused(dicom: Write) -> None:
    path = dicom(NOISE, "RGB")
    dataset = pydicom.dcmread(path)
    del dataset.PixelData
    dataset.save_as(path)
    refused(path, "没有像素数据")
