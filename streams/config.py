"""What one camera is, for this package: plain values, checked once."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from streams.frame import Picture


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceConfig:
    """One camera or one recording. Addresses stay out of the repr: they carry passwords."""

    camera: str
    url: str = field(repr=False)  # rtsp://, rtsps://, or the path of a file
    detect_url: str | None = field(default=None, repr=False)  # the sub-stream; when given, it is the one classified
    transport: Literal["tcp", "udp"] = "tcp"
    connect_timeout_s: float = 10.0
    read_timeout_s: float = 2.0  # a stall is reported within this time
    sample_fps: float = 2.0
    picture: Picture
    adaptive: bool = False  # key frames only while the compressed stream says that nothing moves
    hwaccel: str = "off"  # "off", "auto", or the name of a device: "cuda", "vaapi", ...
    pace: Literal["live", "fast"] = "live"  # files only: as a camera would send, or as fast as the consumer takes
    loop: bool = False  # files only
    started_at: datetime | None = None  # files only: wall time of the first frame; default: now
    frozen_after_s: float = 30.0  # identical pictures for this long are reported as frozen

    def __post_init__(self) -> None:
        for name in ("connect_timeout_s", "read_timeout_s", "sample_fps", "frozen_after_s"):
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
