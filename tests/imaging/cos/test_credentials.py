"""Temporary credentials that run out, are refused, or cannot be had, before and in the middle of an upload."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Self

import pytest

from imaging.cos import upload
from imaging.cos.slide import CosCredentials
from imaging.errors import Refused, Unclear
from tests.servers.cos import CosServer
from tests.uploads import MIB, World, built, stopped_after


@pytest.fixture
def server(tmp_path: Path) -> Iterator[CosServer]:
    with CosServer(tmp_path / "cos") as server:
        yield server


@pytest.fixture
def world(server: CosServer, tmp_path: Path) -> World:
    """A slide of six parts, the last of them small."""
    return built(server, tmp_path, 5 * MIB + 4321)


def test_credentials_are_renewed_before_they_end(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[CosCredentials] = []
    later = timedelta()

    class Clock(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Self:
            return super().now(tz) + later

    def credentials() -> CosCredentials:
        given.append(CosCredentials.read(world.server.issue(world.key, 1800 + 3600 * len(given))))
        return given[-1]

    def the_first_are_short(number: int) -> None:
        nonlocal later
        if number == 3:
            later = timedelta(minutes=29, seconds=30)

    monkeypatch.setattr(upload, "datetime", Clock)
    world.server.on_part = the_first_are_short
    world.upload(credentials=credentials, rules=replace(world.rules, threads=1))

    assert len(given) == 2
    assert world.times_asked() == dict.fromkeys(range(1, 7), 1)
    assert world.arrived()


def test_credentials_that_are_refused_in_the_middle_are_renewed_once_for_all_threads(world: World) -> None:
    expired = threading.Event()

    def expire(number: int) -> None:
        if number >= 4 and not expired.is_set():
            expired.set()
            world.server.expire()

    world.server.on_part = expire
    done = world.upload()

    assert len(world.fetched) == 2
    assert (done.parts_sent, world.arrived()) == (6, True)


@pytest.mark.parametrize("during", ["initiate", "complete", "list", "put"])
def test_credentials_may_end_at_any_request(world: World, during: str, tmp_path: Path, server: CosServer) -> None:
    if during == "list":
        stopped_after(world, 4)
    elif during == "put":
        world = built(server, tmp_path, 1000)
    fetched: list[CosCredentials] = []

    def credentials() -> CosCredentials:
        """The first end with the last part, or are no good from the start."""
        fetched.append(world.credentials())
        if len(fetched) == 1 and during != "complete":
            world.server.expire()
        return fetched[-1]

    world.server.on_part = lambda number: world.server.expire() if number == 6 and during == "complete" else None
    world.upload(credentials=credentials, rules=replace(world.rules, threads=1))

    assert len(fetched) == 2
    assert world.arrived()


def test_credentials_that_came_expired_by_our_clock_are_used_while_cos_takes_them(world: World) -> None:
    def credentials() -> CosCredentials:
        return replace(world.credentials(), expires_at=datetime.now(UTC) - timedelta(hours=2))

    world.upload(credentials=credentials)

    assert len(world.fetched) == 1
    assert world.arrived()


def test_a_key_outside_the_prefix_is_refused_with_the_code(world: World) -> None:
    with pytest.raises(Refused, match="AccessDenied") as caught:
        world.upload(credentials=lambda: CosCredentials.read(world.server.issue("SLIDES/elsewhere/")))

    assert caught.value.code == "AccessDenied"
    assert not world.server.uploads
    assert not world.record.exists()


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("secret_key", "SignatureDoesNotMatch"),
        ("session_token", "InvalidToken"),
        ("secret_id", "InvalidAccessKeyId"),
    ],
)
def test_wrong_credentials_are_refused(world: World, name: str, code: str) -> None:
    with pytest.raises(Refused) as caught:
        world.upload(credentials=lambda: replace(world.credentials(), **{name: "wrong"}))  # type: ignore[arg-type]

    assert caught.value.code == code


@pytest.mark.parametrize("secret", ["", " key-do-not-print"])
def test_credentials_that_cannot_be_any_are_unclear(world: World, secret: str) -> None:
    with pytest.raises(Unclear, match="SecretKey") as caught:
        world.upload(credentials=lambda: replace(world.credentials(), secret_key=secret))

    assert "do-not-print" not in repr(caught.value)


@pytest.mark.parametrize("error", [Unclear("没有凭证。"), Refused("不给。", code="7")])
def test_an_error_of_the_credentials_is_passed_on(world: World, error: Exception) -> None:
    def credentials() -> CosCredentials:
        if world.fetched:
            raise error
        return world.credentials()

    world.server.on_part = lambda number: world.server.expire()
    with pytest.raises(type(error)) as caught:
        world.upload(credentials=credentials)

    assert caught.value is error
    assert world.record.exists()
