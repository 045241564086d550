"""What the cameras show: the shared footage as it is, as a 640x360 sub-stream, and a frame of it held still.

The made clips go into a folder and are not made again. Each has 25 frames/s, 20 s, GOP 50 and no B-frames, like the
footage, so that they differ in nothing but what they are about.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
from av.video.stream import VideoStream

from tests.streams.clips import encode, noisy

FPS, GROUP_FRAMES, COUNT = 25, 50, 500
ROOT = Path(__file__).resolve().parents[1]
MEDIA = ROOT / "../shared/media"
CAMERA = {"preset": "veryfast", "tune": "zerolatency"}
SUB = CAMERA | {"b": "800000", "maxrate": "800000", "bufsize": "800000"}
# At this noise an encoder spends next to nothing on the pictures between key frames from quality 24 on, and a lot
# below: one scene on either side, and one of constant rate.
STILL = {
    "still": ("constant quality 24", CAMERA | {"crf": "24"}),
    "still-busy": ("constant quality 23: the encoder passes the noise on", CAMERA | {"crf": "23"}),
    "still-cbr": ("constant 4 Mbit/s", CAMERA | {"b": "4000000", "maxrate": "4000000", "bufsize": "4000000"}),
}
SETTLE = 3  # groups
NOISE_LEVELS = 2.0  # standard deviation in the middle greys, of each pixel and colour, anew in each frame


class FootageMissing(FileNotFoundError):
    """The real footage that the bench is run on is not beside the project."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """clip: what is classified. main: the camera's main stream, where the clip is its sub-stream."""

    name: str
    about: str
    clip: Path
    main: Path | None = None
    has_counter: bool = True  # the burnt-in counter runs, so that a result says which frame it is of


def scene(name: str, codec: str, folder: Path) -> Scene:
    """Raises FootageMissing."""
    footage = MEDIA / f"people-1080p25-{codec}.mp4"
    if not footage.exists():
        raise FootageMissing(f"shared/media/{footage.name} is not beside the project: nothing to show the cameras")
    match name:
        case "motion":
            return Scene(name=name, about=f"1080p25 {codec}, people walking", clip=footage)
        case "sub":
            clip = _made(folder / f"sub-{codec}.mp4", _small(footage), SUB)
            return Scene(name=name, about="the same as a 640x360 h264 sub-stream", clip=clip, main=footage)
        case _ if name in STILL:
            about, options = STILL[name]
            noise = noisy(next(_frames(footage)), COUNT + SETTLE * GROUP_FRAMES, sigma=NOISE_LEVELS)
            clip = _made(folder / f"{name}.mp4", noise, options, settle=SETTLE)
            return Scene(name=name, about=f"1080p25 h264, nothing moves, {about}", clip=clip, has_counter=False)
    raise ValueError(f"no scene {name!r}; expected motion, sub, {', '.join(STILL)}")


def mbit_per_s(clip: Path) -> float:
    with av.open(str(clip)) as container:
        return clip.stat().st_size * 8 / ((container.duration or 1) / av.time_base) / 1e6


def _made(path: Path, frames: Iterator[npt.NDArray[np.uint8]], options: dict[str, str], *, settle: int = 0) -> Path:
    """settle: groups at the beginning that are left out, in which the encoder still finds its rate.

    A camera encodes for days; the seam of a loop over those groups would look to the adaptive mode like motion.
    """
    if not path.exists():
        whole, part = path.with_suffix(".whole.mp4"), path.with_suffix(".part.mp4")
        encode(whole, frames, codec="libx264", fps=FPS, group=GROUP_FRAMES, options=options)
        _copy(whole, part, settle)
        whole.unlink()
        part.rename(path)
    return path


def _copy(whole: Path, part: Path, groups: int) -> None:
    """From the key frame that begins after `groups` groups; nothing is encoded again."""
    with av.open(str(whole)) as source, av.open(str(part), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        key_frames, first = 0, 0
        for packet in source.demux(source.streams.video[0]):
            key_frames += packet.is_keyframe
            if key_frames <= groups or packet.pts is None or packet.dts is None:
                continue
            first = first or packet.pts
            packet.pts, packet.dts = packet.pts - first, packet.dts - first
            packet.stream = stream
            target.mux(packet)


def _frames(clip: Path, width: int = 1920, height: int = 1080) -> Iterator[npt.NDArray[np.uint8]]:
    with av.open(str(clip)) as container:
        stream: VideoStream = container.streams.video[0]
        stream.thread_type = "AUTO"
        for frame in container.decode(stream):
            yield frame.to_ndarray(format="rgb24", width=width, height=height, interpolation="AREA").astype(
                np.uint8, copy=False
            )


def _small(clip: Path) -> Iterator[npt.NDArray[np.uint8]]:
    return _frames(clip, 640, 360)
