"""A repeated picture is classified once, and never gets the scores of another one."""

from datetime import UTC, datetime, timedelta

import numpy as np

from daemon.pipeline.repeats import Repeats
from inference.batcher import Prediction
from streams.frame import Frame

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


def frame(at_s: float, *, repeated: bool = False, camera: str = "or-cam-01") -> Frame:
    return Frame(
        camera=camera,
        rgb=np.zeros((2, 2, 3), np.uint8),
        captured_at=NOON + timedelta(seconds=at_s),
        captured_mono_s=at_s,
        stream_s=at_s,
        repeated=repeated,
    )


def scored(of: Frame, score: float) -> Prediction:
    return Prediction(
        camera=of.camera,
        scores=np.array([score], np.float32),
        captured_at=of.captured_at,
        captured_mono_s=of.captured_mono_s,
        done_mono_s=of.captured_mono_s + 0.1,
    )


def test_a_repeat_gets_the_scores_of_its_picture_at_its_own_time() -> None:
    classified: list[Frame] = []
    told: list[Prediction] = []
    repeats = Repeats(classified.append, told.append)
    repeats.frame(frame(1.0))
    repeats.prediction(scored(classified[0], 0.7))
    repeats.frame(frame(1.5, repeated=True))
    assert len(classified) == 1
    assert [each.captured_mono_s for each in told] == [1.0, 1.5]
    assert told[1].scores == told[0].scores
    assert told[1].captured_at == NOON + timedelta(seconds=1.5)


def test_a_repeat_of_a_picture_that_has_no_scores_yet_is_classified() -> None:
    classified: list[Frame] = []
    told: list[Prediction] = []
    repeats = Repeats(classified.append, told.append)
    repeats.frame(frame(1.0))
    repeats.prediction(scored(classified[0], 0.7))
    repeats.frame(frame(2.0))
    repeats.frame(frame(2.5, repeated=True))
    assert [each.captured_mono_s for each in classified] == [1.0, 2.0, 2.5]
    assert len(told) == 1


def test_cameras_keep_their_scores_apart_and_a_closed_one_keeps_none() -> None:
    classified: list[Frame] = []
    told: list[Prediction] = []
    repeats = Repeats(classified.append, told.append)
    for camera, score in (("or-cam-01", 0.1), ("or-cam-02", 0.2)):
        repeats.frame(frame(1.0, camera=camera))
        repeats.prediction(scored(classified[-1], score))
    repeats.frame(frame(1.5, repeated=True, camera="or-cam-02"))
    assert told[-1].scores == np.float32(0.2)
    repeats.forget("or-cam-02")
    repeats.frame(frame(2.0, repeated=True, camera="or-cam-02"))
    assert len(classified) == 3
