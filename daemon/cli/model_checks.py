"""What `orwatch check` says of the model: what it takes and from where that is known, and what it makes of no item."""

from collections.abc import Iterator

from daemon.assembly import background_of
from daemon.cli.lines import NOTE, OK, Line, listed
from daemon.config import Settings
from inference.model import Model

_ITEMLESS = ("black", "white", "noise")  # what a covered, a blinded and a broken camera show
_ALIKE = 0.05


def check_model(settings: Settings, model: Model) -> Iterator[Line]:
    background = background_of(settings, model)
    yield Line(
        OK,
        "model",
        f"{model.path}: {len(model.labels)} labels ({listed(list(model.labels))}), {model.width}x{model.height}"
        f" {model.fit}, on {model.provider}",
    )
    yield from _taken(model)
    if not background:
        yield Line(
            NOTE,
            "model",
            "no background label: whatever is on the picture counts as some consumable",
            "Train one, and name it in the model file or as inference.background.",
        )
    yield from _tried(settings, model, background)


def _taken(model: Model) -> Iterator[Line]:
    """How pictures reach the model. A wrong one runs and recognises nothing, so what nobody said is a note."""
    how = model.prepared.preparation
    pixels = "pixels 0..255 as they are"
    if how.dtype != "uint8":
        pixels = f"(pixel x {how.scale:.4g} - {_triple(how.mean)}) / {_triple(how.std)}"
    found = f"takes {how.channels.upper()} {how.layout} {how.dtype}, {pixels}; {model.prepared.origin}"
    if model.prepared.is_said:
        yield Line(OK, "model", found)
    else:
        yield Line(
            NOTE,
            "model",
            found,
            f"Say scale, or mean and std, in {model.prepared.file}: as in training; the ONNX does not tell.",
        )


def _tried(settings: Settings, model: Model, background: frozenset[str]) -> Iterator[Line]:
    if model.unscored:
        yield Line(
            NOTE,
            "model",
            f"gives no finite scores for a plain picture ({', '.join(model.unscored)}): such frames are dropped",
            "It divides by the contrast of the picture, which may be 0: add a small number to it before the export.",
        )
    rules = settings.inference
    wrong = [each for each in model.tried if each.picture in _ITEMLESS and each.label not in background]
    if sure := [each for each in wrong if each.score >= rules.auto_confirm]:
        what = ", ".join(f"{each.picture} for {each.label} ({each.score:.2f})" for each in sure)
        yield Line(
            NOTE,
            "model",
            f"takes a picture without anything on it for an item, and would book it: {what}",
            "Train a background label on covered, dazzled and disturbed pictures too.",
        )
    best = max(each.score for each in model.tried)
    if best < rules.ask_above and model.spread < _ALIKE:
        yield Line(
            NOTE,
            "model",
            f"hardly tells pictures apart: of {', '.join(each.picture for each in model.tried)} none scores above "
            f"{best:.2f}, and no score moves by more than {model.spread:.2f}",
            "Its scores or its pictures may be scaled wrongly: measure it with `orwatch evaluate`.",
        )


def _triple(values: tuple[float, ...]) -> str:
    shown = [f"{value:.4g}" for value in values]
    return shown[0] if len(set(shown)) == 1 else f"({', '.join(shown)})"
