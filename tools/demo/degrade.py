"""Make a recording worse on purpose: strong noise, a tenth of its frames lost, or half the light.

    python degrade.py SRC.mp4 DST.mp4 --noise | --lost | --dark  [--seed 1]

Frames that are left keep their timestamps, so a truth file made for the source holds for the result.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np

Array = np.ndarray
NOISE_SIGMA, LOST_SHARE = 28.0, 0.10


def noisy(rgb: Array, rng: np.random.Generator) -> Array:
    """Noise of sigma 28 of 255, as at the top of a camera's gain, and coarse noise that scaling down keeps."""
    fine = rng.standard_normal(rgb.shape, np.float32) * NOISE_SIGMA
    coarse = rng.standard_normal((rgb.shape[0] // 3 + 1, rgb.shape[1] // 3 + 1, 3), np.float32) * NOISE_SIGMA * 0.6
    coarse = coarse.repeat(3, 0).repeat(3, 1)[: rgb.shape[0], : rgb.shape[1]]
    return np.clip(rgb + fine + coarse, 0, 255).astype(np.uint8)


def dark(rgb: Array, rng: np.random.Generator) -> Array:
    """Half of every pixel value (of the light itself that leaves a fifth), with the noise of a camera in the dark."""
    return np.clip(rgb * np.float32(0.5) + rng.standard_normal(rgb.shape, np.float32) * 3.0, 0, 255).astype(np.uint8)


def degrade(
    source: Path, target: Path, seed: int, change: Callable[[Array, np.random.Generator], Array] | None, lost: float
) -> int:
    """Write `target`; returns the number of frames written."""
    rng = np.random.default_rng(seed)
    written = 0
    with av.open(source) as reader, av.open(target, "w") as writer:
        incoming = reader.streams.video[0]
        outgoing = writer.add_stream("libx264", rate=incoming.average_rate)
        outgoing.width, outgoing.height, outgoing.pix_fmt = incoming.width, incoming.height, "yuv420p"
        outgoing.time_base = incoming.time_base
        outgoing.codec_context.time_base = incoming.time_base
        outgoing.gop_size, outgoing.max_b_frames = 25, 0
        # Bounded as a camera's bit rate is: noise does not get whatever it takes.
        bounds = {"maxrate": "6000000", "bufsize": "6000000"}
        outgoing.options = {"crf": "26", "preset": "veryfast", "threads": "1", **bounds}
        for index, frame in enumerate(reader.decode(incoming)):
            if index and rng.random() < lost:
                continue
            rgb = frame.to_ndarray(format="rgb24")
            out = av.VideoFrame.from_ndarray(rgb if change is None else change(rgb, rng), format="rgb24")
            out.pts, out.time_base = frame.pts, frame.time_base
            writer.mux(outgoing.encode(out))
            written += 1
        writer.mux(outgoing.encode(None))
    return written


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    how = parser.add_mutually_exclusive_group(required=True)
    how.add_argument("--noise", action="store_const", dest="how", const="noise", help="strong additive noise")
    how.add_argument(
        "--lost", action="store_const", dest="how", const="lost", help="a tenth of the frames lost at random"
    )
    how.add_argument("--dark", action="store_const", dest="how", const="dark", help="half the light")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    change = {"noise": noisy, "lost": None, "dark": dark}[args.how]
    written = degrade(args.source, args.target, args.seed, change, LOST_SHARE if args.how == "lost" else 0.0)
    print(f"{args.target}: {written} frames, {args.target.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
