"""One measurement: a contender in front of N cameras for some seconds, seen from outside.

CPU is the contender's own, user and system, all its threads, by the kernel's nanosecond clock of that process; the
servers that play the cameras are not in it. Memory is its PSS (its private pages, and its share of those that others
map too). Latency is from the moment a frame was due to leave the camera to the moment its result was there, both on
the monotonic clock, which all processes of a machine share. "elsewhere" is what the machine did besides contender and
cameras: where it is not near zero, the figures of this measurement are not to be trusted.
"""

import json
import os
import queue
import signal
import statistics
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from bench.contender import Job
from bench.scenes import FPS, GROUP_FRAMES, ROOT, Scene
from streams.sampler import Sampler
from tests.servers.ports import free_port
from tests.servers.rtsp import RtspCamera

START_DEADLINE_S = 60.0
STOP_DEADLINE_S = 30.0
COUNTED = ("orwatch_frames_dropped", "orwatch_predictions_dropped", "orwatch_camera_behind", "orwatch_camera_damaged")
ALSO_COUNTED = ("orwatch_camera_reconnects", "orwatch_camera_decoded", "orwatch_camera_packets")


class ContenderFailed(RuntimeError):
    """A contender did not do its part; its last words follow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """kind: of contender. Seconds and mebibytes where the name says no other unit. None: cannot be known here."""

    kind: str
    scene: str
    cameras: int
    round: int
    seconds: float
    cpu_ms_per_camera_s: float
    pss_mib: float
    start_s: float
    latency_p50_ms: float | None
    latency_p95_ms: float | None
    latency_max_ms: float | None
    own_age_p95_ms: float | None  # as the contender itself says
    own_age_max_ms: float | None
    results_per_camera_s: float  # of the camera that got fewest
    longest_gap_s: float  # between two results of one camera
    dropped: dict[str, int]  # frames, by cause
    decoded_share: float | None  # of the packets
    elsewhere_share: float  # of the machine's cores


def measure(
    kind: str,
    scene: Scene,
    cameras: Sequence[RtspCamera],
    mains: Sequence[RtspCamera],
    *,
    model: Path,
    folder: Path,
    seconds: float,
    warm_up_s: float,
    sample_fps: float,
    number: int,
) -> Measurement:
    """Raises ContenderFailed. mains: the cameras' main streams, for a scene that is a sub-stream. folder: a new one."""
    named = {f"or-cam-{index:02}": camera for index, camera in enumerate(cameras, 1)}
    job = Job(
        cameras={name: camera.url for name, camera in named.items()},
        mains={name: camera.url for name, camera in zip(named, mains, strict=False)},
        model=model,
        folder=folder,
        port=free_port() if kind.startswith("ours") else 0,
        sample_fps=sample_fps,
        wanted=wanted(sample_fps),
    )
    servers = [camera.pid for camera in cameras]
    with _running(kind, job) as (process, events):
        _await(events, "ready", process)
        start_s = _start_ours(job) if job.port else _start(process, events)
        if job.port:
            _await(events, "all cameras", process)
        _spread(cameras, process)
        _pause(warm_up_s, process)
        before = _counters(job) if job.port else Counter()
        idle_s, outside_s, begin_mono_s = _idle_s(), _outside_s(servers), time.monotonic()
        begin_cpu_s = cpu_s(process.pid)
        pss = []
        while (left_s := begin_mono_s + seconds - time.monotonic()) > 0:
            _pause(min(1.0, left_s), process)
            pss.append(pss_mib(process.pid))
        used_s, end_mono_s = cpu_s(process.pid) - begin_cpu_s, time.monotonic()
        lasted_s = end_mono_s - begin_mono_s
        idle_s, outside_s = _idle_s() - idle_s, _outside_s(servers) - outside_s
        counted = _counters(job) - before if job.port else Counter()
    cores = os.cpu_count() or 1
    rows = json.loads(job.results.read_text(encoding="utf-8"))
    rows = [row for row in rows if begin_mono_s <= row[2] < end_mono_s]
    latencies_ms = [
        1000 * (done - named[camera].sent_mono_s(frame, before_mono_s=done))
        for camera, frame, done, _ in rows
        if scene.has_counter
    ]
    own_ages_ms = [1000 * (done - captured) for _, _, done, captured in rows if captured is not None]
    times = {name: [row[2] for row in rows if row[0] == name] for name in named}
    packets = counted["orwatch_camera_packets"]
    return Measurement(
        kind=kind,
        scene=scene.name,
        cameras=len(named),
        round=number,
        seconds=lasted_s,
        cpu_ms_per_camera_s=1000 * used_s / lasted_s / len(named),
        pss_mib=statistics.median(pss),
        start_s=start_s,
        latency_p50_ms=quantile(latencies_ms, 0.5),
        latency_p95_ms=quantile(latencies_ms, 0.95),
        latency_max_ms=quantile(latencies_ms, 1.0),
        own_age_p95_ms=quantile(own_ages_ms, 0.95),
        own_age_max_ms=quantile(own_ages_ms, 1.0),
        results_per_camera_s=min(len(moments) for moments in times.values()) / lasted_s,
        longest_gap_s=max(_longest_gap_s([begin_mono_s, *moments, end_mono_s]) for moments in times.values()),
        dropped={name.removeprefix("orwatch_"): count for name, count in counted.items() if name.startswith(COUNTED)},
        decoded_share=counted["orwatch_camera_decoded"] / packets if packets else None,
        elsewhere_share=max(0.0, 1 - (idle_s + outside_s + used_s) / (cores * lasted_s)),
    )


