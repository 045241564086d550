"""Connects to cameras and says what was found, and what the site could do better."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from daemon.assembly import trust_of
from daemon.bridge import in_thread
from daemon.config import CameraSettings
from streams.address import is_network, redacted
from streams.colors import Matrix, Range
from streams.errors import StreamError, StreamStalled
from streams.probe import StreamInfo, probe
from streams.rtsp import Trust
from streams.turned import UPRIGHT

GOP_MAX_S = 2.0
HD_LINES = 720
LATE_MAX_S = 0.3
FPS_TOLERANCE = 0.02
# What is taken where a stream says nothing and the camera's setting is "auto"; see streams/colors.py.
ASSUMED_MATRIX, ASSUMED_RANGE = "bt601", "limited"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """One stream to look at. detects: it is the one that is decoded for classification, with these colours."""

    name: str
    url: str
    transport: Literal["tcp", "udp"]
    trust: Trust
    detects: bool
    color_matrix: Matrix = "auto"
    color_range: Range = "auto"

    @classmethod
    def of_camera(cls, name: str, camera: CameraSettings) -> "list[Wanted]":
        """The camera's streams: the main one, and the sub-stream where there is one."""
        main = cls(
            name=name,
            url=camera.url.get_secret_value(),
            transport=camera.transport,
            trust=trust_of(camera),
            detects=camera.detect_url is None,
            color_matrix=camera.color_matrix,
            color_range=camera.color_range,
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


def summary(wanted: Wanted, info: StreamInfo) -> str:
    turned = "" if info.turn == UPRIGHT else f", {info.turn.told}"
    return (
        f"{info.codec} {info.width}x{info.height} {info.fps:.4g} fps, key frame every {gop(info)},"
        f" {info.bitrate_bps / 1e6:.1f} Mbit/s, first picture after {info.first_key_frame_s:.2f} s,"
        f" colours {colors(wanted, info)}{turned}"
    )


def colors(wanted: Wanted, info: StreamInfo) -> str:
    """What is taken for the matrix and the range, and on whose word."""
    return (
        f"{_taken(wanted.color_matrix, info.color_matrix, ASSUMED_MATRIX)},"
        f" {_taken(wanted.color_range, info.color_range, ASSUMED_RANGE)}"
    )


def _taken(set_to: str, said: str | None, assumed: str) -> str:
    claim = said or "nothing"
    if set_to != "auto":
        return f"{set_to} as configured (the stream says {claim})"
    return said if said is not None else f"{assumed} (the stream says nothing)"


def gop(info: StreamInfo) -> str:
    return f"{info.gop_s:.1f} s ({info.gop_frames} frames)" if info.gop_s is not None else "more than the time-out"


def advice(wanted: Wanted, info: StreamInfo) -> list[str]:
    """What would make this camera cheaper or quicker; nothing for a recording, which is as it is."""
    if not is_network(wanted.url) or not wanted.detects:
        return []
    found = []
    if abs(info.fps - info.said_fps) > FPS_TOLERANCE * info.said_fps or abs(info.pace - 1) > FPS_TOLERANCE:
        found.append(
            f"{info.fps:.4g} pictures come in a second; it says {info.said_fps:.4g}, and its stamps count"
            f" {info.fps * info.pace:.4g}: the clock goes by what comes;"
            " look for a long exposure at night, or a load that its encoder does not keep up with"
        )
    if not info.stamps_believed:
        found.append("its stamps stand still, jump or are random: pictures count as taken when they arrive")
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
