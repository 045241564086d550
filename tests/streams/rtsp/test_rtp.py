"""Packets come in the order of their numbers, what is missing is counted once, and each picture knows its own."""

import random
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.rtsp.rtp import HELD_S, Packet, Pictures, Sequence, parsed


def packet(number: int, *, stamp: int = 0, marker: bool = False, at_s: float = 0.0, source: int = 7) -> Packet:
    return Packet(marker, 96, number & 0xFFFF, stamp & 0xFFFFFFFF, source, b"x", at_s)


def given_out(sequence: Sequence, numbers: list[int]) -> list[tuple[int, int]]:
    out = [each for number in numbers for each in sequence.push(packet(number))] + sequence.rest()
    return [(each.sequence, missing) for each, missing in out]


@given(st.integers(0, 65535), st.integers(0, 10_000))
def test_what_comes_out_of_order_or_twice_is_no_loss(first: int, seed: int) -> None:
    drawn = random.Random(seed)
    numbers = list(range(first + 1, first + 200))
    near = sorted(numbers, key=lambda number: number + drawn.uniform(0, 20))
    sequence = Sequence()

    out = given_out(sequence, [first, *(number for each in near for number in [each] * drawn.choice((1, 2)))])

    assert out == [(number & 0xFFFF, 0) for number in [first, *numbers]]
    assert (sequence.lost, sequence.received) == (0, 200)


@given(st.integers(0, 65535), st.sets(st.integers(1, 98)))
def test_what_is_missing_is_counted_before_what_follows_it(first: int, gone: set[int]) -> None:
    sequence = Sequence()

    out = given_out(sequence, [first + each for each in range(100) if each not in gone])

    assert sequence.lost == len(gone) == sum(missing for _, missing in out)
    assert [number for number, _ in out] == [first + each & 0xFFFF for each in range(100) if each not in gone]


def test_what_overtook_others_waits_for_them_only_so_long() -> None:
    sequence = Sequence()
    sequence.push(packet(1, at_s=10.0))
    assert sequence.push(packet(3, at_s=10.01)) == []
    assert sequence.overdue(10.05) == []

    [(late, missing)] = sequence.overdue(10.01 + HELD_S)

    assert (late.sequence, missing) == (3, 1)
    assert sequence.push(packet(2, at_s=10.2)) == [], "it was given up"
    assert sequence.due_mono_s is None


@pytest.mark.parametrize("changes", [{"source": 8}, {}])
def test_numbers_that_begin_anew_are_followed_and_count_as_a_loss(changes: dict[str, int]) -> None:
    sequence = Sequence()
    given_out(sequence, [1, 2, 3])

    out = [each for number in (30_000, 30_001, 30_002) for each in sequence.push(packet(number, **changes))]

    assert [each.sequence for each, _ in out][-1] == 30_002
    assert next(missing for _, missing in out) == 1


def test_a_picture_knows_when_it_came_and_what_it_lacks() -> None:
    pictures = Pictures(96)
    for each, missing in [
        (packet(0, stamp=0, at_s=1.0), 0),
        (packet(1, stamp=0, marker=True, at_s=1.1), 0),
        (packet(4, stamp=3600, at_s=2.0), 2),
        (packet(6, stamp=3600, marker=True, at_s=2.2), 1),
        (packet(7, stamp=7200, marker=False, at_s=3.0), 0),
        (packet(9, stamp=10800, marker=True, at_s=4.0), 1),
    ]:
        pictures.handed_on(each, missing)

    found = [pictures.arrival_of(stamp) for stamp in (0, 3600, 7200, 10800, 14400)]

    assert [each and (each.mono_s, each.lost) for each in found] == [(1.1, 0), (2.2, 3), (3.0, 1), (4.0, 1), None]


def test_a_picture_is_given_out_once_the_next_one_begins_after_a_pause_as_well() -> None:
    pictures = Pictures(96)
    for number, at_s in enumerate((1.0, 1.04, 1.8)):
        pictures.handed_on(packet(2 * number, stamp=3600 * number, at_s=at_s), 0)
        pictures.handed_on(packet(2 * number + 1, stamp=3600 * number, marker=True, at_s=at_s + 0.01), 0)

    found = [pictures.arrival_of(3600 * number) for number in range(3)]

    assert [each and (each.mono_s, each.given_mono_s) for each in found] == [(1.01, 1.04), (1.05, 1.8), (1.81, 1.81)]


def test_the_loss_of_a_picture_that_never_came_out_is_the_next_ones() -> None:
    pictures = Pictures(96)
    for number, stamp in enumerate((0, 3600, 7200)):
        pictures.handed_on(packet(number, stamp=stamp, marker=True, at_s=float(number)), number)

    arrival = pictures.arrival_of(7200)

    assert arrival is not None
    assert (arrival.mono_s, arrival.lost) == (2.0, 3)


def test_stamps_that_stand_still_are_several_pictures_and_marked_slices_are_one() -> None:
    still = Pictures(96)
    for number in range(3):
        still.handed_on(packet(number, stamp=5, marker=True, at_s=number * 0.04), 0)
    slices = Pictures(96)
    for number, stamp in enumerate((0, 0, 0, 3600)):
        slices.handed_on(packet(number, stamp=stamp, marker=True, at_s=number * 0.001), 0)

    assert [each.mono_s for _ in range(3) if (each := still.arrival_of(0))] == [0.0, 0.04, 0.08]
    assert [each.mono_s for stamp in (0, 3600) if (each := slices.arrival_of(stamp))] == [0.002, 0.003]


@pytest.mark.parametrize("first_stamp", [0, 90_000, 2**32 - 3600])
def test_libav_gets_numbers_without_gaps_and_the_cameras_steps(first_stamp: int) -> None:
    pictures = Pictures(26)
    handed = [
        pictures.handed_on(packet(number, stamp=first_stamp + step, marker=True), 0)
        for number, step in ((5, 0), (9, 3600), (8, -3600), (20, 7200))
    ]

    heads = [struct.unpack_from(">BBHI", each) for each in handed]

    assert [second for _, second, _, _ in heads] == [128 | 26] * 4
    assert [number - heads[0][2] for _, _, number, _ in heads] == [0, 1, 2, 3]
    assert [stamp - heads[0][3] for _, _, _, stamp in heads] == [0, 3600, -3600, 7200]
    assert heads[0][3] != 0


@given(st.binary(max_size=64))
def test_no_datagram_whatever_it_holds_breaks_anything(data: bytes) -> None:
    found = parsed(data, 0.0)
    assert found is None or found.payload


def test_padding_sources_and_extension_are_taken_off() -> None:
    extension = struct.pack(">HHI", 0xABAC, 1, 0)
    data = struct.pack(">BBHII", 0x80 | 0x20 | 0x10 | 1, 0x80 | 96, 7, 8, 9) + b"srcs" + extension + b"video\0\0\3"

    found = parsed(data, 1.0)

    assert found is not None
    assert (found.payload, found.marker, found.payload_type, found.sequence) == (b"video", True, 96, 7)
    assert (found.stamp, found.source) == (8, 9)
