"""A question is settled once, whoever answers first, and the ledger says by whom."""

import asyncio
from uuid import UUID, uuid4

import pytest

from daemon.domain.confirmation import ConfirmationState
from daemon.domain.errors import ChoiceNotAnOption, ConfirmationAlreadyResolved, ConfirmationNotFound, Refused
from daemon.domain.facts import FactKind
from daemon.domain.ledger import PostingKind, Source, details
from daemon.domain.sighting import Outcome
from daemon.domain.surgery import Surgery, SurgeryState
from daemon.services import read
from daemon.services.observe import observe
from daemon.services.settle import Choice, Settled, settle
from daemon.storage.database import Unit
from tests import rules
from tests.daemon.conftest import Told
from tests.daemon.rows import CANDIDATES, SUTURE, at, saved, seen, surgery

RULES = rules.observing(evidence=False)


async def asked(unit: Unit, run: Surgery, second: float = 0) -> UUID:
    await observe(unit, run, CANDIDATES, seen(second, outcome=Outcome.ASKED), RULES, at(second + 1))
    async with unit.read() as tx:
        return (await tx.confirmations.of_run(run.id, [ConfirmationState.PENDING]))[-1].id


def answer(word: str | None, who: str = "D1001") -> Choice:
    return Choice(word=word, doctor_id=who, source=Source.TOUCH)


async def test_a_yes_posts_the_item_in_the_place_of_the_placeholder(unit: Unit, told: Told) -> None:
    run = await saved(unit, surgery())
    question = await asked(unit, run)
    settled = await settle(unit, run.surgery_id, str(question), answer("HC002"), at(30))
    assert settled.chosen is not None
    async with unit.read() as tx:
        placeholder, row = await tx.ledger.of_run(run.id)
        kept = await tx.confirmations.get(run.id, question)
    assert (row.kind, row.item, row.doctor_id, row.source) == (
        PostingKind.CONSUMPTION,
        SUTURE,
        "D1001",
        Source.TOUCH,
    )
    assert (row.voids, row.timestamp, row.posted_at) == (placeholder.id, at(0), at(30))
    assert kept == settled.confirmation
    fact = told[-1][0]
    assert (fact.kind, fact.qty, fact.item, fact.doctor_id) == (FactKind.CONFIRMED, 1, SUTURE, "D1001")


async def test_a_no_books_nothing_and_leaves_no_placeholder(unit: Unit, told: Told) -> None:
    run = await saved(unit, surgery())
    question = await asked(unit, run)
    await settle(unit, run.surgery_id, str(question), answer(None), at(30))
    async with unit.read() as tx:
        assert details(await tx.ledger.of_run(run.id), include_pending=True) == []
    assert (told[-1][0].kind, told[-1][0].qty) == (FactKind.REJECTED, 0)


async def test_of_two_answers_at_once_one_wins_and_the_other_is_told(unit: Unit) -> None:
    run = await saved(unit, surgery())
    question = str(await asked(unit, run))
    answers = await asyncio.gather(
        *(settle(unit, run.surgery_id, question, answer(word), at(30)) for word in ("gauze", None, "suture", "gauze")),
        return_exceptions=True,
    )
    assert [type(each) for each in answers].count(ConfirmationAlreadyResolved) == 3
    (won,) = [each for each in answers if isinstance(each, Settled)]
    async with unit.read() as tx:
        rows = await tx.ledger.of_run(run.id)
        kept = await tx.confirmations.get(run.id, UUID(question))
    assert kept == won.confirmation
    assert len(rows) == 2


@pytest.mark.parametrize("name", ["nobody's", "of another surgery", "not an id", "of an ended surgery"])
async def test_a_question_that_is_not_open_here_is_not_found(unit: Unit, name: str) -> None:
    run, other = await saved(unit, surgery()), await saved(unit, surgery("100002", cameras=("c",)))
    question = await asked(unit, run)
    if name == "of an ended surgery":
        await saved(unit, surgery(id=run.id, state=SurgeryState.ENDED, ended_at=at(40)))
    surgery_id, key = {
        "nobody's": (run.surgery_id, str(uuid4())),
        "of another surgery": (other.surgery_id, str(question)),
        "not an id": (run.surgery_id, "HC001"),
        "of an ended surgery": (run.surgery_id, str(question)),
    }[name]
    with pytest.raises(ConfirmationNotFound):
        await settle(unit, surgery_id, key, answer(None), at(50))


async def test_a_word_that_is_no_option_leaves_the_question_open(unit: Unit, told: Told) -> None:
    run = await saved(unit, surgery())
    question = await asked(unit, run)
    before = len(told)
    with pytest.raises(ChoiceNotAnOption, match="可选：gauze、suture"):
        await settle(unit, run.surgery_id, str(question), answer("clamp"), at(30))
    assert len(told) == before
    assert (await read.head_of_queue(unit, run.surgery_id)).id == question


async def test_questions_are_answered_in_the_order_they_were_asked(unit: Unit) -> None:
    run = await saved(unit, surgery())
    first = await asked(unit, run, 0)
    second = await asked(unit, run, 60)
    assert (await read.head_of_queue(unit, run.surgery_id)).id == first
    await settle(unit, run.surgery_id, str(first), answer(None), at(90))
    assert (await read.head_of_queue(unit, run.surgery_id)).id == second
    await settle(unit, run.surgery_id, str(second), answer(None), at(91))
    with pytest.raises(Refused):
        await read.head_of_queue(unit, run.surgery_id)
