"""Two neighbouring UDP ports for one track, open to the camera alone, and receiver reports from the second."""

import ipaddress
import socket
import struct
from contextlib import suppress

from streams.errors import StreamUnreachable
from streams.rtsp.rtp import Sequence

REPORT_EVERY_S = 5.0
_BUFFER_BYTES = 1 << 20  # a key frame comes in one burst
_TRIES = 50
_DATAGRAM_MAX = 65536
_READS_MAX = 256  # in one turn
_NAME = b"orwatch"
_OURS = 0x0A7C0FFE


class Ports:
    """RTP on an even port, RTCP on the next. Raises StreamUnreachable where there are none."""

    def __init__(self, family: int, local: str) -> None:
        self._rtp, self._rtcp = _neighbours(family, local)
        self.port = int(self._rtp.getsockname()[1])
        self.strangers = 0  # packets of others than the camera
        self._from: set[str] = set()
        self._to: tuple[str, int] | None = None
        self._report: tuple[int, int] = (0, 0)  # received and expected until the last report

    def fileno(self) -> int:
        return self._rtp.fileno()

    def expect(self, peer: str, source: str | None, rtp_port: int | None, rtcp_port: int | None) -> None:
        """peer: who was told of the ports. source: from where it says that it sends, if it says so by number."""
        self._from = {peer}
        if source is not None:
            with suppress(ValueError):
                self._from.add(str(ipaddress.ip_address(source)))
        if rtcp_port:
            self._to = (peer, rtcp_port)
        if rtp_port:  # a firewall lets in what it has seen go out
            self._send(self._rtp, (peer, rtp_port), struct.pack(">BBHII", 128, 0, 0, 0, 0))

    def receive(self) -> list[bytes]:
        """What the camera has sent; what others have sent is left out."""
        found = []
        for _ in range(_READS_MAX):
            try:
                data, sender = self._rtp.recvfrom(_DATAGRAM_MAX)
            except BlockingIOError:
                break
            except ConnectionError:
                continue  # an earlier datagram of ours did not arrive
            if sender[0].partition("%")[0] in self._from:
                found.append(data)
            else:
                self.strangers += 1
        return found

    def report(self, sequence: Sequence) -> None:
        """A receiver report (RFC 3550, 6.4.2): some cameras stop without one."""
        while True:  # the camera's own reports are of no use here, but they fill the socket
            try:
                self._rtcp.recvfrom(_DATAGRAM_MAX)
            except (BlockingIOError, ConnectionError):
                break
        if self._to is None or sequence.source is None:
            return
        expected = sequence.received + sequence.lost
        before_received, before_expected = self._report
        recently = expected - before_expected
        missing = max(0, recently - (sequence.received - before_received))
        self._report = (sequence.received, expected)
        fraction = min(255, missing * 256 // recently) if recently else 0
        block = struct.pack(
            ">IIIIII",
            sequence.source,
            fraction << 24 | min(sequence.lost, 0x7FFFFF),
            sequence.highest & 0xFFFFFFFF,
            0,
            0,
            0,
        )
        report = struct.pack(">BBHI", 0x81, 201, 7, _OURS) + block
        item = struct.pack(">I", _OURS) + bytes((1, len(_NAME))) + _NAME + b"\0"
        item += b"\0" * (-len(item) % 4)
        self._send(self._rtcp, self._to, report + struct.pack(">BBH", 0x81, 202, len(item) // 4) + item)

    def close(self) -> None:
        self._rtp.close()
        self._rtcp.close()

    @staticmethod
    def _send(sender: socket.socket, to: tuple[str, int], data: bytes) -> None:
        with suppress(OSError):  # it is missed by nobody here
            sender.sendto(data, to)


def _neighbours(family: int, local: str) -> tuple[socket.socket, socket.socket]:
    problem = ""
    for _ in range(_TRIES):
        first, second = (socket.socket(family, socket.SOCK_DGRAM) for _ in range(2))
        try:
            first.bind((local, 0))
            port = first.getsockname()[1]
            if port % 2 == 0:
                second.bind((local, port + 1))
                for each in (first, second):
                    each.setblocking(False)
                first.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
                return first, second
        except OSError as error:
            problem = error.strerror or ""
        first.close()
        second.close()
    raise StreamUnreachable(f"no two neighbouring UDP ports are free here {problem}".rstrip())
