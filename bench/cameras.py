"""Cameras per core: orwatch beside a naive loop and a floor, on real RTSP, in the same run.

    python -m bench.cameras [--n 1,2,4,8] [--seconds 20] [--rounds 3] [--codec h264] [--out DIR]

Writes cameras.md (table and verdicts), cameras.json (every measurement) and cameras.png into DIR. `--from FILE` makes
them anew from a cameras.json. What is measured and how: bench/README.md.
"""

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bench import classifier, report, scenes
from bench.contender import KINDS
from bench.measure import ContenderFailed, Measurement, measure
from tests.servers.rtsp import RtspCamera, RtspServerUnavailable, why_unavailable

SAMPLE_FPS = 2.0
# Until the group length is learnt; on a still scene, until the adaptive mode has come to rest as well.
WARM_UP_S = {"motion": 6.0, "sub": 6.0, **dict.fromkeys(scenes.STILL, 30.0)}
ELSEWHERE_MAX = 0.10
LIBRARIES = ("av", "opencv-python", "onnxruntime", "numpy")


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    scene: str
    cameras: int
    kind: str


def cases(counts: Sequence[int], chosen: Sequence[str], kinds: Sequence[str]) -> list[Case]:
    """What one round measures, in order."""
    judged = [n for n in counts if n in report.JUDGED]
    plan: list[Case] = []

    def add(scene: str, numbers: Sequence[int], *of: str) -> None:
        if scene in chosen:
            plan.extend(Case(scene=scene, cameras=n, kind=kind) for n in numbers for kind in of if kind in kinds)

    for n in counts:
        extra = ("ours-full",) if n in report.JUDGED else ()
        add("motion", [n], "ours", *extra, "naive", *(["grab"] if n == report.JUDGED[0] else []), "floor")
    add("still", judged, "ours", "naive")
    for name in ("still-busy", "still-cbr"):
        add(name, judged[:1], "ours", "naive")
    add("sub", judged, "ours")
    return plan


def run(arguments: argparse.Namespace, out: Path) -> list[Measurement]:
    """All rounds; each measurement is appended to OUT/cameras.jsonl as it comes. Raises ContenderFailed."""
    plan = cases(arguments.n, arguments.scenes, arguments.kinds)
    arguments.clips.mkdir(parents=True, exist_ok=True)
    found: list[Measurement] = []
    with (
        tempfile.TemporaryDirectory(prefix="orwatch-bench-") as temporary,
        (out / "cameras.jsonl").open("w", encoding="utf-8") as journal,
        ExitStack() as running,
    ):
        folder = Path(temporary)
        model = classifier.build(folder)
        shown = {name: scenes.scene(name, arguments.codec, arguments.clips) for name in {case.scene for case in plan}}
        most = {name: max(case.cameras for case in plan if case.scene == name) for name in shown}
        served = {name: _serve(scene.clip, most[name], running) for name, scene in shown.items()}
        mains = {name: _serve(scene.main, most[name], running) for name, scene in shown.items() if scene.main}
        for number, index, case in _interleaved(plan, arguments.rounds):
            scene, cameras = shown[case.scene], served[case.scene][: case.cameras]
            one = measure(
                case.kind,
                scene,
                cameras,
                mains.get(case.scene, [])[: case.cameras],
                model=model,
                folder=folder / f"{number}-{index}",
                seconds=arguments.seconds,
                warm_up_s=WARM_UP_S[case.scene],
                sample_fps=SAMPLE_FPS,
                number=number,
            )
            found.append(one)
            journal.write(json.dumps(asdict(one)) + "\n")
            journal.flush()
            print(_line(number, index, len(plan), one), flush=True)
    return found


def write(measurements: Sequence[Measurement], machine: dict[str, Any], out: Path) -> list[report.Verdict]:
    """cameras.json, cameras.md, cameras.png."""
    summary = report.summary(measurements)
    found = report.verdicts(summary, sample_fps=SAMPLE_FPS)
    content = {
        "machine": machine,
        "verdicts": [asdict(verdict) for verdict in found],
        "summary": [asdict(one) for one in summary.values()],
        "measurements": [asdict(one) for one in measurements],
    }
    (out / "cameras.json").write_text(json.dumps(content, indent=1), encoding="utf-8")
    report.draw(summary, out / "cameras.png")
    (out / "cameras.md").write_text(_page(measurements, summary, found, machine), encoding="utf-8")
    return found


def main() -> int:
    arguments = _arguments()
    out: Path = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    if arguments.source:
        content = json.loads(arguments.source.read_text(encoding="utf-8"))
        measurements, machine = [Measurement(**one) for one in content["measurements"]], content["machine"]
    else:
        if reason := why_unavailable():
            print(f"not run: {reason}", file=sys.stderr)
            return 2
        try:
            machine = _machine(arguments)
            measurements = run(arguments, out)
            machine["scenes"] = _described(arguments)
        except scenes.FootageMissing as error:
            print(f"not run: {error}", file=sys.stderr)
            return 2
        except (ContenderFailed, RtspServerUnavailable) as error:
            print(f"failed: {error}", file=sys.stderr)
            return 1
    found = write(measurements, machine, out)
    print("\n" + report.verdict_table(found))
    print(f"{out}/cameras.md, cameras.json, cameras.png")
    return 0


