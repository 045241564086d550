"""What the cameras and the classifier count already, as Prometheus families."""

import time
from collections import Counter
from collections.abc import Callable, Iterator

from prometheus_client.core import Metric

from daemon.bridge import left
from daemon.domain.facts import Fact
from daemon.feed import Feed
from daemon.metrics import counter, gauge
from daemon.pipeline.capture import Capture
from daemon.pipeline.evidence import Evidence
from daemon.pipeline.pipeline import Pipeline
from daemon.services.objects import Objects

COUNTERS = {
    "packets": "Video packets received",
    "bytes": "Video bytes received",
    "key_frames": "Key frames received",
    "decoded": "Pictures decoded",
    "sampled": "Frames handed to the classifier",
    "repeated": "Frames that repeat the last picture, because nothing moved",
    "skipped": "Packets that needed no decoding",
    "behind": "Times that packets waited here for over 0.4 s before they were read",
    "hiccups": "Times that the network held packets back for over 0.4 s",
    "lost": "RTP packets that never came",
    "damaged": "Pictures not shown to the classifier because of damage: their own, or of what they refer to",
    "losses": "Times that such damage began",
    "decode_errors": "Times that only the decoder saw it",
}


def readings(pipeline: Pipeline, feed: Feed[Fact]) -> Iterator[Metric]:
    captures = pipeline.captures
    stats = {camera: capture.stats for camera, capture in captures.items()}

    def per_camera(value: Callable[[Capture], float]) -> list[tuple[list[str], float]]:
        return [([camera], value(capture)) for camera, capture in captures.items()]

    yield gauge(
        "orwatch_camera_up",
        "1 while the camera sees: enough of its frames are classified",
        ["camera"],
        per_camera(lambda c: float(c.sees)),
    )
    wanted = per_camera(lambda c: c.sight.wanted)
    yield counter("orwatch_camera_samples_wanted", "Samples that the camera should have given", ["camera"], wanted)
    reached = per_camera(lambda c: float(c.sight.reached))
    yield counter("orwatch_camera_samples_reached", "Of these, classified and counted", ["camera"], reached)
    blind = per_camera(lambda c: c.blind_s)
    yield counter("orwatch_camera_blind_seconds", "Time in which the camera did not see", ["camera"], blind)
    yield counter("orwatch_camera_reconnects", "Broken connections", ["camera"], per_camera(lambda c: c.reconnects))
    for name, text in COUNTERS.items():
        values = [([camera], float(getattr(stat, name))) for camera, stat in stats.items()]
        yield counter(f"orwatch_camera_{name}", text, ["camera"], values)
    now = time.monotonic()
    ages = [([camera], now - s.last_packet_mono_s) for camera, s in stats.items() if s.last_packet_mono_s is not None]
    yield gauge("orwatch_camera_packet_age_seconds", "Since the last packet", ["camera"], ages)
    batcher = pipeline.batcher
    drops: list[tuple[list[str], float]] = [([*by], count) for by, count in batcher.drops_by_camera.items()]
    yield counter("orwatch_frames_dropped", "Frames that were not classified", ["camera", "cause"], drops)
    classified: list[tuple[list[str], float]] = [([c], count) for c, count in batcher.classified_by_camera.items()]
    yield counter("orwatch_frames_classified", "Frames classified", ["camera"], classified)
    reused = pipeline.repeats.reused
    yield counter("orwatch_frames_reused", "Repeated pictures that kept their scores", [], [([], reused)])
    oldest: list[tuple[list[str], float]] = [([], batcher.oldest_classified_s)]
    yield gauge("orwatch_frame_age_max_seconds", "Greatest age of a frame when it went to the model", [], oldest)
    lost = pipeline.predictions_dropped
    yield counter("orwatch_predictions_dropped", "Scores dropped before the event loop took them", [], [([], lost)])
    hanging = Counter(each.name for each in left())
    given_up: list[tuple[list[str], float]] = [([name], float(count)) for name, count in hanging.items()]
    yield gauge("orwatch_threads_hanging", "Threads given up in a call that does not come back", ["thread"], given_up)
    yield gauge("orwatch_event_listeners", "Open event WebSockets", [], [([], feed.listeners)])


def object_readings(objects: Objects, evidence: Evidence | None) -> Iterator[Metric]:
    outcomes: list[tuple[list[str], float]] = [([outcome], count) for outcome, count in objects.outcomes.items()]
    yield counter("orwatch_objects", "Pictures and clips, by what became of them", ["outcome"], outcomes)
    spooled: list[tuple[list[str], float]] = [([], objects.spool_bytes)]
    yield gauge("orwatch_object_spool_bytes", "Waiting on disk for the object store", [], spooled)
    rings = evidence.ring_bytes if evidence is not None else {}
    held: list[tuple[list[str], float]] = [([camera], size) for camera, size in rings.items()]
    yield gauge("orwatch_camera_ring_bytes", "Packets in memory for pictures and clips", ["camera"], held)
