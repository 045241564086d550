"""Every fact once and in order, from the beginning or from where one left off, and never a silent gap."""

import asyncio
import contextlib
from dataclasses import replace

import pytest
from websockets.exceptions import ConnectionClosed

from daemon.domain.facts import AboutItem, Fact, FactKind
from daemon.domain.surgery import Surgery
from tests.daemon.conftest import DaemonOn
from tests.daemon.harness import Daemon, Events
from tests.daemon.rows import GAUZE, T0
from tests.waiting import until

FIELDS = {
    "seq", "type", "surgery_id", "at", "timestamp", "camera", "item_id", "item_name", "qty", "doctor_id", "top",
    "reason", "posting_id", "confirmation_id", "sighting_id", "evidence", "voids",
}  # fmt: skip


def ignored(run: Surgery, reason: str) -> Fact:
    about = AboutItem(item=GAUZE, timestamp=T0, reason=reason)
    return Fact(kind=FactKind.IGNORED, run_id=run.id, surgery_id=run.surgery_id, at=T0, about=about)


async def emitted(daemon: Daemon, surgery_id: str, count: int) -> None:
    """Further facts of a running surgery, committed one by one."""
    unit = daemon.parts.context.unit
    async with unit.read() as tx:
        run = await tx.surgeries.latest(surgery_id)
    assert run is not None
    for _ in range(count):
        async with unit.begin() as tx:
            await tx.emit(ignored(run, "x" * 100))


async def closed_with(events: Events) -> int:
    """The code that the server closes with, after whatever it still tells."""
    with pytest.raises(ConnectionClosed) as closed:
        await events.until("never told")
    assert closed.value.rcvd is not None
    return closed.value.rcvd.code


async def test_the_past_is_told_first_and_then_what_happens(daemon: Daemon) -> None:
    await daemon.started("100001", "nothing")
    await emitted(daemon, "100001", 3)
    async with daemon.events("100001") as events:
        past = [await events.next() for _ in range(4)]
        assert [fact["type"] for fact in past] == ["surgery_started"] + ["ignored"] * 3
        assert all(set(fact) == FIELDS for fact in past)
        await daemon.end("100001")
        assert (await events.next())["type"] == "surgery_ended"
        numbers = [fact["seq"] for fact in events.seen]
        assert numbers == sorted(set(numbers))


async def test_after_goes_on_where_one_left_off(daemon: Daemon) -> None:
    await daemon.started("100001", "nothing")
    await emitted(daemon, "100001", 3)
    async with daemon.events("100001") as events:
        first, second, third, fourth = [(await events.next())["seq"] for _ in range(4)]
    async with daemon.events("100001", query=f"?after={second}") as events:
        assert [(await events.next())["seq"] for _ in range(2)] == [third, fourth]
    async with daemon.events("100001", query=f"?after={fourth}") as events:
        await emitted(daemon, "100001", 1)
        assert (await events.next())["seq"] > fourth
    assert first


async def test_a_listener_hears_its_own_surgery_only(daemon_on: DaemonOn) -> None:
    async with daemon_on(cameras={"a": "nothing", "b": "nothing"}) as daemon:
        await daemon.started("100001", "a")
        await daemon.started("100002", "b")
        async with daemon.events("100001") as events:
            await events.next()
            await emitted(daemon, "100002", 5)
            await emitted(daemon, "100001", 1)
            assert (await events.next())["surgery_id"] == "100001"


async def test_coming_and_going_loses_and_doubles_nothing(daemon: Daemon) -> None:
    await daemon.started("100001", "nothing")
    writing = asyncio.create_task(emitted(daemon, "100001", 120))
    seen: list[int] = []
    connections = 0
    while len(seen) < 121:
        connections += 1
        async with daemon.events("100001", query=f"?after={seen[-1] if seen else 0}") as events:
            for _ in range(min(7, 121 - len(seen))):
                seen.append((await events.next())["seq"])
    await writing
    assert connections > 10
    async with daemon.events("100001") as events:
        assert seen == [(await events.next())["seq"] for _ in range(121)]


