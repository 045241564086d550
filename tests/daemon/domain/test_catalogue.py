"""Words to items: names, aliases, codes, segments of codes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.domain.catalogue import Catalogue, DuplicateWord, Item, Product, item_of, resolve_candidates

GAUZE = Product(name="医用纱布", code="14764-2-4/14764-2-5", aliases=("纱布", "Gauze"))
SUTURE = Product(name="缝线")
CLAMP = Product(name="止血钳", code="HC003")
CATALOGUE = Catalogue([GAUZE, SUTURE, CLAMP])
LABELS = ("背景", "纱布", "缝线", "胶带")
BACKGROUND = frozenset({"背景"})


@pytest.mark.parametrize(
    "word",
    [
        "医用纱布",
        "14764-2-4/14764-2-5",
        "14764-2-4",
        "14764-2-5",
        "纱布",
        "gauze",
        " GAUZE ",
        "医用 纱布",
        "医用纱布\n",
        "１４７６４－２－４",
        "ＧＡＵＺＥ",
    ],
)
def test_a_product_is_found_by_every_word_it_goes_by(word: str) -> None:
    assert CATALOGUE.find(word) is GAUZE


@pytest.mark.parametrize("word", ["", "纱", "14764-2", "14764-2-4/", "HC003/14764-2-4"])
def test_part_of_a_word_finds_nothing(word: str) -> None:
    assert CATALOGUE.find(word) is None


@pytest.mark.parametrize(
    "other",
    [
        Product(name="医用纱布"),
        Product(name="纱布"),
        Product(name="棉垫", code="14764-2-5"),
        Product(name="棉垫", aliases=("GAUZE",)),
        Product(name="棉垫", aliases=("14764-2-4",)),
    ],
)
def test_a_word_names_one_product(other: Product) -> None:
    with pytest.raises(DuplicateWord, match=r"names both '医用纱布' and"):
        Catalogue([GAUZE, other])


def test_a_product_may_repeat_its_own_words() -> None:
    assert Catalogue([Product(name="纱布", code="纱布", aliases=("纱布",))]).find("纱布") is not None


def test_the_item_is_the_code_where_there_is_one_else_the_name() -> None:
    assert item_of("纱布", CATALOGUE) == Item(item_id="14764-2-4/14764-2-5", item_name="医用纱布")
    assert item_of("纱布", CATALOGUE, "14764-2-5") == Item(item_id="14764-2-5", item_name="医用纱布")
    assert item_of("缝线", CATALOGUE) == Item(item_id="缝线", item_name="缝线")
    assert item_of("胶带", CATALOGUE) == Item(item_id="胶带", item_name="胶带")


def test_nothing_requested_is_every_name_of_the_catalogue() -> None:
    found = resolve_candidates([], CATALOGUE, LABELS, BACKGROUND)
    assert found.labels == {"纱布", "缝线"}
    assert found.unseen == ("止血钳",)
    assert found.unknown == ()


def test_nothing_requested_without_a_catalogue_is_every_label_but_the_background() -> None:
    assert resolve_candidates(["", "  "], Catalogue(), LABELS, BACKGROUND).labels == {"纱布", "缝线", "胶带"}


def test_requests_are_sorted_into_usable_unknown_and_unseen() -> None:
    found = resolve_candidates(["14764-2-4", "胶带", "HC003", "石头", "背景"], CATALOGUE, LABELS, BACKGROUND)
    assert found.by_label == {
        "纱布": Item(item_id="14764-2-4", item_name="医用纱布"),
        "胶带": Item(item_id="胶带", item_name="胶带"),
    }
    assert found.unseen == ("HC003",)
    assert found.unknown == ("石头", "背景")


def test_two_labels_of_one_product_are_both_candidates() -> None:
    found = resolve_candidates(["医用纱布"], CATALOGUE, ("纱布", "gauze", "缝线"), frozenset())
    assert found.labels == {"纱布", "gauze"}
    assert {item.item_name for item in found.by_label.values()} == {"医用纱布"}


words = st.text(min_size=1, max_size=6)


@given(st.lists(words), st.lists(words, unique_by=lambda word: "".join(word.split()).casefold(), min_size=1))
def test_no_request_is_lost_and_nothing_that_was_not_asked_is_a_candidate(asked: list[str], labels: list[str]) -> None:
    found = resolve_candidates(asked, Catalogue(), labels, frozenset(labels[:1]))
    assert found.labels <= set(labels[1:])
    meant = {"".join(word.split()).casefold() for word in asked} - {""}
    if meant:
        used = {"".join(label.split()).casefold() for label in found.labels}
        unknown = {"".join(word.split()).casefold() for word in found.unknown}
        assert used | unknown == meant
