"""What works, since when; and a watchdog that keeps silent when something stands still."""

import asyncio
import socket
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from daemon.bridge import off_loop
from daemon.health import Health, notify, watchdog
from tests.waiting import DEADLINE_S


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.settimeout(DEADLINE_S)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        yield listener


def test_since_is_when_the_state_changed_not_when_it_was_said() -> None:
    health = Health()
    assert health.set("ledger", ok=True)
    since = health.components["ledger"].since
    assert not health.set("ledger", ok=True, why="still")
    assert health.components["ledger"].since == since
    assert health.components["ledger"].why == "still"
    assert health.set("ledger", ok=False, why="disk full")
    assert health.components["ledger"].since > since
    assert not health.is_ready
    health.forget("ledger")
    assert health.is_ready


def test_without_systemd_there_is_nobody_to_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert not notify("READY=1")


def test_systemd_is_told(systemd: socket.socket) -> None:
    assert notify("READY=1")
    assert systemd.recv(100) == b"READY=1"


def test_systemd_is_told_at_an_abstract_address(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    name = f"orwatch-{tmp_path.name}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind("\0" + name)
        listener.settimeout(DEADLINE_S)
        monkeypatch.setenv("NOTIFY_SOCKET", "@" + name)
        assert notify("READY=1")
        assert listener.recv(100) == b"READY=1"


async def test_a_systemd_that_went_away_does_not_take_the_daemon_with_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "nobody"))
    assert not notify("READY=1")


async def test_the_watchdog_pings_while_there_is_progress_and_says_what_is_stuck(
    systemd: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "20000")
    progress = {"classifier": time.monotonic() + 1000, "ledger": time.monotonic() + 1000}
    watched = {name: partial(progress.__getitem__, name) for name in progress}
    task = asyncio.create_task(watchdog(watched, stuck_after_s=5))
    try:
        for _ in range(2):
            assert await off_loop(systemd.recv, 100) == b"WATCHDOG=1"
        progress["classifier"] = time.monotonic() - 6
        while (told := await off_loop(systemd.recv, 100)) == b"WATCHDOG=1":
            pass
        assert told == b"STATUS=stuck: classifier"
        for _ in range(3):
            assert await off_loop(systemd.recv, 100) == b"STATUS=stuck: classifier"
        progress["classifier"] = time.monotonic() + 1000
        while (told := await off_loop(systemd.recv, 100)) != b"WATCHDOG=1":
            assert told == b"STATUS=stuck: classifier"
    finally:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_without_a_watchdog_the_task_ends_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WATCHDOG_USEC", raising=False)
    await watchdog({}, stuck_after_s=1)
