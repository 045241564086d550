"""From packets to sampled pictures, decoding no more than they need.

A picture can only be decoded after everything since its key frame. So packets are fed to the decoder as they come
while another sample is expected in the running group, and held back once none is: if the next key frame comes, as the
learnt group length says, they are thrown away undecoded. If a sample falls due among them after all, they are fed at
once.

The same buffer serves the still mode (adaptive.py): only key frames are fed, due samples repeat the last picture, and
when something moves the held packets of the running group are fed in one burst, so that the next sample is already
true.

What is damaged is not shown. From a lost packet on (references.py), or from a picture that the decoder finds wrong, no
picture is handed on and none is repeated until a clean beginning; each of them is counted. After any gap, one that this
file makes among them, the pictures shown before the beginning are left out, too: they refer to what is not there.

Newest frame wins: what is later than BEHIND_S is read and held, but neither decoded nor handed on, so that the backlog
is gone at once. The first packet that is fresh again is fed with what is held from the newest key frame on: pictures
that are old by then are only what later ones refer to. So nothing is lost by a pause of the network or of this machine,
however long the group. But where packets wait here ever longer, or again within CAUGHT_UP_S and not by half as long,
decoding is what is slow: then what is held is dropped, and the next key frame is the new beginning.
"""

from __future__ import annotations  # PyAV's Packet takes its stream only in the stubs

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import av
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from streams.adaptive import Stillness
from streams.decoder import Decoder
from streams.errors import StreamUnsupported
from streams.references import Look, References, Standing
from streams.rtsp.front import KEY_FRAME_WITHIN_S
from streams.sampler import EPSILON_S, Groups, Sampler
from streams.stats import StreamStats

BEHIND_S = 0.4  # a result needs to be younger than 0.5 s
BURST_BEHIND_S = (
    1.5  # after waking from still: the burst is decoded faster than it was filmed, a new group is further away
)
BURST_S = 1.5
CAUGHT_UP_S = 1.0
CREEPS = 0.5  # lateness that had grown so far before is no pause; one that is left so far after is no catching up
HELD_PACKETS_MAX = 500
HELD_BYTES_MAX = 16 << 20
INSIDE_MAX = 16  # pictures that a decoder holds back to put them in order, by the standards


@dataclass(frozen=True, slots=True)
class Pick:
    """A moment that was due: its freshly decoded frame, or None where the last picture still stands."""

    stream_s: float
    frame: VideoFrame | None


