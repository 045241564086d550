"""What clients ask: the result, the queue, a surgery, its ledger.

A surgery that this server knows is read here; one that ended elsewhere, from the archive that the servers share.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from daemon.domain.confirmation import Confirmation, ConfirmationState
from daemon.domain.errors import NoPendingConfirmation, ResultNotReady, SurgeryNotFound
from daemon.domain.facts import Fact
from daemon.domain.ledger import Detail, Posting, Total, details, summary
from daemon.domain.surgery import Surgery, SurgeryState
from daemon.storage.archive import Archive, ArchiveUnavailable
from daemon.storage.database import Tx, Unit

_NAMED_MAX = 10
_QUERY_OK = "查询成功。"
_NOT_ASKED = "本服务器没有该手术号的记录，归档数据库暂不可用，无法确认其他服务器上是否有；请稍后重试。"


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


@asynccontextmanager
async def _known(unit: Unit, archive: Archive | None, surgery_id: str) -> AsyncIterator[tuple[Tx, Surgery | None]]:
    """The latest run, and a view of the database that knows it. Raises ArchiveUnavailable."""
    async with unit.read() as tx:
        run = await tx.surgeries.latest(surgery_id)
        if run is not None or archive is None:
            yield tx, run
            return
    async with archive.read() as tx:
        run = await tx.surgeries.latest(surgery_id)
        # How another server's running surgery stands, only that server can say.
        yield tx, run if run is not None and run.state is SurgeryState.ENDED else None


async def result(unit: Unit, surgery_id: str, *, include_pending: bool, archive: Archive | None = None) -> Result:
    """Raises ResultNotReady with the reason; never bills what nobody confirmed."""
    try:
        async with _known(unit, archive, surgery_id) as (tx, run):
            if run is None:
                raise ResultNotReady("手术未开始或未成功开录，暂无结果。", surgery_id=surgery_id)
            postings = await tx.ledger.of_run(run.id)
            states = [ConfirmationState.PENDING, ConfirmationState.UNRESOLVED]
            unanswered = await tx.confirmations.of_run(run.id, states)
    except ArchiveUnavailable as error:
        raise ResultNotReady(_NOT_ASKED, surgery_id=surgery_id) from error
    rows = details(postings, include_pending=include_pending)
    remark = _remark(unanswered)
    if not rows:
        reason = "手术已结束，无消耗明细。" if run.state is SurgeryState.ENDED else "手术进行中，暂无消耗明细。"
        raise ResultNotReady(reason + remark, surgery_id=surgery_id)
    return Result(surgery=run, message=_QUERY_OK + remark, details=rows, summary=summary(rows))


def _remark(unanswered: list[Confirmation]) -> str:
    """How many, and about what, so that nobody bills without having looked."""
    if not unanswered:
        return ""
    asked = ["或".join(option.item.item_name for option in question.options) for question in unanswered[:_NAMED_MAX]]
    more = "等" if len(unanswered) > _NAMED_MAX else ""
    return f"另有 {len(unanswered)} 条待确认未答复，未计入汇总：{'；'.join(asked)}{more}。"


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


@asynccontextmanager
async def _found(unit: Unit, archive: Archive | None, surgery_id: str) -> AsyncIterator[tuple[Tx, Surgery]]:
    """Raises SurgeryNotFound."""
    try:
        async with _known(unit, archive, surgery_id) as (tx, run):
            if run is None:
                raise SurgeryNotFound("没有该手术号的记录。", surgery_id=surgery_id)
            yield tx, run
    except ArchiveUnavailable as error:
        raise SurgeryNotFound(_NOT_ASKED, surgery_id=surgery_id) from error


async def surgery(unit: Unit, surgery_id: str, *, archive: Archive | None = None) -> Surgery:
    """The latest run. Raises SurgeryNotFound."""
    async with _found(unit, archive, surgery_id) as (_, run):
        return run


async def overview(unit: Unit, surgery_id: str, *, archive: Archive | None = None) -> Overview:
    async with _found(unit, archive, surgery_id) as (tx, run):
        rows = details(await tx.ledger.of_run(run.id))
        questions = await tx.confirmations.of_run(run.id, list(ConfirmationState))
    return Overview(surgery=run, booked=summary(rows), questions=questions)


async def ledger(unit: Unit, surgery_id: str, *, archive: Archive | None = None) -> tuple[Surgery, list[Posting]]:
    """Every row of the latest run, placeholders and voids included, oldest first."""
    async with _found(unit, archive, surgery_id) as (tx, run):
        return run, await tx.ledger.of_run(run.id)


async def facts(
    unit: Unit, surgery_id: str, *, after: int = 0, archive: Archive | None = None
) -> tuple[Surgery, list[Fact]]:
    """What happened in the latest run, in commit order, later than `after`."""
    async with _found(unit, archive, surgery_id) as (tx, run):
        return run, await tx.outbox.of_run(run.id, after=after)
