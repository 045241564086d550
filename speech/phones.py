"""From a Chinese phrase to the phones that an acoustic model knows: hanzi -> toneless pinyin -> phones.

Two kinds of model: one of American English, for which each pinyin syllable is written in ARPABET as an English ear
would take it, and one of Mandarin, whose own dictionary shows how it writes a syllable.
"""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable

from pypinyin import lazy_pinyin

from speech.errors import TextNotSpeakable

Phones = tuple[str, ...]


def said(phrase: str) -> str:
    """What of a phrase has a sound: hanzi, digits as hanzi, Latin capitals. Equal for ways of writing the same words.

    Raises TextNotSpeakable where a character has no sound in Mandarin, or nothing is left.
    """
    kept = []
    for char in unicodedata.normalize("NFKC", phrase).upper().translate(_DIGITS):
        if _HANZI.match(char) or char in _LETTERS:
            kept.append(char)
        elif unicodedata.category(char)[0] not in "PZ":
            raise TextNotSpeakable(f"no Mandarin sound is known for U+{ord(char):04X}")
    if not kept:
        raise TextNotSpeakable("the phrase has no sound")
    return "".join(kept)


def syllables(phrase: str) -> tuple[str, ...]:
    """Toneless pinyin of what is said, "v" for ü; Latin letters by their names in Mandarin.

    Raises TextNotSpeakable.
    """
    found: list[str] = []
    for part in _PARTS.findall(said(phrase)):
        found += _LETTERS[part].split() if part in _LETTERS else lazy_pinyin(part)
    return tuple(found)


def english_phones(syllable: str) -> Phones:
    """ARPABET of a pinyin syllable. Raises TextNotSpeakable if it is not one."""
    initial, final = _split(syllable)
    if final not in _ENGLISH_FINALS:
        raise TextNotSpeakable(f"{syllable!r} is no syllable of pinyin")
    return (*_ENGLISH_INITIALS[initial].split(), *_ENGLISH_FINALS[final].split())


class MandarinPhones:
    """How a Mandarin dictionary in the CMU format writes syllables, learned from its single characters (`纱  sh a`).

    By initial and final, as there is not a character for every syllable; of what the characters that share one say, the
    majority decides, because a character with several readings has an entry for each.
    """

    def __init__(self, lines: Iterable[str]) -> None:
        initials: defaultdict[str, Counter[str]] = defaultdict(Counter)
        finals: defaultdict[str, Counter[Phones]] = defaultdict(Counter)
        alone: defaultdict[str, Counter[Phones]] = defaultdict(Counter)
        for word, *phones in (line.split() for line in lines if line.strip()):
            if len(word) != 1 or not _HANZI.match(word):
                continue
            initial, final = _split(lazy_pinyin(word)[0])
            if not initial:
                alone[final][tuple(phones)] += 1
            elif len(phones) > 1:
                initials[initial][phones[0]] += 1
                finals[final][tuple(phones[1:])] += 1
        self._initials = {initial: votes.most_common(1)[0][0] for initial, votes in initials.items()}
        self._finals = {final: votes.most_common(1)[0][0] for final, votes in finals.items()}
        self._alone = {final: votes.most_common(1)[0][0] for final, votes in alone.items()}

    def __call__(self, syllable: str) -> Phones:
        """Raises TextNotSpeakable if the dictionary does not show it."""
        initial, final = _split(syllable)
        if not initial and final in self._alone:
            return self._alone[final]
        if initial in self._initials and final in self._finals:
            return (self._initials[initial], *self._finals[final])
        raise TextNotSpeakable(f"the dictionary does not show how {syllable!r} is written")


def _split(syllable: str) -> tuple[str, str]:
    """Initial and final of a syllable of pinyin, the final as it sounds: "v" for ü, "ii" and "iii" for the buzzing i
    of zi and zhi, no "y" and "w" of mere spelling."""
    syllable = _HUMMED.get(syllable, syllable)
    match = _INITIAL.match(syllable)
    initial = match[0] if match else ""
    final = syllable[len(initial) :]
    if initial:
        if initial in "jqx" and final.startswith("u"):
            final = "v" + final[1:]
        elif final == "i" and initial in ("z", "c", "s"):
            final = "ii"
        elif final == "i" and initial in ("zh", "ch", "sh", "r"):
            final = "iii"
        return initial, final
    for spelling, sound in _SPELLINGS:
        if final.startswith(spelling):
            return "", sound + final[len(spelling) :]
    return "", final


_HANZI = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff〇]")
_PARTS = re.compile(r"[A-Z]|[^A-Z]+")
_DIGITS = str.maketrans("0123456789", "零一二三四五六七八九")
_LETTERS = {
    **{"A": "ei", "B": "bi", "C": "xi", "D": "di", "E": "yi", "F": "ai fu", "G": "ji", "H": "ai chi", "I": "ai"},
    **{"J": "zhei", "K": "kei", "L": "ai lu", "M": "ai mu", "N": "en", "O": "ou", "P": "pi", "Q": "qiu", "R": "a er"},
    **{"S": "ai si", "T": "ti", "U": "you", "V": "wei", "W": "da bu liu", "X": "ai ke si", "Y": "wai", "Z": "zei"},
}

_INITIAL = re.compile(r"zh|ch|sh|[bpmfdtnlgkhjqxzcsr]")
_HUMMED = dict.fromkeys(("n", "ng", "m", "hm", "hng"), "en")
_SPELLINGS = (
    *(("yu", "v"), ("yi", "i"), ("you", "iu"), ("y", "i")),
    *(("wu", "u"), ("wei", "ui"), ("wen", "un"), ("w", "u")),
)

_ENGLISH_INITIALS = {
    **{"": "", "b": "B", "p": "P", "m": "M", "f": "F", "d": "D", "t": "T", "n": "N", "l": "L", "g": "G", "k": "K"},
    **{"h": "HH", "j": "JH", "q": "CH", "x": "SH", "zh": "JH", "ch": "CH", "sh": "SH", "r": "ZH"},
    **{"z": "D Z", "c": "T S", "s": "S"},
}
_ENGLISH_FINALS = {
    **{"a": "AA", "ai": "AY", "an": "AA N", "ang": "AA NG", "ao": "AW", "e": "AH", "ei": "EY", "en": "AH N"},
    **{"eng": "AH NG", "er": "AA R", "o": "AO", "ong": "OW NG", "ou": "OW"},
    **{
        "i": "IY",
        "ii": "UH",
        "iii": "ER",
        "ia": "Y AA",
        "ian": "Y EH N",
        "iang": "Y AA NG",
        "iao": "Y AW",
        "ie": "Y EH",
    },
    **{"in": "IY N", "ing": "IY NG", "io": "Y AO", "iong": "Y OW NG", "iu": "Y OW"},
    **{"u": "UW", "ua": "W AA", "uai": "W AY", "uan": "W AA N", "uang": "W AA NG", "ui": "W EY", "un": "W AH N"},
    **{"ung": "W AH NG", "uo": "W AO", "v": "Y UW", "ve": "Y EH", "van": "Y EH N", "vn": "Y UW N"},
}
ENGLISH_PHONES = tuple(
    sorted({p for part in (*_ENGLISH_INITIALS.values(), *_ENGLISH_FINALS.values()) for p in part.split()})
)
