"""Tiny ONNX models with the inputs, outputs and notes of real ones, for sherpa-onnx to load and run.

What they hear is fixed but for the loudness: 沙布 where it is loud, by a hair before 纱布, and nothing where it is not.
"""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

BLANK, UNKNOWN, SAND, GAUZE, CLOTH, END, *TAGS = range(10)
TOKENS = ("<blk>", "<unk>", "沙", "纱", "布", "</s>", "<|zh|>", "<|NEUTRAL|>", "<|Speech|>", "<|woitn|>")
SIZE = len(TOKENS)

# Mean of the log mel energies: digital silence has -15.9.
_LOUD_MIN = -11.0
FLOAT, INT32, INT64 = TensorProto.FLOAT, TensorProto.INT32, TensorProto.INT64


def transducer(folder: Path, *, prefix: str = "") -> Path:
    _tokens(folder)
    nodes = [
        *_loud("x", "loud_of_all"),
        _node("Slice", ["loud_of_all", "zero", "many", "one", "four"], "loud"),
        *_rows("loud"),
        _node("Identity", ["rows"], "encoder_out"),
        _node("Add", ["x_lens", "three"], "lens_3"),
        _node("Div", ["lens_3", "four"], "encoder_out_lens"),
    ]
    constants = {"zero": [0], "many": [1 << 30], "one": [1], "three": [3], "four": [4]}
    _save(
        folder / f"{prefix}encoder.onnx",
        nodes,
        constants={name: np.array(value) for name, value in constants.items()},
        inputs={"x": (FLOAT, ["N", "T", 80]), "x_lens": (INT64, ["N"])},
        outputs={"encoder_out": (FLOAT, ["N", "T4", SIZE]), "encoder_out_lens": (INT64, ["N"])},
    )
    _decoder_and_joiner(folder, prefix)
    return folder


def streaming_transducer(folder: Path) -> Path:
    """An LSTM whose state counts the loud pieces so far."""
    _tokens(folder)
    nodes = [
        _node("ReduceMean", ["x"], "mean", axes=[1, 2], keepdims=0),
        _node("Greater", ["mean", "loud_min"], "is_loud"),
        _node("Cast", ["is_loud"], "loud_1d", to=FLOAT),
        _node("Unsqueeze", ["loud_1d", "axis_1"], "loud"),
        _node("Unsqueeze", ["loud", "axis_0"], "loud_3d"),
        _node("Add", ["h", "loud_3d"], "h_out"),
        _node("Identity", ["c"], "c_out"),
        _node("Squeeze", ["h_out", "axis_0"], "counted"),
        *_rows("loud", counted="counted"),
        _node("Identity", ["rows"], "encoder_out"),
    ]
    state = ["layers", "N", 1]
    _save(
        folder / "encoder.onnx",
        nodes,
        constants={"axis_0": np.array([0]), "axis_1": np.array([1])},
        inputs={"x": (FLOAT, ["N", 9, 80]), "h": (FLOAT, state), "c": (FLOAT, state)},
        outputs={"encoder_out": (FLOAT, ["N", 1, SIZE]), "h_out": (FLOAT, state), "c_out": (FLOAT, state)},
        notes={
            **{"model_type": "lstm", "num_encoder_layers": 1, "T": 9, "decode_chunk_len": 4},
            **{"rnn_hidden_size": 1, "d_model": 1},
        },
    )
    _decoder_and_joiner(folder, "")
    return folder


def sense_voice(folder: Path) -> Path:
    _tokens(folder)
    nodes = [
        *_loud("x", "loud"),
        *_rows("loud"),
        _node("Concat", ["tags", "rows"], "logits", axis=1),
    ]
    # Language, mood, event and spelling come first, one token each.
    tags = np.eye(SIZE, dtype=np.float32)[TAGS][None] * 9
    languages = {f"lang_{name}": i for i, name in enumerate(("auto", "zh", "en", "yue", "ja", "ko"))}
    one = ["N"]
    _save(
        folder / "model.int8.onnx",
        nodes,
        constants={"tags": tags},
        inputs={
            **{"x": (FLOAT, ["N", "T", 560]), "x_length": (INT32, one)},
            **{"language": (INT32, one), "text_norm": (INT32, one)},
        },
        outputs={"logits": (FLOAT, ["N", "T4", SIZE])},
        notes={**_low_frame_rate(), **languages, "normalize_samples": 0, "with_itn": 14, "without_itn": 15},
    )
    return folder


