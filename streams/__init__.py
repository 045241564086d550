"""Cameras: RTSP and files to sampled frames of a model's size."""

from streams.address import redacted
from streams.config import SourceConfig
from streams.errors import (
    StreamBroken,
    StreamError,
    StreamNotFound,
    StreamStalled,
    StreamUnauthorized,
    StreamUnreachable,
    StreamUnsupported,
)
from streams.frame import Frame, Picture
from streams.probe import StreamInfo, probe
from streams.source import Source
from streams.stats import StreamStats

__all__ = [
    "Frame",
    "Picture",
    "Source",
    "SourceConfig",
    "StreamBroken",
    "StreamError",
    "StreamInfo",
    "StreamNotFound",
    "StreamStalled",
    "StreamStats",
    "StreamUnauthorized",
    "StreamUnreachable",
    "StreamUnsupported",
    "probe",
    "redacted",
]
