"""Cameras and programs for whole-program tests."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any

import av
import pytest

from tests.journeys.program import ASSETS, Program
from tests.servers.rtsp import RtspCamera, why_unavailable
from tests.streams.clips import encode


@pytest.fixture
def rtsp() -> Iterator[Callable[..., RtspCamera]]:
    """rtsp(clip, user=..., ...) -> a running camera."""
    if reason := why_unavailable():
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    with ExitStack() as cameras:
        yield lambda clip, **options: cameras.enter_context(RtspCamera(clip, **options))


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Callable[..., Program]]:
    """program(cameras={...}) -> the running program."""
    with ExitStack() as programs:

        def start(**options: Any) -> Program:
            return programs.enter_context(Program(tmp_path, **options))

        yield start


@pytest.fixture(scope="session")
def second_camera_h265(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The second demo recording as H.265, five pictures a second: with all 25 x265 alone takes more than a minute."""
    with av.open(str(ASSETS / "or-cam-02.mp4")) as recording:
        fifth = islice(recording.decode(video=0), 0, None, 5)
        pictures = (frame.to_ndarray(format="rgb24") for frame in fifth)
        path = tmp_path_factory.mktemp("h265") / "or-cam-02.mp4"
        return encode(path, pictures, codec="libx265", fps=5, group=5)
