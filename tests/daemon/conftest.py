"""Clips and the model are made once; a daemon is started per test with `daemon_on`."""

import os
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa

from daemon.config import Settings
from daemon.domain.facts import Fact
from daemon.storage import migrate
from daemon.storage.database import Unit, open_engine
from tests.daemon import harness
from tests.daemon.harness import Daemon
from tests.daemon.scenes import SCENES, colour_model, film
from tests.servers.postgres import Postgres
from tests.servers.postgres import why_unavailable as why_no_postgres

DaemonOn = Callable[..., AbstractAsyncContextManager[Daemon]]


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Scene -> its clip."""
    folder = tmp_path_factory.mktemp("scenes")
    return {name: film(folder / f"{name}.mp4", scene) for name, scene in SCENES.items()}


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return colour_model(tmp_path_factory.mktemp("model") / "colours.onnx")


@pytest.fixture
def settings_on(tmp_path: Path, model: Path, clips: dict[str, Path]) -> Callable[..., Settings]:
    """settings_on(section={...}, cameras={name: scene or url}); by default each scene is a camera of its name."""

    def build(*, cameras: Mapping[str, str] | None = None, **overrides: Any) -> Settings:
        named: dict[str, Path | str] = {
            camera: clips.get(scene, scene) for camera, scene in (cameras or {name: name for name in clips}).items()
        }
        return harness.settings_for(tmp_path, model, named, overrides)

    return build


@pytest.fixture
async def daemon_on(settings_on: Callable[..., Settings]) -> AsyncIterator[DaemonOn]:
    """daemon_on(...) as settings_on: a context manager, so that a test can stop the daemon and start it again."""

    def start(*, headers: Mapping[str, str] | None = None, **overrides: Any) -> AbstractAsyncContextManager[Daemon]:
        return harness.serving(settings_on(**overrides), headers)

    async with AsyncExitStack():
        yield start


@pytest.fixture
async def daemon(daemon_on: DaemonOn) -> AsyncIterator[Daemon]:
    async with daemon_on() as running:
        yield running


class Told(list[list[Fact]]):
    """What was told after each commit."""

    async def __call__(self, facts: list[Fact]) -> None:
        self.append(facts)


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
async def unit(tmp_path: Path, told: Told) -> AsyncIterator[Unit]:
    migrate.ensure(tmp_path / "ledger.db")
    engine = open_engine(tmp_path / "ledger.db")
    yield Unit(engine, told)
    await engine.dispose()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Postgres]:
    if reason := why_no_postgres():
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    with Postgres() as server:
        yield server


@pytest.fixture
def postgres(postgres_server: Postgres) -> Postgres:
    """The one server of all tests, running again, whatever the last test did to it."""
    if not postgres_server.is_running:
        postgres_server.start()
    return postgres_server


@pytest.fixture
def archive_url(postgres: Postgres) -> sa.URL:
    """A new, empty database."""
    return sa.make_url(postgres.database(f"archive_{uuid4().hex[:12]}"))
