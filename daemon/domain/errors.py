"""What a request can be refused for. The mapping to HTTP status and code is one table in `api/errors.py`."""


class Refused(Exception):
    """A request that cannot be carried out.

    message: Chinese, for the client. extra: further fields of the answer's `detail`.
    """

    def __init__(self, message: str, *, surgery_id: str | None = None, **extra: object) -> None:
        super().__init__(message)
        self.message = message
        self.surgery_id = surgery_id
        self.extra = extra


class RecordingCannotStart(Refused):
    """The cameras of a surgery could not be brought up."""


class RecordingNotStopped(Refused):
    """There is no recording of that surgery to stop, or it could not be stopped."""


class CameraAlreadyInUse(Refused):
    """Another surgery holds a camera."""


class SurgeryAlreadyRunning(Refused):
    """The surgery runs already, with other cameras."""


class SurgeryNotFound(Refused, LookupError):
    """No surgery of that id was ever started here."""


class ResultNotReady(Refused):
    """There is no detail to show."""


class NoPendingConfirmation(Refused, LookupError):
    """The queue is empty, or the surgery is not active."""


class ConfirmationNotFound(Refused, LookupError):
    """No such question in this surgery, or the surgery is not active."""


class ConfirmationAlreadyResolved(Refused):
    """Somebody answered first."""


class ChoiceNotAnOption(Refused, ValueError):
    """The chosen label is not one of the question's options."""


class PostingNotFound(Refused, LookupError):
    """The surgery has no posting of that id."""


class PostingNotVoidable(Refused):
    """A void, or a placeholder whose question is open."""


class PostingAlreadyVoided(Refused):
    """It does not count any more."""


class ItemUnknown(Refused, ValueError):
    """No consumable goes by that word."""


class IdempotencyKeyReused(Refused):
    """The key was sent before, with another request."""


class VoiceNotConfigured(Refused):
    """No speech provider is configured, so the question cannot be spoken or heard."""


class VoiceAudioInvalid(Refused, ValueError):
    """The answer is not one non-empty WAV file."""


class EvidenceNotFound(Refused, LookupError):
    """No picture or clip of that sighting is kept."""


class ObjectStoreUnavailable(Refused):
    """Evidence is kept, but where it lies does not answer."""
