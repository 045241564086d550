"""What `orwatch watch` makes of events that take something back or are about no item."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from daemon.api.schemas import Event
from daemon.cli.screen import Tally, event_line
from daemon.cli.sightings import STYLES
from daemon.domain.facts import FactKind

AT = datetime(2026, 4, 21, 2, 30, tzinfo=UTC)


def event(kind: FactKind, **changes: Any) -> Event:
    fields: dict[str, Any] = {
        "seq": 1, "type": kind, "surgery_id": "100001", "at": AT, "timestamp": AT, "camera": "or-cam-01",
        "item_id": "HC001", "item_name": "纱布", "qty": 1, "doctor_id": "orwatch", "top": [], "reason": None,
        "posting_id": UUID(int=1), "confirmation_id": None, "sighting_id": None, "evidence": None, "voids": None,
    }  # fmt: skip
    return Event(**{**fields, **changes})


def test_a_void_takes_one_off_and_says_by_whom_and_why() -> None:
    tally = Tally()
    for each in (FactKind.BOOKED, FactKind.BOOKED, FactKind.VOIDED):
        tally.add(event(each, doctor_id="D1001", reason="认错了"))
    assert tally.totals == {"HC001": ("纱布", 1)}
    line = event_line(event(FactKind.VOIDED, doctor_id="D1001", reason="认错了"), tally)
    assert all(word in line for word in ("voided", "-> 1", "by D1001", "认错了"))


def test_a_booking_by_hand_names_the_hand() -> None:
    tally = Tally()
    added = event(FactKind.BOOKED, camera=None, doctor_id="D1001", reason="补记")
    tally.add(added)
    assert "by D1001" in event_line(added, tally)


@pytest.mark.parametrize("kind", [FactKind.OBJECT_STORED, FactKind.OBJECT_LOST])
def test_an_object_is_told_by_its_key_and_counts_nothing(kind: FactKind) -> None:
    tally = Tally()
    told = event(kind, item_id=None, item_name=None, qty=0, evidence="100001/a.jpg", reason="disk full")
    tally.add(told)
    assert tally.totals == {}
    line = event_line(told, tally)
    assert kind.value.replace("_", " ") in line
    assert "100001/a.jpg" in line
    assert "disk full" in line


def test_every_kind_of_event_has_a_line() -> None:
    tally = Tally()
    for kind in FactKind:
        tally.add(event(kind))
        assert event_line(event(kind), tally)
    assert {kind for kind in FactKind if not kind.value.startswith("surgery_")} == set(STYLES)
