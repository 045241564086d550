"""A repeated picture has the scores it had: classify it once.

While nothing moves, `streams` hands the last picture on again for every sample. Its scores are kept here by the moment
the picture was captured, so that a repeat is only answered with the scores of exactly that picture: if it was dropped
or still waits, the repeat goes to the classifier like any other frame.
"""

import time
from collections.abc import Callable
from dataclasses import replace

from inference.batcher import Prediction
from streams.frame import Frame


class Repeats:
    """Between the cameras and the classifier. `frame` runs in capture threads, `prediction` in the classifier's.

    Each camera's entries are replaced whole, and by one thread each, so no lock is needed.
    """

    def __init__(self, classify: Callable[[Frame], None], on_prediction: Callable[[Prediction], None]) -> None:
        self._classify = classify
        self._on_prediction = on_prediction
        self._shown: dict[str, float] = {}
        self._scored: dict[str, Prediction] = {}
        self.reused = 0

    def frame(self, frame: Frame) -> None:
        if frame.repeated:
            scored = self._scored.get(frame.camera)
            if scored is not None and scored.captured_mono_s == self._shown.get(frame.camera):
                self.reused += 1
                self._on_prediction(
                    replace(
                        scored,
                        captured_at=frame.captured_at,
                        captured_mono_s=frame.captured_mono_s,
                        done_mono_s=time.monotonic(),
                    )
                )
                return
        self._shown[frame.camera] = frame.captured_mono_s
        self._classify(frame)

    def prediction(self, prediction: Prediction) -> None:
        self._scored[prediction.camera] = prediction
        self._on_prediction(prediction)

    def forget(self, camera: str) -> None:
        self._shown.pop(camera, None)
        self._scored.pop(camera, None)
