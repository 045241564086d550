"""Which surgery a room's terminal is for: the rule alone, without a screen."""

import pytest

from daemon.config import Settings
from daemon.domain.surgery import Surgery, SurgeryState
from daemon.services.terminals import surgery_in
from tests.daemon.rows import at, surgery

SITE = Settings.model_validate(
    {
        "cameras": {name: {"url": f"{name}.mp4"} for name in "abcd"},
        "rooms": {
            "or-1": {"cameras": ["a", "b"], "voice_terminal": "vt-01"},
            "or-2": {"cameras": ["c"], "voice_terminal": "vt-02"},
            "or-3": {"cameras": ["d"]},
        },
    }
)


def found(room: str, *runs: Surgery) -> str | None:
    run = surgery_in(room, runs, SITE.room_of)
    return run.surgery_id if run else None


@pytest.mark.parametrize(
    ("cameras", "room"),
    [(("a", "b"), "or-1"), (("b", "a"), "or-1"), (("b",), "or-1"), (("c",), "or-2"), (("d",), "or-3")],
)
def test_a_surgery_is_in_the_room_that_holds_all_its_cameras(cameras: tuple[str, ...], room: str) -> None:
    run = surgery(cameras=cameras)
    assert {name: found(name, run) for name in SITE.rooms} == {
        name: run.surgery_id if name == room else None for name in SITE.rooms
    }


@pytest.mark.parametrize("cameras", [("a", "c"), ("a", "b", "c", "d"), ("x",), ("a", "x")])
def test_a_surgery_across_rooms_is_in_none(cameras: tuple[str, ...]) -> None:
    assert [found(name, surgery(cameras=cameras)) for name in SITE.rooms] == [None] * 3


@pytest.mark.parametrize("state", [state for state in SurgeryState if state is not SurgeryState.RUNNING])
def test_only_a_running_surgery_is_told(state: SurgeryState) -> None:
    assert found("or-1", surgery(state=state)) is None


def test_of_several_in_a_room_the_one_started_last_is_told() -> None:
    early, late = surgery("100001", cameras=("a",)), surgery("100002", cameras=("b",), started_at=at(60))
    assert found("or-1", early, late) == found("or-1", late, early) == "100002"
    ended = surgery("100002", cameras=("b",), started_at=at(60), state=SurgeryState.ENDED)
    assert found("or-1", early, ended) == "100001"
    assert found("or-1") is None
