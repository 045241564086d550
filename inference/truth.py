"""The truth file: what really happened on labelled recordings, written by hand, for `orwatch evaluate --truth`.

recordings:
  or-cam-01.mp4:                 # path from the truth file's folder
    camera: or-cam-01
    items:                       # one per appearance of one consumable
      - {label: 纱布, from_s: 3.2, to_s: 8.0, expect: book}
    distractors:                 # things on the picture that are no consumable
      - {from_s: 20.0, to_s: 24.0, note: a hand without anything}
fusions:                         # one consumption seen by several cameras of one surgery
  - {label: 纱布, cameras: {or-cam-01: {from_s: 3.2}, or-cam-02: {from_s: 4.0}}}
"""

from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from inference.errors import TruthInvalid
from inference.yamlfile import read_yaml

Offset = Annotated[float, Field(ge=0, allow_inf_nan=False)]  # seconds from the recording's first frame


class _Span(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    from_s: Offset
    to_s: Offset
    note: str | None = None

    @model_validator(mode="after")
    def _forward(self) -> Self:
        if self.to_s <= self.from_s:
            raise ValueError(f"to_s {self.to_s} is not after from_s {self.from_s}")
        return self


class TruthItem(_Span):
    """One appearance of one consumable. expect ask: it cannot be told for sure and must be asked about."""

    label: Annotated[str, Field(min_length=1)]
    expect: Literal["book", "ask"] = "book"


class Distractor(_Span):
    """Something on the picture that is no consumable: nothing may be booked for it."""


class TruthRecording(BaseModel):
    """What happened in front of one camera."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    camera: Annotated[str, Field(min_length=1)]
    items: tuple[TruthItem, ...] = ()
    distractors: tuple[Distractor, ...] = ()


class FusionStart(BaseModel):
    """When one camera begins to see a consumption that another one sees, too."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    from_s: Offset


class Fusion(BaseModel):
    """One consumption in front of several cameras of a surgery: each recording lists it, the surgery counts it once."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    label: Annotated[str, Field(min_length=1)]
    cameras: Annotated[dict[str, FusionStart], Field(min_length=2)]


class Truth(BaseModel):
    """What happened on every recording, by its path. fusions: for recordings that are cameras of one surgery."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    recordings: Annotated[dict[str, TruthRecording], Field(min_length=1)]
    fusions: tuple[Fusion, ...] = ()

    def consumptions(self) -> Counter[tuple[str, str]]:
        """(label, expect) -> how often, if all recordings are cameras of one surgery."""
        counts: Counter[tuple[str, str]] = Counter(
            (item.label, item.expect) for each in self.recordings.values() for item in each.items
        )
        for fusion in self.fusions:
            counts[fusion.label, "book"] -= len(fusion.cameras) - 1
        return counts


def load_truth(path: Path, labels: Collection[str] | None = None) -> Truth:
    """Read a truth file. labels: those of the model, to find misspelt ones. Raises TruthInvalid."""
    try:
        truth = read_yaml(path, Truth, TruthInvalid)
    except FileNotFoundError as cause:
        raise TruthInvalid(f"{path}: no such file") from cause
    for name, recording in truth.recordings.items():
        if not (path.parent / name).is_file():
            raise TruthInvalid(f"{path}: recordings.{name}: there is no file {path.parent / name}")
        for number, item in enumerate(recording.items):
            if labels is not None and item.label not in labels:
                raise TruthInvalid(
                    f"{path}: recordings.{name}.items.{number}.label: {item.label!r} is none of the model's labels",
                    hint="The model knows: " + ", ".join(labels),
                )
    return truth
