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


class TtsFailed(Refused):
    """Every voice failed."""


class TtsTextEmpty(Refused, ValueError):
    """The question has no words."""


class AsrFailed(Refused):
    """Every ear failed: away, refused or broken. It is not the speaker's doing."""


class AnswerNotKept(Refused):
    """The recording of the answer could not be stored where it must be, nor wait for it."""


class VoiceRefused(Refused, ValueError):
    """An answer by voice that settles nothing; the question stays as it is. Each class below is one reason."""


class VoiceAudioInvalid(VoiceRefused):
    """The answer is not a WAV file."""


class VoiceAudioEmpty(VoiceRefused):
    """There is no sound in the file."""


class VoiceAudioTooLarge(VoiceRefused):
    """The file is larger than an answer may be."""


class VoiceAudioTooLong(VoiceRefused):
    """The recording is longer than an answer may be."""


class VoiceAudioClipped(VoiceRefused):
    """The recording is overdriven."""


class VoiceNoSpeech(VoiceRefused):
    """Nobody speaks in the recording."""


class VoiceAsrFailed(VoiceRefused):
    """Words were spoken that could not be recognized."""


class VoiceAnswerUnclear(VoiceRefused):
    """What was said names none of the options, or more than one."""


class VoiceAnswerUnsure(VoiceRefused):
    """The speaker is not sure, asks back, or wants the question again."""


class VoiceAnswerCancelled(VoiceRefused):
    """The speaker took the answer back."""


class VoiceTerminalNotFound(Refused, LookupError):
    """No room has a voice terminal of that id."""


class EvidenceNotFound(Refused, LookupError):
    """No picture or clip of that sighting is kept."""


class ObjectStoreUnavailable(Refused):
    """Evidence is kept, but where it lies does not answer."""


class ImagingNotConfigured(Refused):
    """The back end, or what is needed to reach it, is not configured."""


class ImagingInputInvalid(Refused, ValueError):
    """A picture or a field cannot be sent to the back end. extra: field, value."""


class ImagingRequestInvalid(Refused, ValueError):
    """A kind of file that is not taken, or nowhere to send the result: the seed's 400. extra: field, value."""


class ImagingInputNotFound(Refused, LookupError):
    """A bucket, an object or a picture that was named is not there. extra: field, value."""


class ImagingBackEndAway(Refused, ConnectionError):
    """The inference server or the bucket does not answer, or does not let us in: nothing was queued."""


class ImagingInputTooLarge(Refused, ValueError):
    """More bytes, pixels or pictures than the back end takes, or than is configured."""


class ImagingPathForbidden(Refused, PermissionError):
    """The path is not in the folder that clients may name."""


class ImagingJobNotFound(Refused, LookupError):
    """No imaging job of that id."""


class ImagingJobEnded(Refused):
    """The job is over: there is nothing to cancel."""


class ImagingJobNotFailed(Refused):
    """Only a job that failed can be tried again."""


class ImagingResultNotReady(Refused):
    """The job has no result yet, or will have none."""


class ImagingFileNotFound(Refused, LookupError):
    """The job has no such file, or it was deleted by age."""


class ImagingQueueFull(Refused):
    """As many jobs wait as may."""


class ImagingStorageFull(Refused):
    """The folder of the jobs holds all that it may, or its disk is full."""


class UltrasoundBusy(Refused):
    """The models are being loaded, or as many calls wait for them as may."""


class UltrasoundFailed(Refused):
    """The model was asked and gave no usable answer."""
