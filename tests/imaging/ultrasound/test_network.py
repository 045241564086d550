"""Which ONNX are taken for ultrasound, for what, and which are refused at the load with what was expected and found."""

import ast
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from imaging.errors import NotConfigured
from imaging.ultrasound.models import Ultrasound
from imaging.ultrasound.network import CLASSES, HEADS, IMAGE, METADATA
from imaging.ultrasound.record import Record
from imaging.ultrasound.terms import DATASETS, PROMPTS, prompts_of
from inference.errors import ModelError, ModelMismatch, ModelNotFound, ModelNotOnnx
from tests import rules
from tests import ultrasound as toys
from tests.ultrasound import save

TWO_CLASSES = {each.name for each in DATASETS if len(each.labels) == 2}


def loaded(**changes: object) -> Ultrasound:
    made = Ultrasound(rules.ultrasound(**({"device": "cpu"} | changes)))
    made.load()
    return made


def test_each_model_serves_what_its_key_and_its_outputs_say(tmp_path: Path) -> None:
    seg, cls = toys.segmenter(tmp_path / "s.onnx"), toys.classifier(tmp_path / "c.onnx")

    assert {task for task, _ in loaded(segmentation_model=seg).can()} == {"segmentation"}
    assert len(loaded(segmentation_model=seg).can()) == 13
    assert {name for _, name in loaded(classification_model=cls).can()} == TWO_CLASSES
    assert len(loaded(model=toys.universal(tmp_path / "u.onnx")).can()) == 21
    # What a key is not for, it does not serve, whatever else the file can do.
    assert {task for task, _ in loaded(segmentation_model=tmp_path / "u.onnx").can()} == {"segmentation"}


def test_a_data_sets_own_model_comes_first_then_the_tasks_then_the_one_for_all(tmp_path: Path) -> None:
    """They are told from each other by what they say of the same picture."""
    own = toys.segmenter(tmp_path / "own.onnx", seg="seg", ends_in="Neg")
    task = toys.segmenter(tmp_path / "task.onnx")
    engine = loaded(models={"camus": (own, None)}, segmentation_model=task, model=toys.universal(tmp_path / "u.onnx"))
    path = save(tmp_path / "a.png", np.full((30, 30, 3), 250, np.uint8))
    names = ("CAMUS", "KidneyUS")

    masks = engine.predict([Record(**toys.record("segmentation", name)) for name in names], [path, path])
    classes = engine.predict([Record(**toys.record("classification", "BUSI"))], [path])

    assert [bool(each.mask.any()) for each in masks] == [False, True]
    assert classes[0].prediction == 1


def test_one_file_under_several_keys_is_read_once(tmp_path: Path) -> None:
    path = toys.universal(tmp_path / "u.onnx")
    link = tmp_path / "link.onnx"
    link.symlink_to(path)

    engine = loaded(segmentation_model=path, classification_model=link, models={"CAMUS": (link, None)})

    networks = {id(network) for network, _ in engine._served.values()}
    assert len(networks) == 1


def test_nothing_configured_is_told_with_the_keys() -> None:
    with pytest.raises(NotConfigured, match="segmentation_model、classification_model"):
        loaded()


@pytest.mark.parametrize(
    ("name", "pair", "said"),
    [
        ("Atlantis", "seg", "没有这个数据集"),
        ("CAMUS", "cls", "CAMUS 没有分类任务"),
        ("Appendix", "seg", "没有分割任务"),
    ],
)
def test_a_model_for_a_set_or_task_that_is_not_there_is_told(tmp_path: Path, name: str, pair: str, said: str) -> None:
    path = toys.segmenter(tmp_path / "s.onnx")

    with pytest.raises(NotConfigured, match=said) as caught:
        loaded(models={name: (path, None) if pair == "seg" else (None, path)})

    assert f"imaging.ultrasound.models.{name}" in caught.value.message


