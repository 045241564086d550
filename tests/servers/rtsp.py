"""A real RTSP camera for tests: a GStreamer server process per camera, with the faults that cameras have.

    with RtspCamera(clip, user="ops", password="secret") as camera:
        Source(rules.camera(camera.url)).run(...)

`kill` and `start` (same port), `suspend`/`resume` (the machine is gone, then back), `freeze`/`thaw` (the encoder stops,
the connection stays). `SilentServer` answers TCP and never RTSP.
"""

from __future__ import annotations

import json
import os
import queue
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self
from urllib.parse import quote

import av
from av.bitstream import BitStreamFilterContext

from tests.servers.ports import free_port
from tests.waiting import DEADLINE_S

SERVER = Path(__file__).with_name("rtsp_gst.py")
SYSTEM_PYTHON = "/usr/bin/python3"
PACKAGES = (
    "gstreamer1.0-rtsp gir1.2-gst-rtsp-server-1.0 python3-gi "
    "gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad"
)
FILTERS = {
    "h264": "h264_mp4toannexb,h264_metadata=aud=insert",
    "hevc": "hevc_mp4toannexb,hevc_metadata=aud=insert",
}


class RtspServerUnavailable(RuntimeError):
    """The test RTSP server cannot run on this machine."""


@cache
def why_unavailable() -> str | None:
    """None if the server can run here, else one sentence that names the apt packages."""
    check = (
        "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import Gst; Gst.init(None); "
        "assert all(Gst.ElementFactory.find(e) for e in ('h264parse', 'h265parse', 'rtph264pay', 'rtph265pay'))"
    )
    try:
        done = subprocess.run(
            [SYSTEM_PYTHON, "-c", check], capture_output=True, text=True, timeout=DEADLINE_S, check=False
        )
    except FileNotFoundError:
        return f"the RTSP test server needs {SYSTEM_PYTHON}; apt-get install -y python3 {PACKAGES}"
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["unknown reason"])[-1]
        return f"the RTSP test server needs Debian's GStreamer ({reason}): apt-get install -y {PACKAGES}"
    return None


