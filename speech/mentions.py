"""Where in what was said an option is named, by any of its names, or counted, by an ordinal."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from rapidfuzz import fuzz

from speech.pinyin import folded, plain, syllables

# One syllable off may be heard wrong in a name as long as this.
_FUZZY_SYLLABLES_MIN = 3
_FUZZY_MIN = 85.0
# The initials that may be off. All others tell products apart: 双腔 and 单腔, 乳胶 and 硅胶, 组织钳 and 组织剪.
_HEARD_WRONG = ("fh", "hf", "lr", "rl")
_PART_SYLLABLES_MIN = 2
# They say what is not, or which size: a name with another one of these is another product.
_NEVER_OFF = re.compile(r"[\d不非无未a-z]")
_ORDINAL = re.compile(
    r"第(\d+)[个种项号样条]?|(\d+)号|选(\d+)[个号种项]?|(最后)(?:1|那|这)?[个种项样]|(头)1[个种项样]|(前者|前面那?个|前1个)|(后者|后面那?个|后1个)"
)
# Parts of a name that many products share.
_COMMON = re.compile(r"(?:1次性|使用|医用|外科|无菌|成人|儿童|双腔|单腔|普通|功能性)+")


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerOption:
    """label: what is returned when it is chosen. names: everything a person may call it: name, aliases, codes."""

    label: str
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mention:
    """said[start:end] of a plain text. label: None for an ordinal that no option has."""

    start: int
    end: int
    label: str | None


@dataclass(frozen=True, slots=True)
class _Hit:
    start: int
    end: int
    label: str
    # 0 as written, 1 as pronounced, 2 as many pronounce it, 3 one syllable off
    distance: int


def mentions(said: str, options: Sequence[AnswerOption]) -> list[Mention]:
    """In order, none over another: the longest, then the closest, absorbs what it overlaps.

    said: a plain text. Where two options sound the same they are told apart by how they are written, or not at all.
    """
    names = {option.label: tuple(dict.fromkeys(filter(None, map(plain, option.names)))) for option in options}
    hits = [hit for label, written in names.items() for name in written for hit in _hits(said, label, name, names)]
    found: list[Mention] = []
    while hits:
        best = min(hits, key=lambda hit: (hit.start - hit.end, hit.distance))
        rivals = {
            hit.label for hit in hits if (hit.start, hit.end, hit.distance) == (best.start, best.end, best.distance)
        }
        if len(rivals) == 1:
            found.append(Mention(start=best.start, end=best.end, label=best.label))
        hits = [hit for hit in hits if hit.end <= best.start or hit.start >= best.end]
    taken = [(each.start, each.end) for each in found]
    found += _ordinals(said, options, taken)
    return sorted(found, key=lambda each: each.start)


def named_part(core: str, options: Sequence[AnswerOption]) -> str | None:
    """The option of whose names this is a part that no other option's name has."""
    if len(core) < _PART_SYLLABLES_MIN or _COMMON.fullmatch(core) or re.fullmatch(r"[\da-z]+", core):
        return None
    places = [
        (option.label, before) for option in options for name in option.names for before in _before(plain(name), core)
    ]
    labels = {label for label, _ in places}
    # Between two, 止血 is 止血钳; alone, 手术刀 is no 手术刀片: what a thing is comes last.
    if len(options) == 1 and not any(
        syllables(plain(name))[-len(core) :] == syllables(core) for name in options[0].names
    ):
        return None
    # 可吸收缝线 is no part of 不可吸收缝线, nor 丝线 of 4号丝线.
    if len(labels) != 1 or any(_NEVER_OFF.search(_COMMON.sub("", before)) for _, before in places):
        return None
    return labels.pop()


def _before(name: str, core: str) -> Iterator[str]:
    """For each place of the core in the name, what stands before it. Two syllables must be written so: 补片 is no part
    of 纱布片.
    """
    sound, part = (name, core) if len(core) <= _PART_SYLLABLES_MIN else (syllables(name), syllables(core))
    for at in range(len(sound) - len(part) + 1):
        if sound[at : at + len(part)] == part:
            yield name[:at]


