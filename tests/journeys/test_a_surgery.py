"""The main job, as the HIS sees it: two RTSP cameras, one H.264 and one H.265 behind a password, a surgery on them."""

import csv
import io
import time
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from inference.truth import Truth, load_truth
from tests.journeys.program import ASSETS, Program
from tests.servers.rtsp import RtspCamera
from tests.waiting import DEADLINE_S

TOLERANCE_S = 0.5
LENGTH_S = 76.0


def test_a_surgery_books_what_the_cameras_show(
    rtsp: Callable[..., RtspCamera], program: Callable[..., Program], second_camera_h265: Path
) -> None:
    truth = load_truth(ASSETS / "truth.yaml")
    first = rtsp(ASSETS / "or-cam-01.mp4", loop=False)
    second = rtsp(second_camera_h265, loop=False, user="ops", password="p@ss/word")
    cameras = {"or-cam-01": first, "or-cam-02": second}
    orwatch = program(cameras={name: camera.url for name, camera in cameras.items()})

    started = orwatch.begin("123456", ["or-cam-01", "or-cam-02"])
    assert started.status_code == 200, started.text
    waiting = orwatch.client.get("/client/surgeries/123456/result")
    assert (waiting.status_code, waiting.json()["detail"]["code"]) == (503, "RESULT_NOT_READY")

    consumed = truth.consumptions()
    expected = sum(count for (_, expect), count in consumed.items() if expect == "book")

    def all_are_booked() -> bool:
        return len(orwatch.client.get("/client/surgeries/123456/result").json().get("details", [])) >= expected

    orwatch.until(all_are_booked, deadline_s=LENGTH_S + DEADLINE_S)

    questions = orwatch.client.get("/client/surgeries/123456").json()["questions"]
    asked = Counter(label for (label, expect), count in consumed.items() if expect == "ask" for _ in range(count))
    assert len(questions) == asked.total()
    pending = orwatch.client.get("/client/surgeries/123456/pending-confirmation")
    assert pending.status_code == 200, pending.text
    assert pending.json()["confirmation_id"] == questions[0]["confirmation_id"]
    for question in questions:
        label = next(option["label"] for option in question["options"] if option["label"] in asked)
        answer = orwatch.client.post(
            f"/client/surgeries/123456/pending-confirmation/{question['confirmation_id']}/choose",
            json={"label": label, "doctor_id": "N2001"},
        )
        assert answer.status_code == 200, answer.text

    assert orwatch.end("123456").status_code == 200
    result = orwatch.client.get("/client/surgeries/123456/result").json()
    report = orwatch.client.get("/client/surgeries/123456/report.tsv").text
    print(result, report, orwatch.client.get("/client/surgeries/123456/report.md").text, sep="\n")
    totals = {row["item_name"]: row["total_quantity"] for row in result["summary"]}
    assert totals == {label: sum(n for (of, _), n in consumed.items() if of == label) for label, _ in consumed}
    lines = list(csv.DictReader(io.StringIO(report), delimiter="\t"))
    for line in lines:
        assert explained(line, truth, cameras[line["camera"]]), line
    files = list((orwatch.folder / "var" / "log" / "consumption").iterdir())
    assert {path.suffix for path in files} == {".tsv", ".md"}
    assert report in [path.read_text(encoding="utf-8") for path in files]
    log = orwatch.log.read_text()
    assert "Traceback" not in log
    assert "p@ss" not in log
    assert "p%40ss" not in log
    assert orwatch.stop() == 0


def explained(line: dict[str, str], truth: Truth, camera: RtspCamera) -> bool:
    """Whether the truth file has something in front of that camera at that time that gives this line."""
    _, at_s = camera.shown(datetime.fromisoformat(line["time"]).timestamp() - time.time() + time.monotonic())
    recording = next(each for each in truth.recordings.values() if each.camera == line["camera"])
    if line["status"] == "未采纳":
        return True
    # A question is explained by an option: the item it is about may not be the model's first guess.
    names = {line["item_name"]} | ({line["top2"], line["top3"]} if line["status"] == "待确认" else set())
    return any(
        item.label in names and item.from_s - TOLERANCE_S <= at_s <= item.to_s + TOLERANCE_S for item in recording.items
    )