class RtspCamera:
    """One camera on its own port; a context manager, or start/close by hand."""

    def __init__(
        self,
        clip: Path,
        *,
        user: str | None = None,
        password: str | None = None,
        auth: Literal["basic", "digest"] = "basic",
        loop: bool = True,
        path: str = "/stream",
        stamped_fps: float | None = None,
    ) -> None:
        """stamped_fps: the pictures a second that its stamps count; None: as many as it sends."""
        if reason := why_unavailable():
            raise RtspServerUnavailable(reason)
        self.clip, self.user, self.password, self.auth, self.loop = clip, user, password, auth, loop
        self.port, self.path = free_port(), path
        self._stamped_fps = stamped_fps
        self.codec = ""
        self.fps = 0.0
        self.frames = 0
        self._folder: Path | None = None
        self._process: subprocess.Popen[str] | None = None
        self._events: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._playing: list[tuple[int, float]] = []

    @property
    def url(self) -> str:
        """With the credentials in it."""
        who = f"{quote(self.user, safe='')}:{quote(self.password or '', safe='')}@" if self.user else ""
        return f"rtsp://{who}127.0.0.1:{self.port}{self.path}"

    @property
    def pid(self) -> int:
        assert self._process is not None, "the camera is not started"
        return self._process.pid

    def start(self) -> Self:
        """Serve; on the same port as before when started again."""
        assert self._process is None, "the camera is already started"
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="rtsp-camera-"))
            self._prepare(self._folder / "units")
        config = {
            "units": str(self._folder / "units"),
            "codec": {"h264": "h264", "hevc": "h265"}[self.codec],
            "fps": self.fps,
            "stamped_fps": self._stamped_fps or self.fps,
            "loop": self.loop,
            "port": self.port,
            "path": self.path,
            "user": self.user,
            "password": self.password,
            "auth": self.auth,
        }
        (self._folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
        self._events = queue.Queue()
        self._process = subprocess.Popen(
            [SYSTEM_PYTHON, str(SERVER), str(self._folder / "config.json")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "VIRTUAL_ENV"))},
        )
        threading.Thread(
            target=self._listen,
            args=(self._process, self._events),
            name=f"rtsp-camera:{self._process.pid}",
            daemon=True,
        ).start()
        self._await("ready")
        return self

    def close(self) -> None:
        """Stop and remove everything."""
        self.kill()
        if self._folder is not None:
            shutil.rmtree(self._folder)
            self._folder = None

    def kill(self) -> None:
        """SIGKILL, as when the camera loses power: connections die at once and the port is free."""
        if self._process is None:
            return
        process, self._process = self._process, None
        process.kill()
        process.wait()
        assert process.stdin is not None
        process.stdin.close()
        while self._events.get(timeout=DEADLINE_S) is not None:
            pass

    def suspend(self) -> None:
        """SIGSTOP, as when the network cable is out: nothing closes, nothing answers."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def freeze(self) -> None:
        """The encoder hangs: RTSP answers, the connection stays, no frame comes."""
        self._command("freeze", "frozen")

    def thaw(self) -> None:
        self._command("thaw", "thawed")

    def sent_mono_s(self, counter: int, *, before_mono_s: float) -> float:
        """When the frame that shows `counter` (its index in the clip) last left the camera before `before_mono_s`."""
        first, start_mono_s = [row for row in self._playing if row[1] <= before_mono_s][-1]
        newest = first + int((before_mono_s - start_mono_s) * self.fps)
        frame = newest - (newest - counter) % self.frames
        return start_mono_s + (frame - first) / self.fps

    def shown(self, at_mono_s: float) -> tuple[int, float]:
        """What left the camera at that moment: in which pass of the clip, and how many seconds into it."""
        first, start_mono_s = [row for row in self._playing if row[1] <= at_mono_s][-1]
        turn, frame = divmod(first + int((at_mono_s - start_mono_s) * self.fps), self.frames)
        return turn, frame / self.fps

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _prepare(self, units: Path) -> None:
        with av.open(str(self.clip)) as container, units.open("wb") as file:
            stream = container.streams.video[0]
            self.codec = stream.codec_context.name
            if self.codec not in FILTERS:
                raise ValueError(f"{self.clip}: codec {self.codec} cannot be served, expected h264 or hevc")
            self.fps = float(stream.average_rate or 25)
            for is_key, data in access_units(container, self.codec):
                file.write(struct.pack(">IB", len(data), is_key) + data)
                self.frames += 1

    def _command(self, word: str, answer: str) -> None:
        assert self._process is not None, "the camera is not started"
        assert self._process.stdin is not None
        self._process.stdin.write(word + "\n")
        self._process.stdin.flush()
        self._await(answer)

    def _listen(self, process: subprocess.Popen[str], events: queue.Queue[dict[str, Any] | None]) -> None:
        assert process.stdout is not None
        with process.stdout:
            for line in process.stdout:
                event = json.loads(line)
                if event["event"] == "playing":
                    self._playing.append((event["frame"], event["mono_s"]))
                else:
                    events.put(event)
        events.put(None)

    def _await(self, name: str) -> dict[str, Any]:
        deadline = time.monotonic() + DEADLINE_S
        while True:
            try:
                event = self._events.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise RtspServerUnavailable(f"the RTSP server did not say {name!r} in {DEADLINE_S:g} s") from None
            if event is None or event["event"] == "failed":
                raise RtspServerUnavailable(f"the RTSP server ended: {event and event['reason']}")
            if event["event"] == name:
                return event


class SilentServer:
    """Accepts TCP connections and never says a word."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._clients: list[socket.socket] = []
        self.port = self._socket.getsockname()[1]
        self.url = f"rtsp://127.0.0.1:{self.port}/stream"

    def wait_for_client(self) -> None:
        """Until somebody has connected."""
        self._socket.settimeout(DEADLINE_S)
        client, _ = self._socket.accept()
        self._clients.append(client)

    def answer(self, data: bytes) -> None:
        """Break the silence once: say `data` to the next client and hang up."""
        self.wait_for_client()
        client = self._clients.pop()
        client.recv(4096)
        client.sendall(data)
        client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for client in (*self._clients, self._socket):
            client.close()


def access_units(container: av.container.InputContainer, codec: str) -> Iterator[tuple[bool, bytes]]:
    """The clip's pictures as annex-B access units with delimiters, in decode order."""
    stream = container.streams.video[0]
    to_annexb = BitStreamFilterContext(FILTERS[codec], in_stream=stream)
    for packet in container.demux(stream):
        for unit in to_annexb.filter(packet if packet.size else None):
            yield unit.is_keyframe, bytes(unit)
