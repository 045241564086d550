"""What clients ask: the result, the queue, a surgery, its ledger."""

from dataclasses import dataclass

from daemon.domain.confirmation import Confirmation, ConfirmationState
from daemon.domain.errors import NoPendingConfirmation, ResultNotReady, SurgeryNotFound
from daemon.domain.facts import Fact
from daemon.domain.ledger import Detail, Posting, Total, details, summary
from daemon.domain.surgery import Surgery, SurgeryState
from daemon.storage.database import Unit

_QUERY_OK = "查询成功。"


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    surgery: Surgery
    message: str
    details: list[Detail]
    summary: list[Total]


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """A surgery with what it used so far and what is still asked."""

    surgery: Surgery
    booked: list[Total]
    questions: list[Confirmation]


async def result(unit: Unit, surgery_id: str, *, include_pending: bool) -> Result:
    """Raises ResultNotReady with the reason; never bills what nobody confirmed."""
    async with unit.read() as tx:
        run = await tx.surgeries.latest(surgery_id)
        if run is None:
            raise ResultNotReady("手术未开始或未成功开录，暂无结果。", surgery_id=surgery_id)
        postings = await tx.ledger.of_run(run.id)
        states = [ConfirmationState.PENDING, ConfirmationState.UNRESOLVED]
        unanswered = len(await tx.confirmations.of_run(run.id, states))
    rows = details(postings, include_pending=include_pending)
    remark = f"另有 {unanswered} 条待确认未答复，未计入汇总。" if unanswered else ""
    if not rows:
        reason = "手术已结束，无消耗明细。" if run.state is SurgeryState.ENDED else "手术进行中，暂无消耗明细。"
        raise ResultNotReady(reason + remark, surgery_id=surgery_id)
    return Result(surgery=run, message=_QUERY_OK + remark, details=rows, summary=summary(rows))


async def head_of_queue(unit: Unit, surgery_id: str) -> Confirmation:
    """The question to ask now. Raises NoPendingConfirmation."""
    async with unit.read() as tx:
        run = await tx.surgeries.latest(surgery_id)
        queue = []
        if run is not None and run.state is SurgeryState.RUNNING:
            queue = await tx.confirmations.of_run(run.id, [ConfirmationState.PENDING])
    if not queue:
        raise NoPendingConfirmation("当前没有待确认耗材，或手术未在进行中。", surgery_id=surgery_id)
    return queue[0]


async def surgeries(
    unit: Unit, *, state: SurgeryState | None, cameras: frozenset[str] | None, limit: int, offset: int
) -> list[Surgery]:
    """Newest first. cameras: only surgeries that use no others."""
    async with unit.read() as tx:
        return await tx.surgeries.page(state=state, cameras=cameras, limit=limit, offset=offset)


async def surgery(unit: Unit, surgery_id: str) -> Surgery:
    """The latest run. Raises SurgeryNotFound."""
    async with unit.read() as tx:
        run = await tx.surgeries.latest(surgery_id)
    if run is None:
        raise SurgeryNotFound("没有该手术号的记录。", surgery_id=surgery_id)
    return run


async def overview(unit: Unit, surgery_id: str) -> Overview:
    run = await surgery(unit, surgery_id)
    async with unit.read() as tx:
        rows = details(await tx.ledger.of_run(run.id))
        questions = await tx.confirmations.of_run(run.id, list(ConfirmationState))
    return Overview(surgery=run, booked=summary(rows), questions=questions)


async def ledger(unit: Unit, surgery_id: str) -> tuple[Surgery, list[Posting]]:
    """Every row of the latest run, placeholders and voids included, oldest first."""
    run = await surgery(unit, surgery_id)
    async with unit.read() as tx:
        return run, await tx.ledger.of_run(run.id)


async def facts(unit: Unit, surgery_id: str, *, after: int = 0) -> tuple[Surgery, list[Fact]]:
    """What happened in the latest run, in commit order, later than `after`."""
    run = await surgery(unit, surgery_id)
    async with unit.read() as tx:
        return run, await tx.outbox.of_run(run.id, after=after)
