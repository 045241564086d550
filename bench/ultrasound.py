"""Pictures a second that `Ultrasound.predict` classifies and segments, beside a bare ONNX Runtime loop.

    python -m bench.ultrasound                  # batches of 1, 8 and 32, five rounds: about 2 minutes
    python -m bench.ultrasound --short          # a look: 10 seconds

The floor is a loop of `session.run` on a tensor that is ready, with the same network, batch and threads: no file is
read, nothing is decoded or scaled. What orwatch needs on top, reading and decoding a PNG or JPEG of 1008x819 and seeing
it through windows, is thus the difference; "decoding alone" is cv2.imdecode of the same files. The last column compares
with a loop that would decode, then run, and do nothing else. Rounds of all contenders are interleaved; the table has
medians, and ratios within a round. On a machine that is busy it is worth nothing: look at `uptime` first.

The network has random weights and the shapes of a small U-Net encoder at 224x224; time depends on the shapes only.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import cv2
import numpy as np

from imaging.ultrasound.geometry import whole
from imaging.ultrasound.models import Ultrasound
from imaging.ultrasound.record import Record
from inference.runtime import open_session
from tests import rules
from tests.ultrasound import SIDE, Graph, ellipse, record, save

BATCHES = (1, 8, 32)
THREADS = 2
SHAPE = (819, 1008)  # rows, columns
_WIDTHS = (24, 48, 96, 128)


def network(path: Path) -> Path:
    """Both heads over one encoder, about 0.4 G multiply-adds a window."""
    graph, rng = Graph(), np.random.default_rng(0)
    x, cin = "image", 3
    for index, width in enumerate(_WIDTHS):
        weights = graph.constant(f"w{index}", rng.normal(0, (2 / (cin * 9)) ** 0.5, (width, cin, 3, 3)))
        x = graph.add("Conv", [x, weights], f"c{index}", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
        x = graph.add("Relu", [x], f"r{index}")
        cin = width
    pooled = graph.add("Flatten", [graph.add("GlobalAveragePool", [x], "pooled")], "flat")
    graph.add("MatMul", [pooled, graph.constant("head", rng.normal(0, 0.1, (cin, 2)))], "cls_2")
    mixed = graph.add("Conv", [x, graph.constant("last", rng.normal(0, 0.1, (2, cin, 1, 1)))], "small")
    graph.add("Resize", [mixed, "", graph.constant("scales", [1, 1, 16, 16])], "seg", mode="linear")
    shapes = {"image": ["N", 3, SIDE, SIDE]}, {"seg": ["N", 2, SIDE, SIDE], "cls_2": ["N", 2]}
    return graph.save(path, *shapes, {})


def pictures(folder: Path, count: int) -> list[Path]:
    """PNG and JPEG in turn, with speckle."""
    rng, made = np.random.default_rng(1), []
    for number in range(count):
        speckle = rng.normal(0, 12, (*SHAPE, 1))
        rgb = np.clip(ellipse(*SHAPE[::-1], box=(0.2, 0.2, 0.8, 0.7)) + speckle, 0, 255).astype(np.uint8)
        made.append(save(folder / f"{number}.{'png' if number % 2 else 'jpg'}", rgb))
    return made


def rates(contenders: Mapping[str, Callable[[], int]], rounds: int) -> dict[str, list[float]]:
    """Pictures a second of each, round by round; every second round backwards."""
    found: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(rounds + 1):
        for name in sorted(contenders, reverse=number % 2 == 1):
            began = time.perf_counter()
            count = contenders[name]()
            if number:  # the first is for warming up
                found[name].append(count / (time.perf_counter() - began))
    return found


def measured(task: str, batch: int, paths: list[Path], model: Path, rounds: int) -> dict[str, list[float]]:
    head, dataset = ("seg", "CAMUS") if task == "segmentation" else ("cls_2", "BUSI")
    engine = Ultrasound(rules.ultrasound(model=model, device="cpu", threads=THREADS, batch_max=batch))
    engine.load()
    records = [Record(**record(task, dataset))] * len(paths)
    session = open_session(model, device="cpu", threads=THREADS)
    # A picture of this shape is segmented in so many windows.
    seen = len(whole(*SHAPE, SIDE).starts) if head == "seg" else 1
    ready = np.random.default_rng(2).random((batch, 3, SIDE, SIDE), np.float32)

    def ours() -> int:
        for start in range(0, len(paths), batch):
            engine.predict(records[start : start + batch], paths[start : start + batch])
        return len(paths)

    def floor() -> int:
        for _ in range(0, len(paths) * seen, batch):
            session.run([head], {"image": ready})
        return len(paths)

    def decoding() -> int:
        for path in paths:
            cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
        return len(paths)

    return rates({"ours": ours, "floor": floor, "decoding": decoding}, rounds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="fewer pictures, rounds and batches")
    short = parser.parse_args().short
    print("| task | batch | orwatch, pictures/s | bare session.run | decoding alone | of decoding, then session.run |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        model, paths = network(Path(name) / "network.onnx"), pictures(Path(name), 16 if short else 64)
        for task in ("classification", "segmentation"):
            for batch in BATCHES[: 2 if short else None]:
                found = measured(task, batch, paths, model, rounds=1 if short else 5)
                # One after the other: what a loop that does nothing else would need.
                both = [1 / (1 / f + 1 / d) for f, d in zip(found["floor"], found["decoding"], strict=True)]
                share = statistics.median(o / b for o, b in zip(found["ours"], both, strict=True))
                cells = [f"{statistics.median(found[each]):.1f}" for each in ("ours", "floor", "decoding")]
                print(f"| {task} | {batch} | " + " | ".join(cells) + f" | {share:.2f} |", flush=True)


if __name__ == "__main__":
    main()
