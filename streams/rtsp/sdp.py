"""What a camera says of its tracks (RFC 8866), the one that is read, and what libav is told of it."""

from dataclasses import dataclass
from urllib.parse import urljoin

# What libav takes out of RTP and decodes. PyAV says it of no other before a stream is open.
_DECODED = frozenset(
    ("H261", "H263", "H263-1998", "H263-2000", "H264", "H265", "JPEG", "MP4V-ES", "MPV", "VP8", "VP9", "AV1", "THEORA")
)
# What libav takes, and PyAV may or may not decode.
_TAKEN = _DECODED | {"", "MP2T", "RAW", "DV", "VC2HQ", "X-ASF-PF", "X-QT", "X-QUICKTIME", "BITPACKED"}
_STATIC = {"26": "JPEG", "31": "H261", "32": "MPV", "33": "MP2T", "34": "H263"}
_KEPT = ("a=rtpmap:", "a=fmtp:", "a=framerate:", "a=framesize:", "a=x-framerate:", "b=")


@dataclass(frozen=True, slots=True, kw_only=True)
class Track:
    """One m= section with a payload type that is read. controls: where it is SETUP, the likeliest first."""

    encoding: str
    payload_type: int
    protocol: str
    lines: tuple[str, ...]
    control: str

    @property
    def is_taken(self) -> bool:
        """False where libav knows no such encoding."""
        return self.encoding in _TAKEN

    def for_libav(self) -> str:
        """An SDP that has this track alone."""
        head = ["v=0", "o=- 0 0 IN IP4 127.0.0.1", "s=camera", "c=IN IP4 127.0.0.1", "t=0 0"]
        media = [f"m=video 0 RTP/AVP {self.payload_type}", *self.lines, "a=control:track"]
        return "".join(f"{line}\r\n" for line in (*head, *media))


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """videos: in the camera's order. others: the kinds of its further tracks. control: of the whole presentation."""

    videos: tuple[Track, ...]
    others: tuple[str, ...]
    control: str

    @property
    def read(self) -> Track | None:
        """The first video track that libav can decode; the first of all where none is known to be."""
        known = [each for each in self.videos if each.encoding in _DECODED]
        return next(iter(known or self.videos), None)


def described(text: str) -> Description:
    session: list[str] = []
    media: list[list[str]] = []
    for raw in text.splitlines():
        line = raw.strip()
        if line.startswith("m="):
            media.append([line])
        elif "=" in line[:2]:
            (media[-1] if media else session).append(line)
    videos = [track for lines in media if lines[0].startswith("m=video") for track in _track(lines)]
    others = [lines[0][2:].split(" ")[0] for lines in media if not lines[0].startswith("m=video")]
    return Description(videos=tuple(videos), others=tuple(others), control=_control(session))


def _track(lines: list[str]) -> list[Track]:
    """One, or none if the m= line names no payload type."""
    words = lines[0].split()
    types = [each for each in words[3:] if each.isascii() and each.isdigit() and len(each) < 4 and int(each) < 128]
    if not types:
        return []
    named = {kind: _encoding(kind, lines) for kind in types}
    kind = next((each for each in types if named[each] in _DECODED), types[0])
    kept = [line for line in lines[1:] if line.startswith(_KEPT)]
    ours = [line for line in kept if not line.startswith(("a=rtpmap:", "a=fmtp:")) or _of(line) == kind]
    return [
        Track(
            encoding=named[kind],
            payload_type=int(kind),
            protocol=words[2].upper(),
            lines=tuple(ours),
            control=_control(lines),
        )
    ]


def _of(line: str) -> str:
    return line.partition(":")[2].strip().partition(" ")[0]


def _encoding(kind: str, lines: list[str]) -> str:
    for line in lines:
        if line.startswith("a=rtpmap:") and _of(line) == kind:
            return line.partition(":")[2].strip().partition(" ")[2].partition("/")[0].strip().upper()
    return _STATIC.get(kind, "")


def _control(lines: list[str]) -> str:
    return next((line[len("a=control:") :].strip() for line in lines if line.startswith("a=control:")), "")


def joined(base: str, control: str) -> list[str]:
    """Where a control attribute leads, the likeliest first.

    Cameras mean it to be put behind the base (as live555 and libav do), whatever RFC 1808 says of a base without a
    slash at its end or with a query; a few mean what the RFC says.
    """
    if not control or control == "*":
        return [base]
    if "://" in control:
        return [control]
    behind = base + ("" if base.endswith("/") else "/") + control.removeprefix("/")
    by_the_book = resolved(base, control)
    ways = (
        [by_the_book, behind] if control.startswith("/") and _starts_with_path(base, control) else [behind, by_the_book]
    )
    return list(dict.fromkeys(ways))


def resolved(base: str, relative: str) -> str:
    """By RFC 1808, which Python knows of http, but not of rtsps. What cannot be resolved is the base."""
    relative = relative.strip()
    if "://" in relative:
        return relative
    scheme, mark, rest = base.partition("://")
    try:
        return scheme + mark + urljoin(f"http://{rest}", relative).partition("://")[2]
    except ValueError:  # brackets that hold no IPv6 address
        return base


def _starts_with_path(base: str, control: str) -> bool:
    rest = base.partition("://")[2]
    path = rest.partition("/")[2].partition("?")[0].rstrip("/")
    return bool(path) and control.startswith(f"/{path}")
