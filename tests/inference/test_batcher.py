"""One queue for all cameras: who gives way, what is too old, what is counted, and how it stops."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import pytest

from daemon.config.sections import InferenceSettings
from inference.batcher import Batcher
from inference.errors import ModelMismatch
from tests import rules
from tests.inference.heads import SOFTMAX, node, save
from tests.waiting import DEADLINE_S

ROOT = node("Sqrt")
NOW = datetime(2026, 11, 21, 8, 0, tzinfo=UTC)


@dataclass(frozen=True)
class Shot:
    camera: str
    rgb: np.ndarray
    captured_mono_s: float
    captured_at: datetime = NOW


class Clock:
    """The monotonic clock of a test; nothing happens between two settings of it."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self._looked_at = threading.Event()

    def __call__(self) -> float:
        self._looked_at.set()
        return self.now_s

    def until(self, holds):
        """Wait for what is brought about by a thread that looks at the clock again and again."""
        while not holds():
            self._looked_at.clear()
            assert self._looked_at.wait(DEADLINE_S)


class Results:
    """Collects predictions; can hold the batcher's thread inside its callback."""

    def __init__(self) -> None:
        self.predictions = []
        self.threads = set()
        self._changed = threading.Condition()
        self.may_go_on = threading.Event()
        self.may_go_on.set()
        self.is_held = threading.Event()

    def __call__(self, prediction):
        with self._changed:
            self.predictions.append(prediction)
            self.threads.add(threading.current_thread().name)
            self._changed.notify_all()
        if not self.may_go_on.is_set():
            self.is_held.set()
            assert self.may_go_on.wait(DEADLINE_S)

    def wait_for(self, count):
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.predictions) >= count, DEADLINE_S)


@pytest.fixture
def model(colour):
    return rules.model(colour())


def batching(model, on_prediction, *, clock, **changes):
    inference = InferenceSettings().model_copy(update=changes)
    return Batcher(
        model,
        on_prediction,
        queue_max=inference.queue_max,
        batch_max=inference.batch_max,
        frame_age_max_s=inference.frame_age_max_s,
        clock=clock,
    )


@contextmanager
def running(batcher: Batcher) -> Iterator[threading.Event]:
    stop = threading.Event()
    thread = threading.Thread(target=batcher.run, args=(stop,), name="classify")
    thread.start()
    try:
        yield stop
    finally:
        stop.set()
        thread.join(DEADLINE_S)
        assert not thread.is_alive()


def counts(batcher):
    return {cause: count for cause, count in batcher.drops.items() if count}


def test_a_frame_comes_back_as_a_prediction_with_its_camera_and_times(model, painted):
    clock, results = Clock(), Results()
    batcher = batching(model, results, clock=clock)
    with running(batcher):
        batcher.put(Shot("or-cam-01", painted(200, 9, 9), 99.9))
        batcher.put(Shot("or-cam-02", painted(9, 9, 200), 99.8))
        results.wait_for(2)
    first, second = results.predictions
    assert (first.camera, second.camera) == ("or-cam-01", "or-cam-02")
    assert (model.labels[first.scores.argmax()], model.labels[second.scores.argmax()]) == ("red", "blue")
    assert (first.captured_at, first.captured_mono_s, first.done_mono_s) == (NOW, 99.9, 100.0)
    assert results.threads == {"classify"}
    assert batcher.classified_by_camera == {"or-cam-01": 1, "or-cam-02": 1}
    assert batcher.latency_s(0.99) == pytest.approx(0.2)
    assert batcher.oldest_classified_s == pytest.approx(0.2)
    assert batcher.drops == {"queue_full": 0, "too_old": 0, "closed": 0, "failed": 0}


def test_what_waits_goes_in_one_batch_up_to_the_limit(model, painted):
    results = Results()
    batcher = batching(model, results, batch_max=4, clock=Clock())
    for number in range(10):
        batcher.put(Shot(f"cam-{number % 3}", painted(200, number, 9), 100.0))
    with running(batcher):
        results.wait_for(10)
    assert batcher.batches == 3
    assert [p.camera for p in results.predictions] == [f"cam-{number % 3}" for number in range(10)]


def test_a_lone_frame_does_not_wait_for_others(model, painted):
    results = Results()
    batcher = batching(model, results, batch_max=8, clock=Clock())
    with running(batcher):
        for number in range(3):
            batcher.put(Shot("cam", painted(200, number, 9), 100.0))
            results.wait_for(number + 1)
    assert batcher.batches == 3


