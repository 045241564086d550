"""Is a camera there, and does it speak RTSP? Asked before libav is, because libav cannot be interrupted while it
connects.

A camera that is switched off swallows packets for the whole connect timeout; here a stop is noticed within POLL_S,
and "refused", "no such host" and "accepts but never answers" stay three different answers.
"""

import errno
import os
import select
import socket
import threading
import time

from streams.address import door_of, redacted
from streams.errors import StreamBroken, StreamError, StreamUnreachable

POLL_S = 0.1


def knock(url: str, *, deadline_mono_s: float, stop: threading.Event) -> bool:
    """True once the camera answered; False if stop was set meanwhile. Raises StreamUnreachable or StreamBroken."""
    try:
        door = door_of(url)
        addresses = socket.getaddrinfo(door.host, door.port, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        raise StreamUnreachable(f"{redacted(url)}: {error.strerror}") from None
    except ValueError as error:
        raise StreamUnreachable(str(error)) from None
    failure: StreamError = StreamUnreachable(redacted(url))
    for family, kind, protocol, _, address in addresses:
        with socket.socket(family, kind, protocol) as door_socket:
            door_socket.setblocking(False)
            problem = door_socket.connect_ex(address)
            if problem == errno.EINPROGRESS:
                if not _wait(door_socket, select.POLLOUT, deadline_mono_s, stop):
                    if stop.is_set():
                        return False
                    failure = StreamUnreachable(f"{redacted(url)}: no answer to the connection")
                    continue
                problem = door_socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if problem:
                failure = StreamUnreachable(f"{redacted(url)}: {os.strerror(problem)}")
                continue
            if door.scheme != "rtsp":  # inside TLS only libav asks further
                return True
            return _ask(door_socket, door.plain_url, url, deadline_mono_s, stop)
    raise failure


def _ask(door_socket: socket.socket, plain_url: str, url: str, deadline_mono_s: float, stop: threading.Event) -> bool:
    """OPTIONS needs no password and is what libav sends first, too. Any RTSP answer will do, 401 included."""
    request = f"OPTIONS {plain_url} RTSP/1.0\r\nCSeq: 1\r\nUser-Agent: orwatch\r\n\r\n"
    problem, answer = "closed the connection", b""
    try:
        door_socket.send(request.encode())
        if _wait(door_socket, select.POLLIN, deadline_mono_s, stop):
            answer = door_socket.recv(16)
        elif stop.is_set():
            return False
        else:
            problem = "accepts connections but does not answer RTSP"
    except ConnectionError as error:
        problem = error.strerror or problem
    if not answer:
        raise StreamUnreachable(f"{redacted(url)}: {problem}")
    if not answer.startswith(b"RTSP"):
        raise StreamBroken(f"{redacted(url)}: what answers there is not RTSP")
    return True


def _wait(door_socket: socket.socket, events: int, deadline_mono_s: float, stop: threading.Event) -> bool:
    poller = select.poll()  # not select.select: a daemon with many files has descriptors above 1023
    poller.register(door_socket, events)
    while (left_s := deadline_mono_s - time.monotonic()) > 0 and not stop.is_set():
        if poller.poll(min(left_s, POLL_S) * 1000):
            return True
    return False
