"""One picture of an evaluation: what each threshold leads to, and what was taken for what."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inference.errors import ChartsMissing
from inference.evaluation import ASKED, MISSED, NOTHING, Curve, CurvePoint, Evaluation

# Fonts that have Chinese, in the order they are taken; matplotlib knows an installed font by these names.
_CJK_FONTS = (
    "Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans SC", "Source Han Sans SC", "Source Han Sans CN",
    "WenQuanYi Micro Hei", "WenQuanYi Zen Hei", "Microsoft YaHei", "SimHei", "PingFang SC", "Droid Sans Fallback",
)  # fmt: skip
_LINES = (
    # widest first: lines that lie on each other stay visible
    ("precision", "precision of what was booked", "#1b7837", 6),
    ("recall", "recall, booked or asked", "#2166ac", 3),
    ("recall_booked", "recall, booked", "#92c5de", 1.5),
)


@dataclass(frozen=True, slots=True)
class Chart:
    """A drawn picture. legend: (number in the picture, label), when no installed font has the labels' characters."""

    path: Path
    legend: tuple[tuple[str, str], ...]


def draw(evaluation: Evaluation, curve: Curve, path: Path, *, fonts: Sequence[str] = _CJK_FONTS) -> Chart:
    """Draw both threshold sweeps and the confusion matrix into a PNG. Raises ChartsMissing without matplotlib."""
    try:
        import matplotlib as mpl
        from matplotlib import font_manager
        from matplotlib.figure import Figure
    except ImportError as cause:
        raise ChartsMissing(f"matplotlib cannot be imported: {cause}") from cause
    installed = {font.name for font in font_manager.fontManager.ttflist}
    cjk = next((font for font in fonts if font in installed), None)
    names, legend = _names(evaluation, can_draw_all=cjk is not None)
    with mpl.rc_context({"font.family": [cjk, "DejaVu Sans"] if cjk else ["DejaVu Sans"], "axes.unicode_minus": False}):
        figure = Figure(figsize=(16, 5.2), layout="constrained")
        confirm, ask, matrix = figure.subplots(1, 3, width_ratios=(1, 1, 1.1))
        _draw_sweep(confirm, "auto_confirm", curve.auto_confirm, curve.rules.auto_confirm)
        _draw_sweep(ask, "ask_above", curve.ask_above, curve.rules.ask_above)
        _draw_confusion(matrix, evaluation, names)
        if legend:
            figure.suptitle("#1, #2, ...: labels that no installed font can draw, listed in the report", fontsize=8)
        figure.legend(*_drawn_lines(figure), loc="outside lower center", ncols=6, fontsize=8)
        figure.savefig(path, dpi=110)
    return Chart(path, legend)


def _names(evaluation: Evaluation, *, can_draw_all: bool) -> tuple[dict[str, str], tuple[tuple[str, str], ...]]:
    """What stands in the picture for each label: itself, or its number where it would come out as empty boxes."""
    special = (NOTHING, ASKED, MISSED)
    labels = sorted({name for cell in evaluation.confusion for name in cell} - set(special))
    names = {name: name for name in special}
    for number, label in enumerate(labels, 1):
        names[label] = label if can_draw_all or label.isascii() else f"#{number}"
    return names, tuple((names[label], label) for label in labels if names[label] != label)


def _draw_sweep(axes: Any, name: str, points: Sequence[CurvePoint], now: float) -> None:
    at = [point.threshold for point in points]
    for field, words, colour, width in _LINES:
        values = [getattr(point.evaluation, field) for point in points]
        axes.plot(at, values, label=words, color=colour, linewidth=width, marker="o", markersize=width + 2)
    axes.axvline(now, color="#888888", linestyle=":", label="the rules now")
    axes.set(title=f"{name} swept (now {now:g})", xlabel=name, ylabel="share", ylim=(-0.03, 1.05))
    axes.grid(alpha=0.25)
    counts = axes.twinx()
    questions = [point.evaluation.questions for point in points]
    wrong = [point.evaluation.false_bookings + point.evaluation.double_bookings for point in points]
    counts.plot(at, questions, label="questions (right)", color="#b35806", linestyle="--")
    counts.plot(at, wrong, label="false and double bookings (right)", color="#b2182b", linestyle="--")
    counts.set(ylim=(-0.3, max(*questions, *wrong, 4) * 1.1))
    counts.set_ylabel("questions, wrong bookings")
    counts.locator_params(axis="y", integer=True)


def _drawn_lines(figure: Any) -> tuple[list[Any], list[str]]:
    """Every line of the figure once, for its one legend."""
    lines = [line for axes in figure.axes for line in axes.get_lines()]
    named = {line.get_label(): line for line in lines if not str(line.get_label()).startswith("_")}
    return list(named.values()), list(named)


def _draw_confusion(axes: Any, evaluation: Evaluation, names: dict[str, str]) -> None:
    cells = evaluation.confusion
    labels = [name for name in names if name not in (NOTHING, ASKED, MISSED)]
    rows = [*labels, NOTHING]
    columns = [*labels, ASKED, MISSED]
    counts = [[cells.get((row, column), 0) for column in columns] for row in rows]
    axes.imshow(counts, cmap="Blues", aspect="auto", vmin=0)
    top = max(map(max, counts), default=0)
    for y, row in enumerate(counts):
        for x, count in enumerate(row):
            if count:
                axes.text(x, y, str(count), ha="center", va="center", color="white" if count > top / 2 else "black")
    axes.set_xticks(range(len(columns)), [names[name] for name in columns], rotation=45, ha="right", fontsize=8)
    axes.set_yticks(range(len(rows)), [names[name] for name in rows], fontsize=8)
    axes.set(title="what was there (rows) became (columns)")