def test_in_a_full_queue_a_camera_gives_up_its_own_oldest_frame(model, painted):
    results = Results()
    batcher = batching(model, results, queue_max=4, clock=Clock())
    for camera, at in [("quiet", 99.61), ("fast", 99.62), ("fast", 99.63), ("fast", 99.64), ("fast", 99.65)]:
        batcher.put(Shot(camera, painted(1, 2, 3), at))
    assert batcher.waiting == 4
    assert batcher.drops_by_camera == {("fast", "queue_full"): 1}
    with running(batcher):
        results.wait_for(4)
    assert [p.captured_mono_s for p in results.predictions] == [99.61, 99.63, 99.64, 99.65]


def test_a_camera_makes_room_for_itself_even_if_another_has_more_waiting(model, painted):
    batcher = batching(model, Results(), queue_max=4, clock=Clock())
    for camera in ("quiet", "fast", "fast", "fast", "quiet"):
        batcher.put(Shot(camera, painted(1, 2, 3), 100.0))
    assert batcher.drops_by_camera == {("quiet", "queue_full"): 1}


def test_a_queue_without_room_is_refused(model):
    with pytest.raises(ValueError, match="queue_max 0"):
        batching(model, Results(), queue_max=0, clock=Clock())


def test_a_camera_without_a_waiting_frame_takes_the_place_of_the_one_that_has_most(model, painted):
    batcher = batching(model, Results(), queue_max=4, clock=Clock())
    for camera in ("quiet", "fast", "fast", "fast", "new"):
        batcher.put(Shot(camera, painted(1, 2, 3), 100.0))
    assert batcher.drops_by_camera == {("fast", "queue_full"): 1}


def test_of_cameras_alike_the_one_that_waits_longest_gives_way(model, painted):
    batcher = batching(model, Results(), queue_max=2, clock=Clock())
    for camera in ("a", "b", "c", "d"):
        batcher.put(Shot(camera, painted(1, 2, 3), 100.0))
    assert batcher.drops_by_camera == {("a", "queue_full"): 1, ("b", "queue_full"): 1}


def test_age_is_looked_at_when_the_model_is_free_not_when_the_frame_comes(model, painted):
    clock, results = Clock(), Results()
    batcher = batching(model, results, frame_age_max_s=0.5, clock=clock)
    results.may_go_on.clear()
    with running(batcher):
        batcher.put(Shot("a", painted(1, 2, 3), 100.0))
        assert results.is_held.wait(DEADLINE_S)
        batcher.put(Shot("a", painted(1, 2, 3), 100.0))  # fresh now, but the classifier is busy for 0.6 s
        batcher.put(Shot("b", painted(1, 2, 3), 100.1))  # exactly 0.5 s old by then
        clock.now_s = 100.6
        results.may_go_on.set()
        results.wait_for(2)
    assert [p.camera for p in results.predictions] == ["a", "b"]
    assert batcher.drops_by_camera == {("a", "too_old"): 1}
    assert batcher.oldest_classified_s == pytest.approx(0.5)


def test_old_frames_do_not_take_the_places_of_fresh_ones_in_a_batch(model, painted):
    results = Results()
    batcher = batching(model, results, batch_max=2, clock=Clock())
    for at in (90.0, 91.0, 92.0, 99.9, 100.0):
        batcher.put(Shot("a", painted(1, 2, 3), at))
    with running(batcher):
        results.wait_for(2)
    assert batcher.batches == 1
    assert counts(batcher) == {"too_old": 3}


def test_put_never_waits_for_a_busy_model(model, painted):
    results = Results()
    batcher = batching(model, results, queue_max=3, clock=Clock())
    results.may_go_on.clear()
    with running(batcher):
        batcher.put(Shot("a", painted(1, 2, 3), 100.0))
        assert results.is_held.wait(DEADLINE_S)
        for _ in range(100):
            batcher.put(Shot("a", painted(1, 2, 3), 100.0))
        assert batcher.waiting == 3
        results.may_go_on.set()
        results.wait_for(4)
    assert counts(batcher) == {"queue_full": 97}
    assert batcher.classified == 4


def test_frames_left_over_and_frames_after_the_end_are_counted_as_closed(model, painted):
    results = Results()
    batcher = batching(model, results, clock=Clock())
    results.may_go_on.clear()
    with running(batcher) as stop:
        batcher.put(Shot("a", painted(1, 2, 3), 100.0))
        assert results.is_held.wait(DEADLINE_S)
        batcher.put(Shot("a", painted(1, 2, 3), 100.0))
        stop.set()
        results.may_go_on.set()
    batcher.put(Shot("b", painted(1, 2, 3), 100.0))
    assert batcher.drops_by_camera == {("a", "closed"): 1, ("b", "closed"): 1}
    assert batcher.waiting == 0


