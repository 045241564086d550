"""A camera that does not see is told everywhere, whatever the cause, and one whose library hangs holds up nobody."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from daemon.bridge import left
from daemon.config import Settings
from tests.daemon.api.test_lifecycle import broken, mended
from tests.daemon.conftest import DaemonOn
from tests.daemon.deaf import Deaf
from tests.daemon.harness import Daemon, serving, threads
from tests.daemon.scenes import BLACK, FLICKER, SIDE
from tests.streams.clips import encode
from tests.waiting import DEADLINE_S, until

SOON = {"blind_alarm_s": 1}


async def component(daemon: Daemon, name: str) -> dict[str, Any]:
    found: dict[str, Any] = (await daemon.http.get("/ready")).json()["components"].get(name, {})
    return found


async def is_said(daemon: Daemon, name: str, why: str) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while why not in (await component(daemon, name)).get("why", ""):
            pass


async def metric(daemon: Daemon, series: str) -> float:
    lines = (await daemon.http.get("/metrics")).text.splitlines()
    return next(float(line.rpartition(" ")[2]) for line in lines if line.startswith(series + " "))


async def told_blind(daemon: Daemon, camera: str, why: str) -> None:
    """By `/ready`, metrics, and the events of the surgery."""
    fact = await daemon.heard("100001", "camera_blind")
    assert (fact["camera"], fact["item_id"], fact["qty"]) == (camera, None, 0)
    assert why in fact["reason"]
    answer = await daemon.http.get("/ready")
    assert answer.status_code == 503
    found = answer.json()["components"][f"camera:{camera}"]
    assert not found["ok"]
    assert why in found["why"]
    assert await metric(daemon, f'orwatch_camera_up{{camera="{camera}"}}') == 0
    assert await metric(daemon, f'orwatch_camera_blind_seconds_total{{camera="{camera}"}}') > 0


@pytest.fixture
def slideshow(tmp_path: Path) -> Path:
    """A picture a second: the stream lives, and gives a tenth of the samples."""
    import numpy as np

    pictures = []
    for index in range(30):
        pixels = np.full((SIDE, SIDE, 3), BLACK, np.uint8)
        pixels[:, : SIDE // 4] = FLICKER[index % len(FLICKER)]
        pictures.append(pixels)
    return encode(tmp_path / "slides.mp4", iter(pictures), fps=1, group=5)


async def test_a_stream_that_gives_a_tenth_of_the_samples_is_a_fault(
    daemon_on: DaemonOn, slideshow: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with daemon_on(cameras={"slow": str(slideshow), "well": "nothing"}, coverage=SOON) as daemon:
        await daemon.started("100001", "slow", "well")

        await told_blind(daemon, "slow", "of 10 samples/s: ")

        assert (await component(daemon, "camera:well"))["ok"]
        assert await metric(daemon, 'orwatch_camera_up{camera="well"}') == 1
        wanted = await metric(daemon, 'orwatch_camera_samples_wanted_total{camera="slow"}')
        reached = await metric(daemon, 'orwatch_camera_samples_reached_total{camera="slow"}')
        assert 0 < reached < wanted / 2
        assert (await daemon.end("100001")).status_code == 200
    assert caplog.text.count("camera slow: sees") == 1


async def test_a_camera_sees_nothing_while_the_tally_waits_for_the_ledger_and_that_is_told_when_it_is_back(
    daemon_on: DaemonOn,
) -> None:
    async with daemon_on(cameras={"cam": "gauzes"}, coverage=SOON) as daemon:
        await daemon.started("100001", "cam")
        await daemon.heard("100001", "booked")
        await broken(daemon, "INSERT ON outbox")

        await is_said(daemon, "camera:cam", "the tally has waited for the ledger")
        await mended(daemon)

        assert "of 10 samples/s" in (await daemon.heard("100001", "camera_blind"))["reason"]
        assert (await daemon.heard("100001", "camera_sees"))["camera"] == "cam"
        async with asyncio.timeout(DEADLINE_S):
            while not (await component(daemon, "camera:cam"))["ok"]:
                pass
        pages = await daemon.get("100001/report.md")
        assert "画面中断" in pages.text
        assert "画面恢复" in pages.text


async def test_a_recording_that_ends_in_a_cameras_place_is_one_that_sees_no_more(
    settings_on: Callable[..., Settings],
) -> None:
    settings = settings_on(cameras={"cam": "nothing"})
    once = settings.cameras["cam"].model_copy(update={"loop": False})
    async with serving(settings.model_copy(update={"cameras": {"cam": once}})) as daemon:
        await daemon.started("100001", "cam")

        await told_blind(daemon, "cam", "its recording has ended")

        assert (await daemon.end("100001")).status_code == 200
        assert await component(daemon, "camera:cam") == {}


async def test_frames_that_nobody_classifies_start_no_surgery(daemon_on: DaemonOn) -> None:
    rules = {"start_timeout_s": 2, "start_attempts": 1}
    async with daemon_on(
        cameras={"cam": "nothing"}, surgery=rules, coverage=SOON, inference={"frame_age_max_s": 1e-9}
    ) as daemon:
        refused = await daemon.start("100001", "cam")

        assert refused.status_code == 503
        assert "没有识别结果" in refused.json()["detail"]["message"]


async def test_a_camera_whose_library_hangs_holds_up_no_end_no_start_and_no_stop(
    daemon_on: DaemonOn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("daemon.pipeline.capture.STOPS_WITHIN_S", 0.1)
    deaf = Deaf(tmp_path / "pipe")
    others = threads()
    try:
        async with daemon_on(
            cameras={"hangs": str(deaf.pipe), "well": "nothing"}, surgery={"start_timeout_s": 60}, coverage=SOON
        ) as daemon:
            start = asyncio.create_task(daemon.start("100001", "hangs", "well"))
            await until(lambda: any(thread.name == "capture:hangs" for thread in threads() - others))
            await is_said(daemon, "camera:hangs", "no packet yet, connecting for")

            assert (await daemon.end("100001")).status_code == 200
            assert (await start).status_code == 503
            assert [each.name for each in left()] == ["capture:hangs"]
            assert (await daemon.start("100002", "well")).status_code == 200
            await is_said(daemon, "threads", "capture:hangs")
            assert await metric(daemon, 'orwatch_threads_hanging{thread="capture:hangs"}') == 1
            # It was not connected again once it had been cancelled.
            assert [thread.name for thread in threads() - others].count("capture:hangs") == 1
            await deaf.let_go()
    finally:
        await deaf.let_go()
