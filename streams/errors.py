"""What can go wrong with a camera: one class per thing that the one on call would do differently."""

from typing import ClassVar


class StreamError(Exception):
    """The stream failed."""

    hint: ClassVar[str] = "Look at the camera's own page."

    def __init__(self, detail: str = "") -> None:
        """detail: what was seen, already free of credentials."""
        self.detail = detail
        message = (type(self).__doc__ or "").strip().splitlines()[0]
        super().__init__(f"{message} ({detail})" if detail else message)


class StreamUnreachable(StreamError, ConnectionError):
    """The camera cannot be reached."""

    hint = "Check power, network cable, address and port; try `orwatch cameras probe`."


class StreamUnauthorized(StreamError, PermissionError):
    """The camera refused the user name or the password."""

    hint = "Check the user and the password of the url; special characters in it must be percent-encoded (@ is %40)."


class StreamNotFound(StreamError, FileNotFoundError):
    """There is no such stream or file."""

    hint = "The camera answers, but not at this path: compare it with the stream path in the camera's manual."


class StreamStalled(StreamError, TimeoutError):
    """The camera is connected but sent no frame within the read timeout."""

    hint = "A frozen encoder still accepts RTSP: look at the camera's own page, then power-cycle it."


class StreamBroken(StreamError, OSError):
    """The stream broke off or sent what is no video."""

    hint = "Look for packet loss and for a camera that restarts; with transport = 'udp', try 'tcp'."


class StreamUnsupported(StreamError, ValueError):
    """The stream cannot be decoded here."""

    hint = "Set the camera to H.264 or H.265 with a key frame every one or two seconds."
