"""How words sound: syllables of toneless pinyin, and which of them are taken for one another."""

import re
import unicodedata
from functools import lru_cache

from pypinyin import lazy_pinyin

_HANZI = re.compile(r"[\u3400-\u9fff]")
_DIGITS = "零一二三四五六七八九"
_VALUE = {**{digit: value for value, digit in enumerate(_DIGITS)}, "〇": 0, "幺": 1, "两": 2}
_NUMERAL = re.compile(r"[零〇一二三四五六七八九幺两十百]+")
_UNITS = (("毫米", "mm"), ("厘米", "cm"), ("毫升", "ml"), ("毫克", "mg"))
_ROMAN = {"Ⅰ": "1", "Ⅱ": "2", "Ⅲ": "3", "Ⅳ": "4", "Ⅴ": "5", "Ⅵ": "6"}
_FILLERS = re.compile("[嗯啊呃吧呢嘛呀哦噢哎诶额的]")
_INITIALS = (("zh", "z"), ("ch", "c"), ("sh", "s"), ("n", "l"))


def plain(text: str) -> str:
    """One way of writing: no punctuation, no fillers, small letters, numbers in digits, units in letters."""
    for roman, digit in _ROMAN.items():
        text = text.replace(roman, digit)
    text = unicodedata.normalize("NFKC", text).casefold()
    text = "".join(char for char in text if char.isalnum())
    text = _NUMERAL.sub(lambda found: _number(found[0]), _FILLERS.sub("", text))
    for word, letters in _UNITS:
        text = text.replace(word, letters)
    # The dashes of a product code, as they are said.
    return re.sub(r"(?<=\d)[杠横](?=\d)", "", text)


def _number(numeral: str) -> str:
    if not set(numeral) & {"十", "百"}:
        return "".join(str(_VALUE[char]) for char in numeral)
    total = unit = 0
    for char in numeral:
        if char == "百":
            total, unit = total + (unit or 1) * 100, 0
        elif char == "十":
            total, unit = total + (unit or 1) * 10, 0
        else:
            unit = _VALUE[char]
    return str(total + unit)


@lru_cache(maxsize=4096)
def syllables(text: str) -> tuple[str, ...]:
    """One for each character of a plain text; letters and digits stand for themselves."""
    found: list[str] = []
    for part in re.findall(r"[\u3400-\u9fff]+|.", text):
        if not _HANZI.match(part):
            found.append(part)
            continue
        spoken = lazy_pinyin(part)
        # A character that pinyin does not know comes back joined to its neighbours.
        found += spoken if len(spoken) == len(part) else [lazy_pinyin(char)[0] for char in part]
    return tuple(found)


@lru_cache(maxsize=4096)
def folded(syllable: str) -> str:
    """Without the differences that many speakers of Mandarin do not make: z/zh, c/ch, s/sh, n/l, -n/-ng."""
    for longer, shorter in _INITIALS:
        if syllable.startswith(longer) and len(syllable) > 1:
            syllable = shorter + syllable[len(longer) :]
            break
    return syllable[:-1] if syllable.endswith("ng") else syllable
