"""A connection to a camera, TCP or TLS, that never blocks: whoever uses it waits, with a deadline and a stop."""

import errno
import os
import select
import socket
import ssl
import time
from collections.abc import Callable
from contextlib import ExitStack, closing

from streams.address import Door
from streams.errors import StreamError, StreamUnreachable, StreamUntrusted
from streams.rtsp.tls import Trust, in_plain_words, other_certificate

POLL_S = 0.1  # a stop is heard within this time
READ_BYTES = 64 << 10
_READS_MAX = 4  # in one turn
_UNSENT_MAX = 256 << 10


class Stopped(Exception):
    """Somebody set stop."""


class Patience:
    """Until when there is time, and whether anybody still wants it."""

    def __init__(self, ends_mono_s: float, is_stopped: Callable[[], bool]) -> None:
        self.ends_mono_s, self._is_stopped = ends_mono_s, is_stopped

    def wait(self, fd: int, events: int, ends_mono_s: float | None = None, *, is_ready: bool = False) -> bool:
        """True once one of the events is there, False when the time is over. Raises Stopped.

        is_ready: there is something already that no poll tells of.
        """
        ends_mono_s = self.ends_mono_s if ends_mono_s is None else min(ends_mono_s, self.ends_mono_s)
        poller = select.poll()  # not select.select: a daemon with many files has descriptors above 1023
        poller.register(fd, events)
        while True:
            if self._is_stopped():
                raise Stopped
            left_s = ends_mono_s - time.monotonic()
            if left_s <= 0:
                return False
            if is_ready or poller.poll(min(left_s, POLL_S) * 1000):
                return True


class Wire:
    """One connection. Raises OSError where it breaks."""

    def __init__(self, connected: socket.socket) -> None:
        connected.setblocking(False)
        self._socket = connected
        self._unsent = bytearray()
        self.peer = str(connected.getpeername()[0])
        self.local = str(connected.getsockname()[0])
        self.family = connected.family

    def fileno(self) -> int:
        return self._socket.fileno()

    @property
    def events(self) -> int:
        """What to poll for."""
        return select.POLLIN | (select.POLLOUT if self._unsent else 0)

    def receive(self) -> list[bytes]:
        """What is there now, an empty one for the end; nothing if there is nothing."""
        found: list[bytes] = []
        for _ in range(_READS_MAX):
            try:
                data = self._socket.recv(READ_BYTES)
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                break
            except ssl.SSLEOFError:
                data = b""
            except OSError:
                if found:
                    break  # what came before it is heard first; it comes again
                raise
            found.append(data)
            if not data or (len(data) < READ_BYTES and not self._pending()):
                break
        return found

    def _pending(self) -> int:
        """Bytes that TLS has taken from the network and that no poll tells of."""
        return self._socket.pending() if isinstance(self._socket, ssl.SSLSocket) else 0

    @property
    def has_pending(self) -> bool:
        return self._pending() > 0

    def send(self, data: bytes) -> None:
        """At once what goes, the rest by `flush`. Raises OSError if a camera that takes nothing is told ever more."""
        if len(self._unsent) + len(data) > _UNSENT_MAX:
            raise OSError(errno.ENOBUFS, "takes nothing any more")
        self._unsent += data
        self.flush()

    def flush(self) -> bool:
        """True once everything is sent."""
        while self._unsent:
            try:
                sent = self._socket.send(self._unsent)
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                return False
            del self._unsent[:sent]
        return True

    def close(self) -> None:
        self._socket.close()


def connected(door: Door, trust: Trust, address: str, patience: Patience, *, tls_host: str) -> Wire:
    """A wire to the first of the host's addresses that answers. Raises StreamError, Stopped.

    tls_host: the name that a certificate has to be for. address: as it may be shown.
    """
    try:
        found = socket.getaddrinfo(door.host, door.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise StreamUnreachable(f"{address}: {getattr(error, 'strerror', None) or 'no host name'}") from None
    failure: StreamError = StreamUnreachable(address)
    for place, (family, kind, protocol, _, where) in enumerate(found):
        # An address that swallows packets, as IPv6 without a route does, leaves time for the others.
        share_s = (patience.ends_mono_s - time.monotonic()) / (len(found) - place)
        with ExitStack() as unless_it_works:
            attempt = unless_it_works.enter_context(closing(socket.socket(family, kind, protocol)))
            problem = _connect(attempt, where, patience, time.monotonic() + share_s)
            if problem is not None:
                failure = StreamUnreachable(f"{address}: {problem}")
                continue
            attempt.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if door.scheme == "rtsps":
                attempt = unless_it_works.enter_context(closing(_wrapped(attempt, trust, tls_host, address)))
                _shake_hands(attempt, tls_host, address, patience)
                certificate = attempt.getpeercert(binary_form=True)
                if not trust.is_satisfied_by(certificate):
                    raise other_certificate(certificate, address)
            unless_it_works.pop_all()
            return Wire(attempt)
    raise failure


def _connect(attempt: socket.socket, where: object, patience: Patience, ends_mono_s: float) -> str | None:
    """None if it is connected, else what was wrong."""
    attempt.setblocking(False)
    problem = attempt.connect_ex(where)  # type: ignore[arg-type]
    if problem == errno.EINPROGRESS:
        if not patience.wait(attempt.fileno(), select.POLLOUT, ends_mono_s):
            return "no answer to the connection"
        problem = attempt.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    return os.strerror(problem) if problem else None


def _wrapped(plain: socket.socket, trust: Trust, host: str, address: str) -> ssl.SSLSocket:
    try:
        context = trust.context()
    except ValueError as error:
        raise StreamUntrusted(f"{address}: {error}", hint="Set ca_file to a PEM file that can be read.") from None
    return context.wrap_socket(plain, server_hostname=host, do_handshake_on_connect=False)


def _shake_hands(secured: ssl.SSLSocket, host: str, address: str, patience: Patience) -> None:
    failure: StreamError
    while True:
        events = select.POLLIN
        try:
            secured.do_handshake()
            return
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLWantWriteError:
            events = select.POLLOUT
        except (ssl.SSLEOFError, ssl.SSLZeroReturnError, ConnectionError):
            failure = StreamUnreachable(f"{address}: closed the connection in the TLS handshake")
            break
        except ssl.SSLError as error:
            failure = in_plain_words(error, host, address)
            break
        if not patience.wait(secured.fileno(), events):
            failure = StreamUnreachable(f"{address}: accepts connections but does not answer TLS")
            break
    raise failure
