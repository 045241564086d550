"""Recordings in the place of cameras."""

from pathlib import Path

from daemon.assembly import recording_of
from daemon.config import Settings
from daemon.config.sections import InferenceSettings
from tests import rules


def test_a_recording_is_read_as_a_camera_would_be_but_whole_and_as_fast_as_it_goes() -> None:
    site = Settings(inference=InferenceSettings(sample_fps=4))

    recording = recording_of("or-cam-01", Path("or-cam-01.mp4"), site, rules.SMALL)

    assert recording == rules.camera("or-cam-01.mp4", sample_fps=4, adaptive=False, pace="fast")
