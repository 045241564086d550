"""The floor: decode, scale, classify, and nothing else that could cost anything.

A thread per camera on PyAV decodes into each group of pictures as far as the last wanted frame; it is told which frames
of a group those are (the ones that orwatch takes) and assumes perfect stamps. swscale goes straight to the model's size
(AREA, as ours: the same picture). One thread classifies whatever waits, one ONNX Runtime thread without spinning. No
time-outs, no reconnecting, no clock, no statistics, no age limit, no windows, no ledger.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import av
import numpy as np
import numpy.typing as npt
import onnxruntime
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter

from bench.results import SIZE, Results

if TYPE_CHECKING:
    from bench.contender import Job

BATCH_MAX = 8

Waiting = queue.SimpleQueue[tuple[str, npt.NDArray[np.uint8]]]


def run(job: Job, results: Results, wait_for_start: Callable[[], threading.Event]) -> None:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(str(job.model), options, providers=["CPUExecutionProvider"])
    waiting: Waiting = queue.SimpleQueue()
    wanted = frozenset(job.wanted)
    stop = wait_for_start()
    threads = [threading.Thread(target=_classify, args=(session, waiting, results, stop))]
    threads += [
        threading.Thread(target=_read, args=(camera, url, wanted, waiting, stop)) for camera, url in job.cameras.items()
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _read(camera: str, url: str, wanted: frozenset[int], waiting: Waiting, stop: threading.Event) -> None:
    last = max(wanted)
    reformatter = VideoReformatter()
    with av.open(url, options={"rtsp_transport": "tcp"}) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        index = last + 1  # until the first key frame
        for packet in container.demux(stream):
            if stop.is_set():
                return
            index = 0 if packet.is_keyframe else index + 1
            if index > last:
                continue
            for frame in packet.decode():
                if index in wanted and isinstance(frame, VideoFrame):
                    small = reformatter.reformat(
                        frame, width=SIZE, height=SIZE, format="rgb24", interpolation=Interpolation.AREA, threads=1
                    )
                    waiting.put((camera, small.to_ndarray().astype(np.uint8, copy=False)))


def _classify(session: Any, waiting: Waiting, results: Results, stop: threading.Event) -> None:
    batch = np.empty((BATCH_MAX, 3, SIZE, SIZE), np.float32)
    while not stop.is_set():
        try:
            taken = [waiting.get(timeout=0.1)]
        except queue.Empty:
            continue
        while len(taken) < BATCH_MAX and not waiting.empty():
            taken.append(waiting.get())
        for row, (_, rgb) in zip(batch, taken, strict=False):
            np.multiply(rgb.transpose(2, 0, 1), np.float32(1 / 255), out=row, casting="same_kind")
        scores = session.run(None, {"images": batch[: len(taken)]})[0]
        done_mono_s = time.monotonic()
        for (camera, _), row in zip(taken, scores, strict=True):
            results.add(camera, row, done_mono_s)
