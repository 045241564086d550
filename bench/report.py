"""From measurements to the table, the verdicts and the picture. Pure but for `draw`, which writes a file."""

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.measure import Measurement
from daemon.config.sections import InferenceSettings

NAMES = {
    "ours": "orwatch",
    "ours-full": "orwatch, adaptive off",
    "naive": "naive loop",
    "grab": "naive loop, grab/retrieve",
    "floor": "floor",
}
COLOURS = {"ours": "#0b6e4f", "ours-full": "#7fb69e", "naive": "#b5432a", "grab": "#e0a080", "floor": "#555555"}
JUDGED = (4, 8)  # cameras
REAL_TIME_CAMERAS = 10
REAL_TIME_RESULTS_MIN = 0.97  # of the sampling rate, in every camera; the window's ends cut off a part of a sample
REAL_TIME_AGE_MAX_MS = 1000 * InferenceSettings().frame_age_max_s

Case = tuple[str, int, str]  # scene, cameras, kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """measured is None where this run did not measure it."""

    what: str
    target: str
    measured: str | None
    met: bool | None


def summary(measurements: Iterable[Measurement]) -> dict[Case, Measurement]:
    """One per case: the median of its rounds; of what is a worst case already, the worst."""
    by_case: dict[Case, list[Measurement]] = {}
    for one in measurements:
        by_case.setdefault((one.scene, one.cameras, one.kind), []).append(one)
    return {case: _together(rounds) for case, rounds in by_case.items()}


def memory_per_camera_mib(cases: Mapping[Case, Measurement], kind: str) -> float | None:
    """The slope of the straight line through PSS over cameras, in motion; None of fewer than two points."""
    points = [(float(n), one.pss_mib) for (scene, n, name), one in cases.items() if scene == "motion" and name == kind]
    if len(points) < 2:
        return None
    return statistics.linear_regression([n for n, _ in points], [mib for _, mib in points]).slope


def verdicts(cases: Mapping[Case, Measurement], *, sample_fps: float) -> list[Verdict]:
    """Against the targets of the project."""
    cpu = {case: one.cpu_ms_per_camera_s for case, one in cases.items()}
    found = []
    for n in JUDGED:
        ours = cpu.get(("motion", n, "ours"))
        found += [
            _share(f"{n} cameras in motion: CPU of the naive loop's", ours, cpu.get(("motion", n, "naive")), 0.60),
            _share(f"{n} cameras in motion: CPU of the floor's", ours, cpu.get(("motion", n, "floor")), 1.15),
        ]
    for n in JUDGED:
        what = f"{n} cameras on a still scene: CPU of the naive loop's"
        found.append(_share(what, cpu.get(("still", n, "ours")), cpu.get(("still", n, "naive")), 0.20))
    for n in JUDGED:
        what = f"{n} cameras by 640x360 sub-streams: CPU of the naive loop's on the main streams"
        found.append(_share(what, cpu.get(("sub", n, "ours")), cpu.get(("motion", n, "naive")), 0.20))
    found.append(_most("memory for each further camera", memory_per_camera_mib(cases, "ours"), 25.0, "MiB"))
    for n in JUDGED:
        one = cases.get(("motion", n, "ours"))
        found.append(_most(f"{n} cameras: latency p95", one.latency_p95_ms if one else None, 120.0, "ms"))
    return [*found, _real_time(cases.get(("motion", REAL_TIME_CAMERAS, "ours")), sample_fps)]


def table(cases: Mapping[Case, Measurement]) -> str:
    """Markdown, a row per case."""
    head = (
        "| scene | cameras | contender | CPU ms per camera-second | of naive | of floor | PSS MiB "
        "| latency p50 / p95 / max ms | age it reports p95 / max ms | results per camera-second | longest gap s "
        "| start s | dropped |\n" + "|---" * 13 + "|\n"
    )
    return head + "".join(_row(case, one, cases) for case, one in cases.items())


def memory_table(cases: Mapping[Case, Measurement]) -> str:
    kinds = dict.fromkeys(kind for _, _, kind in cases)
    slopes = {kind: memory_per_camera_mib(cases, kind) for kind in kinds}
    rows = "".join(f"| {NAMES[kind]} | {slope:.1f} |\n" for kind, slope in slopes.items() if slope is not None)
    return "| contender | MiB for each further camera |\n|---|---|\n" + rows


def verdict_table(found: Sequence[Verdict]) -> str:
    word = {True: "met", False: "**missed**", None: "not measured"}
    rows = "".join(f"| {v.what} | {v.target} | {v.measured or '-'} | {word[v.met]} |\n" for v in found)
    return "| | target | measured | |\n|---|---|---|---|\n" + rows


