"""Headers are read as the encoder wrote them, and nothing that a camera sends can break the reading."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.packet import Packet
from av.video.stream import VideoStream

from streams.bits import Bits, Malformed, nals_of, recovery_count, sequence_set
from streams.references import References, Standing
from tests.streams.clips import counted, encode

PICTURES = 80


def packets(path: Path) -> tuple[str, bytes | None, list[Packet[VideoStream]]]:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        found = [packet for packet in container.demux(stream) if packet.size]
        return stream.codec_context.name, stream.codec_context.extradata, found


@pytest.fixture(scope="module")
def long_group(clips: Path) -> Path:
    """One group in which the frame numbers, of four bits, go around."""
    return encode(clips / "long.mp4", counted(PICTURES, 160, 96), group=250, options={"profile": "high"})


@pytest.mark.parametrize("gone", [1, 15, 16, 33, 47])
@pytest.mark.parametrize("pictures", [1, 2, 5])
def test_a_missing_reference_picture_is_known_by_the_number_of_the_next(
    long_group: Path, gone: int, pictures: int
) -> None:
    codec, extradata, sent = packets(long_group)
    references = References(codec, extradata)
    looks = [references.look(packet, 0) for packet in sent[:gone] + sent[gone + pictures :]]
    assert [look.standing for look in looks[:gone]] == [Standing.WHOLE] * gone
    assert {look.standing for look in looks[gone:]} == {Standing.BROKEN}
    assert references.is_damaged


def test_an_encoder_that_counts_in_its_own_way_is_not_taken_for_a_loss(long_group: Path) -> None:
    codec, extradata, sent = packets(long_group)
    references = References(codec, extradata)
    # Every third picture is one that others refer to, as the numbers go: the two between are cut out, keys apart.
    looks = [references.look(packet, 0) for packet in [*sent[::3], *sent[::3], *sent[::3]]]
    assert [look.standing for look in looks[len(looks) // 3 :]] == [Standing.WHOLE] * (len(looks) - len(looks) // 3)


def test_the_numbers_go_around_without_a_gap(long_group: Path) -> None:
    codec, extradata, sent = packets(long_group)
    references = References(codec, extradata)
    assert {references.look(packet, 0).standing for packet in sent} == {Standing.WHOLE}


def test_what_is_left_out_on_purpose_is_no_damage(h264: Path) -> None:
    codec, extradata, sent = packets(h264)
    references = References(codec, extradata)
    references.look(sent[0], 0)
    references.leave_out()
    assert references.look(sent[1], 0).standing is Standing.BROKEN
    assert not references.is_damaged
    look = references.look(sent[25], 0)
    assert (look.standing, look.begins, look.resumes) == (Standing.WHOLE, True, True)


def test_a_stream_that_is_joined_in_mid_group_waits_for_a_beginning(clip: Path) -> None:
    codec, extradata, sent = packets(clip)
    references = References(codec, extradata)
    looks = [references.look(packet, 0) for packet in sent[10:60]]
    assert {look.standing for look in looks[:15]} == {Standing.BROKEN}
    assert {look.standing for look in looks[15:]} == {Standing.WHOLE}
    assert [index for index, look in enumerate(looks) if look.begins] == [15, 40]
    assert not references.is_damaged


def test_no_bytes_break_the_reading(clip: Path) -> None:
    codec, extradata, sent = packets(clip)
    rng = np.random.default_rng(4)
    for length in range(300):
        references = References(codec, rng.bytes(length % 60) if length % 3 else extradata)
        for packet in sent[:2]:
            data = bytearray(bytes(packet))
            for at in rng.integers(0, min(len(data), 40), 1 + length % 7):
                data[at] = rng.integers(0, 256)
            for content in (bytes(data), bytes(data[: length % 50 + 1]), rng.bytes(length + 1)):
                changed: Packet[VideoStream] = Packet(content)
                changed.time_base, changed.pts = Fraction(1, 1000), 0
                assert references.look(changed, 0).standing in Standing


def test_numbers_are_read_as_the_standard_writes_them() -> None:
    bits = Bits(bytes([0b1_010_011_0, 0b0100_0010, 0b1_0000000]))
    assert [bits.ue() for _ in range(4)] == [0, 1, 2, 3]
    assert bits.se() == -2
    with pytest.raises(Malformed):
        Bits(b"\0\0\0\0\0\0\0\0").ue()
    with pytest.raises(Malformed):
        sequence_set(b"\x67\x64")


@pytest.mark.parametrize(
    ("sei", "count"), [("060601c480", 0), ("0605020000060138", 6), ("06050100", None), ("06", None)]
)
def test_a_recovery_point_says_how_far_it_is(sei: str, count: int | None) -> None:
    assert recovery_count(bytes.fromhex(sei), 1) == count


def test_a_length_that_says_more_than_there_is_is_malformed() -> None:
    assert list(nals_of(b"\0\0\0\2ab\0\0\0\1c", 4)) == [b"ab", b"c"]
    with pytest.raises(Malformed):
        list(nals_of(b"\0\0\0\3ab", 4))
    assert list(nals_of(b"\0\0\0\1ab\0\0\1c", 0)) == [b"ab", b"c"]