def paraformer(folder: Path) -> Path:
    _tokens(folder)
    heard = np.eye(SIZE, dtype=np.float32)[[SAND, CLOTH, END]][None] * 9
    nothing = np.eye(SIZE, dtype=np.float32)[[END, END, END]][None] * 9
    nodes = [
        _node("ReduceMean", ["speech"], "mean", axes=[1, 2], keepdims=1),
        _node("Greater", ["mean", "loud_min"], "is_loud"),
        _node("Where", ["is_loud", "heard", "nothing"], "logits"),
        _node("Identity", ["three"], "token_num"),
    ]
    _save(
        folder / "model.onnx",
        nodes,
        constants={"heard": heard, "nothing": nothing, "three": np.array([3], np.int32)},
        inputs={"speech": (FLOAT, ["N", "T", 560]), "speech_lengths": (INT32, ["N"])},
        outputs={"logits": (FLOAT, ["N", 3, SIZE]), "token_num": (INT32, ["N"])},
        notes=_low_frame_rate(),
    )
    return folder


def without_notes(file: Path) -> None:
    """A sound ONNX model that is of no kind of sherpa's."""
    both = {"x": (FLOAT, ["N", "T", 560])}, {"y": (FLOAT, ["N", "T", 560])}
    _save(file, [_node("Identity", ["x"], "y")], constants={}, inputs=both[0], outputs=both[1])


def _decoder_and_joiner(folder: Path, prefix: str) -> None:
    _save(
        folder / f"{prefix}decoder.onnx",
        [
            _node("Cast", ["y"], "y_float", to=FLOAT),
            _node("ReduceSum", ["y_float", "axis_1"], "sum", keepdims=1),
            _node("Mul", ["sum", "nothing"], "decoder_out"),
        ],
        constants={"axis_1": np.array([1]), "nothing": np.zeros((1, SIZE), np.float32)},
        inputs={"y": (INT64, ["N", 2])},
        outputs={"decoder_out": (FLOAT, ["N", SIZE])},
        notes={"vocab_size": SIZE, "context_size": 2},
    )
    both = {"encoder_out": (FLOAT, ["N", SIZE]), "decoder_out": (FLOAT, ["N", SIZE])}
    _save(
        folder / f"{prefix}joiner.onnx",
        [_node("Add", ["encoder_out", "decoder_out"], "logit")],
        constants={},
        inputs=both,
        outputs={"logit": (FLOAT, ["N", SIZE])},
        notes={"joiner_dim": SIZE},
    )


def _loud(features: str, into: str) -> list[onnx.NodeProto]:
    """(N, T) 1.0 where it is loud."""
    return [
        _node("ReduceMean", [features], "mean", axes=[2], keepdims=0),
        _node("Greater", ["mean", "loud_min"], "is_loud"),
        _node("Cast", ["is_loud"], into, to=FLOAT),
    ]


def _rows(loud: str, counted: str = "") -> list[onnx.NodeProto]:
    """(N, T, SIZE) scores: the first loud piece is 沙, or nearly 纱, the second 布, all else blank."""
    count = [] if counted else [_node("CumSum", [loud, "along"], "count")]
    return [
        *count,
        _node("Mul", [counted or "count", loud], "which"),
        _node("Min", ["which", "last"], "which_of_table"),
        _node("Cast", ["which_of_table"], "row", to=INT64),
        _node("Gather", ["table", "row"], "rows", axis=0),
    ]


def _table() -> np.ndarray:
    table = np.full((4, SIZE), -9, np.float32)
    table[[0, 3], BLANK] = 9
    table[1, [SAND, GAUZE]] = 2.0, 1.5
    table[2, CLOTH] = 9
    return table


def _low_frame_rate() -> dict[str, object]:
    return {
        **{"vocab_size": SIZE, "lfr_window_size": 7, "lfr_window_shift": 6},
        **{"neg_mean": ",".join(["0"] * 560), "inv_stddev": ",".join(["1"] * 560)},
    }


def _tokens(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    lines = (f"{token} {number}\n" for number, token in enumerate(TOKENS))
    (folder / "tokens.txt").write_text("".join(lines), encoding="utf-8")


def _node(operator: str, inputs: list[str], output: str, **attributes: object) -> onnx.NodeProto:
    return helper.make_node(operator, inputs, [output], **attributes)


def _save(
    file: Path,
    nodes: list[onnx.NodeProto],
    *,
    constants: dict[str, np.ndarray],
    inputs: dict[str, tuple[int, list[object]]],
    outputs: dict[str, tuple[int, list[object]]],
    notes: dict[str, object] | None = None,
) -> None:
    shared = {
        **{"loud_min": np.float32(_LOUD_MIN), "along": np.int64(1), "last": np.float32(3), "table": _table()},
        **constants,
    }
    used = {name for node in nodes for name in node.input}
    graph = helper.make_graph(
        nodes,
        "toy",
        [helper.make_tensor_value_info(name, *shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, *shape) for name, shape in outputs.items()],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in shared.items() if name in used],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 8
    helper.set_model_props(model, {name: str(value) for name, value in (notes or {}).items()})
    onnx.checker.check_model(model)
    onnx.save(model, file)
