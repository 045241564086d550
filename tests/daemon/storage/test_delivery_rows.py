"""What is owed to webhooks, on a real ledger file: one after the other within a line, and told once."""

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from daemon.domain.delivery import Delivery, DeliveryState
from daemon.domain.imaging import Job, JobKind, JobState
from daemon.storage.database import Unit

NOW = datetime(2026, 5, 1, 8, tzinfo=UTC)
URL = "https://his.example/oct"


async def owed(unit: Unit, line: str | None = None) -> UUID:
    """A job, and its delivery, that waits."""
    job = Job(
        id=uuid4(),
        kind=JobKind.RETINA,
        state=JobState.QUEUED,
        step="fetch_image",
        message="",
        inputs={},
        created_by="-",
        created_at=NOW,
        changed_at=NOW,
        step_at=NOW,
        next_at=NOW,
    )
    async with unit.begin() as tx:
        await tx.imaging.add(job, [])
        await tx.deliveries.add(job.id, line or str(job.id), URL, NOW)
    return job.id


async def ready(unit: Unit, job_id: UUID, body: str = "{}", at: datetime = NOW) -> None:
    async with unit.begin() as tx:
        await tx.deliveries.ready(job_id, body, at)


async def first(unit: Unit, *besides: str) -> Delivery | None:
    async with unit.read() as tx:
        return await tx.deliveries.next_due(besides)


async def saved(unit: Unit, delivery: Delivery) -> bool:
    async with unit.begin() as tx:
        return await tx.deliveries.save(delivery)


async def test_a_delivery_waits_for_the_end_of_its_job(unit: Unit) -> None:
    job_id = await owed(unit)
    assert await first(unit) is None

    await ready(unit, job_id, '{"a": 1}')

    found = await first(unit)
    assert found is not None
    assert (found.job_id, found.body, found.url) == (job_id, '{"a": 1}', URL)


async def test_a_later_one_of_a_line_waits_for_an_earlier_job_that_has_not_ended(unit: Unit) -> None:
    earlier, later = await owed(unit, "exam"), await owed(unit, "exam")
    other = await owed(unit, "another")

    await ready(unit, later)
    assert await first(unit) is None
    await ready(unit, other)
    found = await first(unit)
    assert found is not None
    assert found.job_id == other

    await ready(unit, earlier)
    found = await first(unit, "another")
    assert found is not None
    assert found.job_id == earlier


@pytest.mark.parametrize("ends", ["delivered", "given_up"])
async def test_the_next_of_a_line_goes_when_the_one_before_is_over(unit: Unit, ends: str) -> None:
    earlier, later = await owed(unit, "exam"), await owed(unit, "exam")
    await ready(unit, earlier)
    await ready(unit, later)
    found = await first(unit)
    assert found is not None
    assert found.job_id == earlier
    assert await saved(unit, found.postponed(timedelta(minutes=5), NOW, "无法连接"))
    held_up = await first(unit)
    assert held_up is not None
    assert (held_up.job_id, held_up.attempts, held_up.error) == (earlier, 1, "无法连接")

    over = held_up.delivered(NOW) if ends == "delivered" else held_up.given_up(NOW, "无法连接")
    assert await saved(unit, over)

    found = await first(unit)
    assert found is not None
    assert found.job_id == later
    async with unit.read() as tx:
        [row] = await tx.deliveries.of(earlier)
    assert (row.state, row.attempts, row.body) == (DeliveryState(ends), 2, None)


async def test_a_job_that_goes_on_takes_back_what_was_not_told_yet(unit: Unit) -> None:
    job_id = await owed(unit)
    await ready(unit, job_id, '{"status": "error"}')
    on_its_way = await first(unit)
    assert on_its_way is not None

    async with unit.begin() as tx:
        await tx.deliveries.again(job_id, NOW)

    assert await first(unit) is None
    # The attempt that was under way comes back too late to end what now waits for another end.
    assert not await saved(unit, on_its_way.delivered(NOW))
    await ready(unit, job_id, '{"status": "success"}', NOW + timedelta(seconds=1))
    found = await first(unit)
    assert found is not None
    assert (found.number, found.body) == (on_its_way.number, '{"status": "success"}')


async def test_a_job_that_goes_on_after_its_end_was_told_owes_another(unit: Unit) -> None:
    job_id = await owed(unit, "exam")
    await ready(unit, job_id)
    told = await first(unit)
    assert told is not None
    assert await saved(unit, told.delivered(NOW))

    async with unit.begin() as tx:
        await tx.deliveries.again(job_id, NOW)
        await tx.deliveries.again(job_id, NOW)  # asked twice, owed once
    await ready(unit, job_id)

    async with unit.read() as tx:
        rows = await tx.deliveries.of(job_id)
        assert [row.state for row in rows] == [DeliveryState.DELIVERED, DeliveryState.READY]
        assert rows[0].id != rows[1].id
        assert (await tx.deliveries.owed())[0] == 1


async def test_a_clock_that_was_set_back_makes_nothing_wait_for_days(unit: Unit) -> None:
    job_id = await owed(unit)
    await ready(unit, job_id)
    found = await first(unit)
    assert found is not None
    later = found.postponed(timedelta(minutes=5), NOW, "x")

    assert not later.is_due(NOW)
    assert later.is_due(NOW + timedelta(minutes=5))
    assert later.is_due(NOW - timedelta(days=3))
