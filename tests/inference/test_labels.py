"""Labels: in the order of the scores, each once, the same whoever says them."""

import json
from pathlib import Path

import pytest

from inference.errors import ModelFileInvalid, ModelMismatch
from tests import rules
from tests.inference.heads import NAMES, SOFTMAX, save

THREE = NAMES[:3]


def three(folder: Path, names: object = THREE, **metadata: str) -> Path:
    said = {"names": names if isinstance(names, str) else repr(dict(enumerate(names)))}
    return save(folder / "m.onnx", SOFTMAX, labels=3, metadata=said | metadata)


def say(path: Path, text: str) -> Path:
    path.with_suffix(".yaml").write_text("output: probabilities\n" + text, "utf-8")
    return path


def test_what_nobody_sees_at_the_ends_of_a_name_is_no_part_of_it(tmp_path: Path) -> None:
    unseen = ("\ufeff纱布", "缝线\u200b ", "\u3000止血钳\t")
    assert rules.model(three(tmp_path, unseen)).labels == THREE
    path = save(tmp_path / "m.onnx", SOFTMAX, labels=3, names=["a", "b", "c"])
    assert rules.model(path, labels=list(unseen)).labels == THREE
    assert rules.model(say(path, f"labels: {json.dumps(unseen)}\nbackground: ['缝线 ']\n")).labels == THREE
    assert rules.model(path).background == {"缝线"}
    (tmp_path / "names.txt").write_text("\n".join(unseen), "utf-8")
    assert rules.model(say(path, "labels: names.txt\n")).labels == THREE


@pytest.mark.parametrize(
    "text",
    [
        'labels: {"0": 纱布, "1": 缝线, "2": 止血钳}\n',
        "labels: {0: 纱布, 1: 缝线, 2: 止血钳}\n",
        "labels: {2: 止血钳, 0: 纱布, 1: 缝线}\n",
    ],
)
def test_labels_may_be_numbered(tmp_path: Path, text: str) -> None:
    assert rules.model(say(three(tmp_path), text)).labels == THREE


def test_numbers_that_are_text_are_read_as_numbers(tmp_path: Path) -> None:
    names = {str(number): f"item {'abcdefghijkl'[number]}" for number in range(12)}
    path = save(tmp_path / "m.onnx", SOFTMAX, labels=12, metadata={"names": json.dumps(names, sort_keys=True)})
    assert rules.model(path).labels == tuple(names.values())
    path = save(tmp_path / "m.onnx", SOFTMAX, labels=12, names=[f"other {n}" for n in "abcdefghijkl"])
    (tmp_path / "names.json").write_text(json.dumps({"names": names}, sort_keys=True))
    assert rules.model(say(path, "labels: names.json\n")).labels == tuple(names.values())


@pytest.mark.parametrize("names", ['{"gauze": 0, "suture": 1, "clamp": 2}', "{1: 'a', 2: 'b', 3: 'c'}", "{0.5: 'a'}"])
def test_numbers_with_a_hole_and_names_in_their_place_are_refused(tmp_path: Path, names: str) -> None:
    with pytest.raises(ModelMismatch, match=r"'names'.*expected the numbers 0\.\."):
        rules.model(three(tmp_path, names))
    path = say(save(tmp_path / "m.onnx", SOFTMAX, labels=3, names="xyz"), f"labels: {names}\n")
    with pytest.raises(ModelFileInvalid, match=r"m\.yaml: labels: .*expected the numbers 0\.\."):
        rules.model(path)
    (tmp_path / "names.yaml").write_text(f"names: {names}")
    with pytest.raises(ModelFileInvalid, match=r"names\.yaml: expected the numbers 0\.\."):
        rules.model(say(path, "labels: names.yaml\n"))


@pytest.mark.parametrize(
    ("names", "what"),
    [
        (("gauze", "Gauze", "suture"), "differ only in blanks, case or width: 'gauze' and 'Gauze'"),
        (("纱 布", "纱布", "缝线"), "differ only in blanks, case or width"),
        (("2-0缝线", "２-0缝线", "纱布"), "'2-0缝线' and '２-0缝线'"),
        (("gauze ", " gauze", "suture"), "stand twice: gauze"),
        (("0 gauze", "1 suture", "2 clamp"), "begin with their own numbers: '0 gauze', '1 suture'"),
        (("0,gauze", "1,suture", "2,clamp"), "begin with their own numbers"),
        (("纱布", "\u200b", "缝线"), r"labels \[1\] are empty"),
    ],
)
def test_names_that_the_catalogue_would_take_for_one_are_refused(tmp_path: Path, names: tuple, what: str) -> None:
    with pytest.raises(ModelMismatch, match=what):
        rules.model(three(tmp_path, names))


def test_names_that_begin_with_other_numbers_are_names(tmp_path: Path) -> None:
    for names in (("1 号缝线", "2 号缝线", "3 号缝线"), ("0 号线", "4 号线", "7 号线"), ("0/2", "1/2", "2/2")):
        assert rules.model(three(tmp_path, names)).labels == names


@pytest.mark.parametrize("order", [(2, 1, 0), (0, 2, 1)])
def test_the_names_of_the_onnx_in_another_order_are_refused(tmp_path: Path, order: tuple[int, ...]) -> None:
    path = three(tmp_path)
    moved = [THREE[number] for number in order]
    first = next(number for number in range(3) if order[number] != number)

    with pytest.raises(ModelMismatch, match=rf"model\.labels: '{moved[first]}' is label {first}.* says {order[first]}"):
        rules.model(path, labels=moved)
    with pytest.raises(ModelMismatch, match=rf"labels of .*m\.yaml: '{moved[first]}'") as caught:
        rules.model(say(path, f"labels: {json.dumps(moved)}\n"))
    assert "in the order of the scores" in caught.value.hint


def test_other_names_than_those_of_the_onnx_may_be_given(tmp_path: Path) -> None:
    path = three(tmp_path, ("gauze", "suture", "clamp"))
    assert rules.model(path, labels=list(THREE)).labels == THREE
    assert rules.model(path, labels=["gauze", "缝线", "clamp"]).labels == ("gauze", "缝线", "clamp")


def test_a_list_that_is_no_utf8_says_so(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_bytes("纱布\n缝线\n止血钳\n".encode("gbk"))
    with pytest.raises(ModelFileInvalid, match=r"names\.txt: is not UTF-8 text") as caught:
        rules.model(say(three(tmp_path), "labels: names.txt\n"))
    assert "Save it as UTF-8" in caught.value.hint


def test_a_background_of_another_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelMismatch, match=r"background labels \['手'\] of .*m\.yaml are none of the model's labels"):
        rules.model(say(three(tmp_path), "background: [手]\n"))


def test_too_few_labels_say_whose_they_are(tmp_path: Path) -> None:
    path = three(tmp_path)
    with pytest.raises(ModelMismatch, match=r"expected 3 labels, one per score, got 2 in model\.labels"):
        rules.model(path, labels=["a", "b"])
    with pytest.raises(ModelMismatch, match=r"expected 3 labels, one per score, got 1 in labels of .*m\.yaml"):
        rules.model(say(path, "labels: [纱布]\n"))
    path.with_suffix(".yaml").unlink()
    with pytest.raises(ModelMismatch, match="expected 3 labels, one per score, got 2 in names of its ONNX metadata"):
        rules.model(three(tmp_path, ("a", "b")))
