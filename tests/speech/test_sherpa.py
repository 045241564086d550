import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from speech.errors import NotUnderstood, ProviderUnusable
from speech.sherpa import SherpaRecognizer
from speech.sherpa_model import SherpaKind, find_model
from tests import rules
from tests.speech import sherpa_toys
from tests.speech.clips import spoken

pytest.importorskip("sherpa_onnx")

TOYS = {
    SherpaKind.TRANSDUCER: sherpa_toys.transducer,
    SherpaKind.STREAMING_TRANSDUCER: sherpa_toys.streaming_transducer,
    SherpaKind.SENSE_VOICE: sherpa_toys.sense_voice,
    SherpaKind.PARAFORMER: sherpa_toys.paraformer,
}
LOUD = np.tile(spoken("纱布"), 2)
QUIET = np.zeros(16_000, np.int16)


@pytest.mark.parametrize(("kind", "make"), TOYS.items())
def test_a_folder_is_recognized_loaded_and_hears(
    kind: SherpaKind, make: Callable[[Path], Path], tmp_path: Path
) -> None:
    ear = SherpaRecognizer(rules.sherpa(make(tmp_path / "model")))
    assert ear.kind is kind
    heard = ear.recognize(LOUD, ["缝线"])
    assert (heard.text, heard.provider) == ("沙布", "sherpa")
    with pytest.raises(NotUnderstood):
        ear.recognize(QUIET, ["缝线"])
    ear.close()


@pytest.mark.parametrize("kind", [SherpaKind.TRANSDUCER, SherpaKind.STREAMING_TRANSDUCER])
def test_a_valid_phrase_is_heard_before_one_that_fits_by_a_hair_more(kind: SherpaKind, tmp_path: Path) -> None:
    ear = SherpaRecognizer(rules.sherpa(TOYS[kind](tmp_path / "model")))
    heard = ear.recognize(LOUD, ["纱布", "没有这个词", "", "纱/布"])
    assert heard.text == "纱布"
    assert heard.confidence is not None
    assert 0 < heard.confidence <= 1
    # The phrases are of one question and must not stay for the next.
    assert ear.recognize(LOUD, []).text == "沙布"
    ear.close()


def test_phrases_weigh_as_much_as_is_configured(tmp_path: Path) -> None:
    ear = SherpaRecognizer(rules.sherpa(sherpa_toys.transducer(tmp_path / "model"), hotwords_score=0.1))
    assert ear.recognize(LOUD, ["纱布"]).text == "沙布"
    ear.close()


def test_two_threads_are_answered_by_one_worker(tmp_path: Path) -> None:
    ear = SherpaRecognizer(rules.sherpa(sherpa_toys.transducer(tmp_path / "model"), timeout_s=30))
    with ThreadPoolExecutor(2) as threads:
        heard = list(threads.map(lambda phrases: ear.recognize(LOUD, phrases).text, [["纱布"], []] * 8))
    assert heard == ["纱布", "沙布"] * 8
    ear.close()


def test_the_eight_bit_file_is_taken_of_two_precisions_except_of_a_decoder(tmp_path: Path) -> None:
    folder = sherpa_toys.transducer(tmp_path / "model")
    for role in ("encoder", "decoder", "joiner"):
        shutil.copy(folder / f"{role}.onnx", folder / f"{role}.int8.onnx")
    onnx = {role: path.name for role, path in find_model(folder, SherpaKind.AUTO).onnx.items()}
    assert onnx == {"encoder": "encoder.int8.onnx", "decoder": "decoder.onnx", "joiner": "joiner.int8.onnx"}


def test_an_encoder_without_notes_is_a_streaming_one_if_its_name_says_so(tmp_path: Path) -> None:
    old = sherpa_toys.transducer(tmp_path / "sherpa-onnx-streaming-conformer-zh")
    assert find_model(old, SherpaKind.AUTO).kind is SherpaKind.STREAMING_TRANSDUCER
    other = sherpa_toys.transducer(tmp_path / "sherpa-onnx-non-streaming-conformer-zh")
    assert find_model(other, SherpaKind.AUTO).kind is SherpaKind.TRANSDUCER