def wanted(sample_fps: float) -> list[int]:
    """The frames of a group that orwatch samples once it has learnt the group's length."""
    sampler, taken = Sampler(sample_fps), []
    for index in range(2 * GROUP_FRAMES):
        at_s = index / FPS
        if index % GROUP_FRAMES == 0:
            sampler.key(at_s, GROUP_FRAMES / FPS)
        if sampler.is_due(at_s):
            sampler.taken(at_s)
            taken.append(index - GROUP_FRAMES)
    return [index for index in taken if index >= 0]


def quantile(values: Sequence[float], q: float) -> float | None:
    """By rank, so that it is always a value that occurred; None of nothing."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))] if ordered else None


def cpu_s(pid: int) -> float:
    """User and system time of a process so far, all threads."""
    # clock_getcpuclockid(3) of another process: the complement of its id, shifted, and 2 for CPUCLOCK_SCHED.
    return time.clock_gettime((~pid << 3) | 2)


def pss_mib(pid: int) -> float:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    raise ContenderFailed(f"/proc/{pid}/smaps_rollup has no Pss")


def _environment() -> dict[str, str]:
    """No settings from outside, and no telemetry: every contender imports ONNX Runtime, which sends some by default."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ORWATCH_")}
    return kept | {"ORT_DISABLE_TELEMETRY": "1"}


@contextmanager
def _running(kind: str, job: Job) -> Iterator[tuple[subprocess.Popen[str], "queue.Queue[str | None]"]]:
    job.folder.mkdir()
    job.write(job.folder / "job.json")
    events: queue.Queue[str | None] = queue.Queue()
    with (job.folder / "stderr.txt").open("w", encoding="utf-8") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "bench.contender", kind, str(job.folder / "job.json")],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=said,
            text=True,
            env=_environment(),
        )
    listener = threading.Thread(target=_listen, args=(process, events), name=f"listen:{kind}")
    listener.start()
    try:
        yield process, events
        process.send_signal(signal.SIGTERM)
        if process.wait(STOP_DEADLINE_S):
            raise ContenderFailed(f"{kind} ended with code {process.returncode}: {_last_words(job)}")
    except subprocess.TimeoutExpired:
        raise ContenderFailed(f"{kind} did not stop within {STOP_DEADLINE_S:g} s") from None
    except ContenderFailed as error:
        raise ContenderFailed(f"{kind}: {error} {_last_words(job)}") from error
    finally:
        process.kill()
        process.wait()
        listener.join()
        assert process.stdin is not None
        with suppress(BrokenPipeError):
            process.stdin.close()


def _listen(process: subprocess.Popen[str], events: "queue.Queue[str | None]") -> None:
    assert process.stdout is not None
    with process.stdout:
        for line in process.stdout:
            events.put(line.strip())
    events.put(None)


