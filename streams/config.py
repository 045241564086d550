"""What one camera is, for this package: plain values, checked once. Who fills it says them all."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from streams.colors import Colors
from streams.frame import Picture
from streams.rtsp import Trust


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceConfig:
    """One camera or one recording. Addresses stay out of the repr: they carry passwords."""

    camera: str
    url: str = field(repr=False)  # rtsp://, rtsps://, or the path of a file
    detect_url: str | None = field(repr=False)  # the sub-stream; when given, it is the one classified
    transport: Literal["tcp", "udp"]
    trust: Trust  # rtsps only
    connect_timeout_s: float
    read_timeout_s: float  # a stall is reported within this time
    sample_fps: float
    picture: Picture
    colors: Colors
    adaptive: bool  # key frames only while the compressed stream says that nothing moves
    hwaccel: str  # "off", "auto", or the name of a device: "cuda", "vaapi", ...
    pace: Literal["live", "fast"]  # files only: as a camera would send, or as fast as the consumer takes
    loop: bool  # files only
    started_at: datetime | None  # files only: wall time of the first frame; None: now

    def __post_init__(self) -> None:
        for name in ("connect_timeout_s", "read_timeout_s", "sample_fps"):
            if not getattr(self, name) > 0:
                raise ValueError(f"camera {self.camera}: {name} must be above 0, got {getattr(self, name)}")
        if self.transport not in ("tcp", "udp"):
            raise ValueError(f"camera {self.camera}: transport must be 'tcp' or 'udp', got {self.transport!r}")
        if self.pace not in ("live", "fast"):
            raise ValueError(f"camera {self.camera}: pace must be 'live' or 'fast', got {self.pace!r}")
        if self.started_at is not None and self.started_at.tzinfo is None:
            raise ValueError(f"camera {self.camera}: started_at must carry a time zone, got {self.started_at}")

    @property
    def classified_url(self) -> str:
        """The address that is opened: the sub-stream where there is one."""
        return self.detect_url or self.url
