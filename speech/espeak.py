"""The embedded voice: the espeak-ng program. Robotic, and there without a download."""

import shutil
import subprocess
from dataclasses import dataclass

import numpy as np

from speech import mp3
from speech.errors import AudioInvalid, ProviderFailed, ProviderTimedOut, ProviderUnusable, TextEmpty
from speech.provider import Spoken
from speech.spelled import spelled
from speech.wav import read_wav

# Debian's 1.51 reads hanzi as English letters with `cmn` and `zh` (upstream #1236, #1370).
_VOICES = ("cmn-latn-pinyin", "cmn", "zh")
_PROBE = "确认"
# A question is seconds long.
_SECONDS_MAX = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class EspeakRules:
    """program: on the PATH, or a path. voice: None for the first that reads Chinese as Mandarin. pitch: 0 to 99."""

    program: str
    voice: str | None
    words_per_minute: int
    pitch: int
    timeout_s: float


class EspeakSynthesizer:
    name = "espeak"

    def __init__(self, rules: EspeakRules) -> None:
        """Asks the program what it is and how it reads Chinese. Raises ProviderUnusable."""
        program = shutil.which(rules.program)
        if program is None:
            raise ProviderUnusable(f"espeak.program: {rules.program!r} is not there; try `apt install espeak-ng`")
        self._program, self._rules = program, rules
        try:
            version = self._run(["--version"], "").decode(errors="replace").partition("  Data at")[0]
            self._reads_as = self._chosen(rules.voice)
        except ProviderFailed as error:
            raise ProviderUnusable(f"espeak.program: {program}: {error.reason}") from error
        self._voice = f"{version.strip()} {self._reads_as} {rules.words_per_minute} {rules.pitch}"

    @property
    def voice(self) -> str:
        return self._voice

    def synthesize(self, text: str) -> Spoken:
        """Raises TextEmpty, ProviderFailed, ProviderTimedOut."""
        words = spelled(text)
        if not words:
            raise TextEmpty("there is nothing to say")
        options = ["-v", self._reads_as, "-s", str(self._rules.words_per_minute), "-p", str(self._rules.pitch)]
        written = self._run([*options, "--stdin", "--stdout"], words)
        try:
            sound = read_wav(written, seconds_max=_SECONDS_MAX)
        except AudioInvalid as error:
            raise ProviderFailed(self.name, f"made no sound: {error.told}") from error
        pcm = np.round(sound.samples[0] * 32767).astype(np.int16)
        if not pcm.any():
            raise ProviderFailed(self.name, "made silence")
        return Spoken(mp3=mp3.encode(pcm, sound.rate_hz), provider=self.name, duration_s=sound.duration_s)

    def _chosen(self, wanted: str | None) -> str:
        for voice in (wanted,) if wanted else _VOICES:
            why_not = self._why_not_mandarin(voice)
            if not why_not:
                return voice
            if wanted:
                raise ProviderUnusable(f"espeak.voice: {wanted!r} {why_not}; try {_VOICES[0]!r}")
        raise ProviderUnusable(f"none of the voices {', '.join(_VOICES)} of {self._program} reads Chinese as Mandarin")

    def _why_not_mandarin(self, voice: str) -> str:
        try:
            phonemes = self._run(["-v", voice, "-q", "-x", "--stdin"], _PROBE).decode(errors="replace")
        except ProviderTimedOut:
            raise
        except ProviderFailed:
            return "is not one of its voices"
        # (en) where it falls back to English; and the q of què, which no voice of another language has.
        return "" if "(en)" not in phonemes and "tS;h" in phonemes else "does not read it as Mandarin"

    def _run(self, options: list[str], text: str) -> bytes:
        """Its output. The text goes in by a pipe: as an argument it could be an option, and would stand in the list of
        processes."""
        try:
            done = subprocess.run(  # noqa: S603 - the configured program; nothing of a text is among the arguments
                [self._program, "-b", "1", *options],
                input=text.encode(),
                capture_output=True,
                timeout=self._rules.timeout_s,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise ProviderTimedOut(self.name, f"no answer within {self._rules.timeout_s:g} s") from error
        except OSError as error:
            raise ProviderFailed(self.name, f"cannot be run: {error.strerror}") from error
        if done.returncode != 0 or not done.stdout:
            raise ProviderFailed(self.name, "wrote nothing", code=str(done.returncode))
        return done.stdout
