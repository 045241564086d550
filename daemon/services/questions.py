"""Questions as sound: spoken once, when they are asked, so that nobody who polls ever waits for a voice.

A question stands at the head of the queue once it has its sound, or once it is known that it cannot be spoken; then it
is shown and answered by touch. What failed is tried again. After a restart an open question has the sound that was kept
of it, at once; only where there is none is it spoken anew.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from uuid import UUID

from daemon.bridge import off_loop
from daemon.domain.confirmation import Confirmation
from daemon.domain.errors import NoPendingConfirmation, Refused, TtsFailed, TtsTextEmpty, VoiceNotConfigured
from daemon.domain.facts import Fact, FactKind
from daemon.domain.objects import ObjectKind, question_key
from daemon.domain.surgery import Surgery
from daemon.feed import Feed
from daemon.services import read
from daemon.services.insist import insist
from daemon.services.objects import Objects
from daemon.storage.database import Unit
from speech import mp3
from speech.chain import Voice
from speech.errors import NothingConfigured, SpeechError, TextEmpty
from speech.provider import Spoken

log = logging.getLogger(__name__)

NO_VOICE = "语音服务未配置，请在触屏上确认。"
_SPEAKING_MAX = 2
_CACHE_MAX = 64
_AGAIN_S = 10.0
_RECOVER_WITHIN_S = 3.0
_WAKING = (FactKind.ASKED, FactKind.SURGERY_STARTED, FactKind.SURGERY_RESUMED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """The question to ask now, and its sound."""

    question: Confirmation
    spoken: Spoken


class Questions:
    """Event loop only; voices work in threads, at most two at a time. changed: the surgery whose head became ready."""

    def __init__(self, unit: Unit, voice: Voice, objects: Objects, *, again_s: float = _AGAIN_S) -> None:
        self._unit = unit
        self._voice = voice
        self._objects = objects
        self._again_s = again_s
        self._more = asyncio.Event()
        self._more.set()
        self._speaking = asyncio.Semaphore(_SPEAKING_MAX)
        # Question -> its sound, or why it has none.
        self._ready: dict[UUID, Spoken | SpeechError] = {}
        self._cache: OrderedDict[tuple[str, str], Spoken] = OrderedDict()
        self.changed = Feed[str]()

    def wake(self, facts: list[Fact]) -> None:
        """Told of every commit, in order."""
        if any(fact.kind in _WAKING for fact in facts):
            self._more.set()

    async def pending(self, surgery_id: str) -> Pending:
        """The head of the queue. Raises NoPendingConfirmation, VoiceNotConfigured, TtsFailed, TtsTextEmpty."""
        question = await read.head_of_queue(self._unit, surgery_id)
        match self._ready.get(question.id):
            case None:
                raise NoPendingConfirmation("待确认的播报正在生成，请稍后重试。", surgery_id=surgery_id)
            case SpeechError() as error:
                raise _unspoken(question, surgery_id, error)
            case spoken:
                return Pending(question=question, spoken=spoken)

    async def recover(self) -> None:
        """After a start, before anybody asks. A store that is away is not waited for. Raises LedgerUnavailable."""
        async with self._unit.read() as tx:
            asked = await tx.confirmations.pending()
        with suppress(TimeoutError):
            async with asyncio.timeout(_RECOVER_WITHIN_S):
                await asyncio.gather(*(self._recover_one(run, question) for run, question in asked))

    async def _recover_one(self, run: Surgery, question: Confirmation) -> None:
        try:
            sound = await self._objects.sound(question_key(run.surgery_id, run.id, question.id))
            if sound is not None:
                length_s = await off_loop(mp3.duration_s, sound)
                self._ready[question.id] = Spoken(mp3=sound, provider="kept", duration_s=length_s)
        except (OSError, mp3.NotMp3) as error:
            log.warning("the sound of question %s cannot be read, it is spoken anew: %s", question.id, error)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self._more.clear()
            await insist("questions", self._speak_all)
            again = any(isinstance(each, SpeechError) for each in self._ready.values())
            with suppress(TimeoutError):
                async with asyncio.timeout(self._again_s if again else None):
                    await self._more.wait()

    async def _speak_all(self) -> None:
        """Every open question that has no sound. Raises LedgerUnavailable."""
        async with self._unit.read() as tx:
            asked = await tx.confirmations.pending()
        silent = [(run, each) for run, each in asked if not isinstance(self._ready.get(each.id), Spoken)]
        self._ready = {each.id: self._ready[each.id] for _, each in asked if each.id in self._ready}
        await asyncio.gather(*(self._speak_one(run, question) for run, question in silent))

    async def _speak_one(self, run: Surgery, question: Confirmation) -> None:
        before = self._ready.get(question.id)
        async with self._speaking:
            try:
                spoken = await self._spoken(question.prompt_text)
            except SpeechError as error:
                self._ready[question.id] = error
                if before is None:
                    log.warning("question %s cannot be spoken: %s", question.id, error)
                    self.changed.publish(run.surgery_id)
                return
        self._ready[question.id] = spoken
        self.changed.publish(run.surgery_id)
        key = question_key(run.surgery_id, run.id, question.id)
        await self._objects.keep_sound(run, question, key, ObjectKind.QUESTION, spoken.mp3)

    async def _spoken(self, text: str) -> Spoken:
        if not text.strip():
            raise TextEmpty("the question has no words")
        key = (self._voice.voice, text)
        if key not in self._cache:
            self._cache[key] = await off_loop(self._voice.speak, text)
        spoken = self._cache[key]
        self._cache.move_to_end(key)
        while len(self._cache) > _CACHE_MAX:
            self._cache.popitem(last=False)
        return spoken


def _unspoken(question: Confirmation, surgery_id: str, error: SpeechError) -> Refused:
    """With all that a screen needs to ask without a voice."""
    refused: Callable[..., Refused]
    match error:
        case NothingConfigured():
            refused, message = VoiceNotConfigured, NO_VOICE
        case TextEmpty():
            refused, message = TtsTextEmpty, "待确认项没有话术文本，无法播报，请在触屏上确认。"
        case _:
            refused, message = TtsFailed, "语音合成失败，请在触屏上确认；服务会自动重试。"
    options = [{"label": option.label, "confidence": option.confidence} for option in question.options]
    return refused(
        message,
        surgery_id=surgery_id,
        confirmation_id=str(question.id),
        prompt_text=question.prompt_text,
        options=options,
    )
