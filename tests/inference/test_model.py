"""Any ONNX classifier: what is accepted, what it answers, and what is refused with which words."""

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from onnx import TensorProto

from inference.errors import (
    DeviceUnavailable,
    ModelBroken,
    ModelError,
    ModelFileInvalid,
    ModelMismatch,
    ModelNotFound,
    ModelUnsupported,
    RuntimeConflict,
    RuntimeMissing,
)
from inference.model import BATCH_MAX
from inference.runtime import check_distributions, onnxruntime
from tests import rules
from tests.waiting import DEADLINE_S

ULTRALYTICS = {"task": "classify", "imgsz": "[8, 8]", "names": "{0: 'red', 1: 'green', 2: 'blue'}"}
PLAIN = "labels: [red, green, blue]\noutput: probabilities\n"


def best(model, *pictures):
    return [model.labels[index] for index in model.classify(pictures).argmax(axis=1)]


def test_an_ultralytics_export_is_used_as_it_is(colour, painted):
    model = rules.model(colour())
    assert (model.labels, model.width, model.height, model.fit) == (("red", "green", "blue"), 8, 8, "crop")
    assert model.provider == "CPUExecutionProvider"
    assert len(model.sha256) == 64
    scores = model.classify([painted(255, 0, 0)])
    assert scores.dtype == np.float32
    # the model multiplies mean colours, expected in 0..1, by 10 and ends in a softmax
    logits = np.exp([10.0, 0.0, 0.0])
    assert scores[0] == pytest.approx(logits / logits.sum(), abs=1e-6)


def test_channels_arrive_in_rgb_order_and_every_pixel_counts(colour, painted):
    model = rules.model(colour())
    half = painted(255, 0, 0)
    half[4:] = (0, 0, 255)
    assert best(model, painted(200, 9, 9), painted(9, 200, 9), painted(9, 9, 200)) == ["red", "green", "blue"]
    scores = model.classify([half])[0]
    assert scores[0] == pytest.approx(scores[2])


@pytest.mark.parametrize("batch", ["batch", 1, 2, 4])
def test_a_fixed_batch_gives_the_same_as_an_open_one(colour, batch):
    pictures = list(np.random.default_rng(1).integers(0, 256, (7, 8, 8, 3), np.uint8))
    together = rules.model(colour("open.onnx")).classify(pictures)
    model = rules.model(colour("other.onnx", batch=batch))
    assert np.allclose(model.classify(pictures), together, atol=1e-6)
    assert np.allclose([model.classify([each])[0] for each in pictures], together, atol=1e-6)


def test_more_pictures_than_one_run_takes_come_back_in_order(colour, painted):
    model = rules.model(colour())
    pictures = [painted(200, 9, 9) if n % 3 else painted(9, 9, 200) for n in range(BATCH_MAX * 2 + 5)]
    assert best(model, *pictures) == ["red" if n % 3 else "blue" for n in range(len(pictures))]


def test_no_picture_gives_no_scores(colour):
    assert rules.model(colour()).classify([]).shape == (0, 3)


def test_threads_do_not_write_into_each_others_pictures(colour, painted):
    model = rules.model(colour())
    colours = {"red": painted(200, 9, 9), "green": painted(9, 200, 9), "blue": painted(9, 9, 200)}
    ready = threading.Barrier(3, timeout=DEADLINE_S)

    def classify_many(name):
        ready.wait()
        return {label for _ in range(200) for label in best(model, *[colours[name]] * 3)}

    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(classify_many, colours)) == [{"red"}, {"green"}, {"blue"}]


def test_logits_become_probabilities(colour, painted):
    path = colour(metadata=None, ends_in="logits")
    path.with_suffix(".yaml").write_text("labels: [red, green, blue]\noutput: logits\n")
    assert np.allclose(
        rules.model(path).classify([painted(200, 90, 9)]),
        rules.model(colour("ultralytics.onnx")).classify([painted(200, 90, 9)]),
        atol=1e-6,
    )


def test_the_model_file_says_mean_std_scale_and_channel_order(colour, painted):
    path = colour(metadata=None, gain=1.0)
    path.with_suffix(".yaml").write_text(
        PLAIN + "channels: bgr\nscale: 1.0\nmean: [10, 20, 30]\nstd: [2, 4, 5]\nfit: stretch\n"
    )
    model = rules.model(path)
    logits = np.exp((np.array([12, 24, 40]) - [10, 20, 30]) / [2, 4, 5])
    assert model.classify([painted(40, 24, 12)])[0] == pytest.approx(logits / logits.sum(), abs=1e-5)
    assert model.fit == "stretch"


