"""Objects on their way: durable in the spool with a row, then in the store. Bookings never wait for any of it.

What cannot be kept is lost with a reason, a fact, a log line and a count. The store may be away for as long as the
spool has room; each object arrives whole, under a key that is its own, so that sending it twice is sending it once.
"""

import asyncio
import hashlib
import logging
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

from daemon.bridge import off_loop
from daemon.domain.confirmation import Confirmation
from daemon.domain.errors import EvidenceNotFound, ObjectStoreUnavailable
from daemon.domain.facts import FactKind
from daemon.domain.objects import MEDIA_TYPES, KeptObject, ObjectKind, ObjectState, evidence_key
from daemon.domain.surgery import Surgery
from daemon.health import Health
from daemon.services import read
from daemon.services.facts import of_object
from daemon.services.insist import insist
from daemon.storage.database import LedgerUnavailable, Unit
from daemon.storage.objects import ObjectMissing, ObjectStore, Spool, StoreUnavailable
from daemon.supervise import Backoff, keep_running

log = logging.getLogger(__name__)

_COMPONENT = "objects"
_STORE_BACKOFF = Backoff(initial_s=0.5, max_s=60.0)
# Reading threads are shared with the consumption log: a store that hangs must not take them all.
_READS_MAX = 2
_DELETED_AT_ONCE = 200
_RETENTION_EVERY_S = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """age, bytes_max: None keeps for ever. archived_only: runs that are not in the archive yet keep theirs."""

    age: timedelta | None
    bytes_max: int | None
    archived_only: bool


