"""Optical coherence tomography to test with: B-scans with marks at known millimetres, volumes, and tiny real models."""

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import psutil
import pydicom
from onnx import TensorProto, helper, numpy_helper
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.uid import ExplicitVRLittleEndian, JPEGBaseline8Bit, OphthalmicTomographyImageStorage, generate_uid

LABELS = ("dark", "bright")


def decoders() -> list[psutil.Process]:
    """The processes that decode DICOM frames for this one; other children are other tests' servers."""
    found = []
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.NoSuchProcess):
            found += [child] if any(word.endswith("dicom.py") for word in child.cmdline()) else []
    return found


def b_scan(width: int = 97, height: int = 61, *, background: int = 40, marks: Sequence[int] = ()) -> np.ndarray:
    """(height, width) grey, with a white column at each mark."""
    grey = np.full((height, width), background, np.uint8)
    grey[:, list(marks)] = 255
    return grey


def picture(path: Path, grey: np.ndarray) -> Path:
    path.write_bytes(cv2.imencode(path.suffix, grey)[1].tobytes())
    return path


def volume(
    path: Path,
    frames: np.ndarray,
    *,
    syntax: str = ExplicitVRLittleEndian,
    spacing_mm: tuple[float, float] | None = (0.004, 0.012),
    encapsulated: Sequence[bytes] | None = None,
    **tags: Any,
) -> Path:
    """An ophthalmic tomography image. frames: (slices, height, width) of uint8 or uint16, or with RGB behind.

    encapsulated: frames that are compressed already; otherwise syntax may be one that pydicom writes (RLE).
    """
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = OphthalmicTomographyImageStorage
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset.Modality = "OPT"
    dataset.NumberOfFrames, dataset.Rows, dataset.Columns = frames.shape[:3]
    dataset.SamplesPerPixel = 3 if frames.ndim == 4 else 1
    dataset.PhotometricInterpretation = "RGB" if frames.ndim == 4 else "MONOCHROME2"
    if frames.ndim == 4:
        dataset.PlanarConfiguration = 0
    dataset.BitsAllocated = dataset.BitsStored = frames.itemsize * 8
    dataset.HighBit, dataset.PixelRepresentation = dataset.BitsStored - 1, 0
    if spacing_mm is not None:
        measures, shared = Dataset(), Dataset()
        measures.PixelSpacing = list(spacing_mm)
        shared.PixelMeasuresSequence = DicomSequence([measures])
        dataset.SharedFunctionalGroupsSequence = DicomSequence([shared])
    dataset.PixelData = frames.tobytes()
    for tag, value in tags.items():
        setattr(dataset, tag, value)
    if encapsulated is not None:
        dataset.file_meta.TransferSyntaxUID = syntax
        dataset.PixelData = pydicom.encaps.encapsulate(list(encapsulated))
        dataset["PixelData"].is_undefined_length = True
    elif syntax != ExplicitVRLittleEndian:
        dataset.compress(syntax, encoding_plugin="pydicom")
    dataset.save_as(path, enforce_file_format=True)
    return path


def jpeg_volume(path: Path, frames: np.ndarray, broken: int | None = None) -> Path:
    """Frames of JPEG; the one at `broken` has a marker that makes GDCM abort its process."""
    encoded = [cv2.imencode(".jpg", frame)[1].tobytes() for frame in frames]
    if broken is not None:
        at = encoded[broken].index(b"\xff\xdb") + 1
        encoded[broken] = encoded[broken][:at] + b"\x00" + encoded[broken][at + 1 :]
    return volume(path, frames, syntax=JPEGBaseline8Bit, encapsulated=encoded)


def model(
    path: Path,
    *,
    gives: Sequence[str] = ("scores",),
    labels: int = 2,
    background: bool = False,
    channels: int = 1,
    batch: int | str = "batch",
    height: int | str = 16,
    width: int | str = 24,
    dtype: int = TensorProto.FLOAT,
    logits: bool = False,
) -> Path:
    """An ONNX whose scores are [1 - mean, mean, 0, ...] of a picture in 0..1, and whose maps say the same per pixel.

    gives: "scores", "maps" or both. background: the maps have a first channel for none of the labels, which is the
    most probable where the picture is grey. logits: scores before a sigmoid.
    """
    nodes = [helper.make_node("Cast", ["pictures"], ["floats"], to=TensorProto.FLOAT)]
    grey = "floats"
    if dtype == TensorProto.UINT8:
        nodes.append(helper.make_node("Mul", [grey, "per_byte"], ["scaled"]))
        grey = "scaled"
    if channels > 1:
        nodes.append(helper.make_node("ReduceMean", [grey], ["one"], axes=[1], keepdims=1))
        grey = "one"
    nodes.append(helper.make_node("Sub", ["whole", grey], ["inverse"]))
    nodes.append(helper.make_node("Mul", [grey, "zero"], ["nothing"]))
    parts = ["inverse", grey, *["nothing"] * (labels - 2)]
    if background:
        nodes += [
            helper.make_node("Sub", [grey, "half"], ["off"]),
            helper.make_node("Abs", ["off"], ["far"]),
            helper.make_node("Sub", ["most", "far"], ["neither"]),
        ]
        parts.insert(0, "neither")
    nodes.append(helper.make_node("Concat", parts, ["planes"], axis=1))
    outputs = []
    if "maps" in gives:
        nodes.append(helper.make_node("Identity", ["planes"], ["maps"]))
        outputs.append(
            helper.make_tensor_value_info("maps", TensorProto.FLOAT, [batch, labels + background, height, width])
        )
    if "scores" in gives:
        nodes.append(
            helper.make_node("ReduceMean", ["planes"], ["scores" if not logits else "means"], axes=[2, 3], keepdims=0)
        )
        if logits:
            nodes += [
                helper.make_node("Sub", ["means", "half_flat"], ["centred"]),
                helper.make_node("Mul", ["centred", "gain"], ["scores"]),
            ]
        outputs.append(helper.make_tensor_value_info("scores", TensorProto.FLOAT, [batch, labels]))
    constants = {
        "whole": 1.0, "zero": 0.0, "half": 0.5, "most": 0.8, "per_byte": 1 / 255, "half_flat": 0.5, "gain": 8.0,
    }  # fmt: skip
    used = {name for node in nodes for name in node.input}
    graph = helper.make_graph(
        nodes,
        "retina",
        [helper.make_tensor_value_info("pictures", dtype, [batch, channels, height, width])],
        outputs,
        [
            numpy_helper.from_array(np.array(value, np.float32), name)
            for name, value in constants.items()
            if name in used
        ],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path