def test_a_missing_or_broken_file_is_told_with_its_key(tmp_path: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no model")

    with pytest.raises(ModelNotFound, match=r"imaging\.ultrasound\.model: there is no file"):
        loaded(model=tmp_path / "none.onnx")
    with pytest.raises(ModelNotOnnx, match=r"imaging\.ultrasound\.classification_model_4: .*broken"):
        loaded(classification_model_4=broken)


Make = Callable[[Path], Path]
REFUSED: Mapping[str, tuple[str, Make, str]] = {
    "another name of the picture": (
        "segmentation_model",
        lambda path: toys.segmenter(path, image="images"),
        "expected input image.*found inputs images",
    ),
    "another name of the mask": (
        "segmentation_model",
        lambda path: toys.segmenter(path, seg="mask"),
        "outputs of seg, cls_2, cls_4; found inputs image .*outputs mask",
    ),
    "another name of a prompt": (
        "model",
        lambda path: toys.universal(path, renamed={"position": "position_prompt"}),
        "position, task, nature, type.*found inputs image.*position_prompt",
    ),
    "another name of a head": (
        "model",
        lambda path: toys.universal(path, renamed={"cls_4": "cls4"}),
        "outputs of seg, cls_2, cls_4; found .*cls4",
    ),
    "no output for its key": (
        "segmentation_model",
        toys.classifier,
        "segmentation_model: .*expected an output seg, found cls_2",
    ),
    "two classes where four are wanted": (
        "classification_model_4",
        toys.classifier,
        "expected an output cls_4, found cls_2",
    ),
    "three classes": (
        "classification_model",
        lambda path: toys.classifier(path, classes=3, output="cls_2"),
        r"expected cls_2 of shape \(N, 2\), got \(2, 3\)",
    ),
    "raw scores that are said to be probabilities": (
        "classification_model",
        lambda path: toys.classifier(path, metadata={"orwatch.cls": "probabilities"}),
        "cls_2: expected probabilities",
    ),
    "a mask that is probabilities already": (
        "segmentation_model",
        lambda path: toys.segmenter(path, channels=1, ends_in="Sigmoid"),
        "metadata orwatch.seg is 'logits' .*, but seg ends in Sigmoid; expected 'probabilities'",
    ),
    "two channels of a mask that are probabilities already": (
        "segmentation_model",
        lambda path: toys.segmenter(path, ends_in="Softmax", metadata={"orwatch.seg": "logits"}),
        "metadata orwatch.seg is 'logits' .*, but seg ends in Softmax; expected 'probabilities'",
    ),
    "classes that are probabilities already": (
        "classification_model",
        lambda path: toys.classifier(path, ends_in="Softmax"),
        "metadata orwatch.cls is 'logits' .*, but cls_2 ends in Softmax; expected 'probabilities'",
    ),
    "three channels of a mask": (
        "segmentation_model",
        lambda path: toys.segmenter(path, channels=2, ends_in="Identity", side=16),
        r"S 32 to 1024, found image \['N', 3, 16, 16\]",
    ),
    "metadata that nobody knows": (
        "segmentation_model",
        lambda path: toys.segmenter(path, metadata={"orwatch.seg": "sigmoid"}),
        "metadata orwatch.seg = 'sigmoid'; expected",
    ),
    "a mistyped metadata key": (
        "segmentation_model",
        lambda path: toys.segmenter(path, metadata={"orwatch.sge": "logits"}),
        "metadata orwatch.sge",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_model_that_does_not_keep_the_contract_is_refused_with_what_was_expected(tmp_path: Path, case: str) -> None:
    key, make, said = REFUSED[case]

    with pytest.raises(ModelMismatch, match=said) as caught:
        loaded(**{key: make(tmp_path / "m.onnx")})

    assert "m.onnx" in str(caught.value)
    assert "docs/onnx-models.zh-CN.md" in caught.value.hint


def test_a_prompt_of_another_length_is_refused(tmp_path: Path) -> None:
    graph = toys.Graph()
    graph.add("ReduceMean", ["image"], "mean", axes=[2, 3], keepdims=0)
    graph.add("MatMul", ["position", graph.constant("w", np.zeros((7, 2)))], "moved")
    graph.add("MatMul", ["mean", graph.constant("v", np.zeros((3, 2)))], "seen")
    graph.add("Add", ["moved", "seen"], "cls_2")
    path = graph.save(tmp_path / "p.onnx", {"image": ["N", 3, 224, 224], "position": ["N", 7]}, {"cls_2": ["N", 2]}, {})

    with pytest.raises(ModelMismatch, match=r"expected position \(N, 8\).*found position \['N', 7\]"):
        loaded(classification_model=path)


def test_a_batch_that_is_open_on_paper_only_is_found_at_the_load(tmp_path: Path) -> None:
    graph = toys.Graph()
    graph.add("ReduceMean", ["image"], "mean", axes=[2, 3], keepdims=0)
    graph.add("MatMul", ["mean", graph.constant("w", np.ones((3, 2)))], "both")
    graph.add("Reshape", ["both", graph.constant("one", [1, 2], np.int64)], "cls_2")
    path = graph.save(tmp_path / "baked.onnx", {"image": ["N", 3, 224, 224]}, {"cls_2": ["N", 2]}, {})

    with pytest.raises(ModelMismatch, match="fails on one or two pictures of noise"):
        loaded(classification_model=path)


@pytest.mark.parametrize("how", ["a running sum", "less the mean of the batch"])
def test_a_model_whose_answer_depends_on_its_neighbours_is_refused(tmp_path: Path, how: str) -> None:
    graph = toys.Graph()
    graph.add("ReduceMean", ["image"], "mean", axes=[2, 3], keepdims=0)
    graph.add("MatMul", ["mean", graph.constant("w", np.array([[0.5, 0], [0, 0], [0, -0.5]]))], "own")
    if how == "a running sum":
        graph.add("CumSum", ["own", graph.constant("axis", 0, np.int64)], "cls_2")
    else:
        graph.add("Sub", ["own", graph.add("ReduceMean", ["own"], "usual", axes=[0], keepdims=1)], "cls_2")
    path = graph.save(tmp_path / "mixed.onnx", {"image": ["N", 3, 224, 224]}, {"cls_2": ["N", 2]}, {})

    with pytest.raises(ModelMismatch, match=r"changes by .* when another picture is beside it"):
        loaded(classification_model=path)


def test_half_precision_is_taken(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("ReduceMean", ["image"], ["mean"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Unsqueeze", ["mean", "one"], ["column"]),
        helper.make_node("Mul", ["column", "signs"], ["cls_2"]),
    ]
    half = TensorProto.FLOAT16
    constants = [
        numpy_helper.from_array(np.array([1], np.int64), "one"),
        numpy_helper.from_array(np.array([[0, 4]], np.float16), "signs"),
    ]
    graph = helper.make_graph(
        nodes,
        "half",
        [helper.make_tensor_value_info("image", half, ["N", 3, 224, 224])],
        [helper.make_tensor_value_info("cls_2", half, ["N", 2])],
        constants,
    )
    path = tmp_path / "half.onnx"
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    path.write_bytes(model.SerializeToString())
    picture = save(tmp_path / "a.png", np.full((30, 30, 3), 255, np.uint8))

    [found] = loaded(classification_model=path).predict([Record(**toys.record("classification", "BUSI"))], [picture])

    assert found.probability[1] == pytest.approx(1 / (1 + np.exp(-4)), abs=2e-3)


def test_cuda_without_a_gpu_is_told_with_the_keys_of_ultrasound(tmp_path: Path) -> None:
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has CUDA")

    with pytest.raises(ModelError, match=r"imaging\.ultrasound\.segmentation_model") as caught:
        loaded(segmentation_model=toys.segmenter(tmp_path / "s.onnx"), device="cuda")

    assert "imaging.ultrasound.device" in caught.value.hint


def test_a_load_that_fails_keeps_what_was_loaded_before_from_serving(tmp_path: Path) -> None:
    engine = Ultrasound(rules.ultrasound(segmentation_model=toys.segmenter(tmp_path / "s.onnx"), model=tmp_path / "no"))

    with pytest.raises(ModelNotFound):
        engine.load()

    assert engine.can() == []


# --- the guide ---

GUIDE = Path(__file__).parents[3] / "docs" / "onnx-models.zh-CN.md"


def guide() -> str:
    """Its section on ultrasound."""
    return next(part for part in re.split(r"^## ", GUIDE.read_text("utf-8"), flags=re.M) if part.startswith("超声"))


def rows() -> dict[str, str]:
    """The tables' rows by what stands first in them."""
    found = {}
    for line in guide().splitlines():
        if line.startswith("| `"):
            first, rest = line.strip("| ").split("|", 1)
            found |= dict.fromkeys(re.findall(r"`([^`]+)`", first), rest)
    return found


def test_the_guide_names_every_input_output_key_and_set_with_its_size() -> None:
    table = rows()

    assert [name for name, size in PROMPTS.items() if f"(N, {size})" not in table[name]] == []
    assert [head for head, size in CLASSES.items() if f"(N, {size})" not in table[head]] == []
    assert {IMAGE, *PROMPTS, *HEADS, *METADATA, *(each.name for each in DATASETS)} == set(table)
    for key, values in METADATA.items():
        assert re.findall(r"`(\w+)`", table[key].split("|")[0]) == list(values)


def test_the_guide_says_of_every_set_what_the_prompts_are() -> None:
    table = rows()
    order = re.search(r"独热：(breast.*?) \|", guide())
    assert order
    positions = order[1].split("、")

    for dataset in DATASETS:
        tasks, position, nature = (cell.strip() for cell in table[dataset.name].split("|"))
        told = prompts_of(dataset, dataset.tasks[0])
        assert positions[told["position"].index(1.0)] == position
        assert ("tumor", "organ")[told["nature"].index(1.0)] == nature
        assert tasks == "、".join(task.zh for task in dataset.tasks)


def test_the_recipes_of_the_guide_are_python_and_name_what_the_contract_names() -> None:
    recipes = re.findall(r"```python\n(.*?)```", guide(), re.DOTALL)

    assert len(recipes) == 2
    for recipe in recipes:
        names = {node.value for node in ast.walk(ast.parse(recipe)) if isinstance(node, ast.Constant)}
        assert IMAGE in names
        assert {name for name in names if isinstance(name, str) and name.startswith("orwatch.")} <= set(METADATA)
    assert {IMAGE, *PROMPTS, *HEADS} <= {
        node.value for node in ast.walk(ast.parse(recipes[0])) if isinstance(node, ast.Constant)
    }
