"""What can go wrong between a text and a sound. Nothing here holds spoken text: it must not reach a log."""

from collections.abc import Sequence
from enum import StrEnum


class SpeechError(Exception):
    """Speech could not be made or understood."""

    hint = ""


class ProviderUnusable(SpeechError, ValueError):
    """A provider cannot be set up as it is configured: its program, model or folder is missing or not what it says."""


class ProviderFailed(SpeechError, OSError):
    """A provider could not do its work: it is away, refused us, or answered nonsense. The next one may do better."""

    def __init__(self, provider: str, reason: str, *, code: str = "") -> None:
        """code: the provider's own number, if it gave one; never a secret, never an address with one."""
        super().__init__(f"{provider}: {reason}" + (f" ({code})" if code else ""))
        self.provider, self.reason, self.code = provider, reason, code


class ProviderTimedOut(ProviderFailed, TimeoutError):
    """A provider did not answer as a whole within its deadline."""


class TextNotSpeakable(SpeechError, ValueError):
    """This provider has no sound for a part of the text. It is healthy; another one may say it."""


class TextEmpty(SpeechError, ValueError):
    """There is nothing to say."""


class NotUnderstood(SpeechError, ValueError):
    """A recognizer did its work and found no words, or none that are valid now. The speaker should say it again."""

    def __init__(self, provider: str, reason: str, *, code: str = "") -> None:
        super().__init__(f"{provider}: {reason}" + (f" ({code})" if code else ""))
        self.provider, self.reason, self.code = provider, reason, code


class NothingConfigured(SpeechError):
    """No provider is configured for this direction."""

    hint = "Set speech.tts and speech.asr."


class AllFailed(SpeechError, OSError):
    """Every configured provider failed, or is left alone for a while because it kept failing."""

    def __init__(self, failures: Sequence[ProviderFailed]) -> None:
        super().__init__("; ".join(str(failure) for failure in failures))
        self.failures = tuple(failures)


class AudioProblem(StrEnum):
    EMPTY = "empty"
    NOT_WAV = "not_wav"
    TOO_LONG = "too_long"
    TOO_LARGE = "too_large"
    NO_SPEECH = "no_speech"
    CLIPPED = "clipped"


class AudioInvalid(SpeechError, ValueError):
    """The recording cannot be an answer."""

    def __init__(self, problem: AudioProblem, told: str) -> None:
        """told: what was found and what was expected, for a log."""
        super().__init__(f"{problem}: {told}")
        self.problem, self.told = problem, told
