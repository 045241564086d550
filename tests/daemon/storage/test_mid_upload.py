"""Uploads that are cut off in the middle: the server dies with half a body, or the network in between fails."""

import random
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from daemon.domain.facts import FactKind
from daemon.domain.objects import ObjectKind, ObjectState, evidence_key
from daemon.domain.surgery import Surgery
from daemon.services import read
from daemon.services.objects import Objects
from daemon.services.observe import observe
from daemon.storage.database import Unit
from daemon.storage.objects import ObjectMissing, S3Store, s3
from tests import rules
from tests.daemon.conftest import Told
from tests.daemon.rows import CANDIDATES, at, saved, seen, surgery
from tests.daemon.services.test_objects import delivering, objects_on, row_of, told_of
from tests.daemon.storage.test_objects import MAX, s3_store
from tests.servers.proxy import FaultProxy
from tests.servers.s3 import ACCESS_KEY, BUCKET, SECRET_KEY, S3Server
from tests.waiting import until

RULES = rules.observing(fusion=timedelta(0))
# What the store sends in one request; of more it sends several, one after the other.
PART = 8 * 1024 * 1024
CONTENT = random.Random(20260421).randbytes(20_000_000)
CUT_AT = 1_000_000


@pytest.fixture
def server(tmp_path: Path) -> Iterator[S3Server]:
    with S3Server(tmp_path / "s3") as running:
        yield running


@pytest.fixture
def proxy(server: S3Server) -> Iterator[FaultProxy]:
    with FaultProxy(server.port) as running:
        yield running


def store_behind(proxy: FaultProxy) -> S3Store:
    return S3Store(proxy.endpoint, BUCKET, access_key=ACCESS_KEY, secret_key=SECRET_KEY, secure=False, region=None)


async def booked(unit: Unit, run: Surgery, second: float) -> UUID:
    sighting_id = uuid4()
    await observe(unit, run, CANDIDATES, seen(second), RULES, at(second), sighting_id=sighting_id)
    return sighting_id


def key_of(run: Surgery, sighting_id: UUID) -> str:
    return evidence_key(run.surgery_id, run.id, sighting_id)


def body_passed(content: bytes, sent: list[bytes]) -> int:
    """How many bytes of the content are in what was sent, in whichever requests."""
    passed = 0
    for start in range(0, len(content), PART):
        part = content[start : start + PART]
        for one in sent:
            begin = one.find(part[:64])
            if begin >= 0:
                found = one[begin : begin + len(part)]
                assert part.startswith(found)
                passed += len(found)
    return passed


def stored_on(server: S3Server) -> dict[str, bytes]:
    """Without what rclone is still receiving: it moves a file to its key when it has all of it."""
    folder = server.root / BUCKET
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(".rclone_temp_")
    }


@pytest.mark.parametrize("size", [3_000_000, 20_000_000], ids=["one request", "several parts"])
async def test_a_server_killed_with_half_a_body_gets_all_of_it_later_and_bookings_go_on(
    unit: Unit, told: Told, tmp_path: Path, server: S3Server, proxy: FaultProxy, size: int
) -> None:
    content = CONTENT[:size]
    run = await saved(unit, surgery())
    objects, health = objects_on(unit, store_behind(proxy), tmp_path)
    passed: list[bytes] = []
    is_dead = threading.Event()

    def die() -> None:
        server.kill()
        passed.extend(proxy.sent)
        proxy.refuse()
        is_dead.set()

    proxy.at(CUT_AT, die)
    kept = {await booked(unit, run, 0): content}
    (first,) = kept
    await objects.keep(run, first, ObjectKind.PICTURE, content)
    async with delivering(objects):
        await until(is_dead.is_set)
        assert 0 < body_passed(content, passed) < len(content)
        await until(lambda: "objects" in health.components and not health.components["objects"].ok)
        for second in range(10, 60, 10):
            kept[await booked(unit, run, second)] = small = f"picture {second}".encode()
            await objects.keep(run, list(kept)[-1], ObjectKind.PICTURE, small)
        server.start()
        # Nobody has sent it again yet: what the kill left on the server is all that can be seen.
        with pytest.raises(ObjectMissing):
            s3_store(server).get(key_of(run, first), bytes_max=MAX)
        assert not stored_on(server)
        _, postings = await read.ledger(unit, run.surgery_id)
        assert [posting.sighting_id for posting in postings] == list(kept)
        for sighting_id, picture in kept.items():
            assert (await row_of(unit, run, sighting_id)).state is ObjectState.WAITING
            assert await objects.evidence(unit, run.surgery_id, sighting_id, ObjectKind.PICTURE) == picture
        proxy.accept()
        await until(lambda: len(told_of(told, FactKind.OBJECT_STORED)) >= len(kept))
        await until(lambda: objects.spool_bytes == 0)
    assert stored_on(server) == {key_of(run, sighting_id): picture for sighting_id, picture in kept.items()}
    assert sorted(fact.evidence for fact in told_of(told, FactKind.OBJECT_STORED)) == sorted(stored_on(server))
    assert not told_of(told, FactKind.OBJECT_LOST)
    assert health.components["objects"].ok


