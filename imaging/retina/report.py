"""What the model found, as one JSON object, and the masks beside it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt

from imaging.errors import Failed
from imaging.retina.contract import Contract, Opinion
from imaging.retina.images import ImageInfo
from imaging.retina.parameters import Parameters
from imaging.retina.zones import Zone, column_spacing

# From here on a pixel belongs to a label, where the model has no channel for none of them.
MASK_MIN = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """One picture for the model. frame: its slice in the file; slice_index: the same slice in the examination."""

    number: int
    frame: int
    slice_index: int
    zone: Zone


class Report:
    """Collects the cuts of one image, in any order and from any thread."""

    def __init__(self, contract: Contract, info: ImageInfo, parameters: Parameters, *, into: Path) -> None:
        """into: a folder for masks."""
        own = info.spacing_mm or (None, None)
        self._contract = contract
        self._info = info
        self._parameters = parameters
        self._into = into
        self._row_mm = parameters.pixel_spacing_row or own[0]
        self._column_mm = column_spacing(parameters, info.width, own[1])
        self._zones: dict[int, dict[str, Any]] = {}
        self._masks: list[Path] = []
        self._is_discarded = False
        self._lock = Lock()

    def add(self, cut: Cut, opinion: Opinion) -> None:
        """Blocking: writes the mask, if the model gives maps."""
        zone = cut.zone
        found: dict[str, Any] = {
            "slice_idx": cut.slice_index,
            "zone": zone.name,
            "left": zone.left,
            "right": zone.right,
            "mm": None if self._column_mm is None else round((zone.right - zone.left) * self._column_mm, 4),
            "probabilities": {
                label: round(each, 6) for label, each in zip(self._contract.labels, opinion.probabilities, strict=True)
            },
        }
        if opinion.maps is not None:
            mask = _mask(opinion.maps, len(self._contract.labels), zone.right - zone.left, self._info.height)
            found["areas"] = self._areas(mask, zone)
            found["mask"] = self._written(mask, cut.number)
        else:
            found["mask"] = None
        with self._lock:
            self._zones[cut.number] = found

    def result(self) -> dict[str, Any]:
        """{"width", "height", "slices": of the image,
        "pixel_spacing": {"row", "column"} mm or null where one of them is not known,
        "model": {"name", "version"}, "low_confidence_p",
        "findings": [{"label", "probability", "slice_idx", "zone"}]: the most probable zone of each label that reaches
            low_confidence_p, the most probable first,
        "zones": [{"slice_idx", "zone": "full" | "center" | "nerve", "left", "right": columns, right one not included,
            "mm": width or null, "probabilities": {label: 0..1},
            "areas": {label: {"pixels", "mm2" or null, "box": [left, top, right, bottom]}}: of labels in the mask, in
                pixels of the picture; only of a model that gives maps,
            "mask": name of a PNG of the zone, 0 for nothing and k for the k-th label; or null}]}
        """
        zones = [self._zones[number] for number in sorted(self._zones)]
        known = self._row_mm is not None and self._column_mm is not None
        return {
            "width": self._info.width,
            "height": self._info.height,
            "slices": self._info.slices,
            "pixel_spacing": {"row": self._row_mm, "column": self._column_mm} if known else None,
            "model": {"name": self._contract.name, "version": self._contract.version},
            "low_confidence_p": self._parameters.low_confidence_p,
            "findings": self._findings(zones),
            "zones": zones,
        }

    def discard(self) -> None:
        """Delete the masks; one that is still being drawn is not written any more. Blocking."""
        with self._lock:
            self._is_discarded = True
            for path in self._masks:
                path.unlink(missing_ok=True)

    def _findings(self, zones: list[dict[str, Any]]) -> list[dict[str, Any]]:
        found = []
        for label in self._contract.labels:
            zone = max(zones, key=lambda each: float(each["probabilities"][label]))
            probability = zone["probabilities"][label]
            if probability >= self._parameters.low_confidence_p:
                found.append(
                    {"label": label, "probability": probability, "slice_idx": zone["slice_idx"], "zone": zone["zone"]}
                )
        return sorted(found, key=lambda each: -float(each["probability"]))

    def _areas(self, mask: npt.NDArray[np.uint8], zone: Zone) -> Mapping[str, Any]:
        areas = {}
        for number, label in enumerate(self._contract.labels, 1):
            rows, columns = np.nonzero(mask == number)
            if not len(rows):
                continue
            is_known = self._row_mm is not None and self._column_mm is not None
            areas[label] = {
                "pixels": len(rows),
                "mm2": round(len(rows) * (self._row_mm or 0) * (self._column_mm or 0), 6) if is_known else None,
                "box": [
                    zone.left + int(columns.min()),
                    int(rows.min()),
                    zone.left + int(columns.max()) + 1,
                    int(rows.max()) + 1,
                ],
            }
        return areas

    def _written(self, mask: npt.NDArray[np.uint8], number: int) -> str:
        import cv2

        path = self._into / f"mask_{number + 1:04}.png"
        is_encoded, content = cv2.imencode(".png", mask)
        if not is_encoded:
            raise Failed(f"{path.name}：无法编码为 PNG（{mask.shape[1]}×{mask.shape[0]}）。")
        with self._lock:
            if not self._is_discarded:
                self._masks.append(path)
                path.write_bytes(content.tobytes())
        return path.name


def _mask(maps: npt.NDArray[np.float32], labels: int, width: int, height: int) -> npt.NDArray[np.uint8]:
    """The most probable label of each pixel of the zone, (height, width); 0 for none."""
    import cv2

    def sized(plane: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        return np.asarray(cv2.resize(plane, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)

    has_none = len(maps) == labels + 1
    # One plane at a time: all of them in the size of the picture may be gigabytes.
    best = sized(maps[0]) if has_none else np.full((height, width), np.nextafter(MASK_MIN, 0, dtype=np.float32))
    mask = np.zeros((height, width), np.uint8)
    for number, plane in enumerate(maps[has_none:], 1):
        probable = sized(plane)
        is_better = probable > best
        mask[is_better] = number
        best = np.where(is_better, probable, best)
    return mask
