"""Voice terminals: which surgery a terminal's room has, and which question is asked there.

A terminal is told the present state, not its history. Commits, and sounds that became ready, only wake whoever listens;
what is told is read anew each time, so that a wake-up too few, or many at once, neither loses nor doubles a question.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from daemon.domain.confirmation import Confirmation
from daemon.domain.errors import (
    NoPendingConfirmation,
    Refused,
    TtsFailed,
    TtsTextEmpty,
    VoiceNotConfigured,
    VoiceTerminalNotFound,
)
from daemon.domain.facts import Fact, FactKind
from daemon.domain.surgery import Surgery, SurgeryState
from daemon.feed import FellBehind
from daemon.services import read
from daemon.services.questions import Questions
from daemon.storage.database import LedgerUnavailable, Unit
from speech.provider import Spoken

log = logging.getLogger(__name__)

RoomOf = Callable[[frozenset[str]], str | None]

_STARTS = frozenset({FactKind.SURGERY_STARTED, FactKind.SURGERY_RESUMED})
_CHANGES = _STARTS | {
    FactKind.SURGERY_ENDED,
    FactKind.ASKED,
    FactKind.CONFIRMED,
    FactKind.REJECTED,
    FactKind.UNRESOLVED,
}


_STARTS_MAX = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Terminal:
    """The voice terminal of a room; several screens may share it. cameras: of the room."""

    id: str
    room: str
    cameras: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The question of a room. sound: its sound, or why it cannot be spoken."""

    question: Confirmation
    sound: Spoken | Refused


class Terminals:
    """Those of the site, and who listens for them. Event loop only."""

    def __init__(self, unit: Unit, questions: Questions, terminals: Iterable[Terminal], room_of: RoomOf) -> None:
        """room_of: the room that a surgery with these cameras takes place in, None where that is not clear."""
        self._unit = unit
        self._questions = questions
        self._terminals = {terminal.id: terminal for terminal in terminals}
        self._rooms = {terminal.room for terminal in self._terminals.values()}
        self._room_of = room_of
        self._listening: set[asyncio.Event] = set()
        # Only to warn of: what does not fit is not missed.
        self._started = asyncio.Queue[Fact](_STARTS_MAX)

    def get(self, terminal_id: str) -> Terminal:
        """Raises VoiceTerminalNotFound."""
        if terminal_id not in self._terminals:
            raise VoiceTerminalNotFound(f"没有手术间使用该语音终端：{terminal_id}", terminal_id=terminal_id)
        return self._terminals[terminal_id]

    async def surgery(self, terminal: Terminal) -> str | None:
        """The surgery_id of the terminal's room. Raises LedgerUnavailable."""
        async with self._unit.read() as tx:
            run = surgery_in(terminal.room, await tx.surgeries.active(), self._room_of)
        return run.surgery_id if run else None

    async def asked(self, surgery_id: str) -> Asked | None:
        """What the surgery's queue asks now; None where nothing is asked. Raises LedgerUnavailable."""
        while True:
            try:
                pending = await self._questions.pending(surgery_id)
            except NoPendingConfirmation:
                return None
            except (VoiceNotConfigured, TtsFailed, TtsTextEmpty) as silent:
                with suppress(NoPendingConfirmation):
                    question = await read.head_of_queue(self._unit, surgery_id)
                    # Answered in between, another one is at the head, and may well have a sound.
                    if str(question.id) == silent.extra["confirmation_id"]:
                        return Asked(question=question, sound=silent)
            else:
                return Asked(question=pending.question, sound=pending.spoken)

    @contextmanager
    def listening(self) -> Iterator[asyncio.Event]:
        """An event that is set whenever something may have changed; the listener clears it before it looks."""
        changed = asyncio.Event()
        self._listening.add(changed)
        try:
            yield changed
        finally:
            self._listening.discard(changed)

    @property
    def listeners(self) -> int:
        return len(self._listening)

    def wake(self, facts: list[Fact]) -> None:
        """Told of every commit, in order."""
        if any(fact.kind in _CHANGES for fact in facts):
            self._wake()
        for fact in facts:
            if fact.kind in _STARTS:
                with suppress(asyncio.QueueFull):
                    self._started.put_nowait(fact)

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._hear_of_sounds(), name="terminals: sounds")
            group.create_task(self._warn_of_silence(), name="terminals: starts")

    async def _hear_of_sounds(self) -> None:
        while True:
            with suppress(FellBehind), self._questions.changed.subscribe() as subscription:
                self._wake()
                while True:
                    await subscription.next()
                    self._wake()

    async def _warn_of_silence(self) -> None:
        """Each surgery that starts and that no terminal will hear of is said in the log."""
        while True:
            start = await self._started.get()
            try:
                async with self._unit.read() as tx:
                    run = await tx.surgeries.get(start.run_id)
            except LedgerUnavailable as error:
                log.error("surgery %s: its voice terminal cannot be looked up: %s", start.surgery_id, error)
                continue
            cameras = ", ".join(run.cameras)
            room = self._room_of(frozenset(run.cameras))
            if room is None:
                log.warning("surgery %s has no voice terminal: no one room has cameras %s", run.surgery_id, cameras)
            elif room not in self._rooms:
                log.warning("surgery %s has no voice terminal: rooms.%s.voice_terminal is unset", run.surgery_id, room)

    def _wake(self) -> None:
        for changed in self._listening:
            changed.set()


def surgery_in(room: str, runs: Iterable[Surgery], room_of: RoomOf) -> Surgery | None:
    """The running surgery of a room; of several, each with a part of the cameras, the one started last."""
    here = [run for run in runs if run.state is SurgeryState.RUNNING and room_of(frozenset(run.cameras)) == room]
    return max(here, key=lambda run: (run.started_at, run.id), default=None)
