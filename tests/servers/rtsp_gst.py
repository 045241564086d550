"""One camera as an RTSP server; runs under Debian's own python3, because `gi` lives there.

Usage: rtsp_gst.py CONFIG.json   (see `RtspCamera` in rtsp.py, which writes it)

The clip is a file of access units, each with its length in front, so nothing here parses video. One thread
plays the camera: it sends frame n at its real time and lets the stamps run on over the loop. It starts at a key
frame whenever a first client arrives, as a camera does, and says so on stdout (one JSON object a line), so that a
test knows when each frame left. Commands come on stdin, one word a line: freeze, thaw. End of stdin ends the program.
"""

import json
import struct
import sys
import threading
import time

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtsp", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtsp, GstRtspServer  # noqa: E402

LAUNCH = (
    "( appsrc name=camera is-live=true format=time do-timestamp=false max-bytes=0 "
    "caps=video/x-{codec},stream-format=byte-stream,alignment=au ! {codec}parse ! "
    "rtp{codec}pay name=pay0 pt=96 config-interval=-1 )"
)


def say(**event):
    """Tell the controller, one JSON object a line."""
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


def read_units(path):
    """The clip: [(is_key, bytes)], one per access unit."""
    units = []
    with open(path, "rb") as file:
        while header := file.read(5):
            size, is_key = struct.unpack(">IB", header)
            units.append((bool(is_key), file.read(size)))
    return units


class Camera:
    """Plays the clip into whatever appsrc is attached, in real time."""

    def __init__(self, units, fps, stamped_fps, loop):
        self.units, self.fps, self.stamped_fps, self.loop = units, fps, stamped_fps, loop
        self.changed = threading.Condition()
        self.appsrc = None
        self.frozen = False

    def attach(self, appsrc):
        with self.changed:
            self.appsrc = appsrc
            self.changed.notify_all()

    def detach(self, appsrc):
        with self.changed:
            if self.appsrc is appsrc:
                self.appsrc = None
            self.changed.notify_all()

    def freeze(self, frozen):
        with self.changed:
            self.frozen = frozen
            self.changed.notify_all()
        say(event="frozen" if frozen else "thawed", mono_s=time.monotonic())

    def run(self):
        """Forever: wait for a client, then send from a key frame on until the client, or the clip, is gone."""
        frame = 0
        while True:
            with self.changed:
                self.changed.wait_for(lambda: self.appsrc is not None and not self.frozen)
                appsrc = self.appsrc
            frame = self.next_key(frame)
            frame = self.play(appsrc, frame)

    def next_key(self, frame):
        while not self.units[frame % len(self.units)][0]:
            frame += 1
        return frame

    def play(self, appsrc, first):
        start_mono_s = time.monotonic()
        clock = appsrc.get_clock()
        if clock is None or not appsrc.get_base_time():
            with self.changed:  # the pipeline has no clock, and then no base time, until it plays
                self.changed.wait(0.005)
            return first
        start_ns = clock.get_time() - appsrc.get_base_time()
        say(event="playing", frame=first, mono_s=start_mono_s)
        frame = first
        while True:
            if not self.loop and frame >= len(self.units):
                appsrc.emit("end-of-stream")
                with self.changed:
                    self.changed.wait_for(lambda: self.appsrc is not appsrc)
                return 0
            due_mono_s = start_mono_s + (frame - first) / self.fps
            with self.changed:
                if self.changed.wait_for(
                    lambda: self.appsrc is not appsrc or self.frozen, max(0.0, due_mono_s - time.monotonic())
                ):
                    return frame
            buffer = Gst.Buffer.new_wrapped(self.units[frame % len(self.units)][1])
            buffer.pts = buffer.dts = start_ns + int((frame - first) * 1e9 / self.stamped_fps)
            buffer.duration = int(1e9 / self.fps)
            if appsrc.emit("push-buffer", buffer) != Gst.FlowReturn.OK:
                self.detach(appsrc)
                return frame + 1
            frame += 1


def authentication(user, password, scheme):
    """The server's gate: the one user may look, everybody else gets 401."""
    auth = GstRtspServer.RTSPAuth()
    token = GstRtspServer.RTSPToken()
    token.set_string("media.factory.role", user)
    if scheme == "digest":
        auth.set_supported_methods(GstRtsp.RTSPAuthMethod.DIGEST)
        auth.add_digest(user, password, token)
    else:
        auth.set_supported_methods(GstRtsp.RTSPAuthMethod.BASIC)
        auth.add_basic(GstRtspServer.RTSPAuth.make_basic(user, password), token)
    permissions = GstRtspServer.RTSPPermissions()
    permissions.add_permission_for_role(user, "media.factory.access", True)
    permissions.add_permission_for_role(user, "media.factory.construct", True)
    return auth, permissions


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        config = json.load(file)
    Gst.init(None)
    camera = Camera(read_units(config["units"]), config["fps"], config["stamped_fps"], config["loop"])

    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(LAUNCH.format(codec=config["codec"]))
    factory.set_shared(True)

    def configure(_factory, media):
        appsrc = media.get_element().get_by_name("camera")
        media.connect("prepared", lambda _media: camera.attach(appsrc))
        media.connect("unprepared", lambda _media: camera.detach(appsrc))
        # A live appsrc must give data while the media is prepared: the payloader makes its caps from the first frame.
        camera.attach(appsrc)

    factory.connect("media-configure", configure)

    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(str(config["port"]))
    if config["user"]:
        auth, permissions = authentication(config["user"], config["password"], config["auth"])
        server.set_auth(auth)
        factory.set_permissions(permissions)
    server.get_mount_points().add_factory(config["path"], factory)
    if not server.attach(None):
        say(event="failed", reason="port {} is taken".format(config["port"]))
        sys.exit(1)

    loop = GLib.MainLoop()

    def listen():
        for line in sys.stdin:
            camera.freeze(line.strip() == "freeze")
        loop.quit()

    threading.Thread(target=camera.run, daemon=True).start()
    threading.Thread(target=listen, daemon=True).start()
    say(event="ready", port=server.get_bound_port())
    loop.run()


main()