def test_hotwords_need_characters_among_the_tokens_or_a_vocabulary(tmp_path: Path) -> None:
    folder = sherpa_toys.transducer(tmp_path / "model")
    assert find_model(folder, SherpaKind.AUTO).hotwords(("纱布", "缝线", "布")) == "纱布/布"
    (folder / "bpe.vocab").write_text("▁A\t-1\n", encoding="utf-8")
    assert find_model(folder, SherpaKind.AUTO).unit == "cjkchar+bpe"
    (folder / "tokens.txt").write_text("<blk> 0\n▁A 1\n", encoding="utf-8")
    assert find_model(folder, SherpaKind.AUTO).unit == "bpe"
    (folder / "bpe.vocab").unlink()
    assert find_model(folder, SherpaKind.AUTO).hotwords(("纱布",)) == ""
    assert find_model(sherpa_toys.paraformer(tmp_path / "other"), SherpaKind.AUTO).hotwords(("纱布",)) == ""


def _no_tokens(folder: Path) -> None:
    (folder / "tokens.txt").unlink()


def _empty_tokens(folder: Path) -> None:
    (folder / "tokens.txt").write_bytes(b"")


def _no_joiner(folder: Path) -> None:
    (folder / "joiner.onnx").unlink()


def _empty_encoder(folder: Path) -> None:
    (folder / "encoder.onnx").write_bytes(b"")


def _two_encoders(folder: Path) -> None:
    shutil.copy(folder / "encoder.onnx", folder / "encoder-epoch-9.onnx")


def _gone(folder: Path) -> None:
    shutil.rmtree(folder)


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (_gone, "model is not a folder"),
        (_no_tokens, "tokens.txt is missing"),
        (_empty_tokens, "tokens.txt is empty"),
        (_no_joiner, "no model that is known here .encoder.onnx, decoder.onnx."),
        (_empty_encoder, "encoder.onnx is empty"),
        (_two_encoders, "more than one encoder: encoder-epoch-9.onnx, encoder.onnx"),
    ],
)
def test_what_is_wrong_with_a_folder_is_told(spoil: Callable[[Path], None], told: str, tmp_path: Path) -> None:
    folder = sherpa_toys.transducer(tmp_path / "model")
    spoil(folder)
    with pytest.raises(ProviderUnusable, match=told):
        SherpaRecognizer(rules.sherpa(folder))


def test_a_role_that_the_configured_kind_needs_is_named(tmp_path: Path) -> None:
    folder = sherpa_toys.sense_voice(tmp_path / "model")
    with pytest.raises(ProviderUnusable, match=r"no encoder\*\.onnx"):
        SherpaRecognizer(rules.sherpa(folder, kind=SherpaKind.TRANSDUCER))


@pytest.mark.parametrize("kind", [SherpaKind.SENSE_VOICE, SherpaKind.PARAFORMER])
def test_a_model_of_another_kind_which_the_library_ends_its_process_for_is_only_unusable(
    kind: SherpaKind, tmp_path: Path
) -> None:
    folder = sherpa_toys.sense_voice(tmp_path / "model")
    (folder / "model.int8.onnx").unlink()
    sherpa_toys.without_notes(folder / "model.onnx")
    with pytest.raises(ProviderUnusable, match="'vocab_size' does not exist in the metadata"):
        SherpaRecognizer(rules.sherpa(folder, kind=kind))


def test_a_streaming_kind_on_files_that_are_not_is_unusable(tmp_path: Path) -> None:
    folder = sherpa_toys.transducer(tmp_path / "model")
    with pytest.raises(ProviderUnusable, match="sherpa: its process ended with"):
        SherpaRecognizer(rules.sherpa(folder, kind=SherpaKind.STREAMING_TRANSDUCER))


def test_a_file_that_is_no_model_is_unusable(tmp_path: Path) -> None:
    folder = sherpa_toys.transducer(tmp_path / "model")
    (folder / "encoder.onnx").write_bytes(b"no model")
    with pytest.raises(ProviderUnusable, match=r"encoder.onnx failed"):
        SherpaRecognizer(rules.sherpa(folder))


@pytest.mark.parametrize("tokens", ["纱 布 1 2\n", "纱\n"])
def test_tokens_that_are_none_are_unusable(tokens: str, tmp_path: Path) -> None:
    folder = sherpa_toys.transducer(tmp_path / "model")
    (folder / "tokens.txt").write_text(tokens, encoding="utf-8")
    with pytest.raises(ProviderUnusable, match=r"line 1 of .*tokens.txt is not a symbol and a number"):
        SherpaRecognizer(rules.sherpa(folder))
