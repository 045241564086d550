"""RTSP messages and interleaved frames out of bytes (RFC 2326, sections 4 to 12), with a bound for each.

Cameras end lines by a bare LF, answer in HTTP, and lose count in mid-frame: before anything plays that is an error,
while it plays the way back into step is looked for, as far as JUNK_BYTES_MAX.
"""

import re
from dataclasses import dataclass
from typing import TypeAlias

HEAD_BYTES_MAX = 16 << 10
HEADERS_MAX = 64
BODY_BYTES_MAX = 64 << 10
JUNK_BYTES_MAX = 256 << 10
REASON_CHARACTERS_MAX = 80

_LINE_MAX = 4096
_DOLLAR = 0x24
_END_OF_HEAD = re.compile(rb"\r?\n\r?\n")
_STATUS = re.compile(r"RTSP/\d\.\d\s+(\d{3})(?:\s+(.*))?")
_REQUEST = re.compile(r"([A-Z_]+)\s+(\S+)\s+RTSP/\d\.\d")


class NotRtsp(ValueError):
    """What was received is no RTSP, or more than a camera has to say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """Header names in lower case, in the order in which they came."""

    headers: tuple[tuple[str, str], ...]
    body: bytes

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key == name]

    def get(self, name: str) -> str | None:
        return next(iter(self.all(name)), None)

    @property
    def cseq(self) -> int | None:
        value = self.get("cseq") or ""
        return int(value) if value.isascii() and value.isdigit() and len(value) < 10 else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Response(Message):
    status: int
    reason: str  # fit to be shown


@dataclass(frozen=True, slots=True, kw_only=True)
class Request(Message):
    method: str
    url: str


Frame: TypeAlias = tuple[int, bytes]  # channel, packet


class Receiver:
    """Takes bytes as they come, gives what is whole."""

    def __init__(self) -> None:
        self.channels: frozenset[int] = frozenset()  # of what plays; empty: nothing does yet
        self._buffer = bytearray()
        self._junk = 0
        self._in_step = True

    def feed(self, data: bytes) -> list[Response | Request | Frame]:
        """Raises NotRtsp."""
        buffer = self._buffer
        buffer += data
        found: list[Response | Request | Frame] = []
        at, end = 0, len(buffer)
        while at < end:
            if buffer[at] == _DOLLAR and (self._in_step or self._is_ours(at)):
                if end - at < 4:
                    break
                size = buffer[at + 2] << 8 | buffer[at + 3]
                if end - at < 4 + size:
                    break
                found.append((buffer[at + 1], bytes(buffer[at + 4 : at + 4 + size])))
                at += 4 + size
                self._in_step = True
            elif buffer[at] in b"\r\n":
                at += 1
            elif (first := self._first_line(at)) is None:
                break
            elif not first:
                at = self._skip(at)
            elif (message := self._message(at, first)) is None:
                break
            else:
                taken, parsed = message
                found.append(parsed)
                at += taken
                self._in_step = True
        del buffer[:at]
        return found

    def _is_ours(self, at: int) -> bool:
        return at + 1 >= len(self._buffer) or self._buffer[at + 1] in self.channels

    def _skip(self, at: int) -> int:
        """Out of step: on to the next byte at which a frame or an answer could begin."""
        if not self.channels and self._buffer[at : at + 2] == b"\x15\x03":
            raise NotRtsp("what answers there speaks TLS: write rtsps://, or the port of rtsp")
        if not self.channels:
            raise NotRtsp("what answers there is not RTSP")
        self._in_step = False
        marks = [where for mark in (b"$", b"RTSP/1.") if (where := self._buffer.find(mark, at + 1)) > 0]
        ahead = min(marks, default=len(self._buffer))
        self._junk += ahead - at
        if self._junk > JUNK_BYTES_MAX:
            raise NotRtsp("sends what is neither RTSP nor RTP")
        return ahead

    def _first_line(self, at: int) -> str | None:
        """The first line of a message; "" if none begins here, None if that cannot be told yet."""
        end = self._buffer.find(b"\n", at, at + _LINE_MAX)
        if end < 0:
            return None if self._buffer[at : at + 1].isalpha() and len(self._buffer) - at < _LINE_MAX else ""
        line = _text(self._buffer[at:end]).strip()
        return line if _STATUS.fullmatch(line) or _REQUEST.fullmatch(line) else ""

    def _message(self, at: int, first: str) -> "tuple[int, Response | Request] | None":
        """(bytes taken, message); None if it is not whole yet."""
        line_end = self._buffer.index(b"\n", at)
        end = _END_OF_HEAD.search(self._buffer, line_end - 1, at + HEAD_BYTES_MAX)
        if end is None:
            if len(self._buffer) - at >= HEAD_BYTES_MAX:
                raise NotRtsp(f"sends a head of over {HEAD_BYTES_MAX} bytes")
            return None
        headers = _headers(_text(self._buffer[line_end + 1 : max(line_end + 1, end.start())]))
        size = _body_size(headers)
        if len(self._buffer) - end.end() < size:
            return None
        body = bytes(self._buffer[end.end() : end.end() + size])
        return end.end() + size - at, _parsed(first, headers, body)


def _parsed(first: str, headers: tuple[tuple[str, str], ...], body: bytes) -> Response | Request:
    if status := _STATUS.fullmatch(first):
        return Response(headers=headers, body=body, status=int(status[1]), reason=shown(status[2] or ""))
    request = _REQUEST.fullmatch(first)
    assert request is not None, first
    return Request(headers=headers, body=body, method=request[1], url=request[2])


def _headers(text: str) -> tuple[tuple[str, str], ...]:
    found: list[tuple[str, str]] = []
    for line in text.splitlines():
        if line[:1] in (" ", "\t") and found:  # the line before goes on
            name, value = found.pop()
            found.append((name, f"{value} {line.strip()}"))
            continue
        name, colon, value = line.partition(":")
        if colon:
            found.append((name.strip().lower(), value.strip()))
        if len(found) > HEADERS_MAX:
            raise NotRtsp(f"sends more than {HEADERS_MAX} headers")
    return tuple(found)


def _body_size(headers: tuple[tuple[str, str], ...]) -> int:
    value = next((value for name, value in headers if name == "content-length"), "0")
    if not (value.isascii() and value.isdigit() and len(value) < 10):
        raise NotRtsp("sends a Content-Length that is no number")
    if int(value) > BODY_BYTES_MAX:
        raise NotRtsp(f"sends a body of {int(value)} bytes, expected at most {BODY_BYTES_MAX}")
    return int(value)


def _text(data: bytes | bytearray) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("latin-1")


def shown(text: str) -> str:
    """What a camera said, on one line and short enough for a log."""
    clean = " ".join("".join(each if each.isprintable() else " " for each in text).split())
    return clean if len(clean) <= REASON_CHARACTERS_MAX else clean[:REASON_CHARACTERS_MAX] + "..."