@asynccontextmanager
async def one_waits(unit: Unit, objects: Objects) -> AsyncIterator[tuple[Surgery, UUID]]:
    """A booking whose picture of three megabytes is on its way."""
    run = await saved(unit, surgery())
    sighting_id = await booked(unit, run, 0)
    await objects.keep(run, sighting_id, ObjectKind.PICTURE, CONTENT[:3_000_000])
    async with delivering(objects):
        yield run, sighting_id


@pytest.mark.parametrize(
    ("break_it", "mend_it"),
    [
        pytest.param(FaultProxy.refuse, FaultProxy.accept, id="refused"),
        pytest.param(lambda proxy: proxy.at(CUT_AT, proxy.refuse), FaultProxy.accept, id="cut off"),
        pytest.param(lambda proxy: proxy.at(CUT_AT, proxy.stall), FaultProxy.flow, id="stalled"),
    ],
)
async def test_an_upload_that_the_network_fails_is_waited_for_and_done_again(
    unit: Unit,
    told: Told,
    tmp_path: Path,
    server: S3Server,
    proxy: FaultProxy,
    monkeypatch: pytest.MonkeyPatch,
    break_it: Callable[[FaultProxy], None],
    mend_it: Callable[[FaultProxy], None],
) -> None:
    monkeypatch.setattr(s3, "READ_TIMEOUT_S", 0.5)
    monkeypatch.setattr(s3, "CONNECT_TIMEOUT_S", 0.5)
    objects, health = objects_on(unit, store_behind(proxy), tmp_path)
    break_it(proxy)
    async with one_waits(unit, objects) as (run, sighting_id):
        await until(lambda: "objects" in health.components and not health.components["objects"].ok)
        assert (await row_of(unit, run, sighting_id)).state is ObjectState.WAITING
        assert not stored_on(server)
        mend_it(proxy)
        await until(lambda: told_of(told, FactKind.OBJECT_STORED))
        await until(lambda: health.components["objects"].ok)
    assert stored_on(server) == {key_of(run, sighting_id): CONTENT[:3_000_000]}
    assert len(told_of(told, FactKind.OBJECT_STORED)) == 1


async def test_a_connection_killed_in_mid_upload_is_made_again_and_nobody_notices(
    unit: Unit, told: Told, tmp_path: Path, server: S3Server, proxy: FaultProxy
) -> None:
    objects, health = objects_on(unit, store_behind(proxy), tmp_path)
    proxy.kill_at(CUT_AT)
    async with one_waits(unit, objects) as (run, sighting_id):
        await until(lambda: told_of(told, FactKind.OBJECT_STORED))
    assert CUT_AT in [len(one) for one in proxy.sent]
    assert stored_on(server) == {key_of(run, sighting_id): CONTENT[:3_000_000]}
    assert health.components["objects"].ok


async def test_bookings_do_not_wait_for_an_upload_that_does_not_go_on(
    unit: Unit, told: Told, tmp_path: Path, server: S3Server, proxy: FaultProxy
) -> None:
    objects, _ = objects_on(unit, store_behind(proxy), tmp_path)
    proxy.at(CUT_AT, proxy.stall)
    async with one_waits(unit, objects) as (run, sighting_id):
        await until(lambda: body_passed(CONTENT[:3_000_000], proxy.sent))
        for second in range(10, 210, 10):
            await objects.keep(run, await booked(unit, run, second), ObjectKind.PICTURE, b"picture")
        assert (await row_of(unit, run, sighting_id)).state is ObjectState.WAITING
        assert 0 < body_passed(CONTENT[:3_000_000], proxy.sent) < 3_000_000
        proxy.flow()
        await until(lambda: len(told_of(told, FactKind.OBJECT_STORED)) == 21)
    assert stored_on(server)[key_of(run, sighting_id)] == CONTENT[:3_000_000]