@pytest.mark.parametrize(("onnx_dtype", "dtype"), [(TensorProto.FLOAT16, "float16"), (TensorProto.UINT8, "uint8")])
@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
def test_other_types_and_layouts(colour, painted, onnx_dtype, dtype, layout):
    path = colour(metadata=None, dtype=onnx_dtype, layout=layout)
    path.with_suffix(".yaml").write_text(PLAIN + f"layout: {layout}\ndtype: {dtype}\n")
    assert best(rules.model(path), painted(200, 9, 9), painted(9, 9, 200)) == ["red", "blue"]


def test_channels_last_is_seen_without_being_told(colour, painted):
    assert best(rules.model(colour(layout="nhwc")), painted(9, 200, 9)) == ["green"]


def test_an_open_size_comes_from_the_metadata_or_the_model_file(colour):
    assert rules.model(colour(size="size")).width == 8
    path = colour("bare.onnx", metadata=None, size="size")
    path.with_suffix(".yaml").write_text(PLAIN + "width: 16\nheight: 12\n")
    model = rules.model(path)
    assert (model.width, model.height) == (16, 12)


def test_the_model_file_may_have_another_name_and_be_given_itself(colour, tmp_path):
    colour("weights.onnx", metadata=None)
    (tmp_path / "consumables.yaml").write_text(PLAIN + "model: weights.onnx\n")
    model = rules.model(tmp_path / "consumables.yaml")
    assert model.path == tmp_path / "weights.onnx"


def test_a_model_file_may_end_in_yml_but_there_is_one(colour):
    path = colour(metadata=None, ends_in="logits")
    path.with_suffix(".yml").write_text("labels: [red, green, blue]\noutput: logits\n")
    assert rules.model(path).labels == ("red", "green", "blue")
    path.with_suffix(".yaml").write_text("labels: [blue, green, red]\noutput: logits\n")
    with pytest.raises(
        ModelFileInvalid, match=r"expected one model file beside it, got colours\.yaml and colours\.yml"
    ):
        rules.model(path)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("labels.txt", "纱布\n缝线\n止血钳\n"),
        ("labels.yaml", "names:\n  0: 纱布\n  1: 缝线\n  2: 止血钳\n"),
        ("labels.json", '["纱布", "缝线", "止血钳"]'),
    ],
)
def test_labels_may_stand_in_a_file_of_their_own(colour, tmp_path, name, text):
    path = colour(metadata=None)
    (tmp_path / name).write_text(text, "utf-8")
    path.with_suffix(".yaml").write_text(f"labels: {name}\noutput: probabilities\n")
    assert rules.model(path).labels == ("纱布", "缝线", "止血钳")


def test_labels_of_the_caller_come_first(colour):
    assert rules.model(colour(), labels=["a", "b", "c"]).labels == ("a", "b", "c")


def test_background_labels_come_from_metadata_or_model_file(colour):
    path = colour(metadata=ULTRALYTICS | {"background": '["blue"]'})
    assert rules.model(path).background == {"blue"}
    path.with_suffix(".yaml").write_text("output: probabilities\nbackground: [red]\n")
    assert rules.model(path).background == {"red"}


