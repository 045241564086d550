"""The bench's own arithmetic, on made-up figures; nothing here measures time."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx")

from bench import cameras, classifier, report
from bench.contender import KINDS
from bench.measure import Measurement, quantile, wanted
from bench.results import BIT_LABELS, BITS, ITEMS, SIZE, frame_of
from tests import rules
from tests.streams.counter import FRAME_HEIGHT, TOP

ONE = Measurement(
    kind="ours",
    scene="motion",
    cameras=4,
    round=0,
    seconds=20.0,
    cpu_ms_per_camera_s=60.0,
    pss_mib=200.0,
    start_s=0.5,
    latency_p50_ms=50.0,
    latency_p95_ms=80.0,
    latency_max_ms=110.0,
    own_age_p95_ms=79.0,
    own_age_max_ms=109.0,
    results_per_camera_s=2.0,
    longest_gap_s=0.52,
    dropped={},
    decoded_share=0.78,
    elsewhere_share=0.01,
)


def test_rounds_are_joined_by_their_median_and_worst_cases_by_the_worst() -> None:
    rounds = [
        replace(ONE, cpu_ms_per_camera_s=cpu, latency_max_ms=late, results_per_camera_s=rate, dropped={"too_old": n})
        for cpu, late, rate, n in ((60.0, 100.0, 2.0, 1), (90.0, 400.0, 1.5, 0), (61.0, 90.0, 2.0, 2))
    ]
    (joined,) = report.summary(rounds).values()
    assert joined.cpu_ms_per_camera_s == 61.0
    assert joined.latency_max_ms == 400.0
    assert joined.results_per_camera_s == 1.5
    assert joined.dropped == {"too_old": 3}


def test_memory_per_camera_is_the_slope_over_the_number_of_cameras_in_motion() -> None:
    runs = [replace(ONE, cameras=n, pss_mib=120.0 + 17.0 * n) for n in (1, 2, 4, 8)]
    other_scene = replace(ONE, scene="still", cameras=6, pss_mib=9000.0)
    assert report.memory_per_camera_mib(report.summary([*runs, other_scene]), "ours") == pytest.approx(17.0)
    assert report.memory_per_camera_mib(report.summary(runs[:1]), "ours") is None


@pytest.mark.parametrize(("ours_ms", "met"), [(59.0, True), (60.0, True), (61.0, False)])
def test_the_share_of_the_naive_loop_is_judged_against_its_target(ours_ms: float, met: bool) -> None:
    cases = report.summary(
        [replace(ONE, cpu_ms_per_camera_s=ours_ms), replace(ONE, kind="naive", cpu_ms_per_camera_s=100.0)]
    )
    naive, floor, *_ = report.verdicts(cases, sample_fps=2.0)
    assert naive.met is met
    assert naive.measured == f"{ours_ms / 100:.2f} ({ours_ms:.1f} of 100.0 ms)"
    assert (floor.met, floor.measured) == (None, None), "what was not measured is no pass"


@pytest.mark.parametrize(
    ("change", "met"),
    [
        ({}, True),
        ({"results_per_camera_s": 1.9}, False),
        ({"latency_max_ms": 501.0}, False),
        ({"dropped": {"frames_dropped:too_old": 1}}, False),
    ],
)
def test_real_time_means_every_sample_fresh_and_none_dropped(change: dict[str, object], met: bool) -> None:
    ten = replace(ONE, cameras=10, **change)  # type: ignore[arg-type]
    assert report.verdicts(report.summary([ten]), sample_fps=2.0)[-1].met is met


def test_a_sub_stream_is_compared_with_the_naive_loop_on_the_main_stream() -> None:
    cases = report.summary(
        [
            replace(ONE, scene="sub", cpu_ms_per_camera_s=18.0),
            replace(ONE, kind="naive", cpu_ms_per_camera_s=120.0),
            replace(ONE, kind="naive", scene="still", cpu_ms_per_camera_s=50.0),
        ]
    )
    sub = next(verdict for verdict in report.verdicts(cases, sample_fps=2.0) if "4 cameras by 640x360" in verdict.what)
    assert sub.met is True
    assert "0.15" in str(sub.measured)
    assert "| sub | 4 | orwatch | 18.0 | 0.15 |" in report.table(cases)


def test_the_report_shows_every_case_and_marks_what_was_missed(tmp_path: Path) -> None:
    runs = [
        replace(ONE, latency_p95_ms=130.0),
        replace(ONE, kind="naive", cpu_ms_per_camera_s=100.0, own_age_p95_ms=None),
    ]
    machine = {
        "at": "2026-01-01",
        "cpu": "a",
        "cores": 2,
        "libraries": "b",
        "scenes": ["c"],
        "rounds": 1,
        "seconds": 20,
    }
    cameras.write(runs, machine, tmp_path)
    page = (tmp_path / "cameras.md").read_text(encoding="utf-8")
    assert "| 4 cameras: latency p95 | <= 120 ms | 130.0 ms | **missed** |" in page
    assert page.count("| motion | 4 |") == 2
    assert (tmp_path / "cameras.png").stat().st_size > 10_000


def test_a_round_measures_every_contender_at_every_number_of_cameras() -> None:
    plan = cameras.cases([1, 2, 4, 8, 10], list(cameras.WARM_UP_S), KINDS)
    motion = {(case.cameras, case.kind) for case in plan if case.scene == "motion"}
    assert {(n, kind) for n in (1, 2, 4, 8, 10) for kind in ("ours", "naive", "floor")} <= motion
    assert {case.scene for case in plan} == set(cameras.WARM_UP_S)
    assert len(set(plan)) == len(plan)


def test_a_quantile_is_a_value_that_occurred() -> None:
    assert quantile([3.0, 1.0, 2.0], 1.0) == 3.0
    assert quantile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert quantile([], 0.5) is None


def test_the_floor_takes_the_frames_that_orwatch_takes() -> None:
    assert wanted(2.0) == [0, 9, 18, 27]  # of 50 at 25 a second


def test_a_result_says_which_frame_it_is_of(tmp_path: Path) -> None:
    model = rules.model(classifier.build(tmp_path), device="cpu")
    assert model.labels == (*ITEMS, *BIT_LABELS)
    frames = [0, 1, 255, 256, 499]
    scores = model.classify([_counted(frame) for frame in frames])
    assert [frame_of(row) for row in scores] == frames
    # Half of the probability is the counter's and no item comes near a bit's share: no sighting opens.
    assert scores[:, : len(ITEMS)].max() < 0.5 / BITS


def _counted(frame: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Grey noise with the counter of the shared footage in the middle."""
    rgb = np.random.default_rng(frame).integers(60, 200, (SIZE, SIZE, 3), np.uint8)
    blocks = [1, 0, *((frame >> bit) & 1 for bit in reversed(range(BITS)))]
    for number, is_light in enumerate(blocks):
        top, bottom = (round((TOP + 48 * edge) * SIZE / FRAME_HEIGHT) for edge in (number, number + 1))
        rgb[top:bottom, 106:118] = 225 if is_light else 30
    return rgb
