"""Clips made once per session, the shared footage where it is, and RTSP cameras."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from streams import picker
from tests.servers.rtsp import RtspCamera, why_unavailable
from tests.streams.clips import counted, encode
from tests.waiting import DEADLINE_S

MEDIA = Path(__file__).parents[2] / "../shared/media"


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("clips")


@pytest.fixture(scope="session")
def h264(clips: Path) -> Path:
    """12 s, 25 frames a second, a key frame each second; each frame shows its index."""
    return encode(clips / "h264.mp4", counted(300), group=25)


@pytest.fixture(scope="session")
def h265(clips: Path) -> Path:
    return encode(clips / "h265.mp4", counted(150), codec="libx265", group=25)


@pytest.fixture(params=["h264", "h265"])
def clip(request: pytest.FixtureRequest) -> Path:
    """Both codecs."""
    path: Path = request.getfixturevalue(request.param)
    return path


@pytest.fixture(params=["h264", "h265"])
def footage(request: pytest.FixtureRequest) -> Path:
    path = MEDIA / f"people-1080p25-{request.param}.mp4"
    if not path.exists():
        pytest.skip("the shared footage is not beside the project")
    return path


@pytest.fixture
def rtsp(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., RtspCamera]]:
    """rtsp(clip, user=..., ...) -> a running camera, of which no frame is left out because this machine is late."""
    monkeypatch.setattr(picker, "BEHIND_S", DEADLINE_S)
    monkeypatch.setattr(picker, "BURST_BEHIND_S", DEADLINE_S)
    if reason := why_unavailable():
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    with ExitStack() as cameras:

        def start(clip: Path, **options: Any) -> RtspCamera:
            return cameras.enter_context(RtspCamera(clip, **options))

        yield start
