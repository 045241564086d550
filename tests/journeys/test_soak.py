"""Half an hour with four cameras and five thousand polls: nothing grows. Run with `bash scripts/test -m soak -s`."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.journeys.program import ASSETS, Program
from tests.servers.rtsp import RtspCamera

MINUTES = float(os.environ.get("ORWATCH_SOAK_MINUTES", "30"))
POLLS = int(5000 * MINUTES / 30)
# What a warm process may still take: allocators keep arenas, logs and the ledger's page cache fill.
GROWTH_MAX = 1.10
# Ledger connections and the loop's workers have threads that start when first needed, up to a fixed number.
POOLED_THREADS_MAX = 8
FRAME_AGE_MAX_S = 0.5


@pytest.mark.soak
@pytest.mark.timeout(MINUTES * 60 + 300)
def test_half_an_hour_with_four_cameras_and_5000_polls_grows_nothing(
    rtsp: Callable[..., RtspCamera], program: Callable[..., Program], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORWATCH_INFERENCE__FRAME_AGE_MAX_S", f"{FRAME_AGE_MAX_S}")
    names = [f"or-cam-{number:02}" for number in range(1, 5)]
    clips = [ASSETS / "or-cam-01.mp4", ASSETS / "or-cam-02.mp4"] * 2
    orwatch = program(cameras={name: rtsp(clip).url for name, clip in zip(names, clips, strict=True)})
    assert orwatch.begin("123456", names[:2]).status_code == 200
    assert orwatch.begin("654321", names[2:]).status_code == 200
    process = psutil.Process(orwatch.pid)
    warm_at = POLLS // 10
    began = time.monotonic()
    first = last = measured(process)
    for poll in range(1, POLLS + 1):
        answer = orwatch.client.get(f"/client/surgeries/{('123456', '654321')[poll % 2]}/result")
        assert answer.status_code in (200, 503), answer.text
        if poll == warm_at:
            first = measured(process)
        if poll % warm_at == 0:
            last = measured(process)
            print(f"{(time.monotonic() - began) / 60:5.1f} min, {poll} polls: {last}", flush=True)
        orwatch.goes_on(max(0.0, began + poll * MINUTES * 60 / POLLS - time.monotonic()))
    metrics = orwatch.client.get("/metrics").text
    print("\n".join(line for line in metrics.splitlines() if line.startswith(("orwatch_frame", "orwatch_camera_rec"))))
    oldest = next(line for line in metrics.splitlines() if line.startswith("orwatch_frame_age_max_seconds "))
    assert float(oldest.split()[-1]) <= FRAME_AGE_MAX_S
    assert last["threads"] <= first["threads"] + POOLED_THREADS_MAX
    assert last["files"] <= first["files"] + POOLED_THREADS_MAX
    assert last["memory_mib"] <= first["memory_mib"] * GROWTH_MAX
    for surgery_id in ("123456", "654321"):
        assert orwatch.end(surgery_id).status_code == 200
    assert "Traceback" not in orwatch.log.read_text()


def measured(process: psutil.Process) -> dict[str, float]:
    """Anonymous memory, threads and open files of the process.

    Not its unique memory: that grows by whole libraries when another program that shares them ends.
    """
    status = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
    anonymous = next(line for line in status.splitlines() if line.startswith("RssAnon:"))
    return {
        "memory_mib": round(int(anonymous.split()[1]) / 1024, 1),
        "threads": process.num_threads(),
        "files": process.num_fds(),
    }
