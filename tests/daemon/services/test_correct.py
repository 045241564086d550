"""Corrections add and void by further rows, with who and why, and count once however often they are sent."""

import asyncio
import logging
from dataclasses import replace
from uuid import UUID, uuid4

import pytest

from daemon.domain.catalogue import Catalogue, Product
from daemon.domain.confirmation import ConfirmationState
from daemon.domain.errors import (
    ChoiceNotAnOption,
    ConfirmationAlreadyResolved,
    ConfirmationNotFound,
    IdempotencyKeyReused,
    ItemUnknown,
    PostingAlreadyVoided,
    PostingNotFound,
    PostingNotVoidable,
    Refused,
    SurgeryNotFound,
)
from daemon.domain.facts import FactKind, counted
from daemon.domain.ledger import Correction, Posting, PostingKind, Source, details, summary
from daemon.domain.sighting import Outcome
from daemon.domain.surgery import Surgery, SurgeryState
from daemon.services.correct import Add, Corrected, Corrections, Settle, Void
from daemon.services.observe import observe
from daemon.services.settle import settle
from daemon.storage.database import Unit
from tests.daemon.conftest import Told
from tests.daemon.rows import CANDIDATES, GAUZE, at, saved, seen, surgery
from tests.daemon.services.test_settle import RULES, answer, asked

CATALOGUE = Catalogue(
    [
        Product(name="纱布", code="HC001", aliases=("gauze",)),
        Product(name="缝线", code="HC002/HC003"),
        Product(name="医用胶带", code="HC009"),
    ]
)


def by(key: str | None = None, *, reason: str = "画面被遮挡", doctor_id: str = "D1001") -> Correction:
    return Correction(doctor_id=doctor_id, reason=reason, request_key=key)


@pytest.fixture
def corrections(unit: Unit) -> Corrections:
    return Corrections(unit, CATALOGUE, ("gauze", "suture"))


async def rows(unit: Unit, run: Surgery) -> list[Posting]:
    async with unit.read() as tx:
        return await tx.ledger.of_run(run.id)


async def booked(unit: Unit, run: Surgery, second: float = 0) -> Posting:
    await observe(unit, run, CANDIDATES, seen(second), RULES, at(second + 1))
    return (await rows(unit, run))[-1]


@pytest.mark.parametrize("state", [SurgeryState.RUNNING, SurgeryState.ENDED])
async def test_what_nobody_saw_is_added_with_who_and_why(
    unit: Unit, corrections: Corrections, told: Told, state: SurgeryState
) -> None:
    run = await saved(unit, surgery(state=state, ended_at=at(9) if state is SurgeryState.ENDED else None))
    corrected = await corrections.correct(run.surgery_id, Add(word="gauze"), by(), at(30))
    (row,) = await rows(unit, run)
    assert row == corrected.posting
    assert (row.kind, row.item, row.source) == (PostingKind.CONSUMPTION, GAUZE, Source.CORRECTION)
    assert (row.doctor_id, row.reason, row.timestamp, row.sighting_id) == ("D1001", "画面被遮挡", at(30), None)
    fact = told[-1][0]
    assert (fact.kind, fact.qty, fact.reason, fact.doctor_id) == (FactKind.BOOKED, 1, "画面被遮挡", "D1001")
    assert corrected.message == "已补记：纱布。"


async def test_a_void_takes_a_booking_off_the_count_and_not_out_of_history(
    unit: Unit, corrections: Corrections, told: Told
) -> None:
    run = await saved(unit, surgery())
    wrong = await booked(unit, run)
    right = await booked(unit, run, 60)
    corrected = await corrections.correct(run.surgery_id, Void(posting_id=wrong.id), by(), at(90))
    kept = await rows(unit, run)
    assert kept == [wrong, right, corrected.posting]
    assert [row.posting for row in details(kept)] == [right]
    assert (corrected.posting.kind, corrected.posting.sighting_id) == (PostingKind.VOID, None)
    fact = told[-1][0]
    assert (fact.kind, fact.voids, fact.qty, fact.reason) == (FactKind.VOIDED, wrong.id, 1, "画面被遮挡")
    assert (fact.camera, fact.timestamp, fact.top) == ("a", at(0), seen().top), "as it was shown when it was booked"
    async with unit.read() as tx:
        facts = await tx.outbox.of_run(run.id)
    assert counted(facts) == summary(details(kept))


async def test_a_confirmed_answer_can_be_voided_and_its_question_stays_answered(
    unit: Unit, corrections: Corrections
) -> None:
    run = await saved(unit, surgery())
    question = await asked(unit, run)
    await settle(unit, run.surgery_id, str(question), answer("gauze"), at(30))
    consumption = (await rows(unit, run))[-1]
    corrected = await corrections.correct(run.surgery_id, Void(posting_id=consumption.id), by(), at(90))
    assert corrected.posting.confirmation_id == question
    assert details(await rows(unit, run), include_pending=True) == []


