"""What can go wrong between a picture and a back end's answer. The messages are Chinese: clerks and doctors read them.

What matters to whoever calls is what may be done next: Unreachable may be asked again as it was; after Unclear the
back end may have acted already; Refused and Failed are answers.
"""


class ImagingError(Exception):
    """An imaging step could not be done."""

    hint = ""

    def __init__(self, message: str, *, code: str = "") -> None:
        """message: for a person; never a secret, nor an address with one. code: the back end's own, if it gave one."""
        super().__init__(message)
        self.message, self.code = message, code


class NotConfigured(ImagingError):
    """A key of the configuration is needed for this and is not set."""

    hint = "Every key of [imaging] stands in orwatch.example.toml."


class InputInvalid(ImagingError, ValueError):
    """What was given cannot be sent: nothing was."""

    def __init__(self, message: str, *, field: str, value: str = "") -> None:
        """field: of the request or the command line. value: what it was, cut short; for a file its name."""
        super().__init__(message)
        self.field, self.value = field, value


class InputTooLarge(InputInvalid):
    """More bytes, pixels or files than the back end takes."""


class InputUnsupported(InputInvalid):
    """A kind of file that is not taken."""


class InputForbidden(InputInvalid, PermissionError):
    """A path outside the folder that clients may name."""


class InputMissing(InputInvalid, FileNotFoundError):
    """A bucket, an object or a picture that was named is not there."""


class Unreachable(ImagingError, ConnectionError):
    """No connection: the back end has seen nothing of this request."""

    hint = "Look at the address in [imaging] and at the network, a proxy or a firewall between here and there."


class Unclear(ImagingError, OSError):
    """The request may have been acted on: it broke off, timed out, or got no usable answer."""


class Refused(ImagingError):
    """The back end said no."""


class Unauthorized(Refused, PermissionError):
    """The back end does not know our token, key or signature."""


class Failed(ImagingError):
    """The back end did its work and has no result: the analysis failed or the picture cannot be judged."""


class Stopped(ImagingError):
    """Told to stop in the middle."""
