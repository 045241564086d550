"""Recordings in the place of cameras."""

import threading
from pathlib import Path

import numpy as np
import pytest
from pydantic import SecretStr

from daemon.assembly import picture_of, recording_of
from daemon.config import CameraSettings, Settings
from daemon.config.sections import InferenceSettings
from daemon.pipeline.offline import read_trace
from inference.errors import ModelFailed
from streams.colors import Colors
from tests import rules
from tests.daemon.scenes import film
from tests.inference.heads import SOFTMAX, node, save


def test_a_recording_is_read_as_a_camera_would_be_but_whole_and_as_fast_as_it_goes() -> None:
    site = Settings(inference=InferenceSettings(sample_fps=4))

    recording = recording_of("or-cam-01", Path("or-cam-01.mp4"), site, rules.SMALL)

    assert recording == rules.camera("or-cam-01.mp4", sample_fps=4, adaptive=False, pace="fast")


def test_a_picture_whose_scores_are_not_finite_ends_the_reading_with_its_time(tmp_path: Path) -> None:
    film(tmp_path / "grey.mp4", [(1, (255, 0, 0)), (2, (51, 51, 51))])
    # the root of a number that is below 0 only where a mean colour is near 0.2
    ends = [node("Sub", also=[np.float32(0.2)]), node("Abs"), node("Sub", also=[np.float32(0.05)]), node("Sqrt")]
    model = rules.model(save(tmp_path / "m.onnx", *ends, SOFTMAX, gain=1))
    recording = recording_of("or-cam-01", tmp_path / "grey.mp4", Settings(), picture_of(model))

    with pytest.raises(ModelFailed, match=r"m\.onnx: gives scores that are not finite .* at [12]\.\d s of .*grey\.mp4"):
        read_trace(model, recording, batch_max=4, on_progress=lambda _at_s, _share: None, stop=threading.Event())


def test_a_recording_that_is_named_for_a_camera_is_read_in_its_colours() -> None:
    camera = CameraSettings(url=SecretStr("rtsp://h/1"), color_matrix="bt709", color_range="full", transport="udp")
    site = Settings(cameras={"or-cam-01": camera})

    named = recording_of("or-cam-01", Path("or-cam-01.mp4"), site, rules.SMALL)
    other = recording_of("or-cam-02", Path("or-cam-02.mp4"), site, rules.SMALL)

    assert named.colors == Colors(matrix="bt709", range="full")
    assert other.colors == Colors(matrix="auto", range="auto")
    assert (named.url, named.pace) == ("or-cam-01.mp4", "fast")
