"""Time-outs are whole, a stall is of the track that is read, losses are counted, and a stop is always heard."""

from __future__ import annotations

import random
import socket
import threading
import time
from collections.abc import Iterable
from fractions import Fraction
from functools import partial
from itertools import islice
from pathlib import Path

import av
import pytest
from av.video.stream import VideoStream

from streams import Frame, Source, StreamBroken, StreamError, StreamStalled, StreamUnreachable, probe
from streams.opening import opened
from streams.rtsp import front
from tests import rules
from tests.servers.odd_camera import Manners, OddCamera, Reply
from tests.servers.rtp_payloads import RtpClip
from tests.streams.clips import counted, encode
from tests.streams.reading import Reader
from tests.waiting import DEADLINE_S


def test_any_step_may_take_most_of_the_connect_timeout(clip: RtpClip) -> None:
    for method in ("OPTIONS", "DESCRIBE", "SETUP", "PLAY"):
        with OddCamera(clip, Manners(delay_s={method: 1.2})) as camera:
            with Reader(url=camera.url, connect_timeout_s=30.0) as reader:
                reader.wait_for(1)
            assert camera.methods.count("DESCRIBE") == 1, "one attempt was enough"


@pytest.mark.parametrize("method", ["DESCRIBE", "SETUP", "PLAY"])
def test_an_answer_that_does_not_come_in_time_is_named(clip: RtpClip, method: str) -> None:
    with (
        OddCamera(clip, Manners(delay_s={method: DEADLINE_S})) as camera,
        Reader(url=camera.url, connect_timeout_s=3.0) as reader,
    ):
        error = reader.wait_for_end()
    assert isinstance(error, StreamStalled)
    assert method in str(error)


def test_a_camera_that_plays_and_sends_nothing_is_stalled(clip: RtpClip) -> None:
    with (
        OddCamera(clip, Manners(frozen=lambda _track, _s: True)) as camera,
        Reader(url=camera.url, connect_timeout_s=3.0) as reader,
    ):
        error = reader.wait_for_end()
    assert isinstance(error, StreamStalled)
    assert "plays, but sent no picture within the connect timeout" in str(error)


def test_a_key_frame_may_come_after_the_connect_timeout(tmp_path: Path) -> None:
    long = encode(tmp_path / "long.mp4", counted(240), group=120)
    manners = Manners(first_unit=10, sets_in_sdp=False)
    with OddCamera(long, manners) as camera, Reader(url=camera.url, connect_timeout_s=3.0) as reader:
        reader.wait_for(1)