@pytest.mark.parametrize(
    ("bend", "error", "words"),
    [
        ({"metadata": ULTRALYTICS | {"task": "detect"}}, ModelUnsupported, "expected task 'classify', got 'detect'"),
        ({"metadata": ULTRALYTICS | {"names": "{0: 'a', 1: 'b'}"}}, ModelMismatch, "expected 3 labels.*got 2"),
        ({"metadata": ULTRALYTICS | {"names": "{0: 'a', 1: 'b', 2: 'a'}"}}, ModelMismatch, "stand twice: a"),
        ({"metadata": ULTRALYTICS | {"names": "{0: 'a', 1: ' ', 2: 'c'}"}}, ModelMismatch, r"labels \[1\] are empty"),
        ({"metadata": ULTRALYTICS | {"names": "{0: 'a', 2: 'b', 3: 'c'}"}}, ModelMismatch, "'names'.*numbers 0..2"),
        ({"metadata": ULTRALYTICS | {"names": "__import__('os')"}}, ModelMismatch, "'names'.*neither"),
        ({"metadata": ULTRALYTICS | {"names": "{0: {}, 1: 'b', 2: 'c'}"}}, ModelMismatch, "'names'"),
        ({"metadata": ULTRALYTICS | {"names": "{'x': 'a', 'y': 'b', 'z': 'c'}"}}, ModelMismatch, "'names'"),
        ({"metadata": ULTRALYTICS | {"imgsz": "[9, 8]"}}, ModelMismatch, "height: ONNX says 8, metadata says 9"),
        ({"metadata": ULTRALYTICS | {"imgsz": "wide"}}, ModelMismatch, "'imgsz'"),
        (
            {"metadata": ULTRALYTICS | {"background": '["sky"]'}},
            ModelMismatch,
            "background labels .'sky'. of its ONNX metadata",
        ),
        ({"metadata": None}, ModelMismatch, "nothing says how to use it"),
        ({"metadata": {"names": ULTRALYTICS["names"]}, "size": "s"}, ModelMismatch, "width is not known"),
        ({"ends_in": "logits"}, ModelMismatch, "expected probabilities.*got"),
        ({"ends_in": "sigmoid"}, ModelMismatch, "expected probabilities.*sum"),
        (
            {"ends_in": "nan", "gain": -1.0},
            ModelMismatch,
            "expected probabilities, got (nan|-inf) for a picture of noise",
        ),
        ({"depth": 1}, ModelUnsupported, "expected 3 colour channels, got 1"),
        ({"depth": 4}, ModelUnsupported, "expected 3 colour channels, got 4"),
        ({"outputs": 2}, ModelUnsupported, "expected one output.*got 2: output0"),
        ({"inputs": 2}, ModelUnsupported, "expected one input.*got 2: images"),
        ({"dtype": TensorProto.INT64}, ModelUnsupported, r"expected a picture input.*tensor\(int64\)"),
        ({"baked_batch": 1}, ModelMismatch, "declares an open batch, but fails on two"),
        ({"output_shape": ["batch", "labels"], "metadata": ULTRALYTICS | {"names": "{0: 'a'}"}}, ModelMismatch, "got"),
    ],
)
def test_what_cannot_be_used_is_refused_with_the_file_and_the_reason(colour, bend, error, words):
    path = colour(**bend)
    with pytest.raises(error, match=words) as caught:
        rules.model(path)
    assert str(path) in str(caught.value)
    assert isinstance(caught.value, ModelError)
    assert isinstance(caught.value, ValueError)
    assert caught.value.hint


def test_a_detector_is_told_from_a_classifier_by_its_output(tmp_path):
    import onnx
    from onnx import helper

    graph = helper.make_graph(
        [helper.make_node("Flatten", ["images"], ["flat"], axis=2), helper.make_node("Identity", ["flat"], ["boxes"])],
        "detector",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("boxes", TensorProto.FLOAT, None)],
    )
    graph.node[0].op_type = "Identity"
    del graph.node[0].attribute[:]
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    helper.set_model_props(model, {"names": ULTRALYTICS["names"]})
    onnx.save(model, tmp_path / "boxes.onnx")
    with pytest.raises(ModelUnsupported, match=r"expected scores of shape \(batch, labels\), got boxes"):
        rules.model(tmp_path / "boxes.onnx")


def test_one_of_several_outputs_can_be_named(colour, painted):
    path = colour(outputs=2)
    path.with_suffix(".yaml").write_text("output: probabilities\noutput_name: output1\n")
    assert best(rules.model(path), painted(9, 200, 9)) == ["green"]
    path.with_suffix(".yaml").write_text("output: probabilities\noutput_name: nothing\n")
    with pytest.raises(ModelMismatch, match="expected an output named 'nothing', got 2: output0"):
        rules.model(path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("labels: [a, b, c]\n", "output: Field required"),
        (PLAIN + "sclae: 2\n", "sclae: Extra inputs"),
        (PLAIN + "width: -3\n", "width: "),
        (PLAIN + "std: [1, 0, 1]\n", "std.1: "),
        (PLAIN + "dtype: uint8\nscale: 1\n", "uint8"),
        ("labels: gone.txt\noutput: logits\n", "gone.txt"),
        (PLAIN + "model: other.onnx\n", "describes 'other.onnx'"),
        ("a: [", "not valid YAML"),
        ("", "the file: "),
        ("- 1\n", "the file: "),
    ],
)
def test_a_wrong_model_file_is_refused_with_its_key(colour, text, words):
    path = colour(metadata=None)
    path.with_suffix(".yaml").write_text(text)
    with pytest.raises(ModelFileInvalid, match=words) as caught:
        rules.model(path)
    assert str(path.with_suffix(".yaml")) in str(caught.value)