def test_it_runs_again_after_an_error_in_the_callback(model, painted):
    def refuse(prediction):
        raise LookupError(prediction.camera)

    batcher = batching(model, refuse, clock=Clock())
    batcher.put(Shot("a", painted(1, 2, 3), 100.0))
    with pytest.raises(LookupError, match="a"):
        batcher.run(threading.Event())
    batcher.put(Shot("a", painted(1, 2, 3), 100.0))
    assert counts(batcher) == {"closed": 1}
    with pytest.raises(LookupError, match="b"), running_here(batcher, Shot("b", painted(1, 2, 3), 100.0)):
        pass


@contextmanager
def running_here(batcher, shot):
    """Puts the frame as soon as the batcher is open again, and raises what its run raised."""
    raised = []

    def run():
        try:
            batcher.run(threading.Event())
        except LookupError as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    while thread.is_alive():
        batcher.put(shot)
    thread.join(DEADLINE_S)
    yield
    raise raised[0]


def test_frames_in_a_model_that_fails_are_counted_and_the_error_goes_through(model, painted):
    batcher = batching(model, Results(), clock=Clock())
    batcher.put(Shot("a", painted(1, 2, 3), 100.0))
    batcher.put(Shot("b", painted(1, 2, 3, size=9), 100.0))
    with pytest.raises(ModelMismatch):
        batcher.run(threading.Event())
    assert batcher.drops_by_camera == {("a", "failed"): 1, ("b", "failed"): 1}


def test_a_frame_whose_scores_are_not_finite_is_dropped_and_disturbs_no_other(tmp_path, painted, caplog):
    shifted = [node("Sub", also=[np.float32(0.2)]), node("Abs")]
    # the root of a number that is below 0 only where a mean colour is near 0.2
    model = rules.model(
        save(tmp_path / "m.onnx", *shifted, node("Sub", also=[np.float32(0.01)]), ROOT, SOFTMAX, gain=1)
    )
    results = Results()
    batcher = batching(model, results, clock=Clock())
    bad, good = painted(51, 0, 0), painted(200, 0, 0)
    for camera, rgb in (("a", bad), ("b", good), ("a", bad), ("b", good)):
        batcher.put(Shot(camera, rgb, 100.0))
    with running(batcher):
        results.wait_for(2)
    assert [each.camera for each in results.predictions] == ["b", "b"]
    assert all(np.isfinite(each.scores).all() for each in results.predictions)
    assert batcher.drops_by_camera == {("a", "failed"): 2}
    assert batcher.classified_by_camera == {"b": 2}
    assert [record.getMessage() for record in caplog.records if record.name == "inference.batcher"] == [
        "a: the model gives scores that are not finite: its pictures are not classified"
    ]


def test_progress_tells_an_idle_loop_from_a_stuck_one(model, painted):
    clock, results = Clock(), Results()
    batcher = batching(model, results, clock=clock)
    with running(batcher):
        clock.now_s = 200.0  # nothing to do: the idle loop says so
        clock.until(lambda: batcher.last_progress_mono_s == 200.0)
        results.may_go_on.clear()
        batcher.put(Shot("a", painted(1, 2, 3), 200.0))
        assert results.is_held.wait(DEADLINE_S)
        clock.now_s = 300.0  # held inside the batch: it must not look alive
        assert batcher.last_progress_mono_s == 200.0
        results.may_go_on.set()
        clock.until(lambda: batcher.last_progress_mono_s == 300.0)


def test_every_frame_of_many_threads_is_classified_or_counted(model, painted):
    results = Results()
    batcher = batching(model, results, queue_max=8, batch_max=4, clock=Clock())
    picture = painted(200, 9, 9)

    def feed(camera):
        for _ in range(300):
            batcher.put(Shot(camera, picture, 100.0))

    with running(batcher):
        cameras = [threading.Thread(target=feed, args=(f"cam-{n}",)) for n in range(4)]
        for thread in cameras:
            thread.start()
        for thread in cameras:
            thread.join(DEADLINE_S)
    assert batcher.classified + sum(batcher.drops.values()) == 1200
    assert batcher.classified == len(results.predictions)
