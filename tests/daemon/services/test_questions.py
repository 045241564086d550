"""Questions have their sound before anybody asks for it, keep it, and are shown without it when it cannot be made."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from daemon.domain.confirmation import ConfirmationState
from daemon.domain.errors import NoPendingConfirmation, Refused, TtsFailed, TtsTextEmpty, VoiceNotConfigured
from daemon.domain.facts import FactKind
from daemon.domain.objects import question_key
from daemon.domain.surgery import Surgery
from daemon.services.questions import Pending, Questions
from daemon.services.settle import settle
from daemon.storage.database import Unit
from daemon.storage.objects import FolderStore
from daemon.storage.schema import confirmations
from speech.chain import Voice
from speech.errors import ProviderFailed
from speech.provider import Spoken, Synthesizer
from tests import rules
from tests.daemon.conftest import Told
from tests.daemon.rows import saved, surgery
from tests.daemon.services.test_objects import delivering, objects_on, told_of
from tests.daemon.services.test_settle import answer, asked
from tests.waiting import DEADLINE_S, until


class Studio:
    """The far side: says whatever it is given, unless it is away."""

    name = "studio"
    voice = "one"

    def __init__(self) -> None:
        self.said: list[str] = []
        self.is_away = False

    def synthesize(self, text: str) -> Spoken:
        self.said.append(text)
        if self.is_away:
            raise ProviderFailed(self.name, "away")
        return Spoken(mp3=b"ID3 " + text.encode(), provider=self.name, duration_s=1.0)


Speaking = Callable[..., AbstractAsyncContextManager[Questions]]


@pytest.fixture
def speaking(unit: Unit, tmp_path: Path) -> Speaking:
    @asynccontextmanager
    async def run(*studios: Synthesizer) -> AsyncIterator[Questions]:
        voice = Voice(studios, rules.breaker(failures_max=1000), on_change=lambda name, ok, why: None)
        objects, _ = objects_on(unit, FolderStore(tmp_path / "objects"), tmp_path)
        questions = Questions(unit, voice, objects, again_s=0.05)
        running = asyncio.create_task(questions.run())
        try:
            async with delivering(objects):
                yield questions
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    return run


async def spoken(questions: Questions, run: Surgery) -> Pending:
    async with asyncio.timeout(DEADLINE_S):
        with questions.changed.subscribe() as changed:
            while True:
                try:
                    return await questions.pending(run.surgery_id)
                except NoPendingConfirmation:
                    await changed.next()


async def refused(questions: Questions, run: Surgery) -> Refused:
    with pytest.raises(Refused) as caught:
        await spoken(questions, run)
    return caught.value


async def test_a_question_is_spoken_once_however_often_it_is_polled(
    unit: Unit, told: Told, speaking: Speaking, tmp_path: Path
) -> None:
    run, studio = await saved(unit, surgery()), Studio()
    first = await asked(unit, run)
    async with speaking(studio) as questions:
        pending = await spoken(questions, run)
        assert pending.question.id == first
        assert pending.spoken.mp3 == b"ID3 " + pending.question.prompt_text.encode()
        for _ in range(5):
            assert await questions.pending(run.surgery_id) == pending
        await until(lambda: told_of(told, FactKind.OBJECT_STORED))
    assert studio.said == [pending.question.prompt_text]
    kept = tmp_path / "objects" / question_key(run.surgery_id, run.id, first)
    assert kept.read_bytes() == pending.spoken.mp3


async def test_the_same_words_are_spoken_once(unit: Unit, told: Told, speaking: Speaking) -> None:
    run, studio = await saved(unit, surgery()), Studio()
    first = await asked(unit, run)
    async with speaking(studio) as questions:
        one = await spoken(questions, run)
        second = await asked(unit, run, 60)
        questions.wake(told[-1])
        assert (await questions.pending(run.surgery_id)).question.id == first, "first asked, first answered"
        await settle(unit, run.surgery_id, str(first), answer("缝线"), one.question.created_at)
        other = await spoken(questions, run)
    assert (other.question.id, other.spoken) == (second, one.spoken)
    assert len(studio.said) == 1


async def test_what_could_not_be_spoken_is_shown_and_tried_again(unit: Unit, speaking: Speaking) -> None:
    run, studio = await saved(unit, surgery()), Studio()
    question = await asked(unit, run)
    studio.is_away = True
    async with speaking(studio) as questions:
        error = await refused(questions, run)
        assert isinstance(error, TtsFailed)
        assert error.extra["confirmation_id"] == str(question)
        assert error.extra["options"] == [{"label": "gauze", "confidence": 0.7}, {"label": "suture", "confidence": 0.2}]
        studio.is_away = False
        with questions.changed.subscribe() as changed:
            async with asyncio.timeout(DEADLINE_S):
                await changed.next()
        assert (await questions.pending(run.surgery_id)).question.id == question


async def test_without_a_voice_a_question_is_shown(unit: Unit, speaking: Speaking) -> None:
    run = await saved(unit, surgery())
    await asked(unit, run)
    async with speaking() as questions:
        assert isinstance(await refused(questions, run), VoiceNotConfigured)


async def test_a_question_without_words_is_shown(unit: Unit, speaking: Speaking) -> None:
    run = await saved(unit, surgery())
    first = await asked(unit, run)
    async with unit._engine.begin() as connection:
        await connection.execute(sa.update(confirmations).where(confirmations.c.id == first).values(prompt_text=" "))
    async with speaking(Studio()) as questions:
        assert isinstance(await refused(questions, run), TtsTextEmpty)


async def test_after_a_restart_an_open_question_is_spoken_anew_and_kept_once(
    unit: Unit, told: Told, speaking: Speaking
) -> None:
    run = await saved(unit, surgery())
    await asked(unit, run)
    for _ in range(2):
        studio = Studio()
        async with speaking(studio) as questions:
            await spoken(questions, run)
            await until(lambda: told_of(told, FactKind.OBJECT_STORED))
        assert len(studio.said) == 1
    assert len(told_of(told, FactKind.OBJECT_STORED)) == 1


async def test_questions_of_a_surgery_that_is_over_are_not_spoken(unit: Unit, speaking: Speaking) -> None:
    run, studio = await saved(unit, surgery()), Studio()
    first = await asked(unit, run)
    async with unit.begin() as tx:
        question = await tx.confirmations.get(run.id, first)
        assert question is not None
        await tx.confirmations.save(replace(question, state=ConfirmationState.UNRESOLVED))
    other = await saved(unit, surgery("100002", cameras=("c",)))
    await asked(unit, other)
    async with speaking(studio) as questions:
        await spoken(questions, other)
        with pytest.raises(NoPendingConfirmation):
            await questions.pending(run.surgery_id)
    assert len(studio.said) == 1
