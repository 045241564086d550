"""What the adaptive mode saves and what it costs in misses.

    python bench/adaptive.py [--folder FOLDER] [--scene NAME ...]

Each scene is read twice from a file, once decoding all that sampling needs and once adaptively, at the same sample
times. A sample is *missed* where the adaptive reader repeated an old picture although the true one differs from it by
more than DIFFERS levels in the mean colour of some 8x8 block of the 224x224 sample; it is *moving* where the true
picture differs so from the one before. CPU is of this process, decoding and scaling, without the network (about 5 ms
a second).

Scenes: the shared footage (people walking: nearly everything moves), and a frame of it with sensor-like noise, still
or with objects that slide in, lie and leave, as an encoder of constant quality (most cameras in VBR) and one of
constant bit rate see it. The made scenes are kept in FOLDER and not made again.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from daemon.assembly import recording_of  # noqa: E402
from daemon.config import Settings  # noqa: E402
from streams import Frame, Picture, Source, StreamStats  # noqa: E402
from streams.adaptive import block_means  # noqa: E402
from tests.streams.clips import encode, noisy  # noqa: E402

MEDIA = ROOT / "../shared/media"
DIFFERS = 8.0
FPS = 25
GROUP = 50
SLIDE = 12  # frames in which an object slides in, or out

# (width, height of the object, first frame, frames at rest); none begins on a key frame
VISITS = [(160, 120, 267, 40), (60, 48, 483, 40), (32, 32, 709, 40), (60, 48, 911, 10)]
CONSTANT_QUALITY = {"preset": "veryfast", "tune": "zerolatency", "crf": "24"}
CONSTANT_RATE = {
    "preset": "veryfast",
    "tune": "zerolatency",
    "b": "4000000",
    "maxrate": "4000000",
    "bufsize": "4000000",
}
H265_QUALITY = {"preset": "ultrafast", "crf": "26"}
MADE = {
    "still h264": ("libx264", CONSTANT_QUALITY, 500, False, 2.0),
    "still h265": ("libx265", H265_QUALITY, 500, False, 2.0),
    "still h264 noisy": ("libx264", CONSTANT_QUALITY, 500, False, 5.0),
    "visits h264": ("libx264", CONSTANT_QUALITY, 1000, True, 2.0),
    "visits h265": ("libx265", H265_QUALITY, 1000, True, 2.0),
    "visits h264 noisy": ("libx264", CONSTANT_QUALITY, 1000, True, 5.0),
    "visits h264 cbr": ("libx264", CONSTANT_RATE, 1000, True, 2.0),
}


@dataclass(frozen=True, slots=True)
class Reading:
    """One pass over a scene."""

    samples: list[tuple[float, npt.NDArray[np.float32]]]
    stats: StreamStats
    cpu_ms_per_s: float


def read(clip: Path, *, adaptive: bool) -> Reading:
    samples: list[tuple[float, npt.NDArray[np.float32]]] = []

    def keep(frame: Frame) -> None:
        samples.append((round(frame.stream_s, 3), block_means(frame.rgb)))

    picture = Picture(width=224, height=224, fit="stretch")
    source = Source(replace(recording_of("bench", clip, Settings(), picture), adaptive=adaptive))
    start_cpu_s = time.process_time()
    source.run(keep, threading.Event())
    cpu_s = time.process_time() - start_cpu_s
    return Reading(samples, source.stats, 1000 * cpu_s * FPS / source.stats.packets)


def objects(count: int, sigma: float, *, visits: bool) -> Iterator[npt.NDArray[np.uint8]]:
    with av.open(str(MEDIA / "people-1080p25-h264.mp4")) as container:
        still = next(container.decode(video=0)).to_ndarray(format="rgb24").astype(np.uint8, copy=False)
    rng = np.random.default_rng(1)
    textures = [
        np.clip(rng.normal(170, 12, (height, width, 3)), 0, 255).astype(np.uint8) for width, height, _, _ in VISITS
    ]
    for index, pixels in enumerate(noisy(still, count, sigma=sigma)):
        for (width, height, first, rest), texture in zip(VISITS, textures, strict=True):
            at = index - first
            if visits and 0 <= at < rest + 2 * SLIDE:
                away = max(0, SLIDE - 1 - at, at - rest - SLIDE + 1) / SLIDE
                left = 900 + round((still.shape[1] - width - 900) * away)
                pixels[500 : 500 + height, left : left + width] = texture
        yield pixels


def made(name: str, folder: Path) -> Path:
    codec, options, count, visits, sigma = MADE[name]
    clip = folder / f"{name.replace(' ', '-')}.mp4"
    if not clip.exists():
        part = clip.with_suffix(".part.mp4")
        encode(part, objects(count, sigma, visits=visits), codec=codec, fps=FPS, group=GROUP, options=options)
        part.rename(clip)
    return clip


def differ(one: npt.NDArray[np.float32], other: npt.NDArray[np.float32]) -> bool:
    return float(np.abs(one - other).max()) > DIFFERS


def report(name: str, clip: Path) -> None:
    full, adaptive = read(clip, adaptive=False), read(clip, adaptive=True)
    truth = dict(full.samples)
    times = [at for at, _ in full.samples]
    moving = {at for before, at in pairwise(times) if differ(truth[before], truth[at])}
    shown = dict(adaptive.samples)
    missed = [at for at in times if at in shown and differ(shown[at], truth[at])]
    assert set(shown) == set(truth), "both readers must sample the same moments"
    stats = adaptive.stats
    print(
        f"{name:18} {len(times):7} {len(moving):6} {len(missed):6} {stats.repeated / len(times):8.0%} "
        f"{full.stats.decoded:8} {stats.decoded:8} {full.cpu_ms_per_s:8.1f} {adaptive.cpu_ms_per_s:8.1f} "
        f"{stats.wakes:5} {stats.late_wakes:5}   {missed or ''}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "orwatch-scenes")
    parser.add_argument("--scene", action="append", help="only these; default: all")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    footage = {f"people {codec}": MEDIA / f"people-1080p25-{codec}.mp4" for codec in ("h264", "h265")}
    print(f"{'':52}decoded frames   CPU ms per second    wakes")
    print("scene              samples moving missed repeated     full adaptive     full adaptive  seen  late   missed")
    for name in arguments.scene or [*footage, *MADE]:
        report(name, footage[name] if name in footage else made(name, arguments.folder))


if __name__ == "__main__":
    main()
