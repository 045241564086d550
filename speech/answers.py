"""What an answer means: names one option, denies them, or leaves the question open. Pure.

A wrong choice is the one error that nobody notices. So an option is chosen only if all that was said is accounted
for: names, ordinals, yes and no, and a few words that carry them. Whatever else stands right beside a name may make it
the name of another product (缝线剪刀 is no 缝线), and is UNCLEAR.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

from speech.mentions import AnswerOption, Mention, mentions, named_part
from speech.pinyin import plain

TEXT_MAX = 200


class Meaning(StrEnum):
    CHOSEN = "chosen"
    REJECTED = "rejected"
    UNSURE = "unsure"
    UNCLEAR = "unclear"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Understood:
    """label: of the chosen option. why: the rule that decided; never what was said."""

    meaning: Meaning
    label: str | None = None
    why: str = ""


# Texts below are as `plain` writes them: no 的, digits for numerals.
_NONE = re.compile(
    r"(?:以上|这些|那些|它们)?(?:都|全都|全|(\d+)个都|1个也|哪个都|哪个也|没有1个|没1个)"
    r"(?:不是|不对|没有|没用|不要|没用到|是错|错了|错|是|对|不)"
)
_ALL = re.compile(r"(?:都|全|全都|[23]个都)(?:是|对|要|有|用了|用)")
_UNSURE = re.compile(
    r"不确定|不太确定|不知道|不晓得|不清楚|不太清楚|没看清|没看见|没看到|没注意|没听清|没听见|没听到|听不清|听不见|再说|再讲|再来1[遍次]|再念"
    r"|重复|重说|什么|等1下|等1等|等等|稍等|等会|好像|可能|也许|应该|大概|估计|似乎|或者|忘了|不记得|记不|说不好|不好说|不认识|看不清|看不出"
    r"|是不是|是否|对不对|有没有|用没用|要不要|还是|吗|么|哪个|哪1个|哪种|几号|第几|谁"
)
_CANCEL = re.compile(r"取消|撤销|作废")
_NOT = re.compile(r"不是|不对|没有用|没有|没用|不要|不用|并非|没要|没拿|没|非|不|别")
_CORRECTION = re.compile(r"不对|说错了?|讲错了?|错了|更正|改成|换成|我是说|我说")
_TRAILING_NOT = re.compile(r"^(?:那个|这个)?(?:不是|不对|没用|没有用)$")
_YES = re.compile(
    r"(?:(?:是|对|没错)了?|确认|确定|没问题|好|可以|正确|ok|就是|就是它|就是这个|是它|是这个|用了|用过|用过了|有)+"
)
_NO = re.compile(r"(?:不是|不对|没有用过|没有用|没用过|没有|没用|否|错了|错|不|没)(?:它|这个)?")
# "No," before a name is not the 不 that the name may begin with.
_NO_AND_PAUSE = re.compile(r"(^|[，,。、；;\s])不[，,。、；;！!\s]+")
# 对吧 and a question mark ask, 纱布呢 too; 纱布吧 answers.
_ASKED = re.compile(r"[?？]|呢\W*$|(?:是|对|有|没错|不是|不对|没有)的?吧\W*$")
# What may stand around the words that count. Not 要, 给我, 拿: who asks for gauze does not say which item was used;
# no person without a verb, as in 护士，纱布; after a name nothing that makes it another product, as 纱布条, 一号护士.
# Longer words come first, and what is taken is not given back: 用了用了用了 can be split in too many ways to try all.
_LEADS = (
    r"我们|我|你|(?:他们?|她|它|医生|护士)(?=刚|用|拿|给|说|选|开|取|是|现在|这次)|刚才|刚刚|刚|现在|这次|这里|那里|这边"
    r"|用到|用上|用过|用了|用|拿了|拿(?=是)|给了|给(?=是)|取了|开了|选择|选|就是|而是|其实|是|[1这那][个块把根卷片支包条枚副]"
    r"|这|那|它|了|[个块把根卷片支条枚副]|对|确认|确定|没错|好|答案|回答|说|讲|叫|就|只有|只是|只|有|当然|肯定|明确|请|记录|记|登记"
)
_TAILS = (
    r"[1这那][个块把根卷片支包条枚副]|是|对|确认|确定|没错|好|了|用了|用过了?|拿了|开了"
    r"|有|[哈啦喽]|谢谢|请?[记登][录记]"
)
_LEAD = re.compile(_LEADS)
_TAIL = re.compile(_TAILS)
_BETWEEN = re.compile(f"{_TAILS}|{_LEADS}|和|跟")


def understand(text: str, options: Sequence[AnswerOption]) -> Understood:  # noqa: PLR0911  a rule, a return
    """Never raises, whatever was said."""
    said = plain(_NO_AND_PAUSE.sub(r"\1不对", text)) if len(text) <= TEXT_MAX else ""
    if not said or not options:
        return _unclear("nothing")
    found = mentions(said, options)
    rest = _masked(said, found)
    if _CANCEL.search(rest):
        return _unclear("cancel_and_name") if found else Understood(meaning=Meaning.CANCELLED, why="cancel")
    if _ASKED.search(text) or "啥" in said:
        return Understood(meaning=Meaning.UNSURE, why="asked")
    if (none := _NONE.search(rest)) is not None and not _ALL.fullmatch(none[0]):
        return _none_of_them(rest, none, found, options)
    if _UNSURE.search(rest):
        return Understood(meaning=Meaning.UNSURE, why="unsure")
    if any(each.label is None for each in found):
        return _unclear("out_of_range")
    if found:
        named = _named(said, found, options)
        # 乳胶导尿管 is more of the name than 导尿管 is.
        part = named_part(_bare(said), options) if named.why.startswith("unknown_words") else None
        return _chosen(part, "part") if part is not None else named
    if _YES.fullmatch(rest):
        return _chosen(options[0].label, "yes") if len(options) == 1 else _unclear("yes_to_several")
    if _NO.fullmatch(rest):
        return Understood(meaning=Meaning.REJECTED, why="no") if len(options) == 1 else _unclear("no_to_several")
    part = named_part(_bare(said), options)
    return _chosen(part, "part") if part is not None else _unclear("nothing_known")


def _named(  # noqa: PLR0911  a rule, a return
    said: str, found: list[Mention], options: Sequence[AnswerOption]
) -> Understood:
    """Which of the mentions are meant: a negation is of the next one, after a correction the last one counts."""
    gaps = [said[a.end : b.start] for a, b in pairwise(found)]
    before, after = said[: found[0].start], said[found[-1].end :]
    if len(options) == 1 and _CORRECTION.search(before):
        return _unclear("denied_and_named")
    meant: list[tuple[Mention, bool]] = []
    for mention, gap in zip(found, (before, *gaps), strict=True):
        is_denied, is_known = _led_by(gap, is_first=mention is found[0])
        if not is_known:
            return _unclear("unknown_words_before")
        if meant and _CORRECTION.search(gap):
            meant = []  # what was said before was not meant
        elif meant and is_denied and mention.label != meant[-1][0].label:
            # 第一个不是第二个: either may be the one that is denied.
            return _unclear("denied_between")
        elif meant and not is_denied and meant[-1][1] and ("就是" in gap or not re.search("是|用", gap)):
            # 不是第一个就是第二个: one of the two.
            return _unclear("denied_then_named")
        meant.append((mention, is_denied))
    if _TRAILING_NOT.match(after):
        meant[-1] = (meant[-1][0], not meant[-1][1])
        if not meant[-1][1]:
            return _unclear("denied_twice")
    elif not _is_all(_TAIL, after):
        return _unclear("unknown_words_after")
    chosen = {mention.label for mention, is_denied in meant if not is_denied}
    denied = {mention.label for mention, is_denied in meant if is_denied}
    if len(chosen) == 1 and not chosen & denied:
        (label,) = chosen
        assert label is not None, "ordinals out of range were refused before"
        return _chosen(label, "named")
    if chosen:
        return _unclear("several")
    return Understood(meaning=Meaning.REJECTED, why="denied") if len(options) == 1 else _unclear("denied_one")


def _led_by(gap: str, *, is_first: bool) -> tuple[bool, bool]:
    """Whether what follows is denied; whether all the words are known."""
    words = gap
    if (correction := _CORRECTION.search(words)) is not None:
        # 不对，是B: what is denied is what was said or asked before.
        if not is_first and not _is_all(_BETWEEN, words[: correction.start()]):
            return False, False
        return _led_by(words[correction.end() :], is_first=False)
    carried = _LEAD if is_first else _BETWEEN
    denials = list(_NOT.finditer(words))
    if len(denials) > 1:
        return False, False
    if not denials:
        return False, _is_all(carried, words)
    (denial,) = denials
    led = words[denial.end() :]
    # 不是，是纱布 denies something else, and nobody knows what.
    known = _is_all(carried, words[: denial.start()]) and _is_all(_LEAD, led) and not led.startswith("是")
    # 不纱布 is no way to say it: the 不 may belong to the name of another product.
    return True, known and denial[0] not in ("不", "没", "非", "别", "不要", "不用")


def _none_of_them(rest: str, none: re.Match[str], found: list[Mention], options: Sequence[AnswerOption]) -> Understood:
    """都不是, also after some or all of the options; but not 不是都不是, nor 都不是，是缝线."""
    around = rest[: none.start()] + rest[none.end() :]
    if not re.search("不|没|错", none[0]) or _NOT.search(around) or _YES.fullmatch(around.replace(_MASK, "") or "x"):
        return _unclear("none_and_more")
    if none[1] not in (None, "1", str(len(options))):
        return _unclear("none_of_some")  # 两个都不是, of three
    if _MASK in rest[none.start() :]:
        return _unclear("none_and_name")
    if found and {each.label for each in found} != {option.label for option in options}:
        return _unclear("none_of_some")
    if not _is_all(_BETWEEN, around.replace(_MASK, "")):
        return _unclear("none_and_more")
    return Understood(meaning=Meaning.REJECTED, why="none")


_MASK = "\0"


def _masked(said: str, found: list[Mention]) -> str:
    """The words around the mentions; a mention stands as one mark."""
    parts, at = [], 0
    for each in found:
        parts += [said[at : each.start], _MASK]
        at = each.end
    return "".join((*parts, said[at:]))


def _is_all(carriers: re.Pattern[str], words: str) -> bool:
    return _carried(carriers, words) == len(words)


def _carried(carriers: re.Pattern[str], words: str) -> int:
    """How far the words are carriers. What is taken is not given back, as by possessive quantifiers; those of Debian's
    Python 3.11.2 go wrong beside a lookahead.
    """
    at = 0
    while (found := carriers.match(words, at)) is not None and found.end() > at:
        at = found.end()
    return at


def _bare(said: str) -> str:
    """Without the carriers around it."""
    core = said[_carried(_LEAD, said) :]
    while core and any(core.endswith(word) for word in ("了", "个", "哈", "啦", "谢谢")):
        core = core[:-1] if not core.endswith("谢谢") else core[:-2]
    return core


def _chosen(label: str, why: str) -> Understood:
    return Understood(meaning=Meaning.CHOSEN, label=label, why=why)


def _unclear(why: str) -> Understood:
    return Understood(meaning=Meaning.UNCLEAR, why=why)