def test_a_camera_whose_key_frame_never_comes_is_named(clip: RtpClip, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(front, "KEY_FRAME_WITHIN_S", 0.5)
    units = tuple(unit for unit in clip.units if not unit.is_key)
    headless = RtpClip(codec=clip.codec, fps=clip.fps, units=units, sets=clip.sets)
    with OddCamera(headless, Manners(sets_in_sdp=False)) as camera, Reader(url=camera.url) as reader:
        error = reader.wait_for_end()
    assert isinstance(error, StreamError)
    assert "no key frame in 0.5 s" in str(error)


def test_the_track_that_is_not_read_does_not_hide_a_stall(clip: RtpClip) -> None:
    def first_freezes(track: int, seconds: float) -> bool:
        return track == 0 and seconds > 1.0

    with OddCamera(clip, Manners(videos=2, frozen=first_freezes)) as camera:
        with Reader(url=camera.url, read_timeout_s=2.0) as reader:
            reader.wait_for(1)
            assert isinstance(reader.wait_for_end(), StreamStalled)
        assert camera.methods.count("SETUP") == 1, "the other is not even asked for"


def test_what_comes_on_other_channels_does_not_hide_a_stall(clip: RtpClip) -> None:
    stop = threading.Event()
    with OddCamera(clip, Manners(frozen=lambda _track, seconds: seconds > 0.5)) as camera:

        def noise() -> None:
            while not stop.wait(0.05):
                camera.say(b"$\x02\x00\x10" + b"x" * 16)

        with Reader(url=camera.url, read_timeout_s=2.0) as reader:
            reader.wait_for(1)
            maker = threading.Thread(target=noise)
            maker.start()
            error = reader.wait_for_end()
        stop.set()
        maker.join(DEADLINE_S)
    assert isinstance(error, StreamStalled)


@pytest.mark.parametrize("method", ["OPTIONS", "DESCRIBE", "SETUP", "PLAY"])
def test_a_stop_is_heard_in_every_step(clip: RtpClip, method: str) -> None:
    with (
        OddCamera(clip, Manners(delay_s={method: DEADLINE_S})) as camera,
        Reader(url=camera.url, connect_timeout_s=3600.0) as reader,
    ):
        camera.wait_until(lambda: method in camera.methods)
        reader.stop.set()
        assert reader.wait_for_end() is None


def test_a_stop_is_heard_while_nothing_comes(clip: RtpClip) -> None:
    with (
        OddCamera(clip, Manners(frozen=lambda _track, seconds: seconds > 1.0)) as camera,
        Reader(url=camera.url, read_timeout_s=3600.0) as reader,
    ):
        reader.wait_for(2)
        reader.stop.set()
        assert reader.wait_for_end() is None


def test_a_stop_is_heard_while_a_name_is_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    answered, asked = threading.Event(), threading.Event()

    def never(*_args: object, **_named: object) -> list[object]:
        asked.set()
        answered.wait(DEADLINE_S)
        raise socket.gaierror("no answer")

    monkeypatch.setattr(socket, "getaddrinfo", never)
    try:
        with Reader(url="rtsp://camera.example/1", connect_timeout_s=3600.0) as reader:
            assert asked.wait(DEADLINE_S)
            reader.stop.set()
            assert reader.wait_for_end() is None
        with Reader(url="rtsp://camera.example/1", connect_timeout_s=0.2) as reader:
            error = reader.wait_for_end()
        assert isinstance(error, StreamUnreachable)
    finally:
        answered.set()


@pytest.mark.parametrize(
    "manners",
    [
        Manners(delay_s={"DESCRIBE": DEADLINE_S}),
        Manners(frozen=lambda _track, _s: True),
        Manners(videos=2, frozen=lambda track, seconds: track == 0 and seconds > 0.3),
    ],
    ids=["no answer", "no video", "the track that is read freezes"],
)
def test_a_probe_ends_with_its_timeout(clip: RtpClip, manners: Manners) -> None:
    with OddCamera(clip, manners) as camera, pytest.raises(StreamError):
        probe(camera.url, transport="tcp", trust=rules.trust(), timeout_s=1.0)


def test_a_probe_of_a_camera_with_a_group_longer_than_its_timeout_tells_what_it_saw(tmp_path: Path) -> None:
    long = encode(tmp_path / "long.mp4", counted(300), group=300)
    with OddCamera(long) as camera:
        info = probe(camera.url, transport="tcp", trust=rules.trust(), timeout_s=2.0)
    assert info.gop_s is None
    assert info.codec == "h264"


# --- losses ---


def lossy(share: float, seed: int) -> Manners:
    drawn = random.Random(seed)

    def some(_track: int, frame: int, packets: list[bytes]) -> Iterable[bytes]:
        return packets if frame == 0 else [each for each in packets if drawn.random() > share]

    return Manners(packets=some)


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_lost_packets_are_counted_and_told_with_their_picture(tmp_path: Path, transport: str) -> None:
    noisy = encode(tmp_path / "noisy.mp4", counted(200, 640, 480), group=25, options={"crf": "5"})
    gone: list[int] = []

    def third_of_ten(_track: int, frame: int, packets: list[bytes]) -> Iterable[bytes]:
        if frame % 10 != 3:
            return packets
        gone.append(frame)
        return packets[:-1]

    stop = threading.Event()
    with OddCamera(noisy, Manners(packets=third_of_ten)) as camera:
        found = []
        with opened(
            camera.url,
            transport="tcp" if transport == "tcp" else "udp",
            trust=rules.trust(),
            connect_timeout_s=DEADLINE_S,
            read_timeout_s=DEADLINE_S,
            stop=stop,
        ) as connection:
            assert connection is not None
            for packet in connection.container.demux(connection.stream):
                found.append((packet.pts, connection.arrival_of(packet)))
                if len(found) == 50:
                    break
            counted_lost = connection.lost

    arrivals = [arrival for _, arrival in found if arrival is not None]
    assert len(arrivals) == len(found)
    assert [arrival.mono_s for arrival in arrivals] == sorted(arrival.mono_s for arrival in arrivals)
    hurt = {round((pts or 0) / 3600) for pts, arrival in found if arrival is not None and arrival.lost}
    # A picture of one packet is lost whole; then the next one tells of it.
    assert all(frame in hurt or frame + 1 in hurt for frame in gone if frame < 45)
    assert all(frame % 10 in (3, 4) for frame in hurt)
    assert counted_lost >= 4


def simple(path: Path, codec: str) -> Path:
    """A clip of a codec that no other test needs."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height = 320, 240
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.options = {"huffman": "default"} if codec == "mjpeg" else {}
        for index, gray in enumerate(counted(60)):
            frame = av.VideoFrame.from_ndarray(gray, format="gray").reformat(format=stream.pix_fmt)
            frame.pts, frame.time_base = index, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("kind", ["h264", "h264 with B-frames", "hevc", "mjpeg", "mpeg4"])
def test_of_every_picture_it_is_known_when_it_came(tmp_path: Path, kind: str) -> None:
    codec = kind.split(" ", maxsplit=1)[0]
    if codec in ("mjpeg", "mpeg4"):
        path = simple(tmp_path / "clip.mkv" if codec == "mjpeg" else tmp_path / "clip.mp4", codec)
    else:
        encoder = {"h264": "libx264", "hevc": "libx265"}[codec]
        path = encode(tmp_path / "clip.mp4", counted(60), codec=encoder, b_frames=2 if "B" in kind else 0)
    with OddCamera(path) as camera:
        began_mono_s = time.monotonic()
        with opened(
            camera.url,
            transport="tcp",
            trust=rules.trust(),
            connect_timeout_s=DEADLINE_S,
            read_timeout_s=DEADLINE_S,
            stop=threading.Event(),
        ) as connection:
            assert connection is not None
            assert connection.stream.codec_context.name == codec
            packets = islice(connection.container.demux(connection.stream), 50)
            found = [connection.arrival_of(packet) for packet in packets]
    arrivals = [arrival.mono_s for arrival in found if arrival is not None]
    assert len(arrivals) == 50
    assert arrivals == sorted(arrivals)
    assert len(set(arrivals)) > 40, "each its own"
    assert began_mono_s < arrivals[0]
    assert not any(arrival.lost for arrival in found if arrival is not None)


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_packets_out_of_order_and_twice_are_no_loss(clip: RtpClip, transport: str) -> None:
    def mixed(_track: int, _frame: int, packets: list[bytes]) -> Iterable[bytes]:
        return [copy for each in reversed(packets) for copy in (each, each)]

    manners = Manners(packets=mixed, start_sequence=65_500)
    with OddCamera(clip, manners) as camera, Reader(url=camera.url, transport=transport) as reader:
        frames = reader.wait_for(4)
    assert [round(frame.stream_s * 25) for frame in frames] == [0, 13, 25, 34]
    assert (reader.source.stats.lost, reader.source.stats.damaged) == (0, 0)


def stop_once_lost(source: Source, before: int, stop: threading.Event, _frame: Frame) -> None:
    if source.stats.lost > before:
        stop.set()


def test_losses_run_on_over_connections(clip: RtpClip) -> None:
    source = Source(rules.camera("x"))
    for seed in (1, 2):
        before = source.stats.lost
        with OddCamera(clip, lossy(0.2, seed)) as camera:
            source.config = rules.camera(camera.url)
            stop = threading.Event()
            source.run(partial(stop_once_lost, source, before, stop), stop)
        assert source.stats.lost > before


def test_what_a_stranger_sends_to_the_udp_port_is_not_video(clip: RtpClip) -> None:
    with (
        OddCamera(clip, Manners(frozen=lambda _track, _s: True)) as camera,
        Reader(url=camera.url, transport="udp", connect_timeout_s=5.0) as reader,
    ):
        camera.wait_until(lambda: "PLAY" in camera.methods)
        transport = next(r.headers["transport"] for r in camera.requests if r.method == "SETUP")
        port = int(transport.partition("client_port=")[2].partition("-")[0])
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            stranger.bind(("127.0.0.2", 0))
            for _ in range(20):
                stranger.sendto(b"\x80\x60" + bytes(10) + b"video", ("127.0.0.1", port))
        error = reader.wait_for_end()
    assert isinstance(error, StreamStalled)
    assert "sent no picture" in str(error)
    assert "20 packets came from another address" in str(error)


def test_a_stranger_on_loopback_gets_nothing(clip: RtpClip) -> None:
    """Whoever does not know the path is sent away, and libav is served all the same."""
    stop = threading.Event()
    with (
        OddCamera(clip) as camera,
        front.Front(
            camera.url,
            transport="tcp",
            trust=rules.trust(),
            connect_timeout_s=DEADLINE_S,
            read_timeout_s=DEADLINE_S,
            stop=stop,
            ends_mono_s=time.monotonic() + DEADLINE_S,
        ) as talking,
    ):
        local = talking.wait_for_video()
        assert local is not None
        port = int(local.rpartition(":")[2].partition("/")[0])
        strangers = [socket.create_connection(("127.0.0.1", port), DEADLINE_S) for _ in range(3)]
        strangers[0].sendall(b"DESCRIBE rtsp://127.0.0.1/guessed RTSP/1.0\r\nCSeq: 1\r\n\r\n")
        assert strangers[0].recv(100) == b""
        strangers[1].sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert strangers[1].recv(100) == b""
        # However many say nothing, libav gets in.
        strangers += [socket.create_connection(("127.0.0.1", port), DEADLINE_S) for _ in range(20)]
        with socket.create_connection(("127.0.0.1", port), DEADLINE_S) as ours:
            ours.sendall(f"OPTIONS {local} RTSP/1.0\r\nCSeq: 1\r\n\r\n".encode())
            assert ours.recv(100).startswith(b"RTSP/1.0 200")
            assert strangers[2].recv(100) == b"", "the door is shut behind the first who knows the path"
            with pytest.raises(ConnectionError):
                socket.create_connection(("127.0.0.1", port), DEADLINE_S)
        for stranger in strangers:
            stranger.close()


def test_a_camera_that_refuses_the_next_is_left_free_by_a_farewell(clip: RtpClip) -> None:
    """One place, and two connections one after the other: the first has to say that it leaves."""
    with OddCamera(clip) as camera:
        camera.manners.answers["SETUP"] = lambda _request: (
            Reply(453, "Not Enough Bandwidth")
            if camera.methods.count("TEARDOWN") < camera.methods.count("SETUP") - 1
            else None
        )
        for _ in range(3):
            with Reader(url=camera.url) as reader:
                reader.wait_for(1)
                reader.stop.set()
                assert reader.wait_for_end() is None


def test_a_camera_that_goes_in_mid_stream_is_broken(clip: RtpClip) -> None:
    with OddCamera(clip) as camera, Reader(url=camera.url) as reader:
        reader.wait_for(1)
        camera.hang_up()
        assert isinstance(reader.wait_for_end(), StreamBroken)
