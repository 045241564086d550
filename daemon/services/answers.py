"""An answer by voice: kept, heard, understood, settled. Whatever fails before the end leaves the question as it was."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import uuid4

from daemon.bridge import off_loop
from daemon.domain import errors
from daemon.domain.catalogue import Catalogue
from daemon.domain.confirmation import Confirmation, ConfirmationState, Heard, Option
from daemon.domain.ledger import Source
from daemon.domain.objects import ObjectKind, answer_key
from daemon.domain.surgery import Surgery
from daemon.metrics import Metrics
from daemon.services.objects import Objects
from daemon.services.questions import NO_VOICE
from daemon.services.settle import Choice, Settled, pending, settle
from daemon.storage.database import Unit
from speech.answers import Meaning, understand
from speech.audio import AudioRules, Recording, read_answer
from speech.chain import Ear
from speech.errors import AllFailed, AudioInvalid, AudioProblem, NothingConfigured, NotUnderstood
from speech.mentions import AnswerOption
from speech.phrases import phrases

log = logging.getLogger(__name__)

# Said to whoever answered; {…} are filled from the rules.
_AUDIO: dict[AudioProblem, tuple[type[errors.VoiceRefused], str]] = {
    AudioProblem.EMPTY: (errors.VoiceAudioEmpty, "录音为空，请重新录音。"),
    AudioProblem.NOT_WAV: (errors.VoiceAudioInvalid, "录音不是有效的 WAV 文件，建议使用 16 kHz 单声道 PCM。"),
    AudioProblem.TOO_LARGE: (errors.VoiceAudioTooLarge, "录音文件过大，上限 {mib:g} MiB。"),
    AudioProblem.TOO_LONG: (errors.VoiceAudioTooLong, "录音过长，上限 {seconds:g} 秒，请只说答案。"),
    AudioProblem.NO_SPEECH: (errors.VoiceNoSpeech, "没有听到说话，请靠近麦克风再说一遍。"),
    AudioProblem.CLIPPED: (errors.VoiceAudioClipped, "录音失真，请离麦克风远一点再说一遍。"),
}
# Answers that are listened to at once; the others wait.
_HEARING_MAX = 2
# These are no recordings of anybody: there is nothing to keep, and nobody has tried to answer.
_NO_RECORDING = (AudioProblem.EMPTY, AudioProblem.NOT_WAV, AudioProblem.TOO_LARGE, AudioProblem.TOO_LONG)
_UNSETTLED: dict[Meaning, tuple[type[errors.VoiceRefused], str]] = {
    Meaning.UNCLEAR: (errors.VoiceAnswerUnclear, "没有听明白是哪一个，请再说一遍。{how}"),
    Meaning.UNSURE: (errors.VoiceAnswerUnsure, "没有得到明确的答复，待确认项保持不变，请听题后再答。"),
    Meaning.CANCELLED: (errors.VoiceAnswerCancelled, "已取消本次回答，待确认项保持不变。"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerRules:
    """retries_max: answers by voice until the client is told to stop trying. has_object_server: recordings are
    kept on one, not in a folder."""

    audio: AudioRules
    retries_max: int
    has_object_server: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """An uploaded file, as its client named it."""

    filename: str
    content: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """audio_key: None where the recording could not be kept."""

    settled: Settled
    heard: Heard
    audio_key: str | None


class Answers:
    def __init__(
        self, unit: Unit, ear: Ear, objects: Objects, catalogue: Catalogue, metrics: Metrics, rules: AnswerRules
    ) -> None:
        self._unit = unit
        self._ear = ear
        self._objects = objects
        self._catalogue = catalogue
        self._metrics = metrics
        self._rules = rules
        # Threads are shared: answers of many rooms at once must not take them all.
        self._hearing = asyncio.Semaphore(_HEARING_MAX)

    async def resolve(
        self, surgery_id: str, confirmation_id: str, recorded: Recorded, doctor_id: str, clock: Callable[[], datetime]
    ) -> Resolved:
        """Raises the errors of `settle`, any VoiceRefused, VoiceNotConfigured, AsrFailed, AnswerNotKept."""
        async with self._unit.read() as tx:
            run, question = await pending(tx, surgery_id, confirmation_id)
        if not recorded.filename.lower().endswith(".wav"):
            told = f"audio 必须是 .wav 文件，收到文件名「{recorded.filename[:80]}」。"
            raise self._refused(question, errors.VoiceAudioInvalid, told)
        heard, audio_key = await self._heard(run, question, recorded.content)
        understood = understand(heard.text, [self._spoken_of(option) for option in question.options])
        self._metrics.answers.labels(heard.provider, understood.meaning.value).inc()
        if understood.meaning in _UNSETTLED:
            refused, message = _UNSETTLED[understood.meaning]
            log.info("question %s: answer %s by rule %s", question.id, understood.meaning.value, understood.why)
            raise await self._missed(run, question, refused, message.format(how=_how(question)), asr_text=heard.text)
        answer = Choice(word=understood.label, doctor_id=doctor_id, source=Source.VOICE, heard=heard)
        settled = await settle(self._unit, surgery_id, confirmation_id, answer, clock())
        return Resolved(settled=settled, heard=heard, audio_key=audio_key)

    async def _heard(self, run: Surgery, question: Confirmation, content: bytes) -> tuple[Heard, str | None]:
        async with self._hearing:
            try:
                recording = await off_loop(read_answer, content, self._rules.audio)
            except AudioInvalid as error:
                refused, message = _AUDIO[error.problem]
                log.info("question %s: %s", question.id, error)
                told = message.format(mib=self._rules.audio.bytes_max / 2**20, seconds=self._rules.audio.seconds_max)
                if error.problem in _NO_RECORDING:
                    raise self._refused(question, refused, told) from error
                await self._keep(run, question, content)
                raise await self._missed(run, question, refused, told) from error
            audio_key = await self._keep(run, question, content)
            return await self._recognized(run, question, recording), audio_key

    async def _recognized(self, run: Surgery, question: Confirmation, recording: Recording) -> Heard:
        valid = phrases([self._spoken_of(option) for option in question.options])
        try:
            heard = await off_loop(self._ear.hear, recording.pcm, valid)
        except NotUnderstood as error:
            log.info("question %s: %s", question.id, error)
            self._metrics.answers.labels(error.provider, "not_understood").inc()
            raise await self._missed(
                run, question, errors.VoiceAsrFailed, f"没有听清，请再说一遍。{_how(question)}"
            ) from error
        except NothingConfigured as error:
            raise errors.VoiceNotConfigured(
                NO_VOICE, surgery_id=run.surgery_id, confirmation_id=str(question.id)
            ) from error
        except AllFailed as error:
            log.warning("question %s: no ear works: %s", question.id, error)
            raise errors.AsrFailed(
                "语音识别服务暂不可用，待确认项保持不变，请稍后重试或在触屏上确认。",
                surgery_id=run.surgery_id,
                confirmation_id=str(question.id),
            ) from error
        return Heard(text=heard.text, provider=heard.provider)

    async def _keep(self, run: Surgery, question: Confirmation, content: bytes) -> str | None:
        key = answer_key(run.surgery_id, run.id, question.id, uuid4())
        if await self._objects.keep_sound(run, question, key, ObjectKind.ANSWER, content):
            return key
        # A site that names an object server wants every answer there; a folder is a convenience.
        if self._rules.has_object_server:
            raise errors.AnswerNotKept(
                "录音无法上传到对象存储，待确认项保持不变，请稍后重试或在触屏上确认。",
                surgery_id=run.surgery_id,
                confirmation_id=str(question.id),
            )
        return None

    async def _missed(
        self,
        run: Surgery,
        question: Confirmation,
        refused: type[errors.VoiceRefused],
        message: str,
        *,
        asr_text: str | None = None,
    ) -> errors.Refused:
        """Counted, unless somebody settled the question meanwhile."""
        async with self._unit.begin() as tx:
            now = await tx.confirmations.get(run.id, question.id)
            assert now is not None, "questions are never deleted"
            if now.state is not ConfirmationState.PENDING:
                return errors.ConfirmationAlreadyResolved(
                    "该待确认项已处理过。", surgery_id=run.surgery_id, confirmation_id=str(question.id)
                )
            missed = replace(now, attempts=now.attempts + 1)
            await tx.confirmations.save(missed)
        return self._refused(missed, refused, message, asr_text=asr_text)

    def _refused(
        self,
        question: Confirmation,
        refused: type[errors.VoiceRefused],
        message: str,
        *,
        asr_text: str | None = None,
    ) -> errors.Refused:
        left = max(0, self._rules.retries_max - question.attempts)
        if not left:
            message += "语音重试次数已用完，请在触屏上确认。"
        extra = {"asr_text": asr_text} if asr_text is not None else {}
        return refused(message, confirmation_id=str(question.id), retry_remaining=left, **extra)

    def _spoken_of(self, option: Option) -> AnswerOption:
        """Everything a person may call it."""
        names = [option.item.item_name, option.item.item_id, option.label]
        if product := self._catalogue.find(option.item.item_name):
            names += product.spoken
        return AnswerOption(label=option.label, names=tuple(dict.fromkeys(name for name in names if name.strip())))


def _how(question: Confirmation) -> str:
    if len(question.options) == 1:
        return "可以说“是的”或“不是”。"
    return "可以说“第一个”等序号、耗材名称，或“都不是”。"
