"""Who moves what and when: tracks of things and hands over the table, as functions of time.

An `Appearance` is one piece that a hand brings, maybe shifts or half covers, and takes away again. It becomes tracks
(the piece, its hands), each a list of places in cm joined by smooth moves; a `Visit` is a hand that comes with nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

Place = tuple[float, float]
AWAY_CM = 46.0
BRING_S, LET_GO_S, RETREAT_S = 1.1, 0.25, 0.9


@dataclass(frozen=True, slots=True, kw_only=True)
class Cover:
    """A hand over the piece from `from_s` to `to_s`, `offset` cm beside its middle."""

    from_s: float
    to_s: float
    offset: Place = (2.6, 1.2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shift:
    """A hand moves the piece to another place, starting at `at_s`."""

    at_s: float
    to: Place


@dataclass(frozen=True, slots=True, kw_only=True)
class Appearance:
    """One piece on the table, at rest from `from_s` to `to_s`."""

    label: str
    seed: int
    from_s: float
    to_s: float
    rest: Place = (0.0, 0.0)
    angle: float = 0.0
    side: float = 70.0  # where the hand comes from, degrees on the table
    covers: tuple[Cover, ...] = ()
    shifts: tuple[Shift, ...] = ()
    expect: Literal["book", "ask", "nothing"] = "book"
    band: tuple[float, float] | None = None  # hue and fade of a suture packet's band
    prop: str | None = None  # a distractor instead of a consumable
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """A hand that comes, stays over a place and goes, with nothing in it."""

    from_s: float
    to_s: float
    place: Place = (0.0, 0.0)
    side: float = 70.0
    note: str = "a hand without anything"


@dataclass(slots=True)
class Track:
    """Places over time: (second, x, y, lift in cm); before the first and after the last the thing is away."""

    keys: list[tuple[float, float, float, float]] = field(default_factory=list)

    def add(self, second: float, place: Place, lift: float) -> None:
        self.keys.append((second, *place, lift))

    def at(self, second: float) -> tuple[float, float, float] | None:
        if not self.keys or not self.keys[0][0] <= second <= self.keys[-1][0]:
            return None
        for (t0, *a), (t1, *b) in zip(self.keys, self.keys[1:], strict=False):
            if t0 <= second <= t1:
                share = (second - t0) / (t1 - t0)
                ease = share * share * (3 - 2 * share)
                x, y, lift = (p + (q - p) * ease for p, q in zip(a, b, strict=True))
                return x, y, lift
        return None


def away(place: Place, side: float) -> Place:
    turn = np.deg2rad(side)
    return float(place[0] + AWAY_CM * np.cos(turn)), float(place[1] + AWAY_CM * np.sin(turn))


def stage(show: Appearance) -> tuple[Track, list[Track]]:
    """The track of the piece and the tracks of the hands that handle it."""
    piece, hands = Track(), []
    out = away(show.rest, show.side)
    piece.add(show.from_s - BRING_S, out, 5.0)
    piece.add(show.from_s, show.rest, 0.0)
    hands.append(
        _trip(
            (show.from_s - BRING_S, out),
            (show.from_s, show.rest),
            (show.from_s + LET_GO_S, show.rest),
            (show.from_s + LET_GO_S + RETREAT_S, out),
        )
    )
    here = show.rest
    for shift in show.shifts:
        from_here, to_there = away(here, show.side), away(shift.to, show.side)
        grip, done = shift.at_s, shift.at_s + 1.0
        piece.add(grip, here, 0.0)
        piece.add((grip + done) / 2, ((here[0] + shift.to[0]) / 2, (here[1] + shift.to[1]) / 2), 1.0)
        piece.add(done, shift.to, 0.0)
        hands.append(_trip((grip - 0.9, from_here), (grip, here), (done, shift.to), (done + 0.9, to_there)))
        here = shift.to
    for cover in show.covers:
        over = (here[0] + cover.offset[0], here[1] + cover.offset[1])
        outside = away(over, show.side)
        hands.append(
            _trip(
                (cover.from_s - 0.7, outside),
                (cover.from_s, over),
                (cover.to_s, over),
                (cover.to_s + 0.7, outside),
                lift=4.0,
            )
        )
    out = away(here, show.side)
    piece.add(show.to_s, here, 0.0)
    piece.add(show.to_s + BRING_S, out, 5.0)
    hands.append(_trip((show.to_s - 1.1, out), (show.to_s - 0.2, here), (show.to_s, here), (show.to_s + BRING_S, out)))
    return piece, hands


def visit(call: Visit) -> Track:
    out = away(call.place, call.side)
    return _trip(
        (call.from_s, out), (call.from_s + 1.0, call.place), (call.to_s - 1.0, call.place), (call.to_s, out), lift=3.5
    )


def _trip(*stops: tuple[float, Place], lift: float = 2.0) -> Track:
    track = Track()
    for second, place in stops:
        track.add(second, place, lift)
    return track
