"""Answers as espeak-ng says them: Mandarin enough for a recognizer, and there on every machine that runs the tests."""

import shutil
import subprocess
from functools import cache

PROGRAM = shutil.which("espeak-ng")


@cache
def spoken(text: str, *, variant: str = "f5", words_per_minute: int = 150) -> bytes:
    """A WAV file, 22,050 Hz, mono, 16 bit; its RIFF sizes are those of a pipe. variant: one of espeak-ng's voices."""
    assert PROGRAM, "espeak-ng is one of the packages that scripts/setup installs"
    # Debian's espeak-ng 1.51 reads Chinese as Mandarin with this voice only.
    voice = ["-v", f"cmn-latn-pinyin+{variant}", "-s", str(words_per_minute)]
    made = subprocess.run(
        [PROGRAM, *voice, "--stdin", "--stdout"], input=text.encode(), capture_output=True, check=True
    )
    return made.stdout
