"""Clips made here, so that most tests need no footage: any codec, size, group length and scene."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
from av.video.stream import VideoStream

Gray = npt.NDArray[np.uint8]

BITS = 12


def encode(
    path: Path,
    frames: Iterable[npt.NDArray[np.uint8]],
    *,
    codec: str = "libx264",
    fps: int = 25,
    group: int = 25,
    b_frames: int = 0,
    options: dict[str, str] | None = None,
) -> Path:
    """frames: gray (height, width) or RGB (height, width, 3) uint8, even sizes. group: key frame distance in frames."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=fps)
        assert isinstance(stream, VideoStream)
        stream.pix_fmt = "yuv420p"
        stream.gop_size = group
        stream.codec_context.max_b_frames = b_frames
        stream.codec_context.thread_count = 1
        groups = f"keyint={group}:min-keyint={group}:scenecut=0:bframes={b_frames}"
        if codec == "libx264":
            fixed = {
                "preset": "ultrafast",
                "x264-params": groups,
            }
        else:
            fixed = {
                "preset": "ultrafast",
                "x265-params": f"{groups}:pools=none:log-level=none",
            }
        stream.options = {**fixed, **(options or {})}
        for index, pixels in enumerate(frames):
            if index == 0:
                stream.height, stream.width = pixels.shape[:2]
            frame = av.VideoFrame.from_ndarray(
                np.ascontiguousarray(pixels), format="gray" if pixels.ndim == 2 else "rgb24"
            )
            frame.pts, frame.time_base = index, Fraction(1, fps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def counted(count: int, width: int = 320, height: int = 240) -> Iterator[Gray]:
    """Frames that show their own index in BITS wide bars, light on dark; read it back with `index_of`."""
    bar = width // BITS
    for index in range(count):
        pixels = np.full((height, width), 40, np.uint8)
        for bit in range(BITS):
            if index >> (BITS - 1 - bit) & 1:
                pixels[:, bit * bar : (bit + 1) * bar] = 200
        yield pixels


def index_of(rgb: npt.NDArray[np.uint8], full_width: int = 320) -> int:
    """The index that a picture of `counted` shows, after a stretch to any size."""
    bar = (full_width // BITS) * rgb.shape[1] / full_width
    index = 0
    for bit in range(BITS):
        middle = round((bit + 0.5) * bar)
        index = index << 1 | int(rgb[:, middle, 1].mean() > 120)
    return index


def noisy(
    still: npt.NDArray[np.uint8], count: int, *, sigma: float = 2.0, seed: int = 7
) -> Iterator[npt.NDArray[np.uint8]]:
    """The same picture again and again through a sensor: shot noise that grows with the square root of the light."""
    rng = np.random.default_rng(seed)
    light = np.sqrt(still.astype(np.float32) / 128.0 + 0.1) * sigma
    fields = [np.rint(rng.standard_normal(still.shape, dtype=np.float32) * light).astype(np.int16) for _ in range(6)]
    base = still.astype(np.int16)
    for _ in range(count):
        field = np.roll(fields[rng.integers(len(fields))], tuple(rng.integers(0, 97, 2)), (0, 1))
        yield np.clip(base + field, 0, 255).astype(np.uint8)
