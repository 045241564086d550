"""What becomes of an observation: booked, asked, merged or ignored, in one transaction, never twice."""

from dataclasses import replace
from datetime import timedelta

from daemon.domain.catalogue import Candidates
from daemon.domain.confirmation import ConfirmationState
from daemon.domain.facts import FactKind
from daemon.domain.ledger import PostingKind
from daemon.domain.sighting import Observation, Outcome
from daemon.domain.surgery import Surgery
from daemon.services.observe import ObserveRules, observe, shows
from daemon.storage.database import Unit
from tests import rules
from tests.daemon.conftest import Told
from tests.daemon.rows import CANDIDATES, GAUZE, at, saved, seen, surgery

RULES = rules.observing(evidence=False)


async def watch(unit: Unit, run: Surgery, *observations: Observation, rules: ObserveRules = RULES) -> list[Outcome]:
    return [await observe(unit, run, CANDIDATES, each, rules, at(100)) for each in observations]


async def kinds(unit: Unit, run: Surgery) -> list[PostingKind]:
    async with unit.read() as tx:
        return [row.kind for row in await tx.ledger.of_run(run.id)]


async def test_a_sure_sighting_is_one_posting_with_its_start_as_timestamp(unit: Unit, told: Told) -> None:
    run = await saved(unit, surgery())
    assert await watch(unit, run, seen(3)) == [Outcome.BOOKED]
    async with unit.read() as tx:
        (row,) = await tx.ledger.of_run(run.id)
    assert (row.kind, row.item, row.qty, row.doctor_id) == (PostingKind.CONSUMPTION, GAUZE, 1, "orwatch")
    assert (row.timestamp, row.posted_at) == (at(3), at(100))
    ((fact,),) = told
    assert (fact.kind, fact.posting_id, fact.item, fact.qty) == (FactKind.BOOKED, row.id, GAUZE, 1)


async def test_an_unsure_one_is_a_question_with_a_placeholder(unit: Unit, told: Told) -> None:
    run = await saved(unit, surgery())
    assert await watch(unit, run, seen(outcome=Outcome.ASKED)) == [Outcome.ASKED]
    async with unit.read() as tx:
        (question,) = await tx.confirmations.of_run(run.id, [ConfirmationState.PENDING])
        (row,) = await tx.ledger.of_run(run.id)
    assert (row.kind, row.id) == (PostingKind.PLACEHOLDER, question.placeholder_id)
    assert [option.item.item_name for option in question.options] == ["纱布", "缝线"]
    assert (question.model_top1_label, question.model_top1_confidence) == ("gauze", 0.7)
    ((fact,),) = told
    assert (fact.kind, fact.qty, fact.confirmation_id) == (FactKind.ASKED, 0, question.id)


async def test_an_ignored_one_is_told_with_its_reason_and_books_nothing(unit: Unit, told: Told) -> None:
    run = await saved(unit, surgery())
    unknown = Candidates(by_label={})
    outcome = await observe(unit, run, unknown, seen(outcome=Outcome.IGNORED), RULES, at(1))
    assert outcome is Outcome.IGNORED
    assert await kinds(unit, run) == []
    ((fact,),) = told
    assert (fact.kind, fact.reason, fact.item and fact.item.item_name) == (FactKind.IGNORED, "too_unsure", "gauze")


async def test_two_cameras_that_see_it_together_are_one_consumption(unit: Unit, told: Told) -> None:
    run = await saved(unit, surgery())
    assert await watch(unit, run, seen(0), seen(4, camera="b")) == [Outcome.BOOKED, Outcome.MERGED]
    assert await kinds(unit, run) == [PostingKind.CONSUMPTION]
    assert (told[1][0].kind, told[1][0].reason) == (FactKind.MERGED, "same_as:a")


async def test_a_sure_camera_beside_a_question_asks_no_second_time(unit: Unit) -> None:
    run = await saved(unit, surgery())
    outcomes = await watch(unit, run, seen(0, outcome=Outcome.ASKED), seen(1, camera="b"))
    assert outcomes == [Outcome.ASKED, Outcome.MERGED]


async def test_what_is_apart_in_time_label_camera_or_surgery_is_booked_again(unit: Unit) -> None:
    run = await saved(unit, surgery())
    later, other, again = seen(6, camera="b"), seen(0, camera="b", label="suture"), seen(0.5)
    assert await watch(unit, run, seen(0), later, other, again) == [Outcome.BOOKED] * 4
    second = await saved(unit, surgery("100002", cameras=("c",)))
    assert await watch(unit, second, seen(0, camera="c")) == [Outcome.BOOKED]


async def test_without_fusion_only_the_very_same_instant_merges(unit: Unit) -> None:
    run = await saved(unit, surgery())
    rules = replace(RULES, fusion=timedelta(0))
    assert await watch(unit, run, seen(0), seen(0.1, camera="b"), rules=rules) == [Outcome.BOOKED, Outcome.BOOKED]


async def test_what_was_in_view_before_a_restart_is_not_booked_again(unit: Unit) -> None:
    run = await saved(unit, surgery())
    outcomes = await watch(
        unit,
        run,
        seen(0),
        seen(600, since_resume=True),
        seen(1200, since_resume=True),  # and after the next restart
        seen(1800),
    )
    assert outcomes == [Outcome.BOOKED, Outcome.MERGED, Outcome.MERGED, Outcome.BOOKED]


async def test_a_question_about_what_is_in_view_is_not_asked_again_after_a_restart(unit: Unit) -> None:
    run = await saved(unit, surgery())
    outcomes = await watch(
        unit, run, seen(0, outcome=Outcome.ASKED), seen(600, outcome=Outcome.ASKED, since_resume=True)
    )
    assert outcomes == [Outcome.ASKED, Outcome.MERGED]


async def test_what_had_gone_before_a_restart_is_another_one_after_it(unit: Unit) -> None:
    run = await saved(unit, surgery())
    await watch(unit, run, seen(0))
    await shows(unit, run, "b", frozenset())
    await shows(unit, run, "a", frozenset({"gauze"}))
    assert await watch(unit, run, seen(600, since_resume=True)) == [Outcome.MERGED], "it was there all the time"
    await shows(unit, run, "a", frozenset({"suture"}))
    assert await watch(unit, run, seen(700, since_resume=True)) == [Outcome.BOOKED]


async def test_of_two_items_in_view_before_a_restart_neither_is_booked_again(unit: Unit) -> None:
    run = await saved(unit, surgery())
    await watch(unit, run, seen(0), seen(5, label="suture"))
    again = [seen(600, since_resume=True), seen(600, label="suture", since_resume=True)]
    assert await watch(unit, run, *again) == [Outcome.MERGED, Outcome.MERGED]


async def test_another_item_in_view_after_a_restart_is_booked(unit: Unit) -> None:
    run = await saved(unit, surgery())
    assert await watch(unit, run, seen(0), seen(600, label="suture", since_resume=True)) == [Outcome.BOOKED] * 2
    assert await watch(unit, run, seen(601, camera="b", since_resume=True)) == [Outcome.BOOKED]