def draw(cases: Mapping[Case, Measurement], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, ((cpu, latency), (memory, scenes)) = pyplot.subplots(2, 2, figsize=(12, 8), layout="constrained")
    _lines(cpu, cases, lambda one: one.cpu_ms_per_camera_s)
    cpu.set(title="CPU, 1080p25 in motion, 2 samples/s", ylabel="ms per camera-second")
    _lines(latency, cases, lambda one: one.latency_p95_ms)
    latency.axhline(120, color="black", linewidth=0.8, linestyle=":")
    latency.set(title="Frame sent to result, p95 (dotted: target)", ylabel="ms", yscale="log")
    latency.yaxis.set_major_formatter("{x:.0f}")
    latency.yaxis.set_minor_formatter("{x:.0f}")
    _lines(memory, cases, lambda one: one.pss_mib)
    memory.set(title="Memory of the process (PSS)", ylabel="MiB")
    _scene_bars(scenes, cases)
    counts = sorted({n for scene, n, _ in cases if scene == "motion"})
    for axes in (cpu, latency, memory):
        axes.set(xlabel="cameras", xticks=counts)
        axes.legend(frameon=False)
        if axes is not latency:
            axes.set_ylim(bottom=0)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def _together(rounds: Sequence[Measurement]) -> Measurement:
    def median(value: Callable[[Measurement], float | None]) -> float | None:
        known = [found for one in rounds if (found := value(one)) is not None]
        return statistics.median(known) if known else None

    def worst(value: Callable[[Measurement], float | None]) -> float | None:
        return max((found for one in rounds if (found := value(one)) is not None), default=None)

    causes = dict.fromkeys(cause for one in rounds for cause in one.dropped)
    return Measurement(
        kind=rounds[0].kind,
        scene=rounds[0].scene,
        cameras=rounds[0].cameras,
        round=len(rounds),
        seconds=sum(one.seconds for one in rounds),
        cpu_ms_per_camera_s=statistics.median(one.cpu_ms_per_camera_s for one in rounds),
        pss_mib=statistics.median(one.pss_mib for one in rounds),
        start_s=statistics.median(one.start_s for one in rounds),
        latency_p50_ms=median(lambda one: one.latency_p50_ms),
        latency_p95_ms=median(lambda one: one.latency_p95_ms),
        latency_max_ms=worst(lambda one: one.latency_max_ms),
        own_age_p95_ms=median(lambda one: one.own_age_p95_ms),
        own_age_max_ms=worst(lambda one: one.own_age_max_ms),
        results_per_camera_s=min(one.results_per_camera_s for one in rounds),
        longest_gap_s=max(one.longest_gap_s for one in rounds),
        dropped={cause: sum(one.dropped.get(cause, 0) for one in rounds) for cause in causes},
        decoded_share=median(lambda one: one.decoded_share),
        elsewhere_share=max(one.elsewhere_share for one in rounds),
    )


def _share(what: str, ours: float | None, other: float | None, most: float) -> Verdict:
    share = None if ours is None or other is None else ours / other
    return Verdict(
        what=what,
        target=f"<= {most:.2f}",
        measured=None if share is None else f"{share:.2f} ({ours:.1f} of {other:.1f} ms)",
        met=None if share is None else share <= most,
    )


def _most(what: str, value: float | None, most: float, unit: str) -> Verdict:
    return Verdict(
        what=what,
        target=f"<= {most:g} {unit}",
        measured=None if value is None else f"{value:.1f} {unit}",
        met=None if value is None else value <= most,
    )


def _real_time(one: Measurement | None, sample_fps: float) -> Verdict:
    enough = REAL_TIME_RESULTS_MIN * sample_fps
    measured, met = None, None
    if one is not None and one.latency_max_ms is not None:
        lost = sum(one.dropped.values())
        measured = f"{one.results_per_camera_s:.2f} a second, {one.latency_max_ms:.0f} ms, {lost} dropped"
        met = one.results_per_camera_s >= enough and one.latency_max_ms <= REAL_TIME_AGE_MAX_MS and not lost
    target = (
        f">= {enough:.2f} results a second from every camera, none older than {REAL_TIME_AGE_MAX_MS:.0f} ms, no drop"
    )
    return Verdict(what=f"{REAL_TIME_CAMERAS} cameras in real time", target=target, measured=measured, met=met)


def _row(case: Case, one: Measurement, cases: Mapping[Case, Measurement]) -> str:
    scene, n, kind = case
    # A sub-stream stands in for its main stream, so that is what it is compared with.
    against = "motion" if scene == "sub" else scene
    shares = [cases.get((against, n, other)) for other in ("naive", "floor")]
    cells = [
        scene,
        str(n),
        NAMES[kind],
        f"{one.cpu_ms_per_camera_s:.1f}",
        *(f"{one.cpu_ms_per_camera_s / other.cpu_ms_per_camera_s:.2f}" if other else "-" for other in shares),
        f"{one.pss_mib:.0f}",
        _numbers(one.latency_p50_ms, one.latency_p95_ms, one.latency_max_ms),
        _numbers(one.own_age_p95_ms, one.own_age_max_ms),
        f"{one.results_per_camera_s:.2f}",
        f"{one.longest_gap_s:.2f}",
        f"{one.start_s:.1f}",
        (", ".join(f"{cause} {n}" for cause, n in one.dropped.items()) or "0") if kind.startswith("ours") else "-",
    ]
    return "| " + " | ".join(cells) + " |\n"


def _numbers(*values: float | None) -> str:
    return "-" if None in values else " / ".join(f"{value:.0f}" for value in values if value is not None)


# matplotlib has no types.
def _lines(axes, cases: Mapping[Case, Measurement], value: Callable[[Measurement], float | None]) -> None:  # type: ignore[no-untyped-def]
    for kind in dict.fromkeys(kind for _, _, kind in cases):
        points = sorted((n, y) for (s, n, k), o in cases.items() if (s, k) == ("motion", kind) and (y := value(o)))
        if points:
            axes.plot(*zip(*points, strict=True), marker="o", color=COLOURS[kind], label=NAMES[kind])


def _scene_bars(axes, cases: Mapping[Case, Measurement]) -> None:  # type: ignore[no-untyped-def]
    bars = [(case, one) for case, one in cases.items() if case[1] == JUDGED[0] and case[2] in ("ours", "naive")]
    labels = [f"{scene}\n{NAMES[kind]}" for (scene, _, kind), _ in bars]
    heights = [one.cpu_ms_per_camera_s for _, one in bars]
    axes.bar(labels, heights, color=[COLOURS[kind] for (_, _, kind), _ in bars])
    for index, height in enumerate(heights):
        axes.text(index, height, f"{height:.0f}", ha="center", va="bottom")
    axes.set(title=f"By scene, {JUDGED[0]} cameras", ylabel="CPU ms per camera-second")
