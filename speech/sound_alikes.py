"""Names of a catalogue that a listener cannot tell apart, so that they are found before anybody is asked about them."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from speech.pinyin import folded, plain, syllables

_OFF_BY_ONE_MIN = 3


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class SoundAlike:
    """A name of one item, and of another one that sounds like it."""

    item: str
    name: str
    other_item: str
    other_name: str


def sound_alikes(catalogue: Mapping[str, Sequence[str]]) -> list[SoundAlike]:
    """Pairs of different items, sorted: the same to many ears, or one syllable off. catalogue: item -> its names."""
    alike: defaultdict[tuple[str, ...], set[tuple[str, str]]] = defaultdict(set)
    for item, names in catalogue.items():
        for name in names:
            for key in _keys(plain(name)):
                alike[key].add((item, name))
    found = set()
    for same in alike.values():
        for (item, name), (other_item, other_name) in combinations(sorted(same), 2):
            if item != other_item:
                found.add(SoundAlike(item=item, name=name, other_item=other_item, other_name=other_name))
    return sorted(found)


def _keys(name: str) -> Iterator[tuple[str, ...]]:
    """How it sounds, and that with each syllable left open; digits and letters are told apart."""
    sounds = tuple(map(folded, syllables(name)))
    if not sounds:
        return
    yield sounds
    if len(sounds) >= _OFF_BY_ONE_MIN:
        for at, sound in enumerate(sounds):
            if sound.isalpha() and len(sound) > 1:
                yield (*sounds[:at], "*", *sounds[at + 1 :])
