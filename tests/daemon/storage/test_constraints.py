"""Wrong states that the database itself refuses, whatever the code above it believes."""

from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy.exc import IntegrityError, StatementError

from daemon.domain.facts import Fact, FactKind
from daemon.domain.ledger import PostingKind
from daemon.domain.surgery import SurgeryState
from daemon.storage.database import LedgerUnavailable, Unit
from daemon.storage.schema import metadata
from tests.daemon.conftest import Told
from tests.daemon.rows import T0, posting, saved, sighting, surgery

NOBODY = UUID(int=1)


async def test_one_surgery_id_has_one_active_run(unit: Unit) -> None:
    await saved(unit, surgery(cameras=("a",)))
    with pytest.raises(IntegrityError):
        await saved(unit, surgery(cameras=("b",), state=SurgeryState.STARTING))
    await saved(unit, surgery(cameras=("b",), state=SurgeryState.ENDED, ended_at=T0))


async def test_one_camera_has_one_holder(unit: Unit) -> None:
    run = await saved(unit, surgery("100001", cameras=("a", "b")))
    other = surgery("100002", cameras=("b",))
    with pytest.raises(IntegrityError):
        await saved(unit, other)
    async with unit.read() as tx:
        assert await tx.surgeries.latest("100002") is None, "half of a refused transaction was kept"
    await saved(unit, replace(run, state=SurgeryState.ENDED, ended_at=T0))
    await saved(unit, other)
    async with unit.read() as tx:
        assert await tx.surgeries.holders(("a", "b")) == {"b": "100002"}


async def test_a_posting_is_voided_once(unit: Unit) -> None:
    run = await saved(unit, surgery())
    placeholder = posting(run, PostingKind.PLACEHOLDER)
    async with unit.begin() as tx:
        await tx.ledger.post(placeholder)
        await tx.ledger.post(posting(run, PostingKind.VOID, placeholder.id))
    with pytest.raises(IntegrityError):
        async with unit.begin() as tx:
            await tx.ledger.post(posting(run, PostingKind.CONSUMPTION, placeholder.id))


async def test_a_sighting_is_booked_once(unit: Unit) -> None:
    run = await saved(unit, surgery())
    once = sighting(run)
    async with unit.begin() as tx:
        await tx.sightings.add(once)
        await tx.ledger.post(replace(posting(run), sighting_id=once.id))
    with pytest.raises(IntegrityError):
        async with unit.begin() as tx:
            await tx.ledger.post(replace(posting(run), sighting_id=once.id))


@pytest.mark.parametrize(
    "wrong",
    [
        {"qty": 2},
        {"qty": 0},
        {"kind": PostingKind.VOID},
        {"sighting_id": NOBODY},
        {"run_id": NOBODY},
        {"voids": NOBODY},
    ],
    ids=str,
)
async def test_a_posting_that_makes_no_sense_is_refused(unit: Unit, wrong: dict[str, object]) -> None:
    run = await saved(unit, surgery())
    with pytest.raises(IntegrityError):
        async with unit.begin() as tx:
            await tx.ledger.post(replace(posting(run), **wrong))  # type: ignore[arg-type]


async def test_times_come_back_aware_and_equal_from_any_zone(unit: Unit) -> None:
    china = timezone(timedelta(hours=8))
    started = datetime(2026, 4, 21, 10, 30, 0, 123456, tzinfo=china)
    run = await saved(unit, surgery(started_at=started))
    async with unit.read() as tx:
        again = await tx.surgeries.get(run.id)
    assert again.started_at == started
    assert again.started_at.utcoffset() == timedelta(0)


async def test_a_naive_time_never_reaches_the_database(unit: Unit) -> None:
    with pytest.raises(StatementError, match="naive datetime"):
        await saved(unit, surgery(started_at=datetime(2026, 1, 1)))


async def test_facts_are_told_after_the_commit_and_not_after_a_rollback(unit: Unit, told: Told) -> None:
    run = await saved(unit, surgery())
    fact = Fact(kind=FactKind.SURGERY_STARTED, run_id=run.id, surgery_id="100001", at=T0)
    async with unit.begin() as tx:
        first = await tx.emit(fact)
        assert told == []
    assert told == [[first]]
    with pytest.raises(IntegrityError):
        await _half_a_transaction(unit, fact)
    async with unit.begin() as tx:
        third = await tx.emit(fact)
    assert told == [[first], [third]]
    async with unit.read() as tx:
        assert await tx.outbox.of_run(run.id) == [first, third]
        assert await tx.outbox.of_run(run.id, after=first.seq) == [third]


async def _half_a_transaction(unit: Unit, fact: Fact) -> None:
    async with unit.begin() as tx:
        await tx.emit(fact)
        await tx.emit(replace(fact, run_id=uuid4()))


async def test_what_is_written_in_a_read_does_not_stay(unit: Unit) -> None:
    async with unit.read() as tx:
        await tx.surgeries.save(surgery())
    async with unit.read() as tx:
        assert await tx.surgeries.latest("100001") is None


def _overwrite(folder: Path) -> None:
    for path in folder.glob("ledger.db*"):
        path.write_bytes(b"rubbish!" * 1024)


async def test_a_ledger_whose_file_is_no_database_any_more_is_unavailable(unit: Unit, tmp_path: Path) -> None:
    _overwrite(tmp_path)
    with pytest.raises(LedgerUnavailable):
        await unit.check()


def test_the_migrations_give_exactly_the_tables_of_the_models(unit: Unit, tmp_path: Path) -> None:
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'ledger.db'}")
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, metadata) == []
        migrated = _tables(connection)
    engine.dispose()
    modelled = sa.create_engine("sqlite://")
    with modelled.connect() as connection:
        metadata.create_all(connection)
        assert migrated == _tables(connection)
    modelled.dispose()


def _tables(connection: sa.Connection) -> dict[str, set[str]]:
    """Table -> its columns and constraints, in no order; alembic compares no checks."""
    rows = connection.exec_driver_sql("SELECT name, sql FROM sqlite_master WHERE type = 'table'")
    return {
        name: {" ".join(part.split()) for part in _parts(sql[sql.index("(") + 1 : sql.rindex(")")])}
        for name, sql in rows
        if not name.startswith(("sqlite_", "alembic_"))
    }


def _parts(definitions: str) -> list[str]:
    """Split at the commas that stand in no parentheses."""
    parts, depth = [""], 0
    for letter in definitions:
        depth += {"(": 1, ")": -1}.get(letter, 0)
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return parts
