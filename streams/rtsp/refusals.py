"""What a camera means by a status, and what to do about it (RFC 2326, section 7.1.1; what cameras use it for)."""

from collections.abc import Mapping

from streams.errors import (
    StreamBroken,
    StreamBusy,
    StreamError,
    StreamNotFound,
    StreamRefused,
    StreamTransportRefused,
    StreamUnauthorized,
    StreamUnsupported,
)

_BUSY_NOW = "It starts, restarts or is overloaded: it is tried again; if it stays so, restart the camera."
_OTHER_TRANSPORT = {"tcp": 'Set transport = "udp" for this camera.', "udp": 'Set transport = "tcp" for this camera.'}
_NO_VIDEO_HERE = "Compare the path of the url with the camera's manual, and set the stream to H.264 or H.265."
_OTHER_DIALECT = "It speaks another RTSP than RFC 2326: look for newer firmware, and for another path in its manual."

# status -> class, and what to do where the class does not say it already.
_MEANINGS: Mapping[int, tuple[type[StreamError], str | None]] = {
    400: (StreamRefused, None),
    401: (StreamUnauthorized, None),
    402: (StreamRefused, None),
    403: (StreamUnauthorized, "Allow this user to view the stream, on the camera's own page."),
    404: (StreamNotFound, None),
    405: (StreamRefused, _OTHER_DIALECT),
    406: (StreamUnsupported, _NO_VIDEO_HERE),
    408: (StreamBusy, _BUSY_NOW),
    410: (StreamNotFound, None),
    412: (StreamRefused, None),
    413: (StreamRefused, None),
    414: (StreamRefused, "Shorten the url."),
    415: (StreamUnsupported, _NO_VIDEO_HERE),
    429: (StreamBusy, _BUSY_NOW),
    451: (StreamRefused, None),
    452: (StreamBusy, None),
    453: (StreamBusy, None),
    454: (StreamBroken, "It forgot the session: it is tried again; if it stays so, restart the camera."),
    455: (StreamBroken, "It is not ready to play: it is tried again; if it stays so, restart the camera."),
    456: (StreamRefused, None),
    457: (StreamRefused, "A recording that has ended? The url has to be that of live video."),
    458: (StreamRefused, None),
    459: (StreamRefused, "Read the path of a single track, as the camera's manual names it."),
    460: (StreamRefused, "Read the path of the whole stream, as the camera's manual names it."),
    461: (StreamTransportRefused, None),
    462: (StreamTransportRefused, None),
    500: (StreamBusy, _BUSY_NOW),
    501: (StreamRefused, _OTHER_DIALECT),
    502: (StreamBusy, "What answers stands before the camera and cannot reach it: look at the camera behind it."),
    503: (StreamBusy, _BUSY_NOW),
    504: (StreamBusy, "What answers stands before the camera and cannot reach it: look at the camera behind it."),
    505: (StreamRefused, _OTHER_DIALECT),
    551: (StreamRefused, _OTHER_DIALECT),
}


def refusal(status: int, reason: str, method: str, *, transport: str, address: str) -> StreamError:
    """reason: fit to be shown. address: without credentials."""
    otherwise = (StreamBusy, _BUSY_NOW) if status >= 500 else (StreamRefused, None)
    kind, hint = _MEANINGS.get(status, otherwise)
    if kind is StreamTransportRefused:
        hint = _OTHER_TRANSPORT[transport]
    said = f"{status} {reason}".strip()
    return kind(f"{address}: it answered {method} with {said}", hint=hint)
