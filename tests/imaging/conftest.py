"""The bucket stores; their libraries are imported by the tests that use them."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from imaging.buckets.store import Buckets

if TYPE_CHECKING:
    from tests.stores import Store


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], "Store"]]:
    """Each is started when a test needs it."""
    from tests.stores import started

    running: dict[str, Store] = {}
    with ExitStack() as stack:

        def get(name: str) -> "Store":
            if name not in running:
                running[name] = started(name, tmp_path_factory.mktemp(name), stack)
            return running[name]

        yield get


@pytest.fixture(params=["gcs", "azure", "s3"])
def store(request: pytest.FixtureRequest, servers: Callable[[str], "Store"]) -> "Store":
    return servers(request.param)


@pytest.fixture
def bucket(store: "Store") -> str:
    """New and empty."""
    return store.new_bucket()


@pytest.fixture
def buckets(store: "Store") -> Iterator[Buckets]:
    made = store.buckets()
    yield made
    made.close()


@pytest.fixture
def call(store: "Store") -> Iterator[Callable[..., Buckets]]:
    """call(port, ...) -> a client as store.buckets makes it, closed at the end."""
    made: list[Buckets] = []

    def make(port: int | None = None, **options: Any) -> Buckets:
        made.append(store.buckets(port, **options))
        return made[-1]

    yield make
    for each in made:
        each.close()
