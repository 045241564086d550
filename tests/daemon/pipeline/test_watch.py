"""What a surgery's eyes say of what stays and goes, also after a restart."""

import asyncio
from datetime import timedelta

import numpy as np

from daemon.domain.catalogue import Candidates
from daemon.domain.sighting import Observation, Outcome
from daemon.domain.surgery import Surgery
from daemon.pipeline.watch import Watch
from inference.batcher import Prediction
from tests import rules
from tests.daemon.rows import CANDIDATES, at, surgery

LABELS = ("nothing", "gauze", "suture")
RULES = rules.sightings(window_s=1.0, absence_s=1.0, gap_max_s=1.0, decide_s=1.0, background=frozenset({"nothing"}))


class Seen:
    """What a watch says, in order."""

    def __init__(self, *, resumed: bool) -> None:
        self.said: list[tuple[str, Outcome, bool] | frozenset[str]] = []
        self._watch = Watch(
            surgery(cameras=("a",)),
            CANDIDATES,
            labels=LABELS,
            rules=RULES,
            observe=self._observe,
            shows=self._shows,
            resumed=resumed,
        )

    async def _observe(self, run: Surgery, candidates: Candidates, seen: Observation) -> None:
        self.said.append((seen.label, seen.outcome, seen.since_resume))

    async def _shows(self, run: Surgery, camera: str, labels: frozenset[str]) -> None:
        self.said.append(labels)

    async def tick(self, now_mono_s: float) -> None:
        await self._watch.tick(now_mono_s)

    async def frames(self, label: str, *, first: float, last: float, score: float = 0.97) -> None:
        """Four a second, on a monotonic clock that began with them."""
        scores = np.array([score if label == each else 0.01 for each in LABELS], np.float32)
        for quarter in range(int(first * 4), int(last * 4)):
            await self._watch.push(
                Prediction(
                    camera="a",
                    captured_at=at(0) + timedelta(seconds=quarter / 4),
                    captured_mono_s=quarter / 4,
                    done_mono_s=quarter / 4,
                    scores=scores,
                )
            )


async def test_what_was_counted_and_goes_is_told_once_and_what_is_ignored_is_not() -> None:
    seen = Seen(resumed=False)
    await seen.frames("gauze", first=0, last=3)
    await seen.frames("nothing", first=3, last=6)
    await seen.frames("suture", first=6, last=9)
    assert seen.said == [("gauze", Outcome.BOOKED, False), frozenset(), ("suture", Outcome.BOOKED, False)]


async def test_after_a_restart_what_is_in_view_is_known_from_what_is_not_any_more() -> None:
    there, gone = Seen(resumed=True), Seen(resumed=True)
    await there.frames("gauze", first=0, last=4)
    await gone.frames("nothing", first=0, last=4)
    assert there.said == [("gauze", Outcome.BOOKED, True), frozenset({"gauze"})]
    assert gone.said == [frozenset()]
    await asyncio.gather(there.frames("nothing", first=4, last=7), gone.frames("gauze", first=4, last=7))
    assert there.said[2:] == [frozenset()]
    assert gone.said[1:] == [("gauze", Outcome.BOOKED, False)]


async def test_when_to_ask_is_told_by_the_time_that_passed_and_by_no_wall_clock() -> None:
    """The frames are of another day than today, as after a clock was set."""
    seen = Seen(resumed=False)
    await seen.frames("gauze", first=0, last=1, score=0.8)
    await seen.tick(0.9)
    assert seen.said == []
    await seen.tick(1.1)
    assert seen.said == [("gauze", Outcome.ASKED, False)]