def test_a_model_file_of_the_wrong_type_for_the_onnx_is_refused(colour):
    path = colour(metadata=None)
    path.with_suffix(".yaml").write_text(PLAIN + "dtype: float16\n")
    with pytest.raises(ModelMismatch, match="the model file says float16, the ONNX says float32"):
        rules.model(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ModelNotFound, match=r"gone\.onnx: no such file") as caught:
        rules.model(tmp_path / "gone.onnx")
    assert isinstance(caught.value, FileNotFoundError)
    with pytest.raises(ModelNotFound, match=r"gone\.yaml: no such file"):
        rules.model(tmp_path / "gone.yaml")
    (tmp_path / "here.yaml").write_text(PLAIN + "model: away.onnx")
    with pytest.raises(ModelNotFound, match=r"here\.yaml: names the model .*away\.onnx"):
        rules.model(tmp_path / "here.yaml")


@pytest.mark.parametrize("content", [b"\x08\x09" * 5000, bytes(5000), b"\x08\x09\x3a\xff\xff\x03graph"])
def test_a_corrupt_file_is_named(tmp_path, content):
    (tmp_path / "bad.onnx").write_bytes(content)
    with pytest.raises(ModelBroken, match=r"bad\.onnx"):
        rules.model(tmp_path / "bad.onnx")


def test_a_file_cut_off_in_copying_is_named(colour):
    path = colour()
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ModelBroken, match=r"colours\.onnx"):
        rules.model(path)


@pytest.mark.parametrize(
    "picture",
    [
        np.zeros((8, 9, 3), np.uint8),
        np.zeros((8, 8), np.uint8),
        np.zeros((8, 8, 3), np.float32),
        np.zeros((3, 8, 8), np.uint8),
    ],
)
def test_a_picture_of_another_size_or_type_is_refused(colour, picture):
    model = rules.model(colour())
    with pytest.raises(ModelMismatch, match=r"expected a picture of \(8, 8, 3\) uint8"):
        model.classify([picture])


@pytest.mark.skipif(
    "CUDAExecutionProvider" in onnxruntime().get_available_providers(), reason="this ONNX Runtime is built with CUDA"
)
def test_cuda_asked_for_and_not_there_is_an_error_and_auto_is_not(colour):
    path = colour()
    with pytest.raises(DeviceUnavailable, match=r"offers .*CPUExecutionProvider"):
        rules.model(path, device="cuda")
    assert rules.model(path, device="auto").provider == "CPUExecutionProvider"


@pytest.mark.gpu
def test_cuda_gives_the_same_scores_as_the_cpu(colour):
    pictures = list(np.random.default_rng(1).integers(0, 256, (7, 8, 8, 3), np.uint8))
    path = colour()
    on_cuda = rules.model(path, device="cuda")
    assert on_cuda.provider == "CUDAExecutionProvider"
    assert np.allclose(on_cuda.classify(pictures), rules.model(path, device="cpu").classify(pictures), atol=1e-3)


def test_two_distributions_of_onnxruntime_are_refused():
    check_distributions(["numpy", "onnxruntime"])
    check_distributions(["onnxruntime-gpu"])
    with pytest.raises(RuntimeConflict, match="onnxruntime and onnxruntime-gpu are both installed"):
        check_distributions(["onnxruntime-gpu", "numpy", "onnxruntime"])


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("onnxruntime.py", "raise ModuleNotFoundError('No module named onnxruntime')"),
        ("onnxruntime/__init__.py", ""),  # what is left when one of two distributions was uninstalled
    ],
)
def test_a_missing_onnxruntime_says_what_to_install(tmp_path, name, content):
    # stands first on the path, so it is what the import finds
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(content)
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from inference.errors import RuntimeMissing\n"
        "from inference.runtime import onnxruntime\n"
        "try:\n    onnxruntime()\n"
        "except RuntimeMissing as error:\n    print(error.hint)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=DEADLINE_S, check=True)
    assert "orwatch[cpu]" in done.stdout
    assert issubclass(RuntimeMissing, ImportError)


def test_the_runtime_is_told_to_report_nothing_before_it_is_loaded() -> None:
    script = (
        "import os, sys\n"
        "os.environ.pop('ORT_DISABLE_TELEMETRY', None)\n"
        "from inference.runtime import onnxruntime\n"
        "assert 'onnxruntime' not in sys.modules\n"
        "sys.addaudithook(lambda event, args: event == 'import' and args[0] == 'onnxruntime'"
        " and print(os.environ.get('ORT_DISABLE_TELEMETRY')))\n"
        "onnxruntime()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=DEADLINE_S
    )
    assert done.stdout.split() == ["1"]
