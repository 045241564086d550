"""Texts as they are to be read aloud in Mandarin: numbers and units in words, product codes digit by digit.

For a voice that takes hanzi as they come, but reads 7.5 as seven five, 14764 as fourteen thousand, and mm or MCu as
syllables. Item names of catalogues are full of these.
"""

import re
import unicodedata
from collections.abc import Callable

_DIGITS = "零一二三四五六七八九"
_ROMAN = {**dict(zip("ⅠⅡⅢⅣⅤⅥⅦⅧⅨⅩ", "一二三四五六七八九十", strict=True)), "Ⅺ": "十一", "Ⅻ": "十二"}
_ASCII_ROMAN = {"II": "二", "III": "三", "IV": "四", "VI": "六", "VII": "七", "VIII": "八", "IX": "九"}
_UNITS = {
    "nm": "纳米", "um": "微米", "μm": "微米", "mm": "毫米", "cm": "厘米", "dm": "分米", "m": "米",
    "ul": "微升", "μl": "微升", "ml": "毫升", "l": "升",
    "ug": "微克", "μg": "微克", "mg": "毫克", "kg": "千克", "g": "克",
    "cm2": "平方厘米", "m2": "平方米", "cm3": "立方厘米", "°c": "摄氏度", "°": "度", "#": "号",
}  # fmt: skip
_SIGNS = {
    "α": "阿尔法", "β": "贝塔", "γ": "伽马", "φ": "直径", "Φ": "直径", "ø": "直径", "Ø": "直径", "±": "正负", "+": "加",
    "=": "等于", "&": "和", "≤": "小于等于", "≥": "大于等于", "<": "小于", ">": "大于", "@": "艾特", "%": "百分号",
}  # fmt: skip
# What espeak-ng 1.51 reads with the wrong one of two sounds, written in characters that have only the right one.
_HOMOPHONES = {
    "重复": "虫复", "重新": "虫新", "弹力": "谈力", "弹性": "谈性", "绷带": "崩带", "阑尾": "蓝尾", "调节": "条节",
    "调整": "条整", "着色": "浊色", "模具": "母具", "冠脉": "官脉", "结扎": "结匝", "切削": "切消",
}  # fmt: skip

_NUMBER = r"\d+(?:\.\d+)?"
# M is a letter (3M), G the gauge of a needle; only m and g are metres and grams.
_SURE_UNITS = sorted(_UNITS.keys() - {"m", "g"}, key=len, reverse=True)
_UNIT = rf"(?:(?i:{'|'.join(map(re.escape, _SURE_UNITS))})|[mg])"
_NOT_IN_WORD = r"(?![A-Za-z0-9])"
# Before these a lone 2 is 两; before 号 and 型 it is 二.
_COUNTED = "个把根块片支包卷件只条枚套瓶双张次台层板盒袋"


def spelled(text: str) -> str:
    """Pure. Nothing but hanzi, single Latin letters and pauses is left of ordinary texts; "" of what has no sound."""
    for roman, numeral in _ROMAN.items():
        text = text.replace(roman, numeral)
    text = unicodedata.normalize("NFKC", text).replace("µ", "μ")
    for pattern, to in _RULES:
        text = pattern.sub(to, text)
    for read_wrong, homophone in _HOMOPHONES.items():
        text = text.replace(read_wrong, homophone)
    text = re.sub(r"\s+", " ", text).strip()
    return text if any(char.isalnum() for char in text) else ""


def counted(digits: str) -> str:
    """A number below 10,000 in words; with more digits, or a leading zero, it is a code."""
    if len(digits) > 4 or (len(digits) > 1 and digits[0] == "0"):
        return _one_by_one(digits)
    said, is_gap = "", False
    for place, digit in zip("千百十"[4 - len(digits) :] + " ", digits, strict=True):
        if digit == "0":
            is_gap = bool(said)
            continue
        said += ("零" if is_gap else "") + _DIGITS[int(digit)] + place.strip()
        is_gap = False
    return (said.removeprefix("一") if said.startswith("一十") else said) or "零"


