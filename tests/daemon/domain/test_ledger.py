"""What counts of an append-only ledger, whatever happened in whatever order."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

from hypothesis import given
from hypothesis import strategies as st

from daemon.domain.catalogue import Item
from daemon.domain.ledger import DetailStatus, Posting, PostingKind, Source, details, summary

T0 = datetime(2026, 1, 1, tzinfo=UTC)
ITEMS = [Item(item_id=code, item_name=name) for code, name in [("1", "纱布"), ("2", "缝线"), ("3", "止血钳")]]


def posting(kind: PostingKind, second: int = 0, item: Item = ITEMS[0], voids: UUID | None = None) -> Posting:
    return Posting(
        id=uuid4(),
        run_id=UUID(int=1),
        kind=kind,
        item=item,
        qty=1,
        doctor_id="orwatch",
        source=Source.VISION,
        timestamp=T0 + timedelta(seconds=second),
        posted_at=T0 + timedelta(seconds=second),
        voids=voids,
    )


def test_a_placeholder_is_shown_only_on_request_and_never_counted() -> None:
    rows = [posting(PostingKind.PLACEHOLDER)]
    assert details(rows) == []
    (shown,) = details(rows, include_pending=True)
    assert shown.status is DetailStatus.PENDING
    assert [total.quantity for total in summary([shown])] == [0]


def test_a_yes_replaces_its_placeholder() -> None:
    placeholder = posting(PostingKind.PLACEHOLDER)
    yes = posting(PostingKind.CONSUMPTION, 1, ITEMS[1], voids=placeholder.id)
    for include_pending in (False, True):
        assert [row.posting for row in details([placeholder, yes], include_pending=include_pending)] == [yes]


def test_a_no_ends_its_placeholder() -> None:
    placeholder = posting(PostingKind.PLACEHOLDER)
    assert details([placeholder, posting(PostingKind.VOID, voids=placeholder.id)], include_pending=True) == []


def test_details_stand_in_the_order_the_items_were_seen() -> None:
    late = posting(PostingKind.CONSUMPTION, 5)
    early = replace(posting(PostingKind.CONSUMPTION, 1), posted_at=T0 + timedelta(seconds=9))
    assert [row.posting for row in details([late, early])] == [early, late]


def test_an_item_is_named_as_its_first_detail_names_it() -> None:
    renamed = Item(item_id="1", item_name="纱布（新）")
    rows = details([posting(PostingKind.CONSUMPTION, 2, renamed), posting(PostingKind.CONSUMPTION, 1)])
    (total,) = summary(rows)
    assert (total.item.item_name, total.quantity) == ("纱布", 2)


@st.composite
def histories(draw: st.DrawFn) -> list[Posting]:
    """Bookings, and questions that are open, answered yes or answered no."""
    rows: list[Posting] = []
    for fate in draw(st.lists(st.sampled_from(["booked", "open", "yes", "no"]), max_size=12)):
        second = draw(st.integers(0, 100))
        item = draw(st.sampled_from(ITEMS))
        if fate == "booked":
            rows.append(posting(PostingKind.CONSUMPTION, second, item))
            continue
        placeholder = posting(PostingKind.PLACEHOLDER, second, item)
        rows.append(placeholder)
        if fate != "open":
            kind = PostingKind.CONSUMPTION if fate == "yes" else PostingKind.VOID
            rows.append(posting(kind, second, draw(st.sampled_from(ITEMS)), voids=placeholder.id))
    return draw(st.permutations(rows))


@given(histories())
def test_the_summary_is_every_consumption_once_in_any_order_of_rows(rows: list[Posting]) -> None:
    consumptions = [row for row in rows if row.kind is PostingKind.CONSUMPTION]
    voided = {row.voids for row in rows}
    still_open = [row for row in rows if row.kind is PostingKind.PLACEHOLDER and row.id not in voided]
    booked, everything = details(rows), details(rows, include_pending=True)
    assert sum(total.quantity for total in summary(booked)) == len(consumptions)
    assert len(everything) == len(consumptions) + len(still_open)
    assert {total.item.item_id: total.quantity for total in summary(everything) if total.quantity} == {
        total.item.item_id: total.quantity for total in summary(booked)
    }
    assert [row.posting.timestamp for row in everything] == sorted(row.posting.timestamp for row in everything)
