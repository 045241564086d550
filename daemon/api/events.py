"""`WS /client/surgeries/{id}/events`: every fact of a surgery as it commits, from the beginning or from `?after=`."""

import re

from fastapi import APIRouter, WebSocket

from daemon.api import schemas
from daemon.api.context import SURGERY_ID, Context, caller_of, check_surgery, context
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
from daemon.domain.errors import SurgeryNotFound
from daemon.feed import FellBehind
from daemon.services import read

router = APIRouter()


@router.websocket("/client/surgeries/{surgery_id}/events")
async def events(socket: WebSocket, surgery_id: str) -> None:
    parts = context(socket)
    await socket.accept()
    try:
        after = await _allowed(socket, parts, surgery_id)
    except Refusal as refusal:
        await socket.close(refusal.code, refusal.reason)
        return
    await told_until_closed(socket, _tell(socket, parts, surgery_id, after))


async def _allowed(socket: WebSocket, parts: Context, surgery_id: str) -> int:
    """The seq to go on after. Raises Refusal."""
    after = socket.query_params.get("after", "0")
    if not re.fullmatch(SURGERY_ID, surgery_id) or not re.fullmatch("[0-9]{1,15}", after):
        raise Refusal(BAD_REQUEST, "surgery_id 须为 6 位数字，after 须为非负整数")
    if parts.feed.listeners >= parts.settings.server.event_clients_max:
        raise Refusal(TOO_MANY, "事件连接数已达上限")
    try:
        caller = caller_of(socket, parts)
        if caller is not None and not caller.may(Right.READ):
            raise Forbidden
        await check_surgery(caller, surgery_id, parts)
        await read.surgery(parts.unit, surgery_id, archive=parts.archive)
    except Unauthorized:
        raise Refusal(UNAUTHORIZED, "缺少有效的 API 密钥") from None
    except Forbidden:
        raise Refusal(FORBIDDEN, "该 API 密钥无权查看此手术") from None
    except SurgeryNotFound as error:
        raise Refusal(NOT_FOUND, error.message) from None
    return int(after)


async def _tell(socket: WebSocket, parts: Context, surgery_id: str, after: int) -> None:
    with parts.feed.subscribe() as subscription:
        # Subscribed before the past is read: what commits in between comes twice and is told once.
        run, past = await read.facts(parts.unit, surgery_id, after=after, archive=parts.archive)
        for fact in past:
            await socket.send_text(schemas.event(fact).model_dump_json())
            after = fact.seq
        while True:
            try:
                fact = await subscription.next()
            except FellBehind:
                await socket.close(FELL_BEHIND, f"接收过慢，请以 after={after} 重新连接")
                return
            # A past from the archive has the archive's numbers; what is live then belongs to a run of our own.
            if fact.surgery_id == surgery_id and (fact.seq > after or fact.run_id != run.id):
                await socket.send_text(schemas.event(fact).model_dump_json())
                after = fact.seq
