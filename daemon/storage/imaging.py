"""Imaging jobs, their files, and who did what with them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from daemon.domain.imaging import ENDED, FileState, Job, JobError, JobFile, JobKind, JobState
from daemon.storage.schema import imaging_accesses, imaging_files, imaging_jobs

_MESSAGE_MAX = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """job_id: None where there is no job of that id, or none yet. outcome: ok, or the code of a refusal."""

    at: datetime
    caller: str
    address: str
    action: str
    job_id: UUID | None
    outcome: str


class ImagingRows:
    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def add(self, job: Job, files: Sequence[JobFile]) -> None:
        await self._connection.execute(sa.insert(imaging_jobs).values(**_job_values(job)))
        for file in files:
            await self._connection.execute(sa.insert(imaging_files).values(job_id=job.id, **_file_values(file)))

    async def save(self, job: Job) -> None:
        await self._connection.execute(
            sa.update(imaging_jobs).where(imaging_jobs.c.id == job.id).values(**_job_values(job))
        )

    async def get(self, job_id: UUID) -> Job | None:
        row = (await self._connection.execute(sa.select(imaging_jobs).where(imaging_jobs.c.id == job_id))).first()
        return _job(row) if row else None

    async def by_request_key(self, key: str) -> Job | None:
        query = sa.select(imaging_jobs).where(imaging_jobs.c.request_key == key)
        row = (await self._connection.execute(query)).first()
        return _job(row) if row else None

    async def listed(
        self, *, kind: JobKind | None, state: JobState | None, before: UUID | None, limit: int
    ) -> list[Job]:
        """Newest first; before: those older than that one."""
        query = sa.select(imaging_jobs)
        if kind is not None:
            query = query.where(imaging_jobs.c.kind == kind)
        if state is not None:
            query = query.where(imaging_jobs.c.state == state)
        if before is not None:
            older = sa.select(imaging_jobs.c.created_at, imaging_jobs.c.id).where(imaging_jobs.c.id == before)
            query = query.where(sa.tuple_(imaging_jobs.c.created_at, imaging_jobs.c.id) < older.scalar_subquery())
        query = query.order_by(imaging_jobs.c.created_at.desc(), imaging_jobs.c.id.desc()).limit(limit)
        return [_job(row) for row in await self._connection.execute(query)]

    async def next_due(self, besides: Sequence[UUID]) -> Job | None:
        """The job that is due first, whether that is now or later. besides: those that are being worked on."""
        query = (
            sa.select(imaging_jobs)
            .where(imaging_jobs.c.state.not_in(list(ENDED)), imaging_jobs.c.id.not_in(list(besides)))
            .order_by(imaging_jobs.c.next_at, imaging_jobs.c.created_at, imaging_jobs.c.id)
            .limit(1)
        )
        row = (await self._connection.execute(query)).first()
        return _job(row) if row else None

    async def ids(self) -> set[UUID]:
        return set((await self._connection.execute(sa.select(imaging_jobs.c.id))).scalars())

    async def unfinished(self) -> int:
        query = sa.select(sa.func.count()).where(imaging_jobs.c.state.not_in(list(ENDED)))
        return int((await self._connection.execute(query)).scalar_one())

    async def files(self, job_id: UUID) -> list[JobFile]:
        query = sa.select(imaging_files).where(imaging_files.c.job_id == job_id).order_by(imaging_files.c.number)
        return [_file(row) for row in await self._connection.execute(query)]

    async def mark_file(self, job_id: UUID, number: int, state: FileState) -> None:
        await self._connection.execute(
            sa.update(imaging_files)
            .where(imaging_files.c.job_id == job_id, imaging_files.c.number == number)
            .values(state=state.value)
        )

    async def waiting_files(self, limit: int) -> list[tuple[UUID, JobFile]]:
        """Files of ours that are not in the store yet, oldest job first."""
        query = (
            sa.select(imaging_files)
            .join(imaging_jobs, imaging_jobs.c.id == imaging_files.c.job_id)
            .where(imaging_files.c.state == FileState.WAITING, imaging_files.c.key.is_not(None))
            .order_by(imaging_jobs.c.created_at, imaging_files.c.job_id, imaging_files.c.number)
            .limit(limit)
        )
        return [(row.job_id, _file(row)) for row in await self._connection.execute(query)]

    async def kept(self) -> list[tuple[UUID, datetime | None, bool]]:
        """Jobs that have files here: id, when it ended, and whether all its files are stored; oldest end first."""
        is_waiting = sa.func.max(sa.case((imaging_files.c.state == FileState.WAITING, 1), else_=0))
        query = (
            sa.select(imaging_jobs.c.id, imaging_jobs.c.ended_at, is_waiting.label("is_waiting"))
            .join(imaging_files, imaging_jobs.c.id == imaging_files.c.job_id)
            .where(imaging_files.c.key.is_not(None), imaging_files.c.state != FileState.EXPIRED)
            .group_by(imaging_jobs.c.id, imaging_jobs.c.ended_at)
            .order_by(imaging_jobs.c.ended_at)
        )
        return [(row.id, row.ended_at, not row.is_waiting) for row in await self._connection.execute(query)]

    async def ended_before(self, ids: Sequence[UUID], at: datetime) -> list[UUID]:
        """Those of these jobs that had ended by then."""
        ended: list[UUID] = []
        # SQLite takes a bounded number of parameters.
        for start in range(0, len(ids), 500):
            query = sa.select(imaging_jobs.c.id).where(
                imaging_jobs.c.id.in_(ids[start : start + 500]), imaging_jobs.c.ended_at < at
            )
            ended += (await self._connection.execute(query)).scalars()
        return ended

    async def audit(self, access: Access) -> None:
        await self._connection.execute(
            sa.insert(imaging_accesses).values(
                at=access.at,
                caller=access.caller,
                address=access.address,
                action=access.action,
                job_id=access.job_id,
                outcome=access.outcome,
            )
        )

    async def accesses(self, job_id: UUID) -> list[Access]:
        query = sa.select(imaging_accesses).where(imaging_accesses.c.job_id == job_id).order_by(imaging_accesses.c.seq)
        return [
            Access(
                at=row.at,
                caller=row.caller,
                address=row.address,
                action=row.action,
                job_id=row.job_id,
                outcome=row.outcome,
            )
            for row in await self._connection.execute(query)
        ]


def _job_values(job: Job) -> dict[str, Any]:
    return {
        "id": job.id,
        "kind": job.kind.value,
        "state": job.state.value,
        "step": job.step,
        "is_begun": job.is_begun,
        "attempts": job.attempts,
        "polls": job.polls,
        "progress": job.progress,
        "message": job.message[:_MESSAGE_MAX],
        "inputs": dict(job.inputs),
        "outputs": {step: dict(output) for step, output in job.outputs.items()},
        "result": dict(job.result) if job.result is not None else None,
        "error": job.error.value if job.error else None,
        "error_code": job.error_code[:64],
        "created_by": job.created_by,
        "request_key": job.request_key,
        "created_at": job.created_at,
        "changed_at": job.changed_at,
        "step_at": job.step_at,
        "next_at": job.next_at,
        "ended_at": job.ended_at,
    }


def _job(row: sa.Row[Any]) -> Job:
    fields = dict(row._mapping)
    fields["kind"], fields["state"] = JobKind(row.kind), JobState(row.state)
    fields["error"] = JobError(row.error) if row.error else None
    return Job(**fields)


def _file_values(file: JobFile) -> dict[str, Any]:
    return {
        "number": file.number,
        "name": file.name,
        "path": file.path,
        "media_type": file.media_type,
        "size": file.size,
        "sha256": file.sha256,
        "key": file.key,
        "state": file.state.value,
    }


def _file(row: sa.Row[Any]) -> JobFile:
    return JobFile(
        number=row.number,
        name=row.name,
        path=row.path,
        media_type=row.media_type,
        size=row.size,
        sha256=row.sha256,
        key=row.key,
        state=FileState(row.state),
    )
