"""The record of the seed: what a client sends of one picture, and what comes back with every answer."""

import json
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

_EMPTY = Literal[""]
_Name = Annotated[str, Field(min_length=1, max_length=255)]
_Path = Annotated[str, Field(min_length=1, max_length=1024)]
_Word = Annotated[str, Field(min_length=1, max_length=64)]
_Pixels = Annotated[int, Field(ge=1, le=10_000_000)]
_INFO_MAX = 16_384


def _bounded(info: dict[str, Any]) -> dict[str, Any]:
    """It is written into every answer, so it has to be JSON and short."""
    try:
        size = len(json.dumps(info, ensure_ascii=False, allow_nan=False).encode())
    except (ValueError, RecursionError):
        raise ValueError("应为 JSON 对象（不含 NaN、Infinity，不过深）") from None
    if size > _INFO_MAX:
        raise ValueError(f"有 {size} 字节，上限 {_INFO_MAX}")
    return info


class Record(BaseModel):
    """One picture and what to do with it.

    What is known of the truth (mask, class) may be null or empty, in the way of any client; it is echoed as it came.
    img_dimensions: width, height, as the client says; the mask has the size of the picture itself.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    img_name: _Name
    img_path_relative: _Path
    img_size_bytes: int = Field(ge=0, le=2**50)
    img_dimensions: list[_Pixels] = Field(min_length=2, max_length=2)
    img_format: Annotated[str, Field(min_length=1, max_length=16)]
    task: _Word
    dataset_name: _Word
    organ: Annotated[str, Field(max_length=64)]
    data_partition_group: Annotated[str, Field(max_length=64)]
    mask_name: Annotated[str, Field(max_length=255)] | None = ""
    mask_path_relative: Annotated[str, Field(max_length=1024)] | None = ""
    seg_target_info: Annotated[dict[str, Any], AfterValidator(_bounded)] | _EMPTY | None = None
    class_label_index: Annotated[int, Field(ge=-1, le=10_000)] | _EMPTY | None = None
    class_label_name: Annotated[str, Field(max_length=255)] | None = None

    def echo(self) -> dict[str, Any]:
        """Its 14 fields in their order."""
        return self.model_dump()
