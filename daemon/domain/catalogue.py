"""The consumables a site knows: names, product codes, aliases, and which of them a surgery may use."""

import difflib
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """One consumable. code: as printed in the catalogue, several joined by `/`, or empty."""

    name: str
    code: str = ""
    aliases: tuple[str, ...] = ()
    specification: str = ""
    udi_di: str = ""

    @property
    def codes(self) -> tuple[str, ...]:
        return tuple(part.strip() for part in self.code.split("/") if part.strip())

    @property
    def spoken(self) -> tuple[str, ...]:
        """All that a person may call it."""
        return (self.name, *self.aliases, *self.codes)


class DuplicateWord(ValueError):
    """Two products of the catalogue share a name, an alias or a code, so that word would name neither."""


class Catalogue:
    """Looks products up by any word they go by. A word belongs to one product."""

    def __init__(self, products: Iterable[Product] = ()) -> None:
        self.products = tuple(products)
        self._by_word: dict[str, Product] = {}
        for product in self.products:
            for word in {product.code, *product.spoken} - {""}:
                other = self._by_word.setdefault(_key(word), product)
                if other is not product:
                    raise DuplicateWord(f"{word!r} names both {other.name!r} and {product.name!r}")

    def find(self, word: str) -> Product | None:
        return self._by_word.get(_key(word))


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """What a posting names. item_id: product code where the catalogue has one, otherwise the name."""

    item_id: str
    item_name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidates:
    """The items of one surgery by model label, and the requested words that name nothing usable."""

    by_label: dict[str, Item] = field(default_factory=dict)
    unknown: tuple[str, ...] = ()
    unseen: tuple[str, ...] = ()

    @property
    def labels(self) -> frozenset[str]:
        return frozenset(self.by_label)


def item_of(label: str, catalogue: Catalogue, requested: str = "") -> Item:
    """The item a model label stands for; a requested code segment becomes the item_id."""
    product = catalogue.find(label)
    if product is None:
        return Item(item_id=label, item_name=label)
    code = next((code for code in product.codes if _key(code) == _key(requested)), product.code)
    return Item(item_id=code or product.name, item_name=product.name)


def resolve_candidates(
    requested: Iterable[str], catalogue: Catalogue, labels: Iterable[str], background: frozenset[str]
) -> Candidates:
    """Names, aliases or product codes -> items by model label.

    Nothing requested: every name of the catalogue, or without a catalogue every label of the model.
    unknown: neither in the catalogue nor a label. unseen: known, but no label of the model stands for it.
    """
    seen = {_key(label): label for label in labels if label not in background}
    labels_of: dict[Product, list[str]] = {}
    for label in seen.values():
        if product := catalogue.find(label):
            labels_of.setdefault(product, []).append(label)
    words = [word.strip() for word in requested if word.strip()]
    everything = not words
    if everything:
        words = [product.name for product in catalogue.products] or list(seen.values())
    by_label: dict[str, Item] = {}
    unknown: list[str] = []
    unseen: list[str] = []
    for word in words:
        product = catalogue.find(word)
        named = labels_of.get(product, []) if product else [label for key, label in seen.items() if key == _key(word)]
        for label in named:
            by_label.setdefault(label, item_of(label, catalogue, word))
        if not named:
            (unseen if product else unknown).append(word)
    return Candidates(by_label=by_label, unknown=tuple(unknown), unseen=tuple(unseen))


def item_called(word: str, catalogue: Catalogue, labels: Iterable[str], requested: Iterable[str] = ()) -> Item | None:
    """The item a person names: of the catalogue, or without one a label of the model. None: nothing goes by that word.

    requested: the surgery's candidates; the code segment that it uses for a product is the one to go on with.
    """
    if not catalogue.products:
        label = next((label for label in labels if _key(label) == _key(word)), None)
        return item_of(label, catalogue) if label else None
    product = catalogue.find(word)
    if product is None:
        return None
    is_code = any(_key(code) == _key(word) for code in product.codes)
    used = word if is_code else next((each for each in requested if catalogue.find(each) is product), word)
    return item_of(product.name, catalogue, used)


def similar_names(word: str, catalogue: Catalogue, labels: Iterable[str]) -> list[str]:
    """Names that may have been meant, the likeliest first, at most three."""
    names = {label: label for label in labels}
    if catalogue.products:
        names = {each: product.name for product in catalogue.products for each in product.spoken}
    near = difflib.get_close_matches(word, names, n=6, cutoff=0.4)
    return list(dict.fromkeys(names[each] for each in near))[:3]


def _key(word: str) -> str:
    """Neither blanks, case nor the width of letters and digits (２ for 2) make another word."""
    return "".join(unicodedata.normalize("NFKC", word).split()).casefold()