def _hits(said: str, label: str, name: str, names: dict[str, tuple[str, ...]]) -> Iterator[_Hit]:
    if len(name) < 2:
        # 刀 is in many words; alone it is an answer.
        if said == name:
            yield _Hit(0, len(name), label, 0)
        return
    is_code = re.fullmatch(r"[\da-z]+", name) is not None
    said_sounds, sounds = syllables(said), syllables(name)
    others = [other for key, written in names.items() if key != label for other in written]
    for at in range(len(said) - len(name) + 1):
        end = at + len(name)
        distance = _distance(said[at:end], said_sounds[at:end], name, sounds, others)
        if distance is None or (is_code and _is_inside_a_code(said, at, end)):
            continue
        yield _Hit(at, end, label, distance)


def _is_inside_a_code(said: str, at: int, end: int) -> bool:
    return bool(re.match(r"[\da-z]", said[at - 1 : at]) or re.match(r"[\da-z]", said[end : end + 1]))


def _distance(  # noqa: PLR0911  a rule, a return
    written: str, sounds: tuple[str, ...], name: str, name_sounds: tuple[str, ...], others: list[str]
) -> int | None:
    """How far what was said is from the name; None: it is not the name."""
    if written == name:
        return 0
    pairs = list(zip(written, sounds, name, name_sounds, strict=True))
    off = [(a, b) for a, sound_a, b, sound_b in pairs if a != b and sound_a != sound_b]
    if any(_NEVER_OFF.match(a) or _NEVER_OFF.match(b) for a, _, b, _ in pairs if a != b):
        return None
    if not off:
        return 1
    if any(_fall_together(name, other) for other in others):
        return None  # they differ by just that
    apart = [(folded(a), folded(b)) for a, b in zip(sounds, name_sounds, strict=True) if folded(a) != folded(b)]
    if not apart:
        return 2
    if len(name) < _FUZZY_SYLLABLES_MIN or len(apart) > 1 or any(_differ_little(name, other) for other in others):
        return None
    ((heard, meant),) = apart
    if heard[:1] + meant[:1] not in _HEARD_WRONG or heard[1:] != meant[1:]:
        return None
    is_close = fuzz.ratio("".join(map(folded, sounds)), "".join(map(folded, name_sounds))) >= _FUZZY_MIN
    return 3 if is_close else None


@lru_cache(maxsize=4096)
def _fall_together(name: str, other: str) -> bool:
    """Whether one of them, or a part as long as the other, sounds the same to many ears."""
    short, long = sorted((tuple(map(folded, syllables(name))), tuple(map(folded, syllables(other)))), key=len)
    return any(long[at : at + len(short)] == short for at in range(len(long) - len(short) + 1)) and name != other


@lru_cache(maxsize=4096)
def _differ_little(name: str, other: str) -> bool:
    """Whether what is one syllable off from one may be meant for the other, itself one off if it is long enough."""
    short, long = sorted((tuple(map(folded, syllables(name))), tuple(map(folded, syllables(other)))), key=len)
    off_max = 2 if len(short) >= _FUZZY_SYLLABLES_MIN else 1
    return any(
        sum(a != b for a, b in zip(short, long[at : at + len(short)], strict=True)) <= off_max
        for at in range(len(long) - len(short) + 1)
    )


def _ordinals(said: str, options: Sequence[AnswerOption], names: list[tuple[int, int]]) -> Iterator[Mention]:
    """names: where they stand; no ordinal is in one."""
    starts, ends = {start for start, _ in names}, {end for _, end in names}
    last_end = -1
    for match in _ORDINAL.finditer(said):
        if any(start < match.end() and match.start() < end for start, end in names):
            continue
        nth, number, chosen, last, head, former, latter = match.groups()
        if number and (match.start() in ends or match.end() in starts):
            index = 0  # 2号丝线 is a size
        elif digits := nth or number or chosen:
            index = int(digits[:4])
        elif match.start() in ends or match.start() == last_end:
            index = 0  # 第二个后面那个 is another one; 超声刀头一个 ends in a count
        elif last:
            index = len(options) if len(options) > 1 else 0
        elif head:
            index = 1
        else:
            # 前者 and 后者 are of two.
            index = (1 if former else 2) if len(options) == 2 and (former or latter) else 0
        label = options[index - 1].label if 1 <= index <= len(options) else None
        last_end = match.end()
        yield Mention(start=match.start(), end=match.end(), label=label)
