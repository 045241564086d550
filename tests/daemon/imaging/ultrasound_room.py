"""What the tests of ultrasound share: pictures of a bright patch, a site's data, models that go by brightness."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from tests.ultrasound import classifier, segmenter

# x, y, width, height of the bright patch, as shares of the picture.
PATCH = (0.05, 0.25, 0.4, 0.5)
UNKNOWN = dict.fromkeys(["mask_name", "mask_path_relative", "seg_target_info", "class_label_index", "class_label_name"])


def patched(width: int, height: int, colour: tuple[int, int, int] = (255, 255, 255)) -> npt.NDArray[np.uint8]:
    """Black, with a patch of this RGB that lies left of the middle."""
    rgb = np.zeros((height, width, 3), np.uint8)
    rgb[truth(width, height)] = colour
    return rgb


def truth(width: int, height: int) -> npt.NDArray[np.bool_]:
    x, y, w, h = PATCH
    found = np.zeros((height, width), bool)
    found[round(y * height) : round((y + h) * height), round(x * width) : round((x + w) * width)] = True
    return found


def encoded(rgb: npt.NDArray[np.uint8], suffix: str = ".png") -> bytes:
    done, content = cv2.imencode(suffix, cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
    assert done
    return bytes(content)


def decoded(content: bytes) -> npt.NDArray[np.uint8]:
    """As stored; colours as RGB."""
    pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION)
    assert pixels is not None
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB) if pixels.ndim == 3 else pixels, np.uint8)


def write_data(folder: Path) -> Path:
    """The layout of the challenge, with both ways that classification sets are laid out."""
    for name in (
        "segmentation/KidneyUS/imgs/seg_00000.png",
        "segmentation/private_Thyroid/imgs/seg_00007.png",
        "classification/Appendix/imgs/cls_00000.jpg",
        "classification/private_Appendix/0/a.png",
        "classification/private_Breast_luminal/imgs/cls_00240.png",
    ):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(patched(300, 200), path.suffix))
    (folder / "segmentation/CAMUS/imgs").mkdir(parents=True)
    return folder


def models(folder: Path) -> dict[str, str]:
    """Keys of the section: all three tasks by brightness."""
    return {
        "segmentation_model": str(segmenter(folder / "segmenter.onnx")),
        "classification_model": str(classifier(folder / "two.onnx")),
        "classification_model_4": str(classifier(folder / "four.onnx", classes=4)),
    }


def settings(folder: Path, **section: Any) -> dict[str, Any]:
    """imaging=... of the settings."""
    own = {"upload_dir": str(folder / "api_in"), "output_dir": str(folder / "api_out"), "device": "cpu", "threads": 1}
    return {"folder": str(folder / "imaging"), "ultrasound": own | section}


def record(uploaded: dict[str, Any], **more: Any) -> dict[str, Any]:
    """What the page sends after an upload."""
    asked = {
        "task": "segmentation",
        "dataset_name": "KidneyUS",
        "organ": "Kidney",
        "data_partition_group": "public_all",
    }
    return {**uploaded, **asked, **UNKNOWN, **more}


# The seed's own example, as it stands there.
SEED: dict[str, Any] = json.loads("""{
    "img_name": "cls_00000.jpg",
    "img_path_relative": "classification/Appendix/imgs/cls_00000.jpg",
    "img_size_bytes": 118306,
    "img_dimensions": [1008, 819],
    "img_format": "jpg",
    "task": "classification",
    "dataset_name": "Appendix",
    "organ": "Appendix",
    "data_partition_group": "private_val",
    "mask_name": null,
    "mask_path_relative": null,
    "seg_target_info": null,
    "class_label_index": null,
    "class_label_name": null
}""")


@cache
def scan(width: int, height: int) -> npt.NDArray[np.uint8]:
    """Something like a scan: a fan of speckle on black, no two places alike, and a bright organ left of its middle."""
    rng = np.random.default_rng(7)
    x = (np.arange(width) + 0.5) / width - 0.5
    y = (np.arange(height) + 0.5) / height
    angle = np.arctan2(x[None, :] * width / height, y[:, None] + 0.25)
    depth = np.hypot(x[None, :] * width / height, y[:, None] + 0.25)
    fan = (np.abs(angle) < 0.62) & (depth > 0.4) & (depth < 1.2)
    grain = cv2.GaussianBlur(rng.gamma(1.6, 30.0, (height, width)).astype(np.float32), (0, 0), 1.2)
    organ = ((x[None, :] + 0.09) / 0.19) ** 2 + ((y[:, None] - 0.52) / 0.2) ** 2 < 1
    grey = np.where(organ, 150 + 0.55 * grain, 0.9 * grain) * fan
    rgb = np.repeat(np.clip(grey, 0, 255).astype(np.uint8)[..., None], 3, axis=2)
    # A little colour, so that red is not taken for blue; and some noise on the black.
    rgb[..., 0] = np.maximum(rgb[..., 0], rng.integers(0, 9, (height, width), np.uint8))
    return rgb
