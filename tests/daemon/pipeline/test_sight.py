"""A camera sees if enough of its samples were classified; else it is said, with the cause, once."""

from collections.abc import Callable

import pytest

from daemon.pipeline.sight import Figures, Sight, SightRules

FPS = 2.0
RULES = SightRules(blind_alarm_s=5.0)
TICK_S = 0.5


class Camera:
    """Seconds pass, samples arrive, and it is looked at twice a second."""

    def __init__(self, fps: float = FPS) -> None:
        self.now_s = 100.0
        self.sight = Sight(RULES, fps, self.now_s)
        self.figures = Figures()
        self._fps = fps
        self._owed = 0.0
        self.said: list[str] = []

    def goes_on(
        self, seconds: float, share: float, counts: Callable[[float], Figures] = lambda _now_s: Figures()
    ) -> str:
        """share: of the wanted samples that arrive. Returns the fault at the end."""
        for _ in range(round(seconds / TICK_S)):
            self.now_s += TICK_S
            self._owed += share * self._fps * TICK_S
            while self._owed >= 1.0:
                self._owed -= 1.0
                self.sight.saw()
            was_blind = bool(self.sight.blind)
            self.sight.look(counts(self.now_s - 100.0), self.now_s)
            if bool(self.sight.blind) != was_blind:
                self.said.append(self.sight.blind or "sees again")
        return self.sight.blind


@pytest.mark.parametrize("share", [1.0, 0.75, 0.55])
def test_half_of_the_samples_and_more_are_no_fault(share: float) -> None:
    assert Camera().goes_on(60, share) == ""


@pytest.mark.parametrize(("share", "rate"), [(0.0, "0.0"), (0.3, "0.6"), (0.45, "")])
def test_fewer_than_half_are_a_fault_within_the_time_and_a_look(share: float, rate: str) -> None:
    camera = Camera()
    camera.goes_on(30, 1.0)
    camera.goes_on(4.5, 1.0)

    fault = camera.goes_on(RULES.blind_alarm_s + 2 * TICK_S, share)

    assert fault.startswith(f"sees {rate}")
    assert " of 2 samples/s: " in fault


def test_a_camera_that_never_gave_anything_is_told_too_and_not_before_the_time() -> None:
    camera = Camera()

    assert camera.goes_on(4.5, 0.0, lambda now_s: Figures(connecting_s=now_s)) == ""
    assert camera.goes_on(1.5, 0.0, lambda now_s: Figures(connecting_s=now_s)) == (
        "sees 0.0 of 2 samples/s: no packet yet, connecting for 6 s"
    )


def test_it_is_over_a_little_above_half_so_that_it_is_said_once() -> None:
    camera = Camera()
    camera.goes_on(10, 0.4)
    for _ in range(20):
        camera.goes_on(1, 0.4)
        camera.goes_on(1, 0.7)

    camera.goes_on(10, 1.0)

    assert len(camera.said) == 2
    assert camera.said[-1] == "sees again"


def test_samples_that_come_in_bursts_are_as_good_as_others() -> None:
    camera = Camera()
    for _ in range(20):
        camera.goes_on(1.5, 0.0)
        camera.goes_on(0.5, 4.0)

    assert camera.said == []


def test_what_is_sampled_slowly_gets_four_of_its_periods() -> None:
    camera = Camera(fps=0.2)

    camera.goes_on(200, 1.0)
    assert camera.said == []
    camera.goes_on(25, 0.0)
    assert camera.said != []


def test_a_process_that_stood_still_did_not_look_but_one_that_stands_still_always_does() -> None:
    camera = Camera()
    camera.goes_on(30, 1.0)
    camera.now_s += 600

    assert camera.goes_on(TICK_S, 1.0) == ""
    assert camera.goes_on(20, 1.0) == ""

    slow = Camera()
    for _ in range(8):
        slow.now_s += 3
        slow.goes_on(TICK_S, 0.0)
    assert slow.said != []


def test_after_a_break_that_was_told_what_was_before_does_not_count() -> None:
    camera = Camera()
    camera.goes_on(10, 0.0)
    camera.sight.begin()

    assert camera.goes_on(20, 1.0) == ""


def test_wanted_and_reached_add_up() -> None:
    camera = Camera()
    camera.goes_on(20, 0.5)

    assert (camera.sight.wanted, camera.sight.reached) == (40.0, 20)


PACKETS = {"packets": 25, "key_frames": 1, "decoded": 10}


@pytest.mark.parametrize(
    ("a_second", "standing", "said"),
    [
        ({}, {"silent_s": 7.2}, "no packets arrive, the last came 7 s ago"),
        ({**PACKETS, "key_frames": 0, "decoded": 0}, {}, "packets come, but no key frame"),
        ({**PACKETS, "damaged": 2, "lost": 1}, {}, "damaged or miss what they refer to ("),
        ({**PACKETS, "hiccups": 1}, {}, "the network held packets back, "),
        ({**PACKETS, "jumps": 1}, {}, "the camera's time stamps jump"),
        ({**PACKETS, "behind": 1}, {"late_s": 1.3}, "pictures come too late, the last by 1.3 s"),
        (PACKETS, {"silent_s": 2.7}, "no packet for 2.7 s"),
        (PACKETS, {}, "too few pictures come"),
        ({**PACKETS, "sampled": 2, "too_old": 2}, {}, "the classifier is too slow"),
        ({**PACKETS, "sampled": 2, "no_room": 2}, {}, "found no room before the classifier"),
        ({**PACKETS, "sampled": 2}, {"model_silent_s": 6.0}, "the classifier has not answered for 6 s"),
        ({**PACKETS, "sampled": 2}, {"tally_waits_s": 6.0}, "the tally has waited for the ledger for 6 s"),
        ({**PACKETS, "sampled": 2}, {}, "their scores did not come back"),
    ],
)
def test_the_cause_is_what_was_counted_in_the_meantime(
    a_second: dict[str, int], standing: dict[str, float], said: str
) -> None:
    def counts(now_s: float) -> Figures:
        return Figures(**{name: round(each * now_s) for name, each in a_second.items()}, **standing)  # type: ignore[arg-type]

    assert said in Camera().goes_on(8, 0.0, counts)


def test_more_than_one_cause_is_more_than_one_cause() -> None:
    fault = Camera().goes_on(
        8, 0.0, lambda now_s: Figures(packets=round(25 * now_s), damaged=round(now_s), behind=round(now_s), late_s=2.0)
    )

    assert "no key frame, " in fault
    assert "RTP packets lost), pictures come too late, the last by 2.0 s" in fault
