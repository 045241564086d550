"""Live figures of one camera: written by its capture thread alone, read from any thread."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal


@dataclass(slots=True, kw_only=True)
class StreamStats:
    """Counters run on over reconnects of the same Source."""

    # counters
    packets: int = 0
    bytes: int = 0
    lost: int = 0  # RTP packets that never came
    key_frames: int = 0
    decoded: int = 0
    sampled: int = 0  # frames handed on, repeated ones included
    repeated: int = 0  # of these, without decoding, because nothing moved
    skipped: int = 0  # packets that were never decoded
    behind: int = 0  # times that packets waited here for over 0.4 s: this machine was busy, or is too slow
    hiccups: int = 0  # times that the network held packets back for over 0.4 s
    damaged: int = 0  # pictures that could not be shown: damaged, or what they refer to is; each once
    losses: int = 0  # times that this began
    decode_errors: int = 0  # of these, seen only by the decoder
    jumps: int = 0  # of the camera's stamps
    wakes: int = 0  # still -> full, seen in the compressed stream
    late_wakes: int = 0  # still -> full, seen only in the next key frame
    # what the stream is
    codec: str = ""
    width: int = 0
    height: int = 0
    fps: float = 0.0
    gop_frames: int = 0
    length_s: float = 0.0  # of a recording: what it says of itself, or more where more came; of joined parts, what came
    decoder: str = ""  # "software", "cuda", ...
    mode: Literal["full", "still"] = "full"
    # how it is
    pace: float = 1.0  # seconds that pass while the camera's stamps count one
    by_arrival: bool = False  # its stamps cannot be believed: a picture was taken when it arrived
    lag_s: float = 0.0  # from when the newest packet could have been here to when it was looked at
    frozen_since: datetime | None = None
    covered_since: datetime | None = None
    last_packet_mono_s: float | None = None
    last_frame_at: datetime | None = None
