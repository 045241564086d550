"""Models that look fine and see nothing: what is refused when it is loaded, what is not, and in which words."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from inference import trial
from inference.errors import ModelBlind, ModelError, ModelMismatch, ModelUnsupported
from tests import rules
from tests.inference.heads import NAMES, SOFTMAX, node, save

FLOAT16, FLOAT = TensorProto.FLOAT16, TensorProto.FLOAT


def said(path: Path, output: str) -> Path:
    file = path.with_suffix(".yaml")
    file.write_text(f"output: {output}\n", "utf-8")
    return file


def spelt_out_softmax(path: Path) -> Path:
    """Exp, ReduceSum and Div in the place of Softmax: no operator gives it away."""
    model = onnx.load(save(path, node("Exp")))
    model.graph.node[-1].output[0] = "powers"
    model.graph.node.append(helper.make_node("ReduceSum", ["powers", "axes"], ["total"], keepdims=1))
    model.graph.node.append(helper.make_node("Div", ["powers", "total"], ["scores"]))
    model.graph.initializer.append(numpy_helper.from_array(np.array([1], np.int64), "axes"))
    onnx.save(model, path)
    return path


# --- a softmax too many ---


@pytest.mark.parametrize(
    "ends",
    [
        [SOFTMAX],
        [SOFTMAX, node("Identity")],
        [SOFTMAX, node("Cast", to=FLOAT16), node("Cast", to=FLOAT)],
        [SOFTMAX, node("Reshape", also=[np.array([-1, 9], np.int64)])],
    ],
)
def test_probabilities_that_are_said_to_be_logits_are_refused(tmp_path: Path, ends: list) -> None:
    path = save(tmp_path / "m.onnx", *ends)
    assert rules.model(path).labels == NAMES
    file = said(path, "logits")

    with pytest.raises(ModelMismatch, match="probabilities already") as caught:
        rules.model(path)

    assert str(file) in str(caught.value)
    assert "output: 'logits'" in str(caught.value)
    assert "expected 'probabilities'" in str(caught.value)
    assert "no label of 9 above 0.25" in str(caught.value)
    assert caught.value.hint == f"Set `output: probabilities` in {file}."
    said(path, "probabilities")
    assert rules.model(path).labels == NAMES


def test_they_are_known_by_their_numbers_where_the_graph_does_not_tell(tmp_path: Path) -> None:
    path = spelt_out_softmax(tmp_path / "m.onnx")
    assert max(each.score for each in rules.model(path).tried) > 0.99
    said(path, "logits")

    with pytest.raises(ModelMismatch, match=r"probabilities already \(each row is 0\.\.1 and sums to 1\)"):
        rules.model(path)


def test_a_softmax_on_a_softmax_within_the_onnx_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ModelBlind, match=r"ends in Softmax and then Softmax: no label of 9 .* more than 0\.25"
    ) as caught:
        rules.model(save(tmp_path / "m.onnx", SOFTMAX, SOFTMAX))
    assert caught.value.hint == "Export it without the last Softmax."
    with pytest.raises(ModelBlind, match="ends in Sigmoid and then Softmax"):
        rules.model(save(tmp_path / "m.onnx", node("Sigmoid"), node("Cast", to=FLOAT), SOFTMAX))


def test_a_softmax_on_log_probabilities_is_none_too_many(tmp_path: Path) -> None:
    best = max(each.score for each in rules.model(save(tmp_path / "m.onnx", node("LogSoftmax", axis=1), SOFTMAX)).tried)
    assert best > 0.99


@pytest.mark.parametrize(("op", "best"), [("Sigmoid", "0.25"), ("HardSigmoid", "0.25"), ("Tanh", "0.48")])
def test_logits_that_cannot_differ_enough_are_refused(tmp_path: Path, op: str, best: str) -> None:
    path = save(tmp_path / "m.onnx", node(op))
    said(path, "logits")

    with pytest.raises(ModelMismatch, match=rf"ends in {op}.* no label of 9 above {best}"):
        rules.model(path)


# --- what is no probability ---


@pytest.mark.parametrize(
    ("ends", "gain", "what", "hint"),
    [
        ([node("Identity")], 30, "these look like raw scores", "output: logits"),
        ([node("LogSoftmax", axis=1)], 30, "these are log-probabilities", "output: logits"),
        ([node("Sigmoid")], 30, "it ends in Sigmoid, each label has a score of its own", "softmax over the labels"),
        ([node("Clip", also=[np.float32(0), np.float32(1)])], 30, "each label has a score of its own", "softmax over"),
        ([SOFTMAX, node("Mul", also=[np.float32(100)])], 30, "sum 100 .* they always have this sum", "softmax as its"),
        ([SOFTMAX, node("Mul", also=[np.float32(0.5)])], 30, "sum 0.5 .* they always have this sum", "softmax as its"),
        ([node("Softmax", axis=0)], 30, "scores change by .* when another is beside it", "fixed batch 1"),
        ([node("Sqrt"), node("Neg"), node("Sqrt")], 30, "got nan for a picture of noise", "float32"),
        ([node("Reciprocal")], 30, "got inf for a picture of noise", "float32"),
        ([node("Mul", also=[np.float32(1e38)])], 1e38, "got inf for a picture of noise", "float32"),
    ],
)
def test_what_is_no_probability_is_refused_for_what_it_is(
    tmp_path: Path, ends: list, gain: float, what: str, hint: str
) -> None:
    path = save(tmp_path / "m.onnx", *ends, gain=gain)

    with pytest.raises(ModelMismatch, match=what) as caught:
        rules.model(path)

    assert str(path) in str(caught.value)
    assert hint in caught.value.hint
    if "logits" in hint:
        assert f"Write {path.with_suffix('.yaml')} with the line" in caught.value.hint
        said(path, "logits")
        assert max(each.score for each in rules.model(path).tried) > 0.99


def test_logits_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "m.onnx", node("Log"))
    said(path, "logits")

    with pytest.raises(ModelMismatch, match="expected logits, got -inf for a picture of noise"):
        rules.model(path)


def test_what_has_no_score_for_one_colour_alone_is_taken_and_told(tmp_path: Path) -> None:
    # each picture is divided by the spread of its pixels, which is 0 where all are alike
    spread = [
        node("Sub", also=[np.float32(0.5)]),
        node("InstanceNormalization", epsilon=0.0, also=[np.ones(3, np.float32), np.zeros(3, np.float32)]),
        node("Abs"),
    ]
    model = rules.model(save(tmp_path / "m.onnx", SOFTMAX, begins=spread))

    assert model.unscored == ("black", "blue", "green", "red", "white")
    assert {each.picture for each in model.tried} == {"noise", "gradient", "checks"}


# --- what does not look at the picture ---


@pytest.mark.parametrize("ends", [[SOFTMAX], [node("Sigmoid")], [node("Identity")]])
def test_one_label_alone_is_refused(tmp_path: Path, ends: list) -> None:
    path = save(tmp_path / "m.onnx", *ends, labels=1)

    with pytest.raises(ModelBlind, match="one label only"):
        rules.model(path)
    said(path, "logits")
    with pytest.raises(ModelBlind, match="one label only"):
        rules.model(path)


@pytest.mark.parametrize("output", ["probabilities", "logits"])
def test_a_model_that_gives_every_picture_the_same_scores_is_refused(tmp_path: Path, output: str) -> None:
    ends = [SOFTMAX] if output == "probabilities" else []
    path = save(tmp_path / "m.onnx", node("Add", also=[np.arange(9, dtype=np.float32) / 3]), *ends, gain=0)
    said(path, output)

    with pytest.raises(ModelBlind, match=r"the same scores for black, white, red, .*: it does not see the picture"):
        rules.model(path)


def test_a_model_that_is_sure_of_the_background_in_all_of_them_is_not(tmp_path: Path) -> None:
    bias = np.zeros(9, np.float32)
    bias[3] = 200
    model = rules.model(save(tmp_path / "m.onnx", node("Add", also=[bias]), SOFTMAX))
    assert {each.label for each in model.tried} == {"背景"}


def test_scores_that_change_from_run_to_run_are_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "m.onnx", node("RandomUniformLike", low=0.0, high=9.0), SOFTMAX)

    with pytest.raises(ModelMismatch, match=r"one and the same picture change by .* from run to run"):
        rules.model(path)


# --- what has to be taken as it is ---


def quantized(step: float) -> list:
    """Rounded as 8-bit models round: their probabilities need not sum to 1."""
    also = [np.array(step, np.float32), np.array(0, np.uint8)]
    return [node("QuantizeLinear", also=also), node("DequantizeLinear", also=also)]


@pytest.mark.parametrize(
    "ends",
    [
        [SOFTMAX, node("Cast", to=FLOAT16), node("Cast", to=FLOAT)],
        [node("Cast", to=FLOAT16), SOFTMAX, node("Cast", to=FLOAT)],
        [SOFTMAX, *quantized(1 / 256)],
        [SOFTMAX, *quantized(1 / 128)],
    ],
)
@pytest.mark.parametrize("gain", [0.5, 3, 30])
@pytest.mark.parametrize("labels", [2, 9, 50])
def test_probabilities_within_rounding_load(tmp_path: Path, ends: list, gain: float, labels: int) -> None:
    weights = np.random.default_rng(labels).normal(0, gain, (3, labels))
    path = save(tmp_path / "m.onnx", *ends, labels=labels, weights=weights, names=[f"item {n}" for n in range(labels)])

    assert len(rules.model(path).labels) == labels


def test_scores_in_double_precision_load(tmp_path: Path) -> None:
    path = save(tmp_path / "m.onnx", SOFTMAX, node("Cast", to=TensorProto.DOUBLE), output=TensorProto.DOUBLE)
    assert rules.model(path).tried[2].score > 0.99


def test_scores_that_are_whole_numbers_are_refused_by_their_type(tmp_path: Path) -> None:
    path = save(tmp_path / "m.onnx", SOFTMAX, node("Cast", to=TensorProto.UINT8), output=TensorProto.UINT8)

    with pytest.raises(ModelUnsupported, match=r"tensor\(uint8\); expected one of tensor\(float\)") as caught:
        rules.model(path)
    assert "8-bit scores" in caught.value.hint


def test_flat_probabilities_load_and_small_logits_too(tmp_path: Path) -> None:
    assert rules.model(save(tmp_path / "flat.onnx", SOFTMAX, gain=0.01)).spread < 0.01
    path = save(tmp_path / "small.onnx", gain=0.9)
    said(path, "logits")
    assert rules.model(path).spread < 0.2


def test_logits_that_sum_to_1_load(tmp_path: Path) -> None:
    weights = np.zeros((3, 9), np.float32)
    weights[:, :3] = np.eye(3) * 12
    weights[:, 3:6] = -np.eye(3) * 12
    path = save(tmp_path / "m.onnx", node("Add", also=[np.full(9, 1 / 9, np.float32)]), weights=weights)
    said(path, "logits")

    assert max(each.score for each in rules.model(path).tried) > 0.99


@pytest.mark.parametrize("batch", ["batch", 1, 3])
def test_scores_with_further_dimensions_of_one_are_read(tmp_path: Path, batch: int | str) -> None:
    ends = [SOFTMAX, node("Unsqueeze", also=[np.array([2, 3], np.int64)])]
    model = rules.model(save(tmp_path / "m.onnx", *ends, batch=batch, shape=(batch, 9, 1, 1)))

    red = np.zeros((8, 8, 3), np.uint8)
    red[..., 0] = 255
    assert model.classify([red, red]).argmax(axis=1).tolist() == [0, 0]


@pytest.mark.parametrize("shape", [(9,), ("batch", 9, 2, 2), ("batch", 9, "h", "w")])
def test_scores_of_another_shape_are_refused(tmp_path: Path, shape: tuple) -> None:
    path = save(tmp_path / "m.onnx", node("Expand", also=[np.array([1, 1], np.int64)]), shape=shape)

    with pytest.raises(ModelError, match=r"m\.onnx"):
        rules.model(path)


def test_the_pictures_have_nothing_in_common() -> None:
    shown = trial.pictures(40, 24)
    assert {each.shape for each in shown.values()} == {(24, 40, 3)}
    assert {each.dtype for each in shown.values()} == {np.dtype(np.uint8)}
    names = list(shown)
    for number, name in enumerate(names):
        for other in names[number + 1 :]:
            assert np.abs(shown[name].astype(int) - shown[other]).mean() > 20, (name, other)


# --- pictures that are scaled twice ---


@pytest.mark.parametrize(
    ("begins", "first"),
    [
        ([node("Div", also=[np.float32(255)])], "Div 255"),
        ([node("Mul", also=[np.float32(1 / 255)])], "Mul 0.003922"),
        ([node("Mul", also=[np.float32(1 / 127.5)]), node("Sub", also=[np.float32(1)])], "Mul 0.007843"),
        ([node("Sub", also=[np.array([123.7, 116.3, 103.5], np.float32).reshape(3, 1, 1)])], "Sub 123.7, 116.3, 103.5"),
        ([node("Cast", to=FLOAT), node("Div", also=[np.float32(255)])], "Div 255"),
    ],
)
def test_a_model_that_scales_pixels_itself_is_not_given_scaled_ones(tmp_path: Path, begins: list, first: str) -> None:
    path = save(tmp_path / "m.onnx", SOFTMAX, begins=begins)
    file = path.with_suffix(".yaml")

    with pytest.raises(ModelMismatch, match=f"its first step is {first}, so it expected pixels of 0..255") as caught:
        rules.model(path)
    assert caught.value.hint.startswith(f"Say `scale: 1` in {file}")

    file.write_text("output: probabilities\nscale: 1\n")
    assert rules.model(path).labels == NAMES


def test_a_model_that_normalises_what_was_scaled_is_taken(tmp_path: Path) -> None:
    begins = [
        node("Sub", also=[np.array([0.485, 0.456, 0.406], np.float32).reshape(3, 1, 1)]),
        node("Div", also=[np.array([0.229, 0.224, 0.225], np.float32).reshape(3, 1, 1)]),
    ]
    assert rules.model(save(tmp_path / "m.onnx", SOFTMAX, begins=begins)).labels == NAMES
