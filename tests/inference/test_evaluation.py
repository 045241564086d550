"""Decisions against the truth: right, false, double, asked or missed; the naive rule; the curve and its picture."""

import math
import sys
from datetime import timedelta

import pytest

from inference.charts import draw
from inference.decisions import Ask, Book, Ignore
from inference.errors import ChartsMissing, TruthInvalid
from inference.evaluation import ASKED, EPOCH, MISSED, NOTHING, Trace, Truth, curve, evaluate, load_truth, naive, replay
from inference.sightings import Score, Sighting
from tests import rules

LABELS = ("纱布", "缝线", "空")
RULES = rules.sightings(background=frozenset({"空"}))
CANDIDATES = frozenset({"纱布", "缝线"})


def sighting(label, from_s, to_s, peak=0.95):
    return Sighting(
        camera="cam",
        label=label,
        started_at=EPOCH + timedelta(seconds=from_s),
        ended_at=EPOCH + timedelta(seconds=to_s),
        peak=peak,
        top=(Score(label, peak),),
        evidence_at=EPOCH + timedelta(seconds=from_s),
    )


def book(label, from_s, to_s):
    return Book(sighting(label, from_s, to_s))


def ask(label, from_s, to_s, *options):
    return Ask(sighting(label, from_s, to_s, 0.7), tuple(Score(option, 0.3) for option in options or (label,)))


def truth(*items, name="a.mp4"):
    return Truth.model_validate(
        {
            "recordings": {
                name: {
                    "camera": "cam",
                    "items": [
                        {"label": label, "from_s": start, "to_s": end, "expect": (expect or ["book"])[0]}
                        for label, start, end, *expect in items
                    ],
                }
            }
        }
    )


def judged(evaluation):
    return [verdict.judged for verdict in evaluation.verdicts]


GAUZE = ("纱布", 10, 15)


@pytest.mark.parametrize(
    ("items", "decisions", "verdicts", "became"),
    [
        ([GAUZE], [book("纱布", 10, 15)], ["right"], ["纱布"]),
        ([GAUZE], [book("纱布", 15.9, 17)], ["right"], ["纱布"]),  # within the tolerance of 1 s
        ([GAUZE], [book("纱布", 8, 9.1)], ["right"], ["纱布"]),
        ([GAUZE], [book("纱布", 16.1, 17)], ["false"], [MISSED]),
        ([GAUZE], [book("缝线", 11, 14)], ["false"], ["缝线"]),
        ([GAUZE], [book("纱布", 10, 12), book("纱布", 13, 15)], ["right", "double"], ["纱布"]),
        ([GAUZE], [book("纱布", 10, 11), book("纱布", 12, 15)], ["double", "right"], ["纱布"]),
        ([GAUZE, ("纱布", 17, 20)], [book("纱布", 10, 15), book("纱布", 17, 20)], ["right", "right"], ["纱布"] * 2),
        ([GAUZE, ("纱布", 17, 20)], [book("纱布", 10, 20)], ["right"], ["纱布", MISSED]),
        ([GAUZE], [ask("纱布", 10, 15)], ["asked_right"], [ASKED]),
        ([GAUZE], [ask("缝线", 10, 15, "缝线", "纱布")], ["asked_right"], [ASKED]),
        ([GAUZE], [ask("缝线", 10, 15)], ["asked_without_answer"], [MISSED]),
        ([GAUZE], [ask("缝线", 30, 35)], ["asked_needlessly"], [MISSED]),
        ([GAUZE], [ask("纱布", 10, 12), book("纱布", 13, 13.5)], ["asked_again", "right"], ["纱布"]),
        ([GAUZE], [ask("纱布", 10, 12), ask("纱布", 13, 13.5)], ["asked_right", "asked_again"], [ASKED]),
        ([GAUZE], [], [], [MISSED]),
        ([], [book("纱布", 1, 2)], ["false"], []),
        ([GAUZE], [Ignore(sighting("纱布", 10, 15), "too_unsure")], [], [MISSED]),
    ],
)
def test_each_decision_is_judged_and_each_item_becomes_something(items, decisions, verdicts, became):
    evaluation = evaluate(truth(*items), {"a.mp4": decisions})
    assert judged(evaluation) == verdicts
    assert [each.became for each in evaluation.outcomes] == became