async def test_whoever_comes_while_facts_are_written_misses_none(daemon_on: DaemonOn) -> None:
    async def listened(daemon: Daemon) -> list[int]:
        async with daemon.events("100001") as events:
            return [(await events.next())["seq"] for _ in range(101)]

    async with daemon_on(server={"event_clients_max": 1000}) as daemon:
        await daemon.started("100001", "nothing")
        writing = asyncio.create_task(emitted(daemon, "100001", 100))
        listeners = []
        while not writing.done():
            listeners.append(asyncio.create_task(listened(daemon)))
            await daemon.http.get("/health")
        heard = await asyncio.gather(*listeners)
        assert len(heard) > 5
        for numbers in heard:
            assert numbers == list(range(numbers[0], numbers[0] + 101))


async def test_a_listener_that_does_not_keep_up_is_sent_back_to_the_outbox(daemon: Daemon) -> None:
    await daemon.started("100001", "nothing")
    feed = daemon.parts.context.feed
    async with daemon.events("100001", max_queue=1, compression=None) as events:
        first = await events.next()
        await until(lambda: feed.listeners == 1)
        # Facts as large as facts can be, more than sockets and the subscription hold together.
        async with daemon.parts.context.unit.read() as tx:
            run = await tx.surgeries.latest("100001")
        assert run is not None
        for number in range(3000):
            feed.publish(replace(ignored(run, "x" * 20_000), seq=first["seq"] + 1 + number))
        assert await closed_with(events) == 4408
        numbers = [fact["seq"] for fact in events.seen]
        assert numbers == list(range(first["seq"], first["seq"] + len(numbers))), "a gap was passed over"
        assert len(numbers) < 3000
    await until(lambda: feed.listeners == 0)


async def test_there_is_a_limit_to_listeners_and_a_place_is_free_again(daemon_on: DaemonOn) -> None:
    async with daemon_on(server={"event_clients_max": 2}) as daemon:
        await daemon.started("100001", "nothing")
        async with daemon.events("100001") as one, daemon.events("100001") as two:
            await one.next()
            await two.next()
            async with daemon.events("100001") as three:
                assert await closed_with(three) == 4429
        await until(lambda: daemon.parts.context.feed.listeners == 0)
        async with daemon.events("100001") as again:
            assert (await again.next())["type"] == "surgery_started"


@pytest.mark.parametrize("query", ["?after=-1", "?after=x", "?after=1.5", "?after=", "?after=" + "9" * 16, "?after=１"])
async def test_a_wrong_after_is_refused(daemon: Daemon, query: str) -> None:
    await daemon.started("100001", "nothing")
    async with daemon.events("100001", query=query) as events:
        assert await closed_with(events) == 4422


@pytest.mark.parametrize("chatter", ["hello", b"\x00\xff"], ids=["text", "bytes"])
async def test_what_a_listener_says_is_ignored(
    daemon: Daemon, chatter: str | bytes, caplog: pytest.LogCaptureFixture
) -> None:
    await daemon.started("100001", "nothing")
    async with daemon.events("100001") as events:
        await events.next()
        await events.socket.send(chatter)
        await emitted(daemon, "100001", 2)
        assert [(await events.next())["type"] for _ in range(2)] == ["ignored", "ignored"]
    await until(lambda: daemon.parts.context.feed.listeners == 0)
    assert not [record for record in caplog.records if record.exc_info]


async def test_listeners_that_vanish_free_their_places(daemon: Daemon, caplog: pytest.LogCaptureFixture) -> None:
    await daemon.started("100001", "nothing")
    feed = daemon.parts.context.feed
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(5):
            events = await stack.enter_async_context(daemon.events("100001"))
            await events.next()
            events.socket.transport.abort()
    await until(lambda: feed.listeners == 0)
    assert not [record for record in caplog.records if record.exc_info]
