"""Does a camera see? Wanted against reached samples, whatever lies between: "ok" is said of what was classified.

A sample is reached when its scores arrive in the event loop and have voted. So what is dropped at the camera, on the
way, in the decoder, in the queue, for its age, or because the model hangs, is missed here in the same way; the figures
of everybody on the way only say the cause. Looked at a few times a second; time is an argument.
"""

from collections import deque
from dataclasses import dataclass

# Fewer than this share of the wanted samples is a fault; it is over only a little above, so that it is said once.
SEES_SHARE = 0.5
AGAIN_SHARE = 0.6
# A slow sampling is given so many of its periods: which second a sample falls into says nothing.
PERIODS_MIN = 4
# So much passes between two looks at most, as far as a window goes: a process that stood still did not look.
LOOK_MAX_S = 1.0
LATE_S = 0.4
SILENT_S = 1.0
STANDS_S = 0.5
JUMPS_MANY = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class SightRules:
    """blind_alarm_s: how long fewer than half of the wanted samples are no fault yet."""

    blind_alarm_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What is counted on the way of one camera's frames, and how those stand who are on it for all."""

    packets: int = 0
    key_frames: int = 0
    decoded: int = 0
    sampled: int = 0
    behind: int = 0
    hiccups: int = 0
    lost: int = 0
    damaged: int = 0
    jumps: int = 0
    too_old: int = 0
    no_room: int = 0
    failed: int = 0
    late_s: float = 0.0
    silent_s: float = 0.0  # since the last packet
    connecting_s: float | None = None  # for how long, as long as no packet came
    model_silent_s: float = 0.0  # since the classifier last finished anything
    tally_waits_s: float = 0.0  # since somebody has waited for the ledger


@dataclass(frozen=True, slots=True)
class _Look:
    watched_s: float
    reached: int
    figures: Figures


class Sight:
    """One camera's, over all its connections. Event loop only."""

    def __init__(self, rules: SightRules, sample_fps: float, now_mono_s: float) -> None:
        self._fps = sample_fps
        self.window_s = max(rules.blind_alarm_s, PERIODS_MIN / sample_fps)
        self._looks: deque[_Look] = deque()
        self._looked_mono_s = now_mono_s
        self._watched_s = 0.0
        self.blind = ""  # the fault, with its cause; empty while it sees
        self.wanted = 0.0
        self.reached = 0

    def saw(self) -> None:
        """The scores of one frame arrived and voted."""
        self.reached += 1

    def begin(self) -> None:
        """It sees from now on, after a break that was told: what was before does not count."""
        self._looks.clear()
        self.blind = ""

    def look(self, figures: Figures, now_mono_s: float) -> None:
        """figures: as they stand now; counters only grow."""
        passed_s, self._looked_mono_s = max(0.0, now_mono_s - self._looked_mono_s), now_mono_s
        self.wanted += self._fps * passed_s
        self._watched_s += min(passed_s, LOOK_MAX_S)
        self._looks.append(_Look(self._watched_s, self.reached, figures))
        while len(self._looks) > 2 and self._watched_s - self._looks[1].watched_s >= self.window_s:
            self._looks.popleft()
        first = self._looks[0]
        window_s = self._watched_s - first.watched_s
        if window_s < self.window_s:
            return
        rate = (self.reached - first.reached) / window_s
        if rate >= self._fps * (AGAIN_SHARE if self.blind else SEES_SHARE):
            self.blind = ""
        else:
            why = cause(first.figures, figures, wanted=self._fps * window_s)
            self.blind = f"sees {rate:.1f} of {self._fps:g} samples/s: {why}"


def cause(before: Figures, now: Figures, *, wanted: float) -> str:
    """What stands in the way, by what was counted in between."""
    sampled, packets = now.sampled - before.sampled, now.packets - before.packets
    if sampled >= SEES_SHARE * wanted:
        return _behind_the_camera(before, now, sampled)
    if now.connecting_s is not None:
        return f"no packet yet, connecting for {now.connecting_s:.0f} s"
    if not packets:
        return f"no packets arrive, the last came {now.silent_s:.0f} s ago"
    damaged, jumps, keys = now.damaged - before.damaged, now.jumps - before.jumps, now.key_frames - before.key_frames
    decoded = now.decoded - before.decoded
    causes = []
    if now.silent_s > SILENT_S:
        causes.append(f"no packet for {now.silent_s:.1f} s")
    if not keys and not decoded:
        causes.append("packets come, but no key frame")
    if damaged:
        lost = now.lost - before.lost
        causes.append(f"{damaged} pictures are damaged or miss what they refer to ({lost} RTP packets lost)")
    if jumps >= JUMPS_MANY:
        causes.append(f"the camera's time stamps jump, {jumps} times")
    if hiccups := now.hiccups - before.hiccups:
        causes.append(f"the network held packets back, {hiccups} times")
    if now.behind > before.behind or now.late_s > LATE_S:
        causes.append(f"pictures come too late, the last by {now.late_s:.1f} s")
    return f"{', '.join(causes) or 'too few pictures come'} ({packets} packets, {keys} key frames, {decoded} decoded)"


def _behind_the_camera(before: Figures, now: Figures, sampled: int) -> str:
    counts = {
        "were too old when their turn came: the classifier is too slow": now.too_old - before.too_old,
        "found no room before the classifier": now.no_room - before.no_room,
        "were not judged: the classifier failed or gave no usable scores": now.failed - before.failed,
    }
    if now.model_silent_s >= STANDS_S:
        return f"the classifier has not answered for {now.model_silent_s:.0f} s"
    if now.tally_waits_s >= STANDS_S:
        return f"the tally has waited for the ledger for {now.tally_waits_s:.0f} s"
    most = max(counts, key=lambda text: counts[text])
    if counts[most]:
        return f"{counts[most]} of {sampled} frames {most}"
    return f"{sampled} frames went to the classifier and their scores did not come back"
