"""Recordings in the place of cameras."""

from pathlib import Path

from pydantic import SecretStr

from daemon.assembly import recording_of
from daemon.config import CameraSettings, Settings
from daemon.config.sections import InferenceSettings
from streams.colors import Colors
from tests import rules


def test_a_recording_is_read_as_a_camera_would_be_but_whole_and_as_fast_as_it_goes() -> None:
    site = Settings(inference=InferenceSettings(sample_fps=4))

    recording = recording_of("or-cam-01", Path("or-cam-01.mp4"), site, rules.SMALL)

    assert recording == rules.camera("or-cam-01.mp4", sample_fps=4, adaptive=False, pace="fast")


def test_a_recording_that_is_named_for_a_camera_is_read_in_its_colours() -> None:
    camera = CameraSettings(url=SecretStr("rtsp://h/1"), color_matrix="bt709", color_range="full", transport="udp")
    site = Settings(cameras={"or-cam-01": camera})

    named = recording_of("or-cam-01", Path("or-cam-01.mp4"), site, rules.SMALL)
    other = recording_of("or-cam-02", Path("or-cam-02.mp4"), site, rules.SMALL)

    assert named.colors == Colors(matrix="bt709", range="full")
    assert other.colors == Colors(matrix="auto", range="auto")
    assert (named.url, named.pace) == ("or-cam-01.mp4", "fast")