def test_the_figures_of_a_mixed_recording():
    evaluation = evaluate(
        truth(GAUZE, ("缝线", 20, 25), ("缝线", 30, 35, "ask"), ("纱布", 40, 45), ("缝线", 50, 55)),
        {
            "a.mp4": [
                book("纱布", 10, 12),
                book("纱布", 13, 15),  # double
                book("纱布", 20, 25),  # false: it was suture
                ask("缝线", 30, 35),
                ask("缝线", 40, 45),  # without the answer
                book("缝线", 50, 55),
                book("缝线", 70, 72),  # false: nothing there
                Ignore(sighting("纱布", 80, 81), "not_candidate"),
            ]
        },
    )
    assert evaluation.precision == pytest.approx(2 / 5)
    assert evaluation.recall_booked == pytest.approx(2 / 4)
    assert evaluation.recall == pytest.approx(3 / 5)
    assert (evaluation.false_bookings, evaluation.double_bookings, evaluation.missed) == (2, 1, 2)
    assert (evaluation.questions, evaluation.questions_right, evaluation.booked_not_asked) == (2, 1, 0)
    assert evaluation.ignored == {"not_candidate": 1}
    counts = {
        each.label: (each.true, each.booked, each.asked, each.error_booked, each.error_settled)
        for each in evaluation.counts
    }
    assert counts == {"纱布": (2, 3, 0, 1, 1), "缝线": (3, 2, 1, -1, 0)}
    assert evaluation.confusion == {
        ("纱布", "纱布"): 2,  # booked, and booked again
        ("纱布", MISSED): 1,
        ("缝线", "纱布"): 1,
        ("缝线", ASKED): 1,
        ("缝线", "缝线"): 1,
        (NOTHING, "缝线"): 1,
    }


def test_rates_of_nothing_are_not_numbers():
    evaluation = evaluate(truth(), {})
    assert math.isnan(evaluation.precision)
    assert math.isnan(evaluation.recall)


def test_an_item_booked_though_it_must_be_asked_is_right_and_told():
    evaluation = evaluate(truth(("缝线", 30, 35, "ask")), {"a.mp4": [book("缝线", 30, 35)]})
    assert (evaluation.precision, evaluation.recall, evaluation.booked_not_asked) == (1.0, 1.0, 1)


def test_a_live_run_is_judged_from_its_own_first_frame():
    live = [book("纱布", 110, 115)]
    start = EPOCH + timedelta(seconds=100)
    assert judged(evaluate(truth(GAUZE), {"a.mp4": live}, origins={"a.mp4": start})) == ["right"]


def test_recordings_are_not_mixed_and_unknown_ones_are_refused():
    both = Truth(recordings={**truth(GAUZE).recordings, **truth(GAUZE, name="b.mp4").recordings})
    evaluation = evaluate(both, {"a.mp4": [book("纱布", 10, 12), book("纱布", 13, 15)], "b.mp4": []})
    assert (evaluation.double_bookings, evaluation.missed) == (1, 1)
    with pytest.raises(ValueError, match=r"no recording c\.mp4"):
        evaluate(both, {"c.mp4": []})


def trace(*runs, step_s=0.5):
    """Runs of (label, score, frames); what is left of the score is background's."""
    frames = []
    for label, score, count in runs:
        for _ in range(count):
            row = [score if each == label else 0.0 for each in LABELS]
            row[-1] += 1 - score
            frames.append((len(frames) * step_s, row))
    return Trace(camera="cam", labels=LABELS, frames=tuple(frames))


def test_a_replay_decides_as_the_watcher_and_knows_when_each_sighting_ended():
    decisions = replay(trace(("纱布", 0.95, 6), ("空", 0.9, 8), ("缝线", 0.7, 4)), RULES, CANDIDATES)
    assert [type(each) for each in decisions] == [Book, Ask]
    gauze, suture = (each.sighting for each in decisions)
    assert ((gauze.started_at - EPOCH).total_seconds(), (gauze.ended_at - EPOCH).total_seconds()) == (0.0, 2.5)
    assert ((suture.started_at - EPOCH).total_seconds(), (suture.ended_at - EPOCH).total_seconds()) == (7.0, 8.5)


def test_the_naive_rule_books_at_each_rising_edge():
    flicker = trace(("纱布", 0.95, 2), ("纱布", 0.8, 1), ("纱布", 0.95, 1), ("缝线", 0.9, 1), ("空", 1.0, 2))
    books = naive(flicker, 0.9, CANDIDATES)
    assert [each.sighting.label for each in books] == ["纱布", "纱布", "缝线"]
    assert (books[0].sighting.ended_at - EPOCH).total_seconds() == 0.5
    assert naive(flicker, 0.96, CANDIDATES) == []
    assert [each.sighting.label for each in naive(flicker, 0.9, frozenset({"缝线"}))] == ["缝线"]
    assert [type(each) for each in replay(flicker, RULES, CANDIDATES)] == [Book, Ignore]  # the suture is a glimpse


SHOWN = trace(("空", 1.0, 4), ("纱布", 0.93, 8), ("空", 1.0, 8), ("缝线", 0.72, 8), ("空", 1.0, 8))
SHOWN_TRUTH = truth(("纱布", 2, 6), ("缝线", 10, 14, "ask"))


