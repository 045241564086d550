"""From packets to sampled pictures, decoding no more than they need.

A picture can only be decoded after everything since its key frame. So packets are fed to the decoder as they come
while another sample is expected in the running group, and held back once none is: if the next key frame comes, as the
learnt group length says, they are thrown away undecoded. If a sample falls due among them after all, they are fed at
once.

The same buffer serves the still mode (adaptive.py): only key frames are fed, due samples repeat the last picture, and
when something moves the held packets of the running group are fed in one burst, so that the next sample is already
true.

Newest frame wins: what is later than BEHIND_S is read and held, but neither decoded nor handed on, so that the backlog
is gone at once. The first packet that is fresh again is fed with what is held from the newest key frame on: pictures
that are old by then are only what later ones refer to. So nothing is lost by a pause of the network or of this machine,
however long the group. But where packets wait here ever longer, or again within CAUGHT_UP_S and not by half as long,
decoding is what is slow: then what is held is dropped, and the next key frame is the new beginning.
"""

from __future__ import annotations  # PyAV's Packet takes its stream only in the stubs

from collections.abc import Iterator
from dataclasses import dataclass

import av
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from streams.adaptive import Stillness
from streams.decoder import Decoder
from streams.errors import StreamUnsupported
from streams.sampler import Groups, Sampler
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
KEY_FRAME_WITHIN_S = 30.0


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

    def push(self, packet: Packet[VideoStream], stream_s: float, late_s: float, waited_s: float) -> Iterator[Pick]:
        """One packet, its pts rewritten to stream time.

        late_s: how much later than filmed it is here; waited_s: for how much of that it lay here unread (0 for files).
        """
        stats, is_key = self._stats, packet.is_keyframe
        self._groups.packet(stream_s, is_key=is_key)
        if is_key:
            stats.key_frames += 1
            stats.gop_frames = self._groups.frames
        late = late_s > (BURST_BEHIND_S if stream_s < self._burst_until_s else BEHIND_S)
        self._note_lateness(late, stream_s, late_s, waits_here=waited_s > late_s / 2)
        if is_key:
            self._begin_group(stream_s)
        elif not self._in_step:
            stats.skipped += 1
            self._require_key_frame(stream_s)
            return
        self._hold(packet)
        still = self._is_still(packet, stream_s)
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

    def _begin_group(self, key_s: float) -> None:
        self._stats.skipped += len(self._held)
        self._drop_held()
        if self._flush_first:
            self._decoder.flush()
            self._flush_first = False
        self._in_step, self._key_unseen, self._last_key_s = True, True, key_s
        self._sampler.key(key_s, self._groups.length_s)

    def _require_key_frame(self, stream_s: float) -> None:
        if self._last_key_s is None:
            self._last_key_s = stream_s
        if stream_s - self._last_key_s > KEY_FRAME_WITHIN_S:
            raise StreamUnsupported(f"no key frame in {KEY_FRAME_WITHIN_S:g} s")

    def _is_still(self, packet: Packet[VideoStream], stream_s: float) -> bool:
        if self._stillness is None or self._decoder.reorders:
            return False
        was_still = self._stillness.is_still
        self._stillness.packet(
            packet.size,
            is_key=packet.is_keyframe,
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

    def _feed(self, *, always: bool = False) -> Iterator[Pick]:
        held = list(self._held)
        self._drop_held()
        self._key_unseen = False
        for packet in held:
            try:
                frames = self._decoder.decode(packet)
            except av.FFmpegError:
                self._stats.damaged += 1
                self._stats.decoder = self._decoder.name
                self._lose_step()
                return
            self._stats.decoder = self._decoder.name
            yield from self._pick(frames, always=always)

    def _pick(self, frames: list[VideoFrame], *, always: bool = False) -> Iterator[Pick]:
        for frame in frames:
            self._stats.decoded += 1
            if frame.is_corrupt:
                self._stats.damaged += 1
                continue
            if frame.pts is None or frame.time_base is None:
                continue
            stream_s = float(frame.pts * frame.time_base)
            if stream_s < self._oldest_s:
                continue
            is_due = self._sampler.is_due(stream_s)
            if is_due:
                self._sampler.taken(stream_s)
            if is_due or always:
                self._has_picture = True
                yield Pick(stream_s, frame)
