"""A question about a sighting, and its one answer."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from daemon.domain.catalogue import Item

ORDINALS = ("第一个", "第二个", "第三个")


class ConfirmationState(StrEnum):
    PENDING = "pending"
    CONFIRMED = "confirmed"
    REJECTED = "rejected"
    UNRESOLVED = "unresolved"


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """label: the model's; item: what is booked if it is chosen."""

    label: str
    confidence: float
    item: Item


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """What was made of an answer by voice. provider: who heard it."""

    text: str
    provider: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirmation:
    """placeholder_id: the row of the open question. attempts: answers by voice that settled nothing."""

    id: UUID
    run_id: UUID
    sighting_id: UUID
    placeholder_id: UUID
    state: ConfirmationState
    prompt_text: str
    options: tuple[Option, ...]
    model_top1_label: str
    model_top1_confidence: float
    created_at: datetime
    settled_at: datetime | None = None
    settled_by: str | None = None
    chosen_label: str | None = None
    attempts: int = 0
    heard: Heard | None = None

    @property
    def is_open(self) -> bool:
        """Nobody has answered: it is asked now, or was when the surgery ended."""
        return self.state in (ConfirmationState.PENDING, ConfirmationState.UNRESOLVED)

    def option(self, word: str) -> Option | None:
        """The option a person names by label, item name or item id."""
        return next((o for o in self.options if word in (o.label, o.item.item_name, o.item.item_id)), None)

    def settled(self, chosen: Option | None, by: str, now: datetime, heard: Heard | None = None) -> "Confirmation":
        """Answered: the chosen option, or None for none of them. Only an open question can be answered."""
        assert self.is_open, self.state
        return replace(
            self,
            state=ConfirmationState.CONFIRMED if chosen else ConfirmationState.REJECTED,
            settled_at=now,
            settled_by=by,
            chosen_label=chosen.label if chosen else None,
            heard=heard,
        )


def prompt(options: Sequence[Option]) -> str:
    """What the nurse is asked. One option is a yes/no question; several are named with ordinals."""
    if len(options) == 1:
        return f"请确认：刚才使用的是{options[0].item.item_name}吗？"
    named = "，".join(f"{ordinal}，{option.item.item_name}" for ordinal, option in zip(ORDINALS, options, strict=False))
    return f"请确认刚才使用的耗材：{named}。如果都不是，请说都不是。"
