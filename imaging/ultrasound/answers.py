"""What a prediction leaves on disk and what is answered: the record, the figures, the classes or the mask.

Each answer lies in a folder of its own below `segment/` or `classification/`, which appears with all its files: answers
of equal names never meet, and nothing is ever seen half written.
"""

import json
import re
import secrets
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from imaging.errors import ImagingError
from imaging.ultrasound.memory import Usage
from imaging.ultrasound.models import Prediction
from imaging.ultrasound.record import Record
from imaging.ultrasound.terms import Task

ANSWERS = "api_out"
FOLDERS = {Task.SEGMENTATION: "segment", Task.CLASSIFICATION: "classification"}
_STEM_BYTES = 120
_UNSAFE = re.compile(r"[^\w.\-() ]+")


def write_answer(outputs: Path, record: Record, prediction: Prediction, usage: Usage) -> dict[str, Any]:
    """The answer of the seed, with the names of the classes and what to know of it; its JSON on disk has no json_path.

    Raises OSError.
    """
    kind = FOLDERS[prediction.task]
    stem = safe_stem(record.img_name)
    name = secrets.token_hex(8)
    final = outputs.absolute() / kind / name
    answer = record.echo() | _measured(prediction, usage)
    with _appearing(final) as folder:
        if prediction.mask is None:
            answer |= {
                "probability": list(prediction.probability or ()),
                "prediction": prediction.prediction,
                "label_names": list(prediction.labels),
                "label_names_zh": list(prediction.labels_zh),
            }
        else:
            mask_name = f"{stem}_mask.png"
            (folder / mask_name).write_bytes(png(prediction.mask))
            answer |= {
                "mask_name": mask_name,
                "mask_path_relative": f"{ANSWERS}/{kind}/{name}/{mask_name}",
                "mask_path_absolute": str(final / mask_name),
            }
        if prediction.note:
            answer["note"] = prediction.note
        text = json.dumps(answer, ensure_ascii=False, indent=4, allow_nan=False)
        (folder / f"{stem}.json").write_text(text, encoding="utf-8")
    return answer | {"json_path": str(final / f"{stem}.json")}


def write_whole(path: Path, content: bytes) -> None:
    """Whole or not at all, its folder with it. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{secrets.token_hex(8)}")
    try:
        unfinished.write_bytes(content)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def png(mask: npt.NDArray[np.uint8]) -> bytes:
    """A mask as PNG."""
    import cv2

    done, encoded = cv2.imencode(".png", mask)
    if not done:
        raise ImagingError("掩膜无法编码为 PNG。")
    return bytes(encoded)


def safe_stem(name: str) -> str:
    """The safe stem of a name that a client gave; bounded, so that a suffix fits behind it."""
    last = unicodedata.normalize("NFC", name).replace("\\", "/").rpartition("/")[2]
    clean = _UNSAFE.sub("_", last.rpartition(".")[0] or last).strip(". ")
    return clean.encode()[:_STEM_BYTES].decode(errors="ignore").strip(". ") or "image"


def _measured(prediction: Prediction, usage: Usage) -> dict[str, float]:
    return {
        "inference_time_sec": round(prediction.seconds, 4),
        "memory_usage_mb": round(usage.memory_mb, 2),
        "gpu_memory_usage_mb": round(usage.gpu_used_mb, 2),
        "gpu_memory_reserved_mb": round(usage.gpu_reserved_mb, 2),
    }


@contextmanager
def _appearing(final: Path) -> Iterator[Path]:
    """A folder that gets its name when all is in it; on a failure nothing is left."""
    folder = final.with_name(f".{final.name}")
    folder.mkdir(parents=True)
    try:
        yield folder
        folder.rename(final)
    finally:
        if folder.exists():
            for path in folder.iterdir():
                path.unlink()
            folder.rmdir()
