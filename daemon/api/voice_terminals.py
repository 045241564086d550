"""`WS /client/voice-terminals/ws`: a room's terminal is told its surgery and what is asked, at every change."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Path, WebSocket
from pydantic import BaseModel

from daemon.api import schemas
from daemon.api.confirmations import pending_response
from daemon.api.context import Context, Injected, caller_of, context, needs
from daemon.api.errors import TABLE, Forbidden, Unauthorized, answers
from daemon.api.keys import Caller, Right
from daemon.api.sockets import BAD_REQUEST, FORBIDDEN, NOT_FOUND, TOO_MANY, UNAUTHORIZED, Refusal, told_until_closed
from daemon.domain.errors import Refused, VoiceTerminalNotFound
from daemon.services.questions import Pending
from daemon.services.terminals import Asked, Terminal
from daemon.storage.database import LedgerUnavailable
from speech.provider import Spoken

log = logging.getLogger(__name__)

router = APIRouter(prefix="/client/voice-terminals", tags=["client"])

TERMINAL_ID_MAX = 64
# What no commit tells of, such as a start that goes on with a half-ended surgery and fails, is seen this much later.
_LOOK_AGAIN_S = 60.0
_LEDGER_AGAIN_S = 2.0
# Longer than a network stumbles; a screen that takes nothing for so long asks nobody anything.
_TAKEN_WITHIN_S = 20.0
_SILENCE = Spoken(mp3=b"", provider="", duration_s=0.0)

Answerer = Annotated[Caller | None, Depends(needs(Right.ANSWER))]
TerminalId = Annotated[str, Path(min_length=1, max_length=TERMINAL_ID_MAX, examples=["vt-01"])]
Send = Callable[[str], Awaitable[None]]


class VoiceAssignment(BaseModel):
    """camera_ids: of the room. surgery_id: null while no surgery takes place in it."""

    type: Literal["assignment"] = "assignment"
    terminal_id: str
    surgery_id: str | None
    or_room_id: str
    camera_ids: list[str]


class VoicePending(schemas.SurgeryPendingConfirmationResponse):
    type: Literal["voice_pending"] = "voice_pending"


class VoiceError(BaseModel):
    code: str
    message: str


class VoicePendingUnspoken(VoicePending):
    """A question without sound, and why: it is to be read, and answered by touch."""

    error: VoiceError


class VoicePendingEmpty(BaseModel):
    type: Literal["voice_pending_empty"] = "voice_pending_empty"
    terminal_id: str
    surgery_id: str | None


@router.get(
    "/{terminal_id}/assignment",
    summary="查询语音终端的手术分配",
    responses=answers(VoiceTerminalNotFound),
)
async def assignment(terminal_id: TerminalId, caller: Answerer, parts: Injected) -> VoiceAssignment:
    """该终端所在手术间当前的手术；没有手术时 surgery_id 为 null。"""
    terminal = _of(caller, terminal_id, parts)
    return _assignment(terminal, await parts.terminals.surgery(terminal))


@router.websocket("/ws")
async def terminal(socket: WebSocket) -> None:
    parts = context(socket)
    await socket.accept()
    try:
        connecting = _allowed(socket, parts)
    except Refusal as refusal:
        await socket.close(refusal.code, refusal.reason)
        return
    with parts.terminals.listening() as changed:
        await told_until_closed(socket, tell(socket.send_text, parts, connecting, changed))


async def tell(
    send: Send, parts: Context, terminal: Terminal, changed: asyncio.Event, *, taken_within_s: float = _TAKEN_WITHIN_S
) -> None:
    """The present state at once, then whatever differs from what was told. Returns when a message is not taken.

    While a message waits to be taken, nothing piles up behind it: what is told next is what is so then.
    """
    told: _Told | None = None
    while True:
        changed.clear()
        look_again_s = _LEDGER_AGAIN_S
        # While the ledger is away, which /health tells of, a screen keeps what it shows.
        with suppress(LedgerUnavailable):
            surgery_id = await parts.terminals.surgery(terminal)
            asked = await parts.terminals.asked(surgery_id) if surgery_id else None
            now = _told(surgery_id, asked)
            try:
                async with asyncio.timeout(taken_within_s):
                    if told is None or told.surgery_id != surgery_id:
                        await send(_assignment(terminal, surgery_id).model_dump_json())
                    if now != told:
                        await send(_question(parts, terminal, surgery_id, asked).model_dump_json())
            except TimeoutError:
                log.warning("voice terminal %s does not take what it is told: disconnected", terminal.id)
                return
            told = now
            look_again_s = _LOOK_AGAIN_S
        with suppress(TimeoutError):
            async with asyncio.timeout(look_again_s):
                await changed.wait()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Told:
    """is_spoken: a question that was told without sound is told once more when it has one."""

    surgery_id: str | None
    question_id: UUID | None
    is_spoken: bool


def _told(surgery_id: str | None, asked: Asked | None) -> _Told:
    return _Told(
        surgery_id=surgery_id,
        question_id=asked.question.id if asked else None,
        is_spoken=asked is not None and not isinstance(asked.sound, Refused),
    )


def _assignment(terminal: Terminal, surgery_id: str | None) -> VoiceAssignment:
    return VoiceAssignment(
        terminal_id=terminal.id,
        surgery_id=surgery_id,
        or_room_id=terminal.room,
        camera_ids=list(terminal.cameras),
    )


def _question(parts: Context, terminal: Terminal, surgery_id: str | None, asked: Asked | None) -> BaseModel:
    if surgery_id is None or asked is None:
        return VoicePendingEmpty(terminal_id=terminal.id, surgery_id=surgery_id)
    error = asked.sound if isinstance(asked.sound, Refused) else None
    spoken = _SILENCE if isinstance(asked.sound, Refused) else asked.sound
    head = Pending(question=asked.question, spoken=spoken)
    body = pending_response(parts, surgery_id, head).model_dump()
    if error is None:
        return VoicePending.model_validate(body)
    _, code = TABLE[type(error)]
    return VoicePendingUnspoken.model_validate({**body, "error": {"code": code, "message": error.message}})


def _allowed(socket: WebSocket, parts: Context) -> Terminal:
    """The terminal that connects. Raises Refusal."""
    terminal_id = socket.query_params.get("terminal_id", "")
    if not 1 <= len(terminal_id) <= TERMINAL_ID_MAX:
        raise Refusal(BAD_REQUEST, f"terminal_id 须为 1 至 {TERMINAL_ID_MAX} 个字符")
    if parts.terminals.listeners >= parts.settings.server.event_clients_max:
        raise Refusal(TOO_MANY, "语音终端连接数已达上限")
    try:
        caller = caller_of(socket, parts)
        if caller is not None and not caller.may(Right.ANSWER):
            raise Forbidden
        return _of(caller, terminal_id, parts)
    except Unauthorized:
        raise Refusal(UNAUTHORIZED, "缺少有效的 API 密钥") from None
    except Forbidden:
        raise Refusal(FORBIDDEN, "该 API 密钥无权作为此语音终端") from None
    except VoiceTerminalNotFound as error:
        raise Refusal(NOT_FOUND, error.message) from None


def _of(caller: Caller | None, terminal_id: str, parts: Context) -> Terminal:
    """A key bound to rooms is for their terminals only. Raises VoiceTerminalNotFound, Forbidden."""
    found = parts.terminals.get(terminal_id)
    if caller is not None and caller.rooms is not None and found.room not in caller.rooms:
        raise Forbidden
    return found
