"""Play the demo's recordings through the model and the rules, and hold every decision against the truth.

    python check.py ASSETS [--folder RECORDINGS] [--model FILE.onnx] [--frames]

Runs with orwatch's own environment: its model, its watcher, its default rules; frames are taken at two a second. Of a
truth item it prints what was decided about it and the peak score; whatever was decided about nothing in the truth is an
error. Exits with 1 unless everything booked is right, nothing is booked twice, and nothing is missed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import av
import cv2
import numpy as np
import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from daemon.assembly import load_model, rules_of
from daemon.config import Settings
from daemon.config.sections import ModelSettings
from inference.decisions import Ask, Book, Decision, Watcher
from inference.model import Model

START = datetime(2026, 4, 21, 10, 0, tzinfo=timezone(timedelta(hours=8)))
SAMPLE_S = 0.5
SLACK_S = 1.0


def samples(path: Path, size: int) -> Iterator[tuple[float, np.ndarray]]:
    """Two frames a second by timestamp: the centre square, scaled to the model's size."""
    with av.open(path) as container:
        stream = container.streams.video[0]
        due = 0.0
        for frame in container.decode(stream):
            if frame.time is None or frame.time < due - 1e-6:
                continue
            due = (int(frame.time / SAMPLE_S + 1e-6) + 1) * SAMPLE_S
            rgb = frame.to_ndarray(format="rgb24")
            edge = (rgb.shape[1] - rgb.shape[0]) // 2
            yield frame.time, cv2.resize(rgb[:, edge : edge + rgb.shape[0]], (size, size), interpolation=cv2.INTER_AREA)


def play(model: Model, path: Path, camera: str, show_frames: bool) -> list[Decision]:
    rules = rules_of(Settings(), model.background)
    watcher = Watcher(camera, model.labels, rules, frozenset(model.labels) - model.background)
    made: list[Decision] = []
    now = START
    for second, rgb in samples(path, model.width):
        now = START + timedelta(seconds=second)
        scores = model.classify([rgb])[0]
        if show_frames:
            order = np.argsort(scores)[::-1][:2]
            print(f"    {second:5.1f}  " + "  ".join(f"{model.labels[i]} {scores[i]:.2f}" for i in order))
        made += watcher.push(scores, now)
    return made + watcher.finish(now)


def compare(expected: list[dict], made: list[Decision]) -> tuple[list[str], int]:
    """One line per truth item and per decision that belongs to none; and the number of faults."""
    lines, faults, used = [], 0, set()
    for item in expected:
        begin, end = (
            START + timedelta(seconds=item["from_s"] - SLACK_S),
            START + timedelta(seconds=item["to_s"] + SLACK_S),
        )
        found = [d for d in made if begin <= d.sighting.started_at <= end and isinstance(d, Book | Ask)]
        used |= {id(d) for d in found}
        told = ", ".join(_tell(d) for d in found) or "MISSED"
        right = len(found) == 1 and (isinstance(found[0], Ask) or found[0].sighting.label == item["label"])
        right = right and (isinstance(found[0], Ask) == (item["expect"] == "ask"))
        harmless = len(found) == 1 and isinstance(found[0], Ask)
        faults += not (right or harmless)
        verdict = "ok " if right else "ask" if harmless else "BAD"
        when = f"{item['from_s']:5.1f}-{item['to_s']:5.1f}"
        lines.append(f"  {when}  {item['label']:　<7} {item['expect']:<5}{verdict} {told}")
    for decision in made:
        if isinstance(decision, Book | Ask) and id(decision) not in used:
            faults += 1
            lines.append(f"  EXTRA {_tell(decision)} at {(decision.sighting.started_at - START).total_seconds():.1f} s")
    return lines, faults


def _tell(decision: Decision) -> str:
    sighting = decision.sighting
    top = " ".join(f"{each.label} {each.score:.2f}" for each in sighting.top)
    return f"{type(decision).__name__} {sighting.label} {sighting.peak:.3f} [{top}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("assets", type=Path)
    parser.add_argument("--folder", type=Path, help="play the recordings of this folder against the truth of ASSETS")
    parser.add_argument("--model", type=Path)
    parser.add_argument("--frames", action="store_true", help="print the two best labels of every frame")
    args = parser.parse_args()
    onnx = args.model or args.assets / "consumables.onnx"
    model = load_model(Settings(model=ModelSettings(path=onnx, device="cpu")))
    truth = yaml.safe_load((args.assets / "truth.yaml").read_text(encoding="utf-8"))
    total = 0
    for name, recording in truth["recordings"].items():
        made = play(model, (args.folder or args.assets) / name, recording["camera"], args.frames)
        lines, faults = compare(recording["items"], made)
        print(f"{name}: {len(made)} decisions, {faults} faults", *lines, sep="\n")
        total += faults
    sys.exit(1 if total else 0)


if __name__ == "__main__":
    main()
