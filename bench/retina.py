"""Time from a request to its result at the webhook, images a second, and memory with 50 large images in the queue.

    python -m bench.retina [--images 100] [--queued 50] [--megapixels 20] [--out FILE]

A whole daemon in a process of its own, a KServe-v2 gRPC server and a receiver in this one, all on loopback; the model
is a tiny ONNX, so that what is measured is ours. A ratio says how many times an empty request of the same minute it
takes.
"""

import argparse
import os
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import httpx
import numpy as np
import psutil

from tests import oct as scans
from tests.daemon.imaging.retina import SECRET
from tests.journeys.program import Program
from tests.servers.kserve import GrpcServer, Rack
from tests.servers.webhooks import WebhookServer

MIB = 2**20


def measured(folder: Path, images: int, queued: int, megapixels: int) -> list[str]:
    rack = Rack({"oct": scans.model(folder / "oct.onnx", height=224, width=224)})
    with GrpcServer(rack) as triton, WebhookServer(SECRET) as receiver:
        config = f"""
[speech]
tts = []
asr = []
[imaging.retina]
server_url = "{triton.url}"
model_name = "oct"
labels = ["dark", "bright"]
webhook_hosts = ["{receiver.host}"]
webhook_secret = "{SECRET}"
"""
        with Program(folder, cameras={}, more=config) as program:
            rows = _times(program, receiver, folder, images)
            rows += _memory(program, triton, receiver, folder, queued, megapixels)
            return rows


def _times(program: Program, receiver: WebhookServer, folder: Path, images: int) -> list[str]:
    path = scans.picture(folder / "scan.png", scans.b_scan(768, 496))
    empty = [_took(lambda: program.client.get("/health")) for _ in range(images)]
    answers, results = [], []
    for number in range(images):
        began_s = time.perf_counter()
        answers.append(_took(lambda: _invoke(program, receiver, path)))
        receiver.wait(number + 1)
        results.append(time.perf_counter() - began_s)
    ratio = np.percentile(results, 50) / np.percentile(empty, 50)
    began_s = time.perf_counter()
    for _ in range(images):
        _invoke(program, receiver, path)
    receiver.wait(2 * images, within_s=600)
    a_second = images / (time.perf_counter() - began_s)
    return [
        "| 768x496 B-scan, one after the other | p50 | p95 | of an empty request |",
        "|---|---|---|---|",
        f"| empty request (`/health`) | {_ms(empty, 50)} | {_ms(empty, 95)} | 1 |",
        f"| request to its answer (durable) | {_ms(answers, 50)} | {_ms(answers, 95)} | |",
        f"| request to the webhook | {_ms(results, 50)} | {_ms(results, 95)} | {ratio:.1f} |",
        "",
        f"{images} requests as fast as one client sends them, to the last result: {a_second:.1f} images/s",
        "",
    ]


def _memory(
    program: Program, triton: GrpcServer, receiver: WebhookServer, folder: Path, queued: int, megapixels: int
) -> list[str]:
    side = int((megapixels * 1e6) ** 0.5)
    noise = np.random.default_rng(0).integers(0, 256, (side, side), np.uint8)
    path = folder / "large.jpg"
    cv2.imwrite(str(path), cv2.GaussianBlur(noise, (0, 0), 2))
    before = _pss(program.pid)
    triton.rack.released.clear()
    triton.rack.fault = "stall"
    peak = _Peak(program.pid)
    with peak:
        for _ in range(queued):
            _invoke(program, receiver, path)
        program.until(lambda: _count(program, "running") > 0)
        waiting = _pss(program.pid)
        at_work, behind = _count(program, "running"), _count(program, "queued")
        came = len(receiver.deliveries)
        triton.rack.fault = ""
        triton.rack.released.set()
        receiver.wait(came + queued, within_s=900)
    return [
        f"{queued} images of {side}x{side} ({path.stat().st_size / MIB:.1f} MiB each), the inference server stalls:",
        "",
        "| daemon, PSS | MiB |",
        "|---|---|",
        f"| before | {before:.0f} |",
        f"| {at_work} at work, {behind} queued | {waiting:.0f} |",
        f"| most, until all {queued} were delivered | {peak.most:.0f} |",
    ]


def _invoke(program: Program, receiver: WebhookServer, path: Path) -> None:
    while True:
        answer: httpx.Response = program.client.post(
            "/invocations", headers={"Webhook-Url": receiver.url}, files={"image": (path.name, path.read_bytes())}
        )
        if answer.status_code == 200:
            return
        assert answer.status_code == 429, answer.text
        time.sleep(0.05)


def _count(program: Program, state: str) -> int:
    return len(program.client.get("/imaging/jobs", params={"state": state, "limit": 200}).json()["jobs"])


class _Peak:
    """The most memory a process had, looked at ten times a second."""

    def __init__(self, pid: int) -> None:
        self._pid, self._over = pid, threading.Event()
        self._thread = threading.Thread(target=self._look)
        self.most = 0.0

    def __enter__(self) -> "_Peak":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(0.1):
            self.most = max(self.most, _pss(self._pid))


def _pss(pid: int) -> float:
    return float(psutil.Process(pid).memory_full_info().pss) / MIB


def _took(work: Callable[[], object]) -> float:
    began_s = time.perf_counter()
    work()
    return time.perf_counter() - began_s


def _ms(times_s: list[float], percentile: int) -> str:
    return f"{1000 * float(np.percentile(times_s, percentile)):.1f} ms"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--queued", type=int, default=50)
    parser.add_argument("--megapixels", type=int, default=20)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = measured(Path(folder), options.images, options.queued, options.megapixels)
    text = f"{os.cpu_count()} cores\n\n" + "\n".join(rows) + "\n"
    if options.out:
        options.out.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