def _await(events: "queue.Queue[str | None]", event: str, process: subprocess.Popen[str]) -> None:
    deadline_mono_s = time.monotonic() + START_DEADLINE_S
    while True:
        try:
            said = events.get(timeout=max(0.0, deadline_mono_s - time.monotonic()))
        except queue.Empty:
            raise ContenderFailed(f"did not say {event!r} within {START_DEADLINE_S:g} s") from None
        if said is None:
            raise ContenderFailed(f"ended with code {process.wait()} before it said {event!r}")
        if said == event:
            return


def _start(process: subprocess.Popen[str], events: "queue.Queue[str | None]") -> float:
    """From the start to the first result of the last camera, in seconds."""
    assert process.stdin is not None
    start_mono_s = time.monotonic()
    process.stdin.write("start\n")
    process.stdin.flush()
    _await(events, "all cameras", process)
    return time.monotonic() - start_mono_s


def _start_ours(job: Job) -> float:
    """From the HIS's start call to its answer: the first frames of all cameras are there, and the ledger says so."""
    deadline_mono_s = time.monotonic() + START_DEADLINE_S
    while True:
        try:
            _ask(job, "/health")
        except OSError:
            if time.monotonic() > deadline_mono_s:
                raise ContenderFailed(f"did not answer /health within {START_DEADLINE_S:g} s") from None
            time.sleep(0.05)
        else:
            break
    start_mono_s = time.monotonic()
    try:
        _ask(job, "/client/surgeries/start", {"surgery_id": "100001", "camera_ids": list(job.cameras)})
    except OSError as error:
        raise ContenderFailed(f"the surgery did not start: {error}") from error
    return time.monotonic() - start_mono_s


def _ask(job: Job, path: str, body: dict[str, object] | None = None) -> str:
    request = urllib.request.Request(
        f"http://127.0.0.1:{job.port}{path}",
        data=None if body is None else json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=START_DEADLINE_S) as answer:
        return str(answer.read().decode())


def _counters(job: Job) -> Counter[str]:
    """The daemon's own counters over all cameras, those with a cause apart by cause."""
    counts: Counter[str] = Counter()
    for family in text_string_to_metric_families(_ask(job, "/metrics")):
        if family.name in COUNTED + ALSO_COUNTED:
            for sample in family.samples:
                cause = sample.labels.get("cause")
                counts[family.name + (f":{cause}" if cause else "")] += int(sample.value)
    return counts


def _spread(cameras: Sequence[RtspCamera], process: subprocess.Popen[str]) -> None:
    """Let the key frames of the cameras fall evenly over a group.

    These cameras begin when somebody connects, so all key frames of a surgery would fall together and be decoded
    against each other. Real cameras run freely. A camera that is thawed begins with a key frame. It is frozen for two
    frames, for a picture that comes sooner after the one before than usual would look early to orwatch's clock.
    """
    begin_mono_s = time.monotonic()
    for index, camera in enumerate(cameras):
        _pause(max(0.0, begin_mono_s + index * GROUP_FRAMES / FPS / len(cameras) - time.monotonic()), process)
        camera.freeze()
        _pause(2 / FPS, process)
        camera.thaw()


def _pause(seconds: float, process: subprocess.Popen[str]) -> None:
    """Let it run; raise if it ends."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return
    raise ContenderFailed(f"ended with code {process.returncode} in mid-measurement")


def _outside_s(servers: Sequence[int]) -> float:
    """CPU of the cameras and of this process."""
    return time.process_time() + sum(cpu_s(pid) for pid in servers)


def _idle_s() -> float:
    """How long all cores together were idle since boot; time stolen by other machines does not count."""
    fields = Path("/proc/stat").read_text(encoding="ascii").splitlines()[0].split()
    return (int(fields[4]) + int(fields[5])) / os.sysconf("SC_CLK_TCK")


def _longest_gap_s(moments: Sequence[float]) -> float:
    return max(later - earlier for earlier, later in pairwise(moments))


def _last_words(job: Job) -> str:
    return " / ".join((job.folder / "stderr.txt").read_text(encoding="utf-8").strip().splitlines()[-5:])
