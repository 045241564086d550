"""Late packets in a long group: what a pause has held back is decoded for what refers to it, and nothing more is lost.

Real packets and a real decoder; how late they are is an argument.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import av
import pytest

from streams.decoder import Decoder
from streams.picker import BEHIND_S, Picker
from streams.scale import Scaler
from streams.stats import StreamStats
from tests.rules import SMALL
from tests.streams.clips import counted, encode, index_of

FRAME_S = 0.04
Late = Callable[[float], tuple[float, float]]  # stream_s -> (late_s, waited_s)


@pytest.fixture(scope="module", params=["libx264", "libx265"])
def long_group(request: pytest.FixtureRequest, clips: Path) -> Path:
    """10 s of one group of pictures."""
    return encode(clips / f"long-{request.param}.mp4", counted(250), codec=request.param, group=250)


def picked(clip: Path, late: Late) -> tuple[list[tuple[float, float, int]], StreamStats]:
    """([(time on the stream, how old when handed on, index shown)], figures) at two samples a second."""
    stats, seen = StreamStats(), []
    with av.open(str(clip)) as container:
        stream = container.streams.video[0]
        picker, scaler = Picker(Decoder(stream, "off"), 2.0, None, stats), Scaler(SMALL)
        for packet in container.demux(stream):
            if not packet.size:
                continue
            assert packet.pts is not None
            stream_s = float(packet.pts * packet.time_base)
            late_s, waited_s = late(stream_s)
            for pick in picker.push(packet, stream_s, late_s, waited_s):
                assert pick.frame is not None
                age_s = stream_s + late_s - pick.stream_s
                seen.append((pick.stream_s, age_s, index_of(scaler.rgb(pick.frame))))
    return seen, stats


def held_back(from_s: float, for_s: float) -> Late:
    """Nothing comes through for so long, and then everything at once."""
    return lambda stream_s: (max(0.0, from_s + for_s - stream_s) if stream_s >= from_s else 0.0, 0.0)


@pytest.mark.parametrize("for_s", [0.7, 1.9])
def test_after_a_hiccup_in_a_long_group_pictures_go_on(long_group: Path, for_s: float) -> None:
    seen, stats = picked(long_group, held_back(2.3, for_s))
    assert [index for _, _, index in seen] == [round(at_s / FRAME_S) for at_s, _, _ in seen]
    assert max(after - before for (before, _, _), (after, _, _) in pairwise(seen)) <= max(0.6, for_s + 0.2)
    assert max(age_s for _, age_s, _ in seen) <= BEHIND_S
    assert len(seen) >= 20 - 2 * for_s - 1
    assert (stats.hiccups, stats.behind, stats.damaged) == (1, 0, 0)


def test_hiccups_one_after_the_other_lose_no_more_than_their_time(long_group: Path) -> None:
    late = [held_back(at_s, 0.7) for at_s in (1.0, 2.5, 4.0, 5.5)]
    seen, stats = picked(long_group, lambda stream_s: max(one(stream_s) for one in late))
    assert max(after - before for (before, _, _), (after, _, _) in pairwise(seen)) <= 1.0
    assert (stats.hiccups, stats.behind) == (4, 0)


def test_a_pause_of_this_machine_loses_no_more_than_its_time(long_group: Path) -> None:
    pause = held_back(2.3, 0.9)
    seen, stats = picked(long_group, lambda stream_s: (pause(stream_s)[0],) * 2)
    assert max(after - before for (before, _, _), (after, _, _) in pairwise(seen)) <= 1.1
    assert (stats.hiccups, stats.behind) == (0, 1)


def test_what_catching_up_takes_is_caught_up_with_as_well(long_group: Path) -> None:
    hiccup, decoding = held_back(2.3, 1.9), held_back(3.84, 0.6)

    def late(stream_s: float) -> tuple[float, float]:
        waited_s = decoding(stream_s)[0]
        return (waited_s, waited_s) if stream_s > 3.82 else (hiccup(stream_s)[0], 0.0)

    seen, stats = picked(long_group, late)
    assert max(after - before for (before, _, _), (after, _, _) in pairwise(seen)) <= 2.6
    assert max(at_s for at_s, _, _ in seen) > 9.0
    assert (stats.hiccups, stats.behind) == (1, 1)


def test_where_decoding_is_too_slow_nothing_is_decoded_until_the_next_key_frame(long_group: Path) -> None:
    def creeping(stream_s: float) -> tuple[float, float]:
        late_s = 0.2 * stream_s if stream_s < 2.5 else 0.0
        return late_s, late_s

    seen, stats = picked(long_group, creeping)
    assert max(at_s for at_s, _, _ in seen) < 2.5
    assert stats.behind == 1
    assert stats.skipped > 150


def test_a_machine_that_pauses_again_as_soon_as_it_has_caught_up_is_too_slow(long_group: Path) -> None:
    pauses = [held_back(at_s, 0.5) for at_s in (2.0, 2.8)]
    seen, stats = picked(long_group, lambda stream_s: (max(one(stream_s)[0] for one in pauses),) * 2)
    assert max(at_s for at_s, _, _ in seen) < 2.8
    assert stats.behind == 2


def test_of_what_was_held_back_only_the_newest_group_is_decoded(clips: Path, h264: Path) -> None:
    _, whole = picked(h264, held_back(20, 0))
    seen, stats = picked(h264, held_back(2.0, 4.5))
    assert stats.decoded < whole.decoded - 30
    assert max(age_s for _, age_s, _ in seen) <= BEHIND_S
    assert [index for _, _, index in seen] == [round(at_s / FRAME_S) for at_s, _, _ in seen]
