"""A question by voice, all the way, with no cloud: camera, terminal, answer, ledger, log."""

import base64
import csv
import io
import json
from collections.abc import Callable
from typing import Any

from websockets.sync.client import ClientConnection, connect

from speech import mp3
from tests.journeys.program import ASSETS, Program
from tests.servers.rtsp import RtspCamera
from tests.spoken import spoken
from tests.waiting import DEADLINE_S

ROOM = '[rooms.or-1]\ncameras = ["or-cam-02"]\nvoice_terminal = "vt-01"\n'
ORDINALS = ("第一个", "第二个", "第三个")
# The recording shows what is asked about after half a minute.
ASKED_WITHIN_S = 30 + DEADLINE_S


def test_a_question_is_asked_aloud_and_answered_aloud(
    rtsp: Callable[..., RtspCamera], program: Callable[..., Program]
) -> None:
    orwatch = program(cameras={"or-cam-02": rtsp(ASSETS / "or-cam-02.mp4", loop=False).url}, more=ROOM)
    with connect(f"ws://127.0.0.1:{orwatch.port}/client/voice-terminals/ws?terminal_id=vt-01") as terminal:
        assert told(terminal)["surgery_id"] is None
        assert told(terminal)["type"] == "voice_pending_empty"
        assert orwatch.begin("123456", ["or-cam-02"]).status_code == 200
        assert told(terminal) == {
            "type": "assignment",
            "terminal_id": "vt-01",
            "surgery_id": "123456",
            "or_room_id": "or-1",
            "camera_ids": ["or-cam-02"],
        }
        question = told_question(terminal)
        polled = orwatch.client.get("/client/surgeries/123456/pending-confirmation")
        assert polled.status_code == 200
        assert question == {**polled.json(), "type": "voice_pending"}
        sound = base64.b64decode(question["prompt_audio_mp3_base64"], validate=True)
        assert mp3.is_mp3(sound)
        # Between two and eight syllables a second, as people speak.
        syllables = sum("\u4e00" <= char <= "\u9fff" for char in question["prompt_text"])
        assert syllables / 8 < mp3.duration_s(sound) < syllables / 2

        labels = [option["label"] for option in question["options"]]
        nth = labels.index("可吸收缝线")
        settled = answered(orwatch, question["confirmation_id"], ORDINALS[nth] if len(labels) > 1 else "是的")
        assert settled["resolved_label"] == "可吸收缝线"
        assert settled["asr_provider"] == "pocketsphinx"
        assert told(terminal) == {"type": "voice_pending_empty", "terminal_id": "vt-01", "surgery_id": "123456"}
        assert orwatch.end("123456").status_code == 200
        assert told(terminal)["surgery_id"] is None

    result = orwatch.client.get("/client/surgeries/123456/result").json()
    (billed,) = [row for row in result["details"] if row["doctor_id"] == "N2001"]
    assert (billed["item_name"], billed["item_id"], billed["qty"]) == ("可吸收缝线", "14764-2-4", 1)
    report = orwatch.client.get("/client/surgeries/123456/report.tsv").text
    rows = list(csv.DictReader(io.StringIO(report), delimiter="\t"))
    (confirmed,) = [row for row in rows if row["status"] == "已确认"]
    assert (confirmed["item_id"], confirmed["doctor_id"]) == ("14764-2-4", "N2001")
    assert confirmed["confirmation_id"] == question["confirmation_id"]
    summary = orwatch.client.get("/client/surgeries/123456/report.md").text
    for row in result["summary"]:
        assert f"{row['item_name']} | {row['total_quantity']}" in summary
    kept = orwatch.folder / "var" / "objects" / settled["audio_object_key"]
    orwatch.until(kept.exists)
    assert kept.read_bytes()[:4] == b"RIFF"
    log = orwatch.log.read_text()
    assert "Traceback" not in log
    assert settled["asr_text"] not in log, "what was said is nobody's business"


def told(terminal: ClientConnection, within_s: float = DEADLINE_S) -> dict[str, Any]:
    message = json.loads(terminal.recv(timeout=within_s))
    assert isinstance(message, dict)
    return message


def told_question(terminal: ClientConnection) -> dict[str, Any]:
    message = told(terminal, ASKED_WITHIN_S)
    if message["type"] == "voice_pending_empty":
        message = told(terminal, ASKED_WITHIN_S)
    assert message["type"] == "voice_pending", message
    return message


def answered(orwatch: Program, confirmation_id: str, words: str) -> dict[str, Any]:
    """Say it again, a little differently, as a person would who is not understood."""
    for variant, speed in (("f5", 160), ("f2", 170), ("f3", 150), ("f5", 140)):
        answer = orwatch.client.post(
            f"/client/surgeries/123456/pending-confirmation/{confirmation_id}/resolve",
            files={"audio": ("answer.wav", spoken(words, variant=variant, words_per_minute=speed), "audio/wav")},
            data={"doctor_id": "N2001"},
        )
        if answer.status_code == 200:
            body = answer.json()
            assert isinstance(body, dict)
            return body
        assert answer.status_code == 422, answer.text
        assert answer.json()["detail"]["code"].startswith("VOICE_")
    raise AssertionError(answer.text)
