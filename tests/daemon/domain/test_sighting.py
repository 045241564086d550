"""When two cameras show one consumption, and when they show two."""

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

from hypothesis import given
from hypothesis import strategies as st

from daemon.domain.sighting import Outcome, SettledSighting, same_consumption
from daemon.domain.surgery import Surgery, SurgeryState

T0 = datetime(2026, 1, 1, tzinfo=UTC)
WITHIN = timedelta(seconds=5)


def at(second: float) -> datetime:
    return T0 + timedelta(seconds=second)


def settled(
    camera: str, second: float, outcome: Outcome = Outcome.BOOKED, *, label: str = "纱布", into: UUID | None = None
) -> SettledSighting:
    return SettledSighting(
        id=uuid4(),
        run_id=UUID(int=1),
        camera=camera,
        label=label,
        started_at=at(second),
        decided_at=at(second + 1),
        peak=0.95,
        top=(),
        outcome=outcome,
        merged_into=into,
    )


def partner(camera: str, second: float, *earlier: SettledSighting) -> SettledSighting | None:
    return same_consumption(camera=camera, label="纱布", started_at=at(second), earlier=earlier, within=WITHIN)


def test_another_camera_at_the_same_time_shows_the_same_item() -> None:
    for outcome in (Outcome.BOOKED, Outcome.ASKED):
        first = settled("a", 0, outcome)
        assert partner("b", 5, first) is first
        assert partner("b", -5, first) is first


def test_what_differs_is_another_consumption() -> None:
    assert partner("a", 1, settled("a", 0)) is None
    assert partner("b", 5.001, settled("a", 0)) is None
    assert partner("b", 0, settled("a", 0, label="缝线")) is None
    assert partner("b", 0, settled("a", 0, Outcome.IGNORED)) is None


def test_the_nearest_is_taken() -> None:
    far, near = settled("a", 0), settled("a", 3)
    assert partner("b", 2, far, near) is near


def test_two_items_before_two_cameras_are_two() -> None:
    first, second = settled("a", 0), settled("a", 3)
    merged = settled("b", 0.2, Outcome.MERGED, into=first.id)
    assert partner("b", 1.2, first, second, merged) is second
    assert partner("b", 1.2, first, merged) is None


def test_a_third_camera_may_show_it_too() -> None:
    first = settled("a", 0)
    merged = settled("b", 0, Outcome.MERGED, into=first.id)
    assert partner("c", 0, first, merged) is first


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 30)), max_size=15),
)
def test_each_camera_counts_each_of_its_sightings_at_most_once(seen: list[tuple[str, float]]) -> None:
    rows: list[SettledSighting] = []
    for camera, second in seen:
        first = partner(camera, second, *rows)
        rows.append(
            settled(camera, second, Outcome.MERGED if first else Outcome.BOOKED, into=first.id if first else None)
        )
    booked = [row for row in rows if row.outcome is Outcome.BOOKED]
    for camera in "abc":
        shown = [row.merged_into or row.id for row in rows if row.camera == camera]
        assert len(shown) == len(set(shown)), "one camera's two items were counted as one"
        assert len(booked) >= len(shown)
    by_id = {row.id: row for row in rows}
    for row in rows:
        if row.merged_into:
            assert abs(row.started_at - by_id[row.merged_into].started_at) <= WITHIN


def surgery(state: SurgeryState, ended_second: float | None = None) -> Surgery:
    return Surgery(
        id=UUID(int=1),
        surgery_id="123456",
        state=state,
        cameras=("a",),
        candidates=(),
        started_at=T0,
        ended_at=None if ended_second is None else at(ended_second),
    )


def test_an_ended_surgery_goes_on_within_the_window_and_not_after() -> None:
    ended = surgery(SurgeryState.ENDED, 0)
    assert ended.continues(at(60), timedelta(seconds=60))
    assert not ended.continues(at(60.001), timedelta(seconds=60))
    assert not surgery(SurgeryState.FAILED).continues(at(0), timedelta(seconds=60))
    assert surgery(SurgeryState.RUNNING).continues(at(1e6), timedelta(0))