class Picker:
    """One per connection."""

    def __init__(self, decoder: Decoder, sample_fps: float, stillness: Stillness | None, stats: StreamStats) -> None:
        """stillness: None decodes all that sampling needs, always."""
        self._decoder = decoder
        self._sampler = Sampler(sample_fps)
        self._groups = Groups()
        self._stillness = stillness
        self._stats = stats
        self._stats.mode = "full"
        self._wakes_before, self._late_wakes_before = stats.wakes, stats.late_wakes
        self._held: list[Packet[VideoStream]] = []
        self._held_bytes = 0
        self._in_step = False  # the decoder has, or can be given, everything since the last key frame
        self._flush_first = False
        self._last_key_s: float | None = None
        self._has_picture = False
        self._burst_until_s = 0.0
        self._key_unseen = False  # the key frame of this group is held
        self._late = False
        self._last_late_s = 0.0
        self._latest_s = 0.0  # while they were late last
        self._late_until_s = float("-inf")  # on the stream as it is filmed
        self._oldest_s = float("-inf")  # what was filmed before is not handed on

        self._references = References(decoder.codec_name, decoder.extradata)
        self._clean_from_s = float("-inf")  # pictures shown before refer to what is missing
        self._mending_s: float | None = None  # the last picture shown while the stream refreshes itself
        self._tick = Fraction(1)  # of the stamps
        self._inside: list[float] = []  # when what was fed and did not come out yet is shown
        self._gap_is_damage = False  # the last one before which pictures are left out
        self.is_whole = False  # nothing of the picture pushed last, or of what it refers to, is lost

    def push(
        self, packet: Packet[VideoStream], stream_s: float, late_s: float, waited_s: float, lost: int = 0
    ) -> Iterator[Pick]:
        """One packet, its pts rewritten to stream time.

        late_s: how much later than filmed it is here; waited_s: for how much of that it lay here unread (0 for files).
        lost: RTP packets that are missing within this picture or between it and its neighbours.
        """
        was_damaged = self._references.is_damaged
        look = self._references.look(packet, lost)
        stats, is_key = self._stats, look.begins
        self._groups.packet(stream_s, is_key=is_key)
        if is_key:
            stats.key_frames += 1
            stats.gop_frames = self._groups.frames
        leads = stream_s < self._clean_from_s and not is_key
        self.is_whole = not self._references.is_damaged and not (leads and self._gap_is_damage)
        if look.standing is Standing.BROKEN and self._references.is_damaged:
            self._damaged(1, begins=not was_damaged)
            if is_key:
                self._last_key_s = stream_s
            self._require_key_frame(stream_s)
            return
        late = late_s > (BURST_BEHIND_S if stream_s < self._burst_until_s else BEHIND_S)
        self._note_lateness(late, stream_s, late_s, waits_here=waited_s > late_s / 2)
        if is_key:
            self._begin_group(stream_s, look)
        elif look.standing is Standing.MENDING:
            self._mend(stream_s)
        elif not self._in_step:
            stats.skipped += 1
            self._require_key_frame(stream_s)
            return
        if not self.is_whole:
            stats.damaged += 1  # it is decoded for the sake of those after it
        self._hold(packet)
        still = self._is_still(packet, stream_s, is_key=is_key)
        if late:
            return
        if self._in_step and (self._key_unseen or (not still and self._wants(stream_s))):
            # In still mode each key frame is looked at, due or not: nothing else would correct the repeated picture.
            yield from self._feed(always=still)
        if still and self._has_picture and self._sampler.is_due(stream_s):
            self._sampler.taken(stream_s)
            yield Pick(stream_s, None)

    def finish(self) -> Iterator[Pick]:
        """A recording has ended: the pictures that a decoder with B-frames still holds."""
        if self._in_step:
            if self._held and self._held_is_due():
                yield from self._feed()
            yield from self._pick(self._decoder.drain())
            self._count_unshown(float("inf"))
        self._lose_step()

    def _note_lateness(self, late: bool, stream_s: float, late_s: float, *, waits_here: bool) -> None:
        now_s, last_late_s = stream_s + late_s, self._last_late_s
        self._last_late_s = late_s
        if late and self._late:
            self._latest_s = max(self._latest_s, late_s)
        if late == self._late:
            return
        self._late = late
        if not late:
            self._late_until_s, self._oldest_s = now_s, now_s - BEHIND_S
            return
        latest_s, self._latest_s = self._latest_s, late_s
        if not waits_here:
            self._stats.hiccups += 1
        elif self._in_step:
            self._stats.behind += 1
            if now_s - self._late_until_s < CAUGHT_UP_S:
                is_slow = late_s > CREEPS * latest_s
            else:
                is_slow = last_late_s > CREEPS * BEHIND_S
            if is_slow:
                self._lose_step()

    def _damaged(self, pictures: int, *, begins: bool) -> None:
        """So many pictures cannot be shown, and what is inside the decoder may be cut as well."""
        self._stats.losses += begins
        self._stats.damaged += pictures + len(self._inside)
        self._references.damage()
        self._lose_step()
        self._gap_is_damage = True

    def _begin_group(self, key_s: float, look: Look) -> None:
        has_gap = look.resumes or bool(self._held)
        self._gap_is_damage = self._gap_is_damage and look.resumes
        self._stats.skipped += len(self._held)
        self._drop_held()
        if self._flush_first or (has_gap and look.leads):
            self._flush()
        self._clean_from_s = key_s if has_gap and look.leads else float("-inf")
        self._mending_s = None
        self._in_step, self._key_unseen, self._last_key_s = True, True, key_s
        self._sampler.key(key_s, self._groups.length_s)

    def _require_key_frame(self, stream_s: float) -> None:
        if self._last_key_s is None:
            self._last_key_s = stream_s
        if stream_s - self._last_key_s > KEY_FRAME_WITHIN_S:
            raise StreamUnsupported(f"no key frame in {KEY_FRAME_WITHIN_S:g} s")

    def _mend(self, stream_s: float) -> None:
        """A recovery point has passed, and its refresh is on the way: it is decoded all the same."""
        if not self._in_step:
            self._drop_held()
            self._flush()
            self._in_step = True
        self._last_key_s = stream_s
        self._mending_s = stream_s if self._mending_s is None else max(stream_s, self._mending_s)
        self._clean_from_s = self._mending_s + 2 * EPSILON_S

    def _flush(self) -> None:
        self._decoder.flush()
        self._inside.clear()
        self._flush_first = False

    def _is_still(self, packet: Packet[VideoStream], stream_s: float, *, is_key: bool) -> bool:
        if self._stillness is None or self._decoder.reorders:
            return False
        was_still = self._stillness.is_still
        self._stillness.packet(
            packet.size,
            is_key=is_key,
            group_s=self._groups.length_s,
            sample_due=self._sampler.is_due(stream_s),
        )
        is_still = self._stillness.is_still
        if was_still and not is_still:
            self._burst_until_s = stream_s + BURST_S
        self._stats.mode = "still" if is_still else "full"
        self._stats.wakes = self._wakes_before + self._stillness.wakes
        self._stats.late_wakes = self._late_wakes_before + self._stillness.late_wakes
        return is_still

    def _wants(self, stream_s: float) -> bool:
        """Feed what is held: a sample is due, or one is expected before the next key frame."""
        if self._sampler.is_due(stream_s):
            return True
        end_s = self._groups.end_s
        return end_s is None or self._sampler.due_s < end_s - self._groups_slack()

    def _groups_slack(self) -> float:
        return (self._groups.length_s or 0.0) / max(1, self._groups.frames) / 2

    def _held_is_due(self) -> bool:
        return any(
            packet.pts is not None and self._sampler.is_due(float(packet.pts * packet.time_base))
            for packet in self._held
        )

    def _hold(self, packet: Packet[VideoStream]) -> None:
        self._held.append(packet)
        self._held_bytes += packet.size
        if len(self._held) > HELD_PACKETS_MAX or self._held_bytes > HELD_BYTES_MAX:
            self._lose_step()  # an endless group in a still scene: the next key frame is the new beginning

    def _drop_held(self) -> None:
        self._held.clear()
        self._held_bytes = 0

    def _lose_step(self) -> None:
        self._stats.skipped += len(self._held)
        self._drop_held()
        self._in_step, self._flush_first = False, True
        self._inside.clear()
        self._references.leave_out()
        self._gap_is_damage = False

    def _feed(self, *, always: bool = False) -> Iterator[Pick]:
        held = list(self._held)
        self._drop_held()
        self._key_unseen = False
        for index, packet in enumerate(held, 1):
            assert packet.pts is not None, "stamps are rewritten"
            self._tick = packet.time_base
            self._inside.append(float(packet.pts * packet.time_base))
            try:
                frames = self._decoder.decode(packet)
            except av.FFmpegError:
                self._stats.decode_errors += 1
                self._stats.decoder = self._decoder.name
                self._damaged(len(held) - index, begins=True)
                return
            self._stats.decoder = self._decoder.name
            yield from self._pick(frames, always=always)
            self._require_pictures()
            if not self._in_step:
                self._stats.damaged += len(held) - index
                return

    def _pick(self, frames: list[VideoFrame], *, always: bool = False) -> Iterator[Pick]:
        for frame in frames:
            self._stats.decoded += 1
            if frame.pts is None:
                continue
            stream_s = float(frame.pts * self._tick)  # at the end of a recording PyAV's frames have no time base
            self._count_unshown(stream_s)
            if stream_s < self._clean_from_s - EPSILON_S:
                continue
            if frame.is_corrupt:
                self._stats.decode_errors += 1
                self._damaged(1, begins=True)
                return
            if stream_s < self._oldest_s:
                continue
            is_due = self._sampler.is_due(stream_s)
            if is_due:
                self._sampler.taken(stream_s)
            if is_due or always:
                self._has_picture = True
                yield Pick(stream_s, frame)

    def _count_unshown(self, until_s: float) -> None:
        """A picture came out: what was fed before it and is shown before it never will."""
        early = [shown_s for shown_s in self._inside if shown_s < until_s - EPSILON_S]
        self._inside = [shown_s for shown_s in self._inside if shown_s > until_s + EPSILON_S]
        if self._decoder.swallows:
            gone = sum(shown_s >= self._clean_from_s - EPSILON_S for shown_s in early)
            self._stats.damaged += gone
            self._stats.losses += gone > 0

    def _require_pictures(self) -> None:
        """Nothing comes out of so many: what they refer to is missing, and only a new beginning helps."""
        if not self._decoder.swallows:
            del self._inside[:-INSIDE_MAX]
        elif sum(shown_s >= self._clean_from_s for shown_s in self._inside) > INSIDE_MAX:
            self._damaged(0, begins=True)