@pytest.mark.parametrize("what", ["a void", "a question that is open", "a question at the end", "voided", "answered"])
async def test_what_does_not_count_cannot_be_voided(unit: Unit, corrections: Corrections, what: str) -> None:
    run = await saved(unit, surgery())
    refusal: type[Refused] = PostingNotVoidable
    if what in ("a void", "voided"):
        wrong = await booked(unit, run)
        void = (await corrections.correct(run.surgery_id, Void(posting_id=wrong.id), by(), at(5))).posting
        target = void.id if what == "a void" else wrong.id
        refusal = PostingNotVoidable if what == "a void" else PostingAlreadyVoided
    else:
        question = await asked(unit, run)
        target = (await rows(unit, run))[0].id
        if what == "answered":
            await settle(unit, run.surgery_id, str(question), answer("gauze"), at(30))
            refusal = PostingAlreadyVoided
        elif what == "a question at the end":
            await saved(unit, surgery(id=run.id, state=SurgeryState.ENDED, ended_at=at(40)))
    before = await rows(unit, run)
    with pytest.raises(refusal):
        await corrections.correct(run.surgery_id, Void(posting_id=target), by(), at(90))
    assert await rows(unit, run) == before


async def test_a_posting_that_is_not_of_this_surgery_is_not_found(unit: Unit, corrections: Corrections) -> None:
    run, other = await saved(unit, surgery()), await saved(unit, surgery("100002", cameras=("c",)))
    for target in (uuid4(), (await booked(unit, run)).id):
        with pytest.raises(PostingNotFound):
            await corrections.correct(other.surgery_id, Void(posting_id=target), by(), at(90))
    with pytest.raises(SurgeryNotFound):
        await corrections.correct("999999", Add(word="纱布"), by(), at(90))


@pytest.mark.parametrize(
    ("word", "near"), [("沙布", ["纱布"]), ("胶带", ["医用胶带"]), ("HC02", ["缝线", "纱布"]), ("x", [])]
)
async def test_an_unknown_item_names_what_may_have_been_meant(
    unit: Unit, corrections: Corrections, word: str, near: list[str]
) -> None:
    await saved(unit, surgery())
    with pytest.raises(ItemUnknown) as refused:
        await corrections.correct("100001", Add(word=word), by(), at(1))
    assert set(near) <= set(refused.value.extra["similar"])  # type: ignore[call-overload]
    assert all(name in refused.value.message for name in (word, *near))


@pytest.mark.parametrize(
    ("word", "requested", "item_id"),
    [
        ("缝线", (), "HC002/HC003"),
        ("缝线", ("HC003",), "HC003"),
        ("HC002", ("HC003",), "HC002"),
        ("医用胶带", ("纱布",), "HC009"),
    ],
)
async def test_the_code_that_the_surgery_uses_is_the_code_of_a_correction(
    unit: Unit, corrections: Corrections, word: str, requested: tuple[str, ...], item_id: str
) -> None:
    await saved(unit, surgery(candidates=requested))
    corrected = await corrections.correct("100001", Add(word=word), by(), at(1))
    assert corrected.posting.item.item_id == item_id


async def test_without_a_catalogue_the_labels_of_the_model_name_the_items(unit: Unit) -> None:
    await saved(unit, surgery())
    corrections = Corrections(unit, Catalogue(), ("纱布", "缝线"))
    assert (await corrections.correct("100001", Add(word=" 缝 线"), by(), at(1))).posting.item.item_id == "缝线"
    with pytest.raises(ItemUnknown):
        await corrections.correct("100001", Add(word="HC001"), by(), at(1))


async def test_the_same_request_again_gives_the_same_answer_and_posts_nothing(
    unit: Unit, corrections: Corrections, told: Told
) -> None:
    run = await saved(unit, surgery())
    wrong = await booked(unit, run)
    for wanted, key in ((Add(word="纱布"), "add-1"), (Void(posting_id=wrong.id), "void-1")):
        first, *others = await asyncio.gather(
            *(corrections.correct(run.surgery_id, wanted, by(key), at(60 + n)) for n in range(4))
        )
        assert others == [first] * 3
    assert len(await rows(unit, run)) == 3
    assert len(told) == 3


async def test_a_key_with_another_request_is_refused(unit: Unit, corrections: Corrections) -> None:
    run = await saved(unit, surgery())
    wrong = await booked(unit, run)
    await corrections.correct(run.surgery_id, Add(word="纱布"), by("k"), at(60))
    others: list[tuple[Add | Void, Correction]] = [
        (Add(word="缝线"), by("k")),
        (Add(word="纱布"), by("k", reason="记错")),
        (Add(word="纱布"), by("k", doctor_id="D2")),
        (Void(posting_id=wrong.id), by("k")),
    ]
    for wanted, who in others:
        with pytest.raises(IdempotencyKeyReused):
            await corrections.correct(run.surgery_id, wanted, who, at(61))
    again = await corrections.correct(run.surgery_id, Add(word="HC001"), by("k"), at(62))
    assert again.posting.posted_at == at(60), "another word for the same item is the same request"
    assert len(await rows(unit, run)) == 2