def test_the_curve_shows_what_each_threshold_costs():
    found = curve(SHOWN_TRUTH, {"a.mp4": SHOWN}, RULES, CANDIDATES, thresholds=(0.5, 0.9, 0.95))
    figures = [(p.threshold, p.evaluation.booked, p.evaluation.questions) for p in found.auto_confirm]
    assert figures == [(0.5, 2, 0), (0.9, 1, 1), (0.95, 0, 2)]
    assert [(p.threshold, p.evaluation.recall) for p in found.ask_above] == [(0.5, 1.0), (0.9, 0.5)]


def test_the_curve_goes_below_ask_above():
    found = curve(SHOWN_TRUTH, {"a.mp4": SHOWN}, RULES, CANDIDATES, thresholds=(0.3,))
    assert [p.evaluation.booked for p in found.auto_confirm] == [2]


def test_the_curve_is_drawn_with_chinese_labels(tmp_path):
    pytest.importorskip("matplotlib")
    found = curve(SHOWN_TRUTH, {"a.mp4": SHOWN}, RULES, CANDIDATES)
    evaluation = evaluate(SHOWN_TRUTH, {"a.mp4": replay(SHOWN, RULES, CANDIDATES)})
    # a character that no font has is a warning, and warnings are errors here
    chart = draw(evaluation, found, tmp_path / "curve.png")
    assert chart.path.read_bytes().startswith(b"\x89PNG")
    numbered = draw(evaluation, found, tmp_path / "numbered.png", fonts=())
    assert numbered.legend == (("#1", "纱布"), ("#2", "缝线"))
    assert numbered.path.read_bytes() != chart.path.read_bytes()


def test_an_empty_evaluation_is_drawn_too(tmp_path):
    pytest.importorskip("matplotlib")
    nothing = curve(truth(), {}, RULES, CANDIDATES)
    assert draw(evaluate(truth(), {}), nothing, tmp_path / "empty.png").path.is_file()


def test_without_matplotlib_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)  # what the import system itself keeps for "not there"
    with pytest.raises(ChartsMissing) as caught:
        draw(evaluate(truth(), {}), curve(truth(), {}, RULES, CANDIDATES), tmp_path / "never.png")
    assert "orwatch[charts]" in caught.value.hint


VALID = """
recordings:
  or-cam-01.mp4:
    camera: or-cam-01
    items:
      - {label: 纱布, from_s: 3.2, to_s: 8.0, expect: book}
      - {label: 缝线, from_s: 9, to_s: 12, expect: ask, note: half hidden}
    distractors:
      - {from_s: 20.0, to_s: 24.0, note: a hand}
"""


def test_a_truth_file_is_read(tmp_path):
    (tmp_path / "truth.yaml").write_text(VALID, "utf-8")
    (tmp_path / "or-cam-01.mp4").touch()
    recording = load_truth(tmp_path / "truth.yaml", LABELS).recordings["or-cam-01.mp4"]
    assert [(each.label, each.from_s, each.expect) for each in recording.items] == [
        ("纱布", 3.2, "book"),
        ("缝线", 9, "ask"),
    ]
    assert recording.distractors[0].note == "a hand"


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("to_s: 8.0", "to_s: 3.0", r"or-cam-01\.mp4\.items\.0: .*to_s 3\.0 is not after from_s 3\.2"),
        ("from_s: 3.2", "from_s: soon", r"or-cam-01\.mp4\.items\.0\.from_s: "),
        ("from_s: 9", "from_s: -9", r"or-cam-01\.mp4\.items\.1\.from_s: "),
        ("expect: book", "expect: maybe", r"items\.0\.expect: "),
        ("label: 纱布", "lable: 纱布", r"items\.0\.label: Field required.*items\.0\.lable: Extra"),
        ("label: 纱布", "label: 纱巾", r"items\.0\.label: '纱巾' is none of the model's labels"),
        ("camera: or-cam-01", "camrea: or-cam-01", r"camera: Field required"),
        ("or-cam-01.mp4", "gone.mp4", r"recordings\.gone\.mp4: there is no file"),
        ("recordings:", "recodings:", "recordings: Field required"),
        ("distractors:", "distractors: {", "not valid YAML"),
    ],
)
def test_a_wrong_truth_file_is_refused_with_file_item_and_field(tmp_path, old, new, words):
    path = tmp_path / "truth.yaml"
    path.write_text(VALID.replace(old, new), "utf-8")
    (tmp_path / "or-cam-01.mp4").touch()
    with pytest.raises(TruthInvalid, match=words) as caught:
        load_truth(path, LABELS)
    assert str(path) in str(caught.value)


def test_a_missing_truth_file_is_named(tmp_path):
    with pytest.raises(TruthInvalid, match=r"gone\.yaml: no such file"):
        load_truth(tmp_path / "gone.yaml")
