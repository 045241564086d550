"""`orwatch evaluate`: how good model and rules are on labelled recordings."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from daemon.cli.failures import CommandFailed
from daemon.cli.options import ConfigOption, ModelOption, settings_of

if TYPE_CHECKING:
    from inference.evaluation import Evaluation


def evaluate(
    truth: Annotated[Path, typer.Option(help="The truth file: what really happened on the recordings beside it.")],
    model: ModelOption = None,
    config: ConfigOption = None,
    recordings: Annotated[
        Path | None,
        typer.Option(
            help="Take the recordings from this folder, under the same names.",
            exists=True,
            file_okay=False,
            show_default="the truth file's folder",
        ),
    ] = None,
    naive: Annotated[
        bool, typer.Option("--naive", help="Also measure: book whenever a frame passes auto_confirm.")
    ] = False,
    chart: Annotated[
        Path | None, typer.Option(help="Draw curve and confusion into this PNG.", dir_okay=False, show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
    require_precision: Annotated[
        float | None, typer.Option(min=0, max=1, help="Exit with 1 below it.", show_default=False)
    ] = None,
    require_recall: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Exit with 1 if fewer are booked or asked.", show_default=False),
    ] = None,
) -> None:
    """Measure precision, recall and count error of model and rules against a truth file."""
    import asyncio

    from daemon.assembly import background_of, load_model, rules_of
    from daemon.cli.reading import read_recordings
    from daemon.cli.scores import as_dict, show
    from inference.charts import draw
    from inference.evaluation import curve, load_truth, replay
    from inference.evaluation import evaluate as measure
    from inference.evaluation import naive as naive_rule

    settings = settings_of(config, model=model)
    classifier = load_model(settings)
    known = load_truth(truth, classifier.labels)
    background = background_of(settings, classifier)
    rules = rules_of(settings, background)
    candidates = frozenset(classifier.labels) - background
    folder = recordings or truth.parent
    if missing := [name for name in known.recordings if not (folder / name).is_file()]:
        raise CommandFailed(f"{folder}: has no {', '.join(missing)}", hint="The truth file names the recordings.")
    wanted = {name: (recording.camera, folder / name) for name, recording in known.recordings.items()}
    reading = asyncio.run(read_recordings(classifier, wanted, settings))
    made = {name: replay(trace, rules, candidates) for name, trace in reading.traces.items()}
    result = measure(known, made)
    swept = curve(known, reading.traces, rules, candidates)
    compared = None
    if naive:
        booked = {name: naive_rule(trace, rules.auto_confirm, candidates) for name, trace in reading.traces.items()}
        compared = measure(known, booked)
    drawn = draw(result, swept, chart) if chart else None
    if as_json:
        import json

        typer.echo(json.dumps(as_dict(result, swept, compared), ensure_ascii=False, indent=2, allow_nan=False))
    else:
        show(result, swept, compared)
        typer.echo(f"{reading.told}, model {classifier.path} on {classifier.provider}")
        if drawn:
            typer.echo(
                f"wrote {drawn.path}" + "".join(f"\n  {mark} in the picture is {text}" for mark, text in drawn.legend)
            )
    reading.warn()
    reading.require_seen()
    _require(result, require_precision, require_recall)


def _require(result: "Evaluation", precision: float | None, recall: float | None) -> None:
    """A rate of nothing (NaN) meets no bound: a run without bookings proves no precision."""
    missed = [
        f"{name} {value:.3f} is below {bound:g}"
        for name, value, bound in (("precision", result.precision, precision), ("recall", result.recall, recall))
        if bound is not None and not value >= bound
    ]
    if missed:
        raise CommandFailed(
            "; ".join(missed),
            hint="See what was not right, then move the thresholds or train",
        )
