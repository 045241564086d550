"""A transaction whose task is cancelled, at whatever moment, leaves nothing behind and hides nothing it did."""

import asyncio
from pathlib import Path

from daemon.domain.facts import Fact, FactKind
from daemon.domain.surgery import Surgery, SurgeryState
from daemon.storage.database import Unit, open_engine
from tests.daemon.harness import DEADLINE_S
from tests.daemon.rows import T0, saved, surgery


async def test_the_lock_is_given_back(unit: Unit) -> None:
    await saved(unit, surgery("100001"))
    kept = []
    # At many moments of it: 0 to 10 ms after it began.
    for turns in range(200):
        # The cameras are held: it is a failing statement that is cut off.
        writing = asyncio.create_task(_raised(unit, surgery("100002")))
        await asyncio.sleep(turns / 20_000)
        writing.cancel()
        await asyncio.wait([writing])
        # What was raised holds on to the cursors, as a traceback in a log or in a future does.
        kept.append(writing)
        async with asyncio.timeout(DEADLINE_S / 4):
            await saved(unit, surgery(f"2{turns:05d}", cameras=(), state=SurgeryState.ENDED))


async def _raised(unit: Unit, run: Surgery) -> list[BaseException]:
    try:
        await saved(unit, run)
    except BaseException as error:  # noqa: BLE001  its traceback is what matters
        return [error]
    raise AssertionError("the cameras were not held")


async def test_what_was_committed_is_told_before_the_cancellation(unit: Unit, tmp_path: Path) -> None:
    committed, go_on = asyncio.Event(), asyncio.Event()
    told: list[Fact] = []

    async def tell(facts: list[Fact]) -> None:
        committed.set()
        await go_on.wait()
        told.extend(facts)

    run = await saved(unit, surgery())
    engine = open_engine(tmp_path / "ledger.db")
    telling = Unit(engine, tell)

    async def write() -> None:
        async with telling.begin() as tx:
            await tx.emit(Fact(kind=FactKind.SURGERY_STARTED, run_id=run.id, surgery_id=run.surgery_id, at=T0))

    writing = asyncio.create_task(write())
    await committed.wait()
    writing.cancel()
    await asyncio.sleep(0)
    go_on.set()
    await asyncio.wait([writing])
    assert writing.cancelled()
    assert [fact.kind for fact in told] == [FactKind.SURGERY_STARTED]
    await engine.dispose()
