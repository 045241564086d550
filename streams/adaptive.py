"""Does the compressed stream say that nothing moves? Then key frames are enough.

An encoder spends next to nothing on blocks that did not change, so the sizes of the packets between key frames tell
of motion before anything is decoded. How loud the noise of this sensor and this encoder is gets learnt while the
decoded samples show that nothing changes, apart for each power of two of the distance to the key frame, because the
first pictures of a group refine it. Then:

- still: once the samples have not changed for `rest_after_s` and the sizes spread so little that a small object would
  stand out. A camera that fills a constant bit rate with noise never passes: it cannot say.
- full: as soon as a cumulative sum of what the packets have above their usual size passes ALARM, or SUSPECT when a
  sample is due. Each alarm that no picture bears out raises SUSPECT for this stream, as far as one packet can still
  pass it.
- The referee: every key frame is decoded in still mode, too. If it shows a change that the sizes did not tell of,
  this stream is less trustworthy than it seemed: full at once, and the rest before the next still doubles.

Thresholds, cost and misses are measured by bench/adaptive.py.
"""

from collections import deque
from collections.abc import Iterable
from statistics import median

import numpy as np
import numpy.typing as npt

from streams.frame import Rgb

BLOCK = 8
CHANGED_LEVELS = (
    5.0  # a block's mean colour; noise and re-encoding moved it by up to 2.4, a 32x32 object on 1080p by 14
)
REST_AFTER_S = 4.0
REST_AFTER_MAX_S = 64.0
REST_AGAIN_S = 1.0  # after an alarm that no picture bore out
GROUP_MAX_S = 4.0  # a longer group would leave a miss unnoticed for too long
SLACK = 1.0  # of the cumulative sum, in spreads: drift below it is forgotten
ALARM = 6.0
SUSPECT = 2.5
SUSPECT_STEP = 0.5
EXCESS_MAX = 5.0
SUSPECT_MAX = EXCESS_MAX - SLACK - 0.1
# What the smallest object worth noticing costs a packet, in bytes per pixel of the stream (400 bytes of 1080p), and how
# many spreads of the noise that must be.
WHISPER_BYTES_PER_PIXEL = 1 / 5120
WHISPER_SPREADS = 2.0
# The floors of the spread keep a stream of almost constant sizes from raising an alarm over a few bytes.
FLOOR_SHARE = 0.3
FLOOR_BYTES = 16.0
SPREAD_PER_MAD = 1.48  # of a normal distribution
LEARNT_MIN = 40  # packets
KEPT = 1000
LEARN_AGAIN = 4  # once one in so many of the packets kept is new


class Noise:
    """The sizes of packets in which nothing moves, by their place in the group."""

    def __init__(self, sizes: Iterable[tuple[int, int]]) -> None:
        """sizes: (bin, bytes) of the packets of a quiet stretch."""
        by_bin: dict[int, list[int]] = {}
        for bin_, size in sizes:
            by_bin.setdefault(bin_, []).append(size)
        everything = [size for values in by_bin.values() for size in values]
        self._elsewhere = median(everything)
        self._usual = {bin_: median(values) for bin_, values in by_bin.items() if len(values) > 2}
        self.spread = max(
            median(SPREAD_PER_MAD * abs(size - self._at(bin_)) for bin_, values in by_bin.items() for size in values),
            FLOOR_SHARE * self._elsewhere,
            FLOOR_BYTES,
        )
        self._spreads = {
            bin_: max(self.spread, SPREAD_PER_MAD * median(abs(size - self._at(bin_)) for size in values))
            for bin_, values in by_bin.items()
        }

    def _at(self, bin_: int) -> float:
        return self._usual.get(bin_, self._elsewhere)

    def excess(self, bin_: int, size: int) -> float:
        """In spreads above what this place in the group has when nothing moves; one packet alone raises no alarm."""
        return min((size - self._at(bin_)) / self._spreads.get(bin_, self.spread), EXCESS_MAX)


