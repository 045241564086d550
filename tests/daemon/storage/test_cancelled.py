"""A transaction whose task is cancelled, at whatever moment, leaves nothing behind and hides nothing it did."""

import asyncio
from pathlib import Path

from daemon.domain.facts import Fact, FactKind
from daemon.domain.surgery import Surgery, SurgeryState
from daemon.storage.database import Unit, open_engine
from tests.daemon.rows import T0, saved, surgery
from tests.waiting import DEADLINE_S, until


async def test_the_lock_is_given_back(unit: Unit) -> None:
    await saved(unit, surgery("100001"))
    kept = []
    came_to_its_end = 0
    # In each turn of the loop that it takes, whatever the machine does in between, until it is over before.
    while came_to_its_end < 3:
        turns_left = len(kept)
        # The cameras are held: it is a failing statement that is cut off.
        writing = asyncio.create_task(_raised(unit, surgery("100002")))

        def is_its_turn(writing: asyncio.Task[list[BaseException]] = writing) -> bool:
            nonlocal turns_left
            turns_left -= 1
            return turns_left < 0 or writing.done()

        await until(is_its_turn)
        came_to_its_end += writing.done()
        writing.cancel()
        await asyncio.wait([writing])
        # What was raised holds on to the cursors, as a traceback in a log or in a future does.
        kept.append(writing)
        async with asyncio.timeout(DEADLINE_S):
            other = surgery(f"2{len(kept):05d}", cameras=(), state=SurgeryState.ENDED)
            await saved(unit, other)
    print(f"cut off at {len(kept) - came_to_its_end} places")
    assert len(kept) > 20


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