async def test_of_two_voids_of_one_posting_one_counts(unit: Unit, corrections: Corrections) -> None:
    run = await saved(unit, surgery())
    wrong = Void(posting_id=(await booked(unit, run)).id)
    results = await asyncio.gather(
        *(corrections.correct(run.surgery_id, wrong, by(), at(60)) for _ in range(5)), return_exceptions=True
    )
    assert [type(each) for each in results].count(PostingAlreadyVoided) == 4
    assert sum(isinstance(each, Corrected) for each in results) == 1


async def test_the_log_says_who_and_which_and_not_why(
    unit: Unit, corrections: Corrections, caplog: pytest.LogCaptureFixture
) -> None:
    await saved(unit, surgery())
    with caplog.at_level(logging.INFO, "daemon.services.correct"):
        corrected = await corrections.correct("100001", Add(word="纱布"), by(doctor_id="D1\nroot"), at(1))
    (line,) = caplog.messages
    assert str(corrected.posting.id) in line
    assert "'D1\\nroot'" in line
    assert "画面" not in line
    assert UUID(line.split("correction ")[1].split()[0]) == corrected.posting.id


async def test_a_question_asked_after_a_void_is_untouched_by_it(unit: Unit, corrections: Corrections) -> None:
    run = await saved(unit, surgery())
    wrong = await booked(unit, run)
    await corrections.correct(run.surgery_id, Void(posting_id=wrong.id), by(), at(5))
    await observe(unit, run, CANDIDATES, seen(60, outcome=Outcome.ASKED), RULES, at(61))
    (pending,) = details(await rows(unit, run), include_pending=True)
    assert pending.posting.kind is PostingKind.PLACEHOLDER


async def left_open(unit: Unit) -> tuple[Surgery, UUID]:
    run = await saved(unit, surgery())
    question_id = await asked(unit, run)
    over = replace(run, state=SurgeryState.ENDED, ended_at=at(9))
    async with unit.begin() as tx:
        question = await tx.confirmations.get(run.id, question_id)
        assert question is not None
        await tx.confirmations.save(replace(question, state=ConfirmationState.UNRESOLVED, settled_at=at(9)))
        await tx.surgeries.save(over)
    return over, question_id


async def test_a_question_left_open_is_settled_as_a_correction(
    unit: Unit, told: Told, corrections: Corrections
) -> None:
    run, question_id = await left_open(unit)
    wanted = Settle(confirmation_id=question_id, word="缝线")
    first = await corrections.correct(run.surgery_id, wanted, by("k"), at(20))
    again = await corrections.correct(run.surgery_id, wanted, by("k"), at(21))
    assert first == again
    assert (first.message, first.posting.item.item_name) == ("已确认并记账：缝线。", "缝线")
    assert (first.posting.source, first.posting.reason) == (Source.CORRECTION, "画面被遮挡")
    assert [fact.kind for facts in told for fact in facts][-1:] == [FactKind.CONFIRMED]
    assert [total.item.item_name for total in summary(details(await rows(unit, run)))] == ["缝线"]
    for other in (replace(wanted, word="纱布"), replace(wanted, word=None)):
        with pytest.raises(IdempotencyKeyReused):
            await corrections.correct(run.surgery_id, other, by("k"), at(22))
    with pytest.raises(ConfirmationAlreadyResolved):
        await corrections.correct(run.surgery_id, wanted, by("other"), at(23))


async def test_a_question_left_open_is_denied_as_a_correction(unit: Unit, corrections: Corrections) -> None:
    run, question_id = await left_open(unit)
    wanted = Settle(confirmation_id=question_id, word=None)
    first = await corrections.correct(run.surgery_id, wanted, by("k"), at(20))
    assert first == await corrections.correct(run.surgery_id, wanted, by("k"), at(21))
    assert first.message == "已否认全部候选，不记消耗。"
    assert details(await rows(unit, run), include_pending=True) == []


async def test_a_late_answer_names_a_question_of_this_surgery_and_one_of_its_options(
    unit: Unit, corrections: Corrections
) -> None:
    run, question_id = await left_open(unit)
    with pytest.raises(ConfirmationNotFound):
        await corrections.correct(run.surgery_id, Settle(confirmation_id=uuid4(), word=None), by(), at(20))
    with pytest.raises(ChoiceNotAnOption):
        await corrections.correct(run.surgery_id, Settle(confirmation_id=question_id, word="钳"), by(), at(20))