class Stillness:
    """One per connection."""

    def __init__(self, pixels: int) -> None:
        """pixels: of the stream's own size."""
        self._whisper_bytes = pixels * WHISPER_BYTES_PER_PIXEL
        self._noise: Noise | None = None  # set while still
        self._sum = 0.0
        self._since_key = 0
        self._group_s: float | None = None
        self._sizes: deque[tuple[int, int]] = deque(maxlen=KEPT)
        self._unlearnt = 0
        self._reference: npt.NDArray[np.float32] | None = None
        self._quiet_since_s = 0.0
        self._rest_after_s = REST_AFTER_S
        self._suspect = SUSPECT
        self._alarmed = False
        self.wakes = 0
        self.late_wakes = 0

    @property
    def is_still(self) -> bool:
        return self._noise is not None

    def packet(self, size: int, *, is_key: bool, group_s: float | None, sample_due: bool) -> None:
        """One packet, before it is decoded or not. group_s: the learnt distance of key frames."""
        self._group_s = group_s
        if is_key:
            self._since_key = 0
            return
        self._since_key += 1
        bin_ = self._since_key.bit_length()
        self._sizes.append((bin_, size))
        self._unlearnt += 1
        if self._noise is None:
            return
        self._sum = max(0.0, self._sum + self._noise.excess(bin_, size) - SLACK)
        if self._sum > (self._suspect if sample_due else ALARM):
            self.wakes += 1
            self._noise = None  # what was learnt is kept: it may have been a false alarm
            self._alarmed = True

    def picture(self, rgb: Rgb, stream_s: float) -> None:
        """One decoded sample."""
        blocks = block_means(rgb)
        changed = self._reference is None or float(np.abs(blocks - self._reference).max()) > CHANGED_LEVELS
        if changed:
            if self._noise is not None:
                self.late_wakes += 1
                self._rest_after_s = min(2 * self._rest_after_s, REST_AFTER_MAX_S)
            # Against the first of the quiet stretch, so that what creeps is not taken for still.
            self._noise, self._reference, self._quiet_since_s = None, blocks, stream_s
            self._alarmed = False
            self._sizes.clear()
        elif self._noise is not None:
            self._reference = blocks  # light that fades is no motion: each key frame against the one before
            if self._unlearnt * LEARN_AGAIN >= len(self._sizes):
                self._noise, self._unlearnt = Noise(self._sizes), 0
        elif self._alarmed:
            self._alarmed = False
            self._suspect = min(self._suspect + SUSPECT_STEP, SUSPECT_MAX)
            self._quiet_since_s = max(self._quiet_since_s, stream_s - self._rest_after_s + REST_AGAIN_S)
        elif stream_s - self._quiet_since_s >= self._rest_after_s:
            self._rest()

    def _rest(self) -> None:
        if self._group_s is None or self._group_s > GROUP_MAX_S or len(self._sizes) < LEARNT_MIN:
            return
        noise = Noise(self._sizes)
        if noise.spread * WHISPER_SPREADS <= self._whisper_bytes:
            self._noise, self._sum, self._unlearnt = noise, 0.0, 0


def block_means(rgb: Rgb) -> npt.NDArray[np.float32]:
    """Mean colour of each BLOCK x BLOCK block of a sample."""
    height, width = rgb.shape[0] // BLOCK * BLOCK, rgb.shape[1] // BLOCK * BLOCK
    if not height or not width:
        return np.asarray(rgb.mean(axis=(0, 1), dtype=np.float32))[None, None]
    rows, columns = height // BLOCK, width // BLOCK
    # Two sums, the long one over whole lines: a third of the time of one mean over both axes.
    lines = rgb[:height, :width].reshape(rows, BLOCK, width * 3).sum(axis=1, dtype=np.uint16)
    sums = lines.reshape(rows, columns, BLOCK, 3).sum(axis=2, dtype=np.uint16)
    means: npt.NDArray[np.float32] = sums.astype(np.float32) / np.float32(BLOCK * BLOCK)
    return means
