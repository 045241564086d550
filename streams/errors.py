"""What can go wrong with a camera: one class per thing that the one on call would do differently."""


class StreamError(Exception):
    """The stream failed."""

    hint = "Look at the camera's own page."

    def __init__(self, detail: str = "", *, hint: str | None = None) -> None:
        """detail: what was seen, already free of credentials. hint: where more is known than the class says."""
        self.detail = detail
        if hint is not None:
            self.hint = hint
        message = (type(self).__doc__ or "").strip().splitlines()[0]
        super().__init__(f"{message} ({detail})" if detail else message)


class StreamUnreachable(StreamError, ConnectionError):
    """The camera cannot be reached."""

    hint = "Check power, network cable, address and port; try `orwatch cameras probe`."


class StreamUnauthorized(StreamError, PermissionError):
    """The camera refused the user name or the password."""

    hint = (
        "Check the user and the password of the url; special characters in it must be percent-encoded (@ is %40),"
        " but not in what ${NAME} stands for."
    )


class StreamNotFound(StreamError, FileNotFoundError):
    """There is no such stream or file."""

    hint = "The camera answers, but not at this path: compare it with the stream path in the camera's manual."


class StreamStalled(StreamError, TimeoutError):
    """The camera is connected but sent no frame in time."""

    hint = "A frozen encoder still accepts RTSP: look at the camera's own page, then power-cycle it."


class StreamBroken(StreamError, OSError):
    """The stream broke off or sent what is no video."""

    hint = "Look for packet loss and for a camera that restarts; with transport = 'udp', try 'tcp'."


class StreamUnsupported(StreamError, ValueError):
    """The stream cannot be decoded here."""

    hint = "Set the camera to H.264 or H.265 with a key frame every one or two seconds."


class StreamBusy(StreamError, ConnectionError):
    """The camera is busy, or has no room for another viewer."""

    hint = "Close another viewer of this camera, raise its number of streams, or read its sub-stream (detect_url)."


class StreamRefused(StreamError, ConnectionError):
    """The camera refused to send its stream."""

    hint = "Compare the path and the query of the url with the camera's manual; look at the camera's own page."


class StreamTransportRefused(StreamError, ValueError):
    """The camera does not send over the transport that is configured."""

    hint = "Set transport to the other one."


class StreamUntrusted(StreamError, PermissionError):
    """The TLS of the camera cannot be trusted, and nothing was told to it."""

    hint = "Set ca_file to the certificate of who signed it, or certificate_sha256 to its fingerprint."


class StreamMoved(StreamError, ConnectionError):
    """The camera sends its viewers to another address, and nothing was told to that."""

    hint = "If that is right, set it as the url of the camera."