def _serve(clip: Path, count: int, running: ExitStack) -> list[RtspCamera]:
    return [running.enter_context(RtspCamera(clip)) for _ in range(count)]


def _interleaved(plan: Sequence[Case], rounds: int) -> Iterator[tuple[int, int, Case]]:
    """Every second round backwards, so that what drifts (heat, neighbours) meets each case early and late."""
    for number in range(rounds):
        yield from ((number, index, case) for index, case in enumerate(plan[:: -1 if number % 2 else 1]))


def _line(number: int, index: int, total: int, one: Measurement) -> str:
    late = "-" if one.latency_p95_ms is None else f"{one.latency_p95_ms:.0f}"
    busy = f"  elsewhere {one.elsewhere_share:.0%}!" if one.elsewhere_share > ELSEWHERE_MAX else ""
    return (
        f"{time.strftime('%H:%M:%S')} round {number + 1}, {index + 1}/{total}: {one.scene:9} x{one.cameras:<2} "
        f"{one.kind:9} CPU {one.cpu_ms_per_camera_s:6.1f} ms/camera-s  PSS {one.pss_mib:5.0f} MiB  p95 {late:>4} ms  "
        f"{one.results_per_camera_s:.2f}/s{busy}"
    )


def _page(
    measurements: Sequence[Measurement],
    summary: dict[report.Case, Measurement],
    found: Sequence[report.Verdict],
    machine: dict[str, Any],
) -> str:
    elsewhere = [one.elsewhere_share for one in measurements]
    busy = sum(share > ELSEWHERE_MAX for share in elsewhere)
    warning = (
        f"**The machine was not quiet: in {busy} of {len(elsewhere)} measurements more than {ELSEWHERE_MAX:.0%} of it "
        "was busy with something else.**\n\n"
        if busy
        else ""
    )
    return (
        "# Cameras per core\n\n"
        f"{machine['at']}, {machine['cpu']}, {machine['cores']} cores, {machine['libraries']}. "
        f"Scenes: {'; '.join(machine['scenes'])}. {SAMPLE_FPS:g} samples a second and camera, "
        f"{machine['rounds']} rounds of {machine['seconds']:g} s, interleaved; medians, but of worst cases the worst. "
        f"How it is measured: `bench/README.md`.\n\n{warning}"
        f"{report.verdict_table(found)}\n{report.table(summary)}\n{report.memory_table(summary)}\n"
        "![the same as a picture](cameras.png)\n"
    )


def _described(arguments: argparse.Namespace) -> list[str]:
    shown = [scenes.scene(name, arguments.codec, arguments.clips) for name in arguments.scenes]
    return [f"{scene.name}: {scene.about}, {scenes.mbit_per_s(scene.clip):.1f} Mbit/s" for scene in shown]


def _machine(arguments: argparse.Namespace) -> dict[str, Any]:
    names = [line for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if "model name" in line]
    return {
        "at": datetime.now(UTC).date().isoformat(),
        "cpu": names[0].partition(":")[2].strip() if names else platform.machine(),
        "cores": os.cpu_count(),
        "libraries": ", ".join(f"{name} {version(name)}" for name in LIBRARIES),
        "codec": arguments.codec,
        "rounds": arguments.rounds,
        "seconds": arguments.seconds,
        "load_before": os.getloadavg()[0],
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.cameras", description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=_numbers, default=[1, 2, 4, 8, 10], help="cameras, default 1,2,4,8,10")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each measurement, after the warm-up")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--codec", choices=("h264", "h265"), default="h264", help="of the footage in motion")
    parser.add_argument("--scenes", type=_words(WARM_UP_S), default=list(WARM_UP_S), help=",".join(WARM_UP_S))
    parser.add_argument("--kinds", type=_words(KINDS), default=list(KINDS), help=",".join(KINDS))
    parser.add_argument("--out", type=Path, default=Path("bench-out"))
    parser.add_argument("--clips", type=Path, default=Path(tempfile.gettempdir()) / "orwatch-bench-clips")
    parser.add_argument("--from", dest="source", type=Path, help="a cameras.json: only write the report anew")
    return parser.parse_args()


def _numbers(text: str) -> list[int]:
    return sorted({int(part) for part in text.split(",")})


def _words(known: Sequence[str] | dict[str, float]):  # type: ignore[no-untyped-def]
    def parse(text: str) -> list[str]:
        words = text.split(",")
        if unknown := set(words) - set(known):
            raise argparse.ArgumentTypeError(f"{', '.join(sorted(unknown))}: expected some of {', '.join(known)}")
        return words

    return parse


if __name__ == "__main__":
    sys.exit(main())
