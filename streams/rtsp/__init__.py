"""The conversation with an RTSP camera, and its one video track for libav to read."""

from streams.rtsp.front import Front
from streams.rtsp.rtp import Arrival
from streams.rtsp.tls import Trust

__all__ = ["Arrival", "Front", "Trust"]
