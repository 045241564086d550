"""Questions, in the order they were asked."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from daemon.domain.catalogue import Item
from daemon.domain.confirmation import Confirmation, ConfirmationState, Heard, Option
from daemon.domain.surgery import Surgery, SurgeryState
from daemon.storage.schema import confirmations, surgeries
from daemon.storage.surgeries import SurgeryRows


class ConfirmationRows:
    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def add(self, confirmation: Confirmation) -> None:
        await self._connection.execute(
            sa.insert(confirmations).values(
                id=confirmation.id,
                run_id=confirmation.run_id,
                sighting_id=confirmation.sighting_id,
                placeholder_id=confirmation.placeholder_id,
                prompt_text=confirmation.prompt_text,
                options=[_option_body(option) for option in confirmation.options],
                model_top1_label=confirmation.model_top1_label,
                model_top1_confidence=confirmation.model_top1_confidence,
                created_at=confirmation.created_at,
                **_outcome(confirmation),
            )
        )

    async def save(self, confirmation: Confirmation) -> None:
        """Only the outcome of a question ever changes."""
        await self._connection.execute(
            sa.update(confirmations).where(confirmations.c.id == confirmation.id).values(**_outcome(confirmation))
        )

    async def get(self, run_id: UUID, confirmation_id: UUID) -> Confirmation | None:
        query = sa.select(confirmations).where(confirmations.c.id == confirmation_id, confirmations.c.run_id == run_id)
        row = (await self._connection.execute(query)).first()
        return _confirmation(row) if row else None

    async def pending(self) -> list[tuple[Surgery, Confirmation]]:
        """All that is asked now, in all surgeries that run, first asked first."""
        query = (
            sa.select(confirmations)
            .join(surgeries, surgeries.c.id == confirmations.c.run_id)
            .where(confirmations.c.state == ConfirmationState.PENDING, surgeries.c.state == SurgeryState.RUNNING)
            .order_by(confirmations.c.created_at, confirmations.c.id)
        )
        asked = [_confirmation(row) for row in await self._connection.execute(query)]
        runs = {run_id: await SurgeryRows(self._connection).get(run_id) for run_id in {each.run_id for each in asked}}
        return [(runs[each.run_id], each) for each in asked]

    async def of_run(self, run_id: UUID, states: Sequence[ConfirmationState]) -> list[Confirmation]:
        """First asked, first listed."""
        query = (
            sa.select(confirmations)
            .where(confirmations.c.run_id == run_id, confirmations.c.state.in_(list(states)))
            .order_by(confirmations.c.created_at, confirmations.c.id)
        )
        return [_confirmation(row) for row in await self._connection.execute(query)]


def _outcome(confirmation: Confirmation) -> dict[str, Any]:
    return {
        "state": confirmation.state.value,
        "settled_at": confirmation.settled_at,
        "settled_by": confirmation.settled_by,
        "chosen_label": confirmation.chosen_label,
        "attempts": confirmation.attempts,
        "asr_text": confirmation.heard.text[:500] if confirmation.heard else None,
        "asr_provider": confirmation.heard.provider if confirmation.heard else None,
    }


def _option_body(option: Option) -> dict[str, Any]:
    return {
        "label": option.label,
        "confidence": option.confidence,
        "item_id": option.item.item_id,
        "item_name": option.item.item_name,
    }


def _confirmation(row: sa.Row[Any]) -> Confirmation:
    return Confirmation(
        id=row.id,
        run_id=row.run_id,
        sighting_id=row.sighting_id,
        placeholder_id=row.placeholder_id,
        state=ConfirmationState(row.state),
        prompt_text=row.prompt_text,
        options=tuple(
            Option(
                label=option["label"],
                confidence=option["confidence"],
                item=Item(item_id=option["item_id"], item_name=option["item_name"]),
            )
            for option in row.options
        ),
        model_top1_label=row.model_top1_label,
        model_top1_confidence=row.model_top1_confidence,
        created_at=row.created_at,
        settled_at=row.settled_at,
        settled_by=row.settled_by,
        chosen_label=row.chosen_label,
        attempts=row.attempts,
        heard=Heard(text=row.asr_text or "", provider=row.asr_provider) if row.asr_provider else None,
    )