def _one_by_one(digits: str) -> str:
    return "".join(_DIGITS[int(digit)] for digit in digits)


def _code(found: re.Match[str]) -> str:
    signs = {"-": "杠", "/": "斜杠", ".": "点"}
    return "".join(_one_by_one(c) if c.isdecimal() else signs.get(c, f" {c.upper()} ") for c in found[0])


def _measure(number: str) -> str:
    whole, _, decimals = number.partition(".")
    return counted(whole) + (f"点{_one_by_one(decimals)}" if decimals else "")


def _with_unit(found: re.Match[str]) -> str:
    return _measure(found[1]) + _UNITS[found[2].lower()]


def _per_unit(found: re.Match[str]) -> str:
    return f"{_with_unit(found)}每{_UNITS[found[3].lower()]}"


Rule = tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]]
# In this order: what is longer, and what says more, first.
_RULES: tuple[Rule, ...] = (
    # Thousands: 1,200
    (re.compile(r"(?<=\d),(?=\d{3}(?!\d))"), ""),
    # Ranges and products: 10-12mm, 2-3把, 5~7, 10cm×10cm, 3*4; and 1/2弧
    (re.compile(rf"(?<![\d.-])({_NUMBER})\s*-\s*(?={_NUMBER}\s*(?:{_UNIT}|%){_NOT_IN_WORD})"), r"\1到"),
    (re.compile(rf"(?<![\d.-])({_NUMBER})-(?=[1-9]\d?[{_COUNTED}])"), r"\1到"),
    (re.compile(r"(?<![\w./-])([1-9])/([2-9])(?![A-Za-z\d./-])"), r"\2分之\1"),
    (re.compile(r"(?<=[\da-zA-Z])\s*[~∼〜]\s*(?=\d)"), "到"),
    (re.compile(rf"(?<=\d)\s*({_UNIT})?\s*[×✕*xX]\s*(?=\d)"), r"\1乘"),
    (re.compile(r"\s*[×✕]\s*"), "乘"),
    (re.compile(rf"({_NUMBER})%"), lambda found: f"百分之{_measure(found[1])}"),
    (re.compile(rf"(?<![A-Za-z\d.-])({_NUMBER})\s*({_UNIT})/({_UNIT}){_NOT_IN_WORD}"), _per_unit),
    (re.compile(rf"(?<![A-Za-z\d.-])({_NUMBER})\s*({_UNIT}){_NOT_IN_WORD}"), _with_unit),
    # Codes: 14764-2-4, 2-0, 20115-1-1/20115-1-2, A12-3B
    (re.compile(r"[A-Za-z\d]*\d[A-Za-z\d]*(?:[-/][A-Za-z\d]+)+|[A-Za-z]+-(?=\d)[A-Za-z\d]+"), _code),
    (re.compile(rf"(?<![\d.点])2(?=[{_COUNTED}])"), "两"),
    (re.compile(_NUMBER), lambda found: _measure(found[0])),
    (re.compile(rf"(?<![A-Za-z])(?:{'|'.join(_ASCII_ROMAN)})(?![A-Za-z])"), lambda found: _ASCII_ROMAN[found[0]]),
    (re.compile(r"[α-ωΑ-ΩøØ±+=&≤≥<>@%]"), lambda found: _SIGNS.get(found[0], " ")),
    # é is E; letters one by one, or they would be read as pinyin.
    (re.compile(r"[À-ɏ]"), lambda found: unicodedata.normalize("NFD", found[0])[0]),
    (re.compile(r"[A-Za-z]"), lambda found: f" {found[0].upper()} "),
    # Brackets would begin phonemes or markup; a dash or a slash between words is a pause.
    (re.compile(r"[()\[\]{}《》〈〉「」『』【】/|—–…·;:,]+"), "，"),
    (re.compile(r"[^\w\s，。？！、,.?!]|[_\x00-\x08]"), " "),
)
