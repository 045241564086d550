"""Connects to cameras and says what was found, and what the site could do better."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from daemon.assembly import trust_of
from daemon.bridge import in_thread
from daemon.config import CameraSettings
from streams.address import is_network, redacted
from streams.errors import StreamError, StreamStalled
from streams.probe import StreamInfo, probe
from streams.rtsp import Trust

GOP_MAX_S = 2.0
HD_LINES = 720
LATE_MAX_S = 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """One stream to look at. detects: it is the one that is decoded for classification."""

    name: str
    url: str
    transport: Literal["tcp", "udp"]
    trust: Trust
    detects: bool

    @classmethod
    def of_camera(cls, name: str, camera: CameraSettings) -> "list[Wanted]":
        """The camera's streams: the main one, and the sub-stream where there is one."""
        main = cls(
            name=name,
            url=camera.url.get_secret_value(),
            transport=camera.transport,
            trust=trust_of(camera),
            detects=camera.detect_url is None,
        )
        if camera.detect_url is None:
            return [main]
        sub = replace(main, name=f"{name} (detect_url)".strip(), url=camera.detect_url.get_secret_value(), detects=True)
        return [main, sub]


@dataclass(frozen=True, slots=True, kw_only=True)
class Probed:
    """Exactly one of info and error is there."""

    wanted: Wanted
    info: StreamInfo | None
    error: StreamError | None

    @property
    def address(self) -> str:
        return redacted(self.wanted.url)


async def probe_all(streams: Iterable[Wanted], timeout_s: float) -> list[Probed]:
    """All at once, so that one silent camera does not hold up the others."""
    return await asyncio.gather(*(_probe(stream, timeout_s) for stream in streams))


async def _probe(wanted: Wanted, timeout_s: float) -> Probed:
    # libav does not always keep the time-outs that it is given.
    try:
        async with asyncio.timeout(timeout_s + LATE_MAX_S):
            info = await in_thread(
                f"probe:{wanted.name or redacted(wanted.url)}",
                lambda _: probe(wanted.url, transport=wanted.transport, trust=wanted.trust, timeout_s=timeout_s),
                stop_within_s=0.0,
            )
    except StreamError as error:
        return Probed(wanted=wanted, info=None, error=error)
    except TimeoutError:
        late = StreamStalled(f"{redacted(wanted.url)}: the video library did not come back within {timeout_s:g} s")
        return Probed(wanted=wanted, info=None, error=late)
    return Probed(wanted=wanted, info=info, error=None)


def summary(info: StreamInfo) -> str:
    return (
        f"{info.codec} {info.width}x{info.height} {info.fps:g} fps, key frame every {gop(info)},"
        f" {info.bitrate_bps / 1e6:.1f} Mbit/s, first picture after {info.first_key_frame_s:.2f} s"
    )


def gop(info: StreamInfo) -> str:
    return f"{info.gop_s:.1f} s ({info.gop_frames} frames)" if info.gop_s is not None else "more than the time-out"


def advice(wanted: Wanted, info: StreamInfo) -> list[str]:
    """What would make this camera cheaper or quicker; nothing for a recording, which is as it is."""
    if not is_network(wanted.url) or not wanted.detects:
        return []
    found = []
    if info.gop_s is None or info.gop_s > GOP_MAX_S:
        found.append(
            f"a key frame only every {gop(info)}: slow to start and costly to sample;"
            " set the camera's key frame (I-frame) interval to 1 s, or give a sub-stream as detect_url"
        )
    if info.height > HD_LINES:
        found.append(
            f"{info.height} lines are decoded for a model of a few hundred pixels:"
            " give the camera's sub-stream (about 640x360) as detect_url, a tenth of the CPU time"
        )
    return found