class Objects:
    def __init__(
        self,
        unit: Unit,
        store: ObjectStore,
        spool: Spool,
        health: Health,
        retention: Retention,
        *,
        backoff: Backoff = _STORE_BACKOFF,
    ) -> None:
        self._unit = unit
        self._store = store
        self._spool = spool
        self._health = health
        self._retention = retention
        self._backoff = backoff
        self._spooling = asyncio.Lock()
        self._is_open = False
        self._more = asyncio.Event()
        self._reading = asyncio.Semaphore(_READS_MAX)
        self._away = self._losing = ""
        # Key -> why, in the last round.
        self._refused: dict[str, str] = {}
        self.outcomes: Counter[str] = Counter()

    @property
    def spool_bytes(self) -> int:
        return self._spool.held_bytes

    async def keep(self, surgery: Surgery, sighting_id: UUID, kind: ObjectKind, content: bytes) -> None:
        """Durable in the spool, or reported as lost, when this returns. Waits while the ledger is away."""
        kept = _evidence(surgery, sighting_id, kind, ObjectState.WAITING, datetime.now(UTC))
        await self._keep(surgery, kept, content)

    async def keep_sound(
        self, surgery: Surgery, question: Confirmation, key: str, kind: ObjectKind, content: bytes
    ) -> bool:
        """A question or an answer to it; returns whether there was room for it. What is there already stays."""
        async with self._unit.read() as tx:
            if await tx.objects.get(key) is not None:
                return True
        now = datetime.now(UTC)
        kept = KeptObject(
            key=key,
            run_id=surgery.id,
            kind=kind,
            content_type=MEDIA_TYPES[kind],
            state=ObjectState.WAITING,
            sighting_id=question.sighting_id,
            confirmation_id=question.id,
            created_at=now,
            changed_at=now,
        )
        return await self._keep(surgery, kept, content)

    async def _keep(self, surgery: Surgery, kept: KeptObject, content: bytes) -> bool:
        kept = replace(kept, size=len(content), sha256=hashlib.sha256(content).hexdigest())
        try:
            async with self._spooling:
                await self._open_spool()
                await off_loop(self._spool.put, kept.key, content)
        except LedgerUnavailable as error:
            await self._lose(surgery, kept, f"the ledger is away: {error}")
            return False
        except OSError as error:
            self._say(losing=f"evidence is lost: {_text(error)}")
            await self._lose(surgery, kept, _text(error))
            return False
        self._say(losing="")
        await self._save(kept, None)
        self._more.set()
        return True

    async def lost(self, surgery: Surgery, sighting_id: UUID, kind: ObjectKind, why: str) -> None:
        """There was nothing to keep."""
        await self._lose(surgery, _evidence(surgery, sighting_id, kind, ObjectState.LOST, datetime.now(UTC)), why)

    async def recover(self) -> None:
        """After a start, before any camera: what was promised and not kept when the process was killed is lost.

        Raises LedgerUnavailable.
        """
        async with self._unit.read() as tx:
            runs = await tx.outbox.recent_runs()
        for run_id in runs:
            async with self._unit.read() as tx:
                surgery, facts = await tx.surgeries.get(run_id), await tx.outbox.of_run(run_id)
                known = await tx.objects.of_run(run_id)
            for fact in facts:
                if fact.kind in (FactKind.BOOKED, FactKind.ASKED) and fact.evidence and fact.sighting_id is not None:
                    for kind in (ObjectKind.PICTURE, ObjectKind.CLIP):
                        if (fact.sighting_id, kind) not in known:
                            await self.lost(surgery, fact.sighting_id, kind, "stopped before it was kept")

    async def run(self) -> None:
        """Bring what waits into the store, until cancelled; and throw away what is too old."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._deliver_for_ever())
            group.create_task(self._retain_for_ever())

    async def evidence(self, unit: Unit, surgery_id: str, sighting_id: UUID, kind: ObjectKind) -> bytes:
        """The picture or clip of a sighting of the latest run.

        Raises SurgeryNotFound, EvidenceNotFound, ObjectStoreUnavailable.
        """
        run = await read.surgery(unit, surgery_id)
        async with unit.read() as tx:
            kept = await tx.objects.get(evidence_key(surgery_id, run.id, sighting_id, kind))
        missing = EvidenceNotFound("没有这一份证据。", surgery_id=surgery_id, sighting_id=str(sighting_id))
        if kept is None:
            raise missing
        try:
            content = await self._content(kept)
        except OSError as error:
            raise ObjectStoreUnavailable("证据存储暂不可用，请稍后重试。", surgery_id=surgery_id) from error
        if content is None:
            raise missing
        return content

    async def sound(self, key: str) -> bytes | None:
        """What `keep_sound` kept; None where nothing was. Raises LedgerUnavailable, StoreUnavailable, OSError."""
        async with self._unit.read() as tx:
            kept = await tx.objects.get(key)
        return await self._content(kept) if kept is not None else None

    async def _content(self, kept: KeptObject) -> bytes | None:
        """As it was kept; None where it is lost, gone or damaged. Raises StoreUnavailable, or OSError of the spool."""
        if kept.state not in (ObjectState.WAITING, ObjectState.STORED) or kept.sha256 is None:
            return None
        assert kept.size is not None, "what was written has a size"
        async with self._reading:
            try:
                content = await off_loop(self._spool.get, kept.key, kept.sha256) if _waits(kept) else None
                # What has left the spool since the row was read is in the store.
                if content is None:
                    content = await off_loop(self._store.get, kept.key, bytes_max=kept.size)
            except ObjectMissing as error:
                log.warning("object %s: %s %s", kept.key, type(error).__name__, error.hint)
                return None
        if hashlib.sha256(content).hexdigest() != kept.sha256:
            log.error("object %s is not what was stored", kept.key)
            return None
        return content

    async def _deliver_for_ever(self) -> None:
        rounds = 0
        while True:
            await keep_running(self._deliver, on_failure=self._failed, backoff=self._backoff, on=OSError)
            rounds = rounds + 1 if self._refused else 0
            # What is new waits for nothing that was refused: the disk may have room for it.
            with suppress(TimeoutError):
                async with asyncio.timeout(self._backoff.wait_s(rounds) if rounds else None):
                    await self._more.wait()
            self._more.clear()

    async def _deliver(self) -> None:
        """Everything that waits, oldest first, and what was refused in the last round behind all others.

        Raises StoreUnavailable, LedgerUnavailable, OSError of the spool.
        """
        async with self._spooling:
            await self._open_spool()
        await off_loop(self._store.check)
        before, self._refused = self._refused, {}
        # An object that it refused in the last round has not been seen to arrive.
        self._say(away=_first(before))
        for again in (False, True):
            last = None
            while (kept := await self._next_waiting(last)) is not None:
                last = kept
                if (kept.key in before) is again:
                    await self._deliver_or_leave(kept)
        self._say(away=_first(self._refused))

    async def _next_waiting(self, last: KeptObject | None) -> KeptObject | None:
        async with self._unit.read() as tx:
            return await tx.objects.next_waiting(last)

    async def _deliver_or_leave(self, kept: KeptObject) -> None:
        try:
            await self._deliver_one(kept)
        except StoreUnavailable as error:
            # A store that is there and does not take this one may take the next: one object holds up no other.
            await off_loop(self._store.check)
            self._refused[kept.key] = f"{kept.key}: {_text(error)}"
            self._say(away=_first(self._refused))
            log.debug("object %s waits: %s", kept.key, error)

    async def _deliver_one(self, kept: KeptObject) -> None:
        assert kept.sha256 is not None, "what waits was written"
        try:
            async with self._spooling:
                content = await off_loop(self._spool.get, kept.key, kept.sha256)
        except OSError as error:
            raise StoreUnavailable(f"its spool file: {_text(error)}") from error
        async with self._unit.read() as tx:
            surgery = await tx.surgeries.get(kept.run_id)
        if content is None:
            await self._mark(surgery, replace(kept, state=ObjectState.LOST, why="its spool file is gone or damaged"))
            return
        await off_loop(self._store.put, kept.key, content, kept.content_type)
        await self._mark(surgery, replace(kept, state=ObjectState.STORED))
        async with self._spooling:
            await off_loop(self._spool.delete, kept.key)

    async def _mark(self, surgery: Surgery, kept: KeptObject) -> None:
        kept = replace(kept, changed_at=datetime.now(UTC))
        async with self._unit.begin() as tx:
            await tx.objects.save(kept)
            await tx.emit(of_object(surgery, kept))
        self._count(kept)

    async def _lose(self, surgery: Surgery, kept: KeptObject, why: str) -> None:
        kept = replace(kept, state=ObjectState.LOST, why=why, size=None, sha256=None)
        await self._save(kept, surgery)
        self._count(kept)

    async def _save(self, kept: KeptObject, lost_in: Surgery | None) -> None:
        async def attempt() -> None:
            async with self._unit.begin() as tx:
                await tx.objects.add(kept)
                if lost_in is not None:
                    await tx.emit(of_object(lost_in, kept))

        await insist("objects", attempt, health=self._health)

    async def _open_spool(self) -> None:
        if self._is_open:
            return
        keys = await off_loop(self._spool.listed)
        async with self._unit.read() as tx:
            waiting = await tx.objects.in_state(ObjectState.WAITING, keys)
            stored = await tx.objects.in_state(ObjectState.STORED, keys)
        await off_loop(self._spool.open, waiting=waiting, stored=stored)
        self._is_open = True

    async def _retain_for_ever(self) -> None:
        while True:
            try:
                await self.retain(datetime.now(UTC))
            except OSError as error:
                log.warning("retention waits for the next round: %s", _text(error))
            await asyncio.sleep(_RETENTION_EVERY_S)

    async def retain(self, now: datetime) -> int:
        """Delete what is too old or too much, oldest first; returns how many. Raises StoreUnavailable."""
        rules, deleted = self._retention, 0
        if rules.age is None and rules.bytes_max is None:
            return 0
        async with self._unit.read() as tx:
            total = await tx.objects.stored_bytes()
        while True:
            async with self._unit.read() as tx:
                rows = await tx.objects.oldest_deletable(archived_only=rules.archived_only, limit=_DELETED_AT_ONCE)
            for kept in rows:
                too_old = rules.age is not None and now - kept.created_at > rules.age
                too_much = rules.bytes_max is not None and total > rules.bytes_max
                if not (too_old or too_much):
                    return deleted
                await off_loop(self._store.delete, kept.key)
                gone = replace(kept, state=ObjectState.EXPIRED, changed_at=now, why="age" if too_old else "size")
                async with self._unit.begin() as tx:
                    await tx.objects.save(gone)
                    await tx.emit(of_object(await tx.surgeries.get(kept.run_id), gone))
                total -= kept.size or 0
                deleted += 1
                self.outcomes[ObjectState.EXPIRED] += 1
            if len(rows) < _DELETED_AT_ONCE:
                return deleted

    def _failed(self, error: Exception, wait_s: float) -> None:
        self._say(away=_text(error))

    def _say(self, *, away: str | None = None, losing: str | None = None) -> None:
        """Said once when it breaks and once when it is back."""
        self._away = self._away if away is None else away
        self._losing = self._losing if losing is None else losing
        why = "; ".join(part for part in (self._losing, self._away) if part)
        if self._health.set(_COMPONENT, ok=not why, why=why):
            if why:
                log.error("objects: %s. Bookings go on. %s", why, StoreUnavailable.hint)
            else:
                log.info("objects: evidence is being stored")

    def _count(self, kept: KeptObject) -> None:
        self.outcomes[kept.state] += 1
        if kept.state is ObjectState.LOST:
            log.warning("object %s is lost: %s", kept.key, kept.why)


def _evidence(surgery: Surgery, sighting_id: UUID, kind: ObjectKind, state: ObjectState, now: datetime) -> KeptObject:
    return KeptObject(
        key=evidence_key(surgery.surgery_id, surgery.id, sighting_id, kind),
        run_id=surgery.id,
        kind=kind,
        content_type=MEDIA_TYPES[kind],
        state=state,
        sighting_id=sighting_id,
        created_at=now,
        changed_at=now,
    )


def _first(refused: dict[str, str]) -> str:
    return next(iter(refused.values()), "")


def _waits(kept: KeptObject) -> bool:
    return kept.state is ObjectState.WAITING


def _text(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    said = str(error)
    return said or type(error).__name__
