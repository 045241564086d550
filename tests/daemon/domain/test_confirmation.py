"""A question: how it is put, what answers it, and that it is answered once."""

from datetime import UTC, datetime
from uuid import UUID

import pytest

from daemon.domain.catalogue import Item
from daemon.domain.confirmation import Confirmation, ConfirmationState, Option, prompt

NOW = datetime(2026, 1, 1, tzinfo=UTC)
OPTIONS = tuple(
    Option(label=label, confidence=0.5, item=Item(item_id=code, item_name=name))
    for label, code, name in [("gauze", "HC1", "纱布"), ("suture", "HC2", "缝线"), ("clamp", "HC3", "止血钳")]
)


def question(state: ConfirmationState = ConfirmationState.PENDING) -> Confirmation:
    return Confirmation(
        id=UUID(int=1),
        run_id=UUID(int=2),
        sighting_id=UUID(int=3),
        placeholder_id=UUID(int=4),
        state=state,
        prompt_text=prompt(OPTIONS),
        options=OPTIONS,
        model_top1_label="gauze",
        model_top1_confidence=0.5,
        created_at=NOW,
    )


def test_one_option_is_a_yes_or_no_question() -> None:
    assert prompt(OPTIONS[:1]) == "请确认：刚才使用的是纱布吗？"


def test_several_options_are_named_with_ordinals_and_a_way_out() -> None:
    assert prompt(OPTIONS) == (
        "请确认刚才使用的耗材：第一个，纱布，第二个，缝线，第三个，止血钳。如果都不是，请说都不是。"
    )


def test_an_option_goes_by_label_item_name_and_item_id() -> None:
    for word in ("suture", "缝线", "HC2"):
        assert question().option(word) is OPTIONS[1]
    assert question().option("胶带") is None


def test_a_yes_and_a_no_keep_who_and_when() -> None:
    yes, no = question().settled(OPTIONS[1], "D1", NOW), question().settled(None, "D1", NOW)
    assert (yes.state, yes.chosen_label, yes.settled_by, yes.settled_at) == ("confirmed", "suture", "D1", NOW)
    assert (no.state, no.chosen_label, no.settled_by, no.settled_at) == ("rejected", None, "D1", NOW)


def test_only_an_open_question_can_be_answered() -> None:
    open_states = {ConfirmationState.PENDING, ConfirmationState.UNRESOLVED}
    for state in open_states:
        assert question(state).settled(None, "D1", NOW).state is ConfirmationState.REJECTED
    for state in set(ConfirmationState) - open_states:
        with pytest.raises(AssertionError):
            question(state).settled(None, "D1", NOW)
