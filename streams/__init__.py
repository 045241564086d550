"""Cameras: RTSP and files to sampled frames of a model's size."""

from streams.address import redacted
from streams.config import SourceConfig
from streams.errors import (
    StreamBroken,
    StreamBusy,
    StreamError,
    StreamMoved,
    StreamNotFound,
    StreamRefused,
    StreamStalled,
    StreamTransportRefused,
    StreamUnauthorized,
    StreamUnreachable,
    StreamUnsupported,
    StreamUntrusted,
)
from streams.frame import Frame, Picture
from streams.probe import StreamInfo, probe
from streams.rtsp import Trust
from streams.source import Source
from streams.stats import StreamStats

__all__ = [
    "Frame",
    "Picture",
    "Source",
    "SourceConfig",
    "StreamBroken",
    "StreamBusy",
    "StreamError",
    "StreamInfo",
    "StreamMoved",
    "StreamNotFound",
    "StreamRefused",
    "StreamStalled",
    "StreamStats",
    "StreamTransportRefused",
    "StreamUnauthorized",
    "StreamUnreachable",
    "StreamUnsupported",
    "StreamUntrusted",
    "Trust",
    "probe",
    "redacted",
]
