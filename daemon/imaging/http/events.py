"""`WS /imaging/jobs/{job_id}/events`: one job as it changes."""

from uuid import UUID

from fastapi import APIRouter, WebSocket

from daemon.api.context import Context, caller_of, context, now
from daemon.api.errors import Forbidden, Unauthorized
from daemon.api.keys import Right
from daemon.api.sockets import (
    BAD_REQUEST,
    FELL_BEHIND,
    FORBIDDEN,
    NOT_FOUND,
    TOO_MANY,
    UNAUTHORIZED,
    Refusal,
    told_until_closed,
)
from daemon.domain import errors
from daemon.feed import FellBehind
from daemon.imaging.http.clients import who_of
from daemon.imaging.http.schemas import job_response
from daemon.imaging.jobs.accesses import Who
from daemon.imaging.jobs.jobs import Imaging


def routes(imaging: Imaging) -> APIRouter:
    """The one for jobs of every kind."""
    router = APIRouter(prefix="/imaging", tags=["imaging"])

    @router.websocket("/jobs/{job_id}/events")
    async def events(socket: WebSocket, job_id: str) -> None:
        """The job as it is, then whenever it changes; closed with 1000 when it has ended."""
        parts = context(socket)
        await socket.accept()
        try:
            client, known = _watching(socket, parts, imaging, job_id)
            # Noted when it begins: a watch may last for hours, and whoever goes away in between has seen the job.
            await imaging.get(known, client, "watch", now())
        except errors.ImagingJobNotFound as error:
            await socket.close(NOT_FOUND, error.message)
            return
        except Refusal as refusal:
            await socket.close(refusal.code, refusal.reason)
            return
        await told_until_closed(socket, _tell(socket, parts, imaging, known))

    return router


def _watching(socket: WebSocket, parts: Context, imaging: Imaging, job_id: str) -> tuple[Who, UUID]:
    """Raises Refusal."""
    try:
        known = UUID(job_id)
    except ValueError:
        raise Refusal(BAD_REQUEST, "job_id 须为 UUID") from None
    if imaging.feed.listeners >= parts.settings.server.event_clients_max:
        raise Refusal(TOO_MANY, "事件连接数已达上限")
    try:
        caller = caller_of(socket, parts)
        if caller is not None and not caller.may(Right.IMAGING):
            raise Forbidden
        return who_of(caller, socket.client.host if socket.client else "local"), known
    except Unauthorized:
        raise Refusal(UNAUTHORIZED, "缺少有效的 API 密钥") from None
    except Forbidden:
        raise Refusal(FORBIDDEN, "该 API 密钥无权查看影像任务") from None


async def _tell(socket: WebSocket, parts: Context, imaging: Imaging, job_id: UUID) -> None:
    with imaging.feed.subscribe() as subscription:
        # Subscribed before the row is read: what changes in between comes twice, and nothing is missed.
        job = await imaging.peek(job_id)
        while True:
            await socket.send_text(job_response(job, None, parts.local).model_dump_json())
            if job.has_ended:
                await socket.close(1000)
                return
            try:
                while (job := await subscription.next()).id != job_id:
                    pass
            except FellBehind:
                await socket.close(FELL_BEHIND, "接收过慢，请重新连接")
                return
