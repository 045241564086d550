"""Everything that is a valid answer to a question, for recognizers that hear only what they are told to expect."""

import re
from collections.abc import Sequence

from speech.mentions import AnswerOption

_ORDINALS = "一二三四五六七八九"
_DIGITS = dict(zip("0123456789", "零一二三四五六七八九", strict=True))
_CODE = re.compile(r"[\d/-]*\d[\d/-]*")
_NONE = ("都不是", "一个都不是", "以上都不是")
_YES_NO = ("是的", "是", "对", "确认", "没错", "不是", "不对")
_LEFT_OPEN = ("不知道", "不确定", "再说一遍", "没听清", "取消")


def phrases(options: Sequence[AnswerOption]) -> tuple[str, ...]:
    """In Chinese, each once; names first."""
    found: list[str] = []
    for option in options:
        for name in option.names:
            found += _codes(name) if _CODE.fullmatch(name) else (name, f"是{name}")
    for nth in _ORDINALS[: len(options)]:
        found += (f"第{nth}个", f"{nth}号")
    found += _NONE
    if len(options) == 1:
        found += _YES_NO
    return tuple(dict.fromkeys((*found, *_LEFT_OPEN)))


def _codes(code: str) -> list[str]:
    """Digit by digit; one is often said yao, so that nobody takes it for seven. Dashes are said or not."""
    spoken = []
    for dash in ("杠", ""):
        said = "".join(_DIGITS.get(char, dash) for char in code)
        spoken += [said, said.replace("一", "幺")]
    return spoken
