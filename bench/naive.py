"""The naive loop: what one writes first, a thread per camera around OpenCV and ONNX Runtime.

Each thread reads every frame, and twice a second turns the newest into the model's input and classifies it, batch 1.
OpenCV and its FFmpeg run with their defaults. ONNX Runtime has one intra-op thread, which favours this loop: with the
default its pool spins on the cores that the decoders need. `grabs` is the same by a more careful hand: frames are
grabbed (decoded), and only the wanted one is converted to BGR.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import onnxruntime

from bench.results import SIZE, Results

if TYPE_CHECKING:
    from bench.contender import Job


def run(job: Job, results: Results, wait_for_start: Callable[[], threading.Event], *, grabs: bool) -> None:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(job.model), options, providers=["CPUExecutionProvider"])
    stop = wait_for_start()
    threads = [
        threading.Thread(target=_watch, args=(camera, url, session, 1 / job.sample_fps, results, stop, grabs))
        for camera, url in job.cameras.items()
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _watch(
    camera: str, url: str, session: Any, period_s: float, results: Results, stop: threading.Event, grabs: bool
) -> None:
    capture = cv2.VideoCapture(url, cv2.CAP_FFMPEG)
    due_mono_s = time.monotonic()
    while not stop.is_set():
        if grabs:
            is_read = capture.grab()
            frame = capture.retrieve()[1] if is_read and time.monotonic() >= due_mono_s else None
        else:
            is_read, frame = capture.read()
        if not is_read:
            raise OSError(f"{camera}: OpenCV reads no frame")
        if frame is None or time.monotonic() < due_mono_s:
            continue
        due_mono_s = max(due_mono_s + period_s, time.monotonic())
        small = cv2.resize(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB), (SIZE, SIZE))
        batch = small.astype(np.float32).transpose(2, 0, 1)[None] / 255
        scores = session.run(None, {"images": batch})[0][0]
        results.add(camera, scores, time.monotonic())
    capture.release()
