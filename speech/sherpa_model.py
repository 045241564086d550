"""Which sherpa-onnx model a site's folder holds, by its files, and how to run it."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from speech.errors import ProviderUnusable
from speech.provider import RATE_HZ

if TYPE_CHECKING:
    from sherpa_onnx import OfflineRecognizer, OnlineRecognizer

# Where an exporter leaves its notes: at the end of the ONNX file, after the weights.
_NOTES_BYTES = 256 * 1024
_ROLES = ("encoder", "decoder", "joiner")
# A streaming encoder answers a piece late; silence after the end brings the last word out.
_TAIL_S = 0.7


class SherpaKind(StrEnum):
    AUTO = "auto"
    SENSE_VOICE = "sense_voice"
    PARAFORMER = "paraformer"
    TRANSDUCER = "transducer"
    STREAMING_TRANSDUCER = "streaming_transducer"


@dataclass(frozen=True, slots=True, kw_only=True)
class SherpaModel:
    """onnx: by role, "model" or encoder, decoder and joiner. unit: what a hotword is cut into, "" if the folder does
    not allow any. characters: single ones among the tokens."""

    kind: SherpaKind
    tokens: Path
    onnx: dict[str, Path]
    unit: str
    bpe_vocab: Path | None
    characters: frozenset[str]

    def hotwords(self, phrases: tuple[str, ...]) -> str:
        """The phrases in sherpa's way of writing them, without those it has no tokens for; "" if it takes none.

        A phrase with an unknown token would be written to the daemon's standard error by the library.
        """
        if not self.unit:
            return ""
        by_character = self.unit == "cjkchar"
        sayable = [phrase for phrase in phrases if phrase and "/" not in phrase]
        return "/".join(p for p in sayable if not by_character or self.characters.issuperset(p))


def find_model(folder: Path, kind: SherpaKind) -> SherpaModel:
    """Find the model in a folder: the 8-bit one of files that differ in precision only, but for a decoder.

    Raises ProviderUnusable naming the folder and the file that is missing, empty, or there twice.
    """
    if not folder.is_dir():
        raise ProviderUnusable(f"sherpa: {folder} is not a folder")
    tokens = _there(folder / "tokens.txt")
    onnx = {role: path for role in (*_ROLES, "model") if (path := _of_role(folder, role))}
    found = _kind(folder, onnx) if kind is SherpaKind.AUTO else kind
    wanted = _ROLES if found in (SherpaKind.TRANSDUCER, SherpaKind.STREAMING_TRANSDUCER) else ("model",)
    for role in wanted:
        if role not in onnx:
            raise ProviderUnusable(f"sherpa: {folder} has no {role}*.onnx, which a {found} model needs")
    vocab = folder / "bpe.vocab"
    characters = _characters(tokens)
    return SherpaModel(
        kind=found,
        tokens=tokens,
        onnx={role: onnx[role] for role in wanted},
        unit=_unit(has_bpe=vocab.is_file(), has_hanzi=any("\u4e00" <= char <= "\u9fff" for char in characters))
        if len(wanted) > 1
        else "",
        bpe_vocab=vocab if vocab.is_file() else None,
        characters=characters,
    )


class Engine(Protocol):
    def hear(self, pcm: np.ndarray, hotwords: str) -> tuple[str, float | None]:
        """Text and confidence of (n,) int16 at 16 kHz. Raises RuntimeError."""


def load(model: SherpaModel, *, threads: int, hotwords_score: float) -> Engine:
    """For a process that may end: the library ends it where a file is not what its name says.

    Raises ImportError, RuntimeError, ValueError.
    """
    import sherpa_onnx

    tokens, onnx = str(model.tokens), {role: str(path) for role, path in model.onnx.items()}
    if model.kind is SherpaKind.SENSE_VOICE:
        offline = sherpa_onnx.OfflineRecognizer.from_sense_voice(
            model=onnx["model"], tokens=tokens, num_threads=threads, language="zh", use_itn=False
        )
        return _Whole(offline)
    if model.kind is SherpaKind.PARAFORMER:
        offline = sherpa_onnx.OfflineRecognizer.from_paraformer(
            paraformer=onnx["model"], tokens=tokens, num_threads=threads
        )
        return _Whole(offline)
    biased = {
        "decoding_method": "modified_beam_search" if model.unit else "greedy_search",
        "modeling_unit": model.unit or "cjkchar",
        "bpe_vocab": str(model.bpe_vocab or ""),
    }
    if model.kind is SherpaKind.TRANSDUCER:
        offline = sherpa_onnx.OfflineRecognizer.from_transducer(
            tokens=tokens, num_threads=threads, hotwords_score=hotwords_score, **onnx, **biased
        )
        return _Whole(offline)
    online = sherpa_onnx.OnlineRecognizer.from_transducer(
        tokens=tokens, num_threads=threads, hotwords_score=hotwords_score, **onnx, **biased
    )
    return _Streaming(online)


class _Whole:
    def __init__(self, recognizer: "OfflineRecognizer") -> None:
        self._recognizer = recognizer

    def hear(self, pcm: np.ndarray, hotwords: str) -> tuple[str, float | None]:
        stream = self._recognizer.create_stream(hotwords or None)
        stream.accept_waveform(RATE_HZ, _floats(pcm))
        self._recognizer.decode_stream(stream)
        return stream.result.text.strip(), _confidence(stream.result.ys_log_probs)


class _Streaming:
    def __init__(self, recognizer: "OnlineRecognizer") -> None:
        self._recognizer = recognizer

    def hear(self, pcm: np.ndarray, hotwords: str) -> tuple[str, float | None]:
        stream = self._recognizer.create_stream(hotwords or None)
        stream.accept_waveform(RATE_HZ, _floats(pcm))
        stream.accept_waveform(RATE_HZ, np.zeros(round(_TAIL_S * RATE_HZ), np.float32))
        stream.input_finished()
        while self._recognizer.is_ready(stream):
            self._recognizer.decode_stream(stream)
        result = self._recognizer.get_result_all(stream)
        return result.text.strip(), _confidence(result.ys_probs)


def _floats(pcm: np.ndarray) -> np.ndarray:
    return pcm.astype(np.float32) / 32768


def _confidence(log_probabilities: list[float]) -> float | None:
    """How sure it is of the whole text: the geometric mean over its tokens."""
    if not log_probabilities:
        return None
    return float(min(np.exp(np.mean(log_probabilities)), 1.0))


def _of_role(folder: Path, role: str) -> Path | None:
    files = [path for path in sorted(folder.glob("*.onnx")) if _role(path) == role]
    plain = {_plain(path) for path in files}
    if len(plain) > 1:
        raise ProviderUnusable(f"sherpa: {folder} has more than one {role}: {', '.join(path.name for path in files)}")
    if not files:
        return None
    eight_bit = [path for path in files if ".int8" in path.name]
    full = [path for path in files if ".int8" not in path.name]
    return _there((full or eight_bit)[0] if role == "decoder" else (eight_bit or full)[0])


def _role(path: Path) -> str:
    return next((role for role in _ROLES if role in path.name), "model")


def _plain(path: Path) -> str:
    return path.name.replace(".int8", "").replace(".fp16", "")


def _there(path: Path) -> Path:
    if not path.is_file():
        raise ProviderUnusable(f"sherpa: {path} is missing")
    if not path.stat().st_size:
        raise ProviderUnusable(f"sherpa: {path} is empty")
    return path


def _kind(folder: Path, onnx: dict[str, Path]) -> SherpaKind:
    if "encoder" in onnx and "joiner" in onnx:
        notes = _notes(onnx["encoder"])
        # Zipformers and LSTMs note the frames of a piece; of older ones only the name tells.
        named = f"{folder.name} {onnx['encoder'].name}"
        if b"decode_chunk_len" in notes or ("streaming" in named and "non-streaming" not in named):
            return SherpaKind.STREAMING_TRANSDUCER
        return SherpaKind.TRANSDUCER
    if "model" in onnx and len(onnx) == 1:
        notes = _notes(onnx["model"])
        if b"with_itn" in notes and b"lang_auto" in notes:
            return SherpaKind.SENSE_VOICE
        if b"lfr_window_size" in notes:
            return SherpaKind.PARAFORMER
    found = ", ".join(path.name for path in onnx.values()) or "no *.onnx"
    raise ProviderUnusable(f"sherpa: {folder} holds no model that is known here ({found}); set its kind")


def _notes(onnx: Path) -> bytes:
    with onnx.open("rb") as file:
        file.seek(max(onnx.stat().st_size - _NOTES_BYTES, 0))
        return file.read()


def _unit(*, has_bpe: bool, has_hanzi: bool) -> str:
    if has_bpe:
        return "cjkchar+bpe" if has_hanzi else "bpe"
    return "cjkchar" if has_hanzi else ""


def _characters(tokens: Path) -> frozenset[str]:
    """Those among the symbols. Each line has a symbol and its number; that of the space is blank."""
    found = []
    for number, line in enumerate(tokens.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        *symbol, identity = line.split() or [""]
        if len(symbol) > 1 or not identity.isdecimal():
            raise ProviderUnusable(f"sherpa: line {number} of {tokens} is not a symbol and a number")
        found += symbol
    return frozenset(symbol for symbol in found if len(symbol) == 1)
