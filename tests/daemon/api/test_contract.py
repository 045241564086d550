"""The contract with the HIS, route by route, status by status, code by code."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
import pytest_asyncio

from daemon.api.errors import FIXED
from daemon.api.errors import TABLE as STATUS_AND_CODE
from daemon.domain import errors
from tests.daemon import harness
from tests.daemon.conftest import DaemonOn
from tests.daemon.harness import Daemon
from tests.servers.ports import free_port
from tests.spoken import spoken

BOOKED, ASKED, EMPTY, ENDED_EMPTY, NEVER = "100001", "100002", "100003", "100004", "999999"
SURGERIES = "/client/surgeries"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def ward(
    tmp_path_factory: pytest.TempPathFactory, model: Any, clips: dict[str, Any]
) -> AsyncIterator[tuple[Daemon, dict[str, str]]]:
    """One daemon with a surgery in each state, for requests that change nothing."""
    cameras = {name: clips[name] for name in ("gauze", "doubtful", "nothing")} | {
        "spare": clips["nothing"],
        "refusing": f"rtsp://127.0.0.1:{free_port()}/stream",
        "gone": "/nowhere/film.mp4",
    }
    settings = harness.settings_for(
        tmp_path_factory.mktemp("ward"), model, cameras, {"server": {"body_max_kib": 200, "rate_per_minute": 100_000}}
    )
    async with harness.serving(settings) as daemon:
        await daemon.started(BOOKED, "gauze")
        await daemon.started(ASKED, "doubtful", candidates=["纱布", "缝线"])
        await daemon.started(EMPTY, "nothing")
        await daemon.started(ENDED_EMPTY, "spare")
        assert (await daemon.end(ENDED_EMPTY)).status_code == 200
        await daemon.heard(BOOKED, "booked")
        settled = await daemon.question(ASKED)
        yield daemon, {"question": settled, "unknown": str(uuid4())}


START, END = f"{SURGERIES}/start", f"{SURGERIES}/end"


def ask(path: str, **content: Any) -> tuple[str, str, dict[str, Any]]:
    return "GET", f"{SURGERIES}/{path}", content


def send(path: str, **content: Any) -> tuple[str, str, dict[str, Any]]:
    return "POST", path, content


def begin(surgery_id: Any, cameras: Any, **more: Any) -> tuple[str, str, dict[str, Any]]:
    return send(START, json={"surgery_id": surgery_id, "camera_ids": cameras, **more})


FIX = f"{SURGERIES}/{BOOKED}/corrections"
ADD = {"action": "add", "item": "纱布", "reason": "画面被遮挡", "doctor_id": "D1001"}
VOID = {"action": "void", "reason": "认错了", "doctor_id": "D1001"}
QUEUE = f"{SURGERIES}/{ASKED}/pending-confirmation"
DOCTOR = {"doctor_id": "D1001"}
WAV = ("answer.wav", spoken("是的"), "audio/wav")
JSON_BODY = {"content-type": "application/json"}

TABLE: list[tuple[tuple[str, str, dict[str, Any]], int, str | None]] = [
    (("GET", "/health", {}), 200, None),
    (("GET", "/ready", {}), 200, None),
    (("GET", "/metrics", {}), 200, None),
    (("GET", "/openapi.json", {}), 200, None),
    (("GET", "/no/such/route", {}), 404, "NOT_FOUND"),
    (("GET", "/", {}), 404, "NOT_FOUND"),
    (("GET", START, {}), 405, "METHOD_NOT_ALLOWED"),
    (("GET", END, {}), 405, "METHOD_NOT_ALLOWED"),
    (("DELETE", START, {}), 405, "METHOD_NOT_ALLOWED"),
    (("POST", "/health", {}), 405, "METHOD_NOT_ALLOWED"),
    # start
    (begin(BOOKED, ["gauze"]), 200, None),
    (begin(BOOKED, ["gauze", "gauze"]), 200, None),
    (begin("12345", ["spare"]), 422, "VALIDATION_ERROR"),
    (begin("1234567", ["spare"]), 422, "VALIDATION_ERROR"),
    (begin("12345a", ["spare"]), 422, "VALIDATION_ERROR"),
    (begin("１２３４５６", ["spare"]), 422, "VALIDATION_ERROR"),
    (begin("123456\n", ["spare"]), 422, "VALIDATION_ERROR"),
    (begin(123456, ["spare"]), 422, "VALIDATION_ERROR"),
    (begin(NEVER, []), 422, "VALIDATION_ERROR"),
    (begin(NEVER, [""]), 422, "VALIDATION_ERROR"),
    (begin(NEVER, "spare"), 422, "VALIDATION_ERROR"),
    (begin(NEVER, ["spare"], candidate_consumable=["纱布"]), 422, "VALIDATION_ERROR"),
    (begin(NEVER, ["spare"], candidate_consumables=[1]), 422, "VALIDATION_ERROR"),
    (begin(NEVER, ["spare"], candidate_consumables=["\ud800"]), 422, "VALIDATION_ERROR"),
    (send(START, json={"camera_ids": ["spare"]}), 422, "VALIDATION_ERROR"),
    (send(START, json=["spare"]), 422, "VALIDATION_ERROR"),
    (send(START), 422, "VALIDATION_ERROR"),
    (send(START, content=b"{", headers=JSON_BODY), 422, "VALIDATION_ERROR"),
    (send(START, content=b"\xff\xfe", headers=JSON_BODY), 422, "VALIDATION_ERROR"),
    (send(START, content=b"surgery_id=1", headers={"content-type": "text/plain"}), 422, "VALIDATION_ERROR"),
    (send(START, data={"surgery_id": NEVER}), 422, "VALIDATION_ERROR"),
    (send(START, content=b" " * 210_000, headers=JSON_BODY), 413, "BODY_TOO_LARGE"),
    (begin(NEVER, ["or-cam-99"]), 503, "RECORDING_CANNOT_START"),
    (begin(NEVER, ["gone"]), 503, "RECORDING_CANNOT_START"),
    (begin(NEVER, ["gauze"]), 409, "CAMERA_ALREADY_IN_USE"),
    (begin(NEVER, ["spare", "gauze"]), 409, "CAMERA_ALREADY_IN_USE"),
    (begin(BOOKED, ["spare"]), 409, "SURGERY_ALREADY_RUNNING"),
    (begin(BOOKED, ["gauze", "spare"]), 409, "SURGERY_ALREADY_RUNNING"),
    # end
    (send(END, json={"surgery_id": ENDED_EMPTY}), 200, None),
    (send(END, json={"surgery_id": NEVER}), 503, "RECORDING_NOT_STOPPED"),
    (send(END, json={"surgery_id": "1"}), 422, "VALIDATION_ERROR"),
    (send(END, json={}), 422, "VALIDATION_ERROR"),
    (send(END, json={"surgery_id": NEVER, "force": True}), 422, "VALIDATION_ERROR"),
    # result
    (ask(f"{BOOKED}/result"), 200, None),
    (ask(f"{NEVER}/result"), 503, "RESULT_NOT_READY"),
    (ask(f"{EMPTY}/result"), 503, "RESULT_NOT_READY"),
    (ask(f"{ENDED_EMPTY}/result"), 503, "RESULT_NOT_READY"),
    (ask(f"{ASKED}/result"), 503, "RESULT_NOT_READY"),
    (ask(f"{ASKED}/result?include_pending=true"), 200, None),
    (ask(f"{ASKED}/result?include_pending=perhaps"), 422, "VALIDATION_ERROR"),
    (ask("12345/result"), 422, "VALIDATION_ERROR"),
    (ask("abcdef/result"), 422, "VALIDATION_ERROR"),
    # evidence
    (ask(f"{BOOKED}/evidence/{{unknown}}.jpg"), 404, "EVIDENCE_NOT_FOUND"),
    (ask(f"{BOOKED}/evidence/{{unknown}}.mp4"), 404, "EVIDENCE_NOT_FOUND"),
    (ask(f"{BOOKED}/evidence/{{unknown}}.png"), 422, "VALIDATION_ERROR"),
    (ask(f"{BOOKED}/evidence/one.jpg"), 422, "VALIDATION_ERROR"),
    (ask(f"{NEVER}/evidence/{{unknown}}.jpg"), 404, "SURGERY_NOT_FOUND"),
    # the queue
    (ask(f"{ASKED}/pending-confirmation"), 503, "BAIDU_NOT_CONFIGURED"),
    (ask(f"{EMPTY}/pending-confirmation"), 404, "NO_PENDING_CONFIRMATION"),
    (ask(f"{ENDED_EMPTY}/pending-confirmation"), 404, "NO_PENDING_CONFIRMATION"),
    (ask(f"{NEVER}/pending-confirmation"), 404, "NO_PENDING_CONFIRMATION"),
    (ask("1/pending-confirmation"), 422, "VALIDATION_ERROR"),
    # voice terminals
    (("GET", "/client/voice-terminals/vt-99/assignment", {}), 404, "VOICE_TERMINAL_NOT_FOUND"),
    (("GET", f"/client/voice-terminals/{'x' * 65}/assignment", {}), 422, "VALIDATION_ERROR"),
    (("POST", "/client/voice-terminals/vt-99/assignment", {}), 405, "METHOD_NOT_ALLOWED"),
    (("GET", "/client/voice-terminals/ws", {}), 404, "NOT_FOUND"),
    # the answer by voice
    (send(f"{QUEUE}/{{question}}/resolve", files={"audio": WAV}), 503, "BAIDU_NOT_CONFIGURED"),
    (send(f"{QUEUE}/{{question}}/resolve", files={"audio": ("a.WAV", WAV[1])}), 503, "BAIDU_NOT_CONFIGURED"),
    (
        send(f"{QUEUE}/{{question}}/resolve", files={"audio": WAV}, data={"doctor_id": "D1"}),
        503,
        "BAIDU_NOT_CONFIGURED",
    ),
    (send(f"{QUEUE}/{{question}}/resolve", files={"audio": WAV}, data={"doctor_id": " "}), 422, "VALIDATION_ERROR"),
    (send(f"{QUEUE}/{{question}}/resolve", files={"audio": ("a.wav", b"")}), 422, "VOICE_AUDIO_EMPTY"),
    (send(f"{QUEUE}/{{question}}/resolve", files={"audio": ("a.wav", b"x")}), 422, "VOICE_AUDIO_INVALID"),
    (send(f"{QUEUE}/{{question}}/resolve", files={"audio": ("a.mp3", b"x")}), 422, "VOICE_AUDIO_INVALID"),
    (send(f"{QUEUE}/{{question}}/resolve", files={"sound": WAV}), 422, "VALIDATION_ERROR"),
    (send(f"{QUEUE}/{{question}}/resolve", data={"audio": "text"}), 422, "VALIDATION_ERROR"),
    (send(f"{QUEUE}/{{question}}/resolve"), 422, "VALIDATION_ERROR"),
    (
        send(f"{QUEUE}/{{question}}/resolve", files={"audio": ("a.wav", b"x" * 210_000)}),
        413,
        "BODY_TOO_LARGE",
    ),
    (
        send(f"{QUEUE}/{{question}}/resolve", content=b"x", headers={"content-type": "multipart/form-data"}),
        400,
        "BAD_REQUEST",
    ),
    (send(f"{QUEUE}/{{unknown}}/resolve", files={"audio": WAV}), 404, "CONFIRMATION_NOT_FOUND"),
    (send(f"{QUEUE}/x/resolve", files={"audio": WAV}), 404, "CONFIRMATION_NOT_FOUND"),
    (send(f"{QUEUE}/{'x' * 129}/resolve", files={"audio": WAV}), 422, "VALIDATION_ERROR"),
    # the answer by touch
    (send(f"{QUEUE}/{{question}}/choose", json={"label": "止血钳"}), 422, "CHOICE_NOT_AN_OPTION"),
    (send(f"{QUEUE}/{{question}}/choose", json={}), 422, "VALIDATION_ERROR"),
    (send(f"{QUEUE}/{{question}}/choose", json={"label": "纱布", "rejected": True}), 422, "VALIDATION_ERROR"),
    (send(f"{QUEUE}/{{question}}/choose", json={"rejected": False}), 422, "VALIDATION_ERROR"),
    (send(f"{QUEUE}/{{question}}/choose", json={"label": ""}), 422, "VALIDATION_ERROR"),
    (send(f"{QUEUE}/{{question}}/choose", json={"label": "纱布", "who": "me"}), 422, "VALIDATION_ERROR"),
    (send(f"{QUEUE}/{{question}}/choose", json={"rejected": True, "doctor_id": " "}), 422, "VALIDATION_ERROR"),
    (send(f"{QUEUE}/{{unknown}}/choose", json={"rejected": True}), 404, "CONFIRMATION_NOT_FOUND"),
    (
        send(f"{SURGERIES}/{EMPTY}/pending-confirmation/{{question}}/choose", json={"rejected": True}),
        404,
        "CONFIRMATION_NOT_FOUND",
    ),
    # corrections
    (send(FIX, json={**ADD, "item": "胶带"}), 422, "ITEM_UNKNOWN"),
    (send(FIX, json={**ADD, "reason": " "}), 422, "VALIDATION_ERROR"),
    (send(FIX, json={**ADD, "reason": "x" * 501}), 422, "VALIDATION_ERROR"),
    (send(FIX, json={"action": "add", "item": "纱布", "doctor_id": "D1"}), 422, "VALIDATION_ERROR"),
    (send(FIX, json={"action": "add", "item": "纱布", "reason": "x"}), 422, "VALIDATION_ERROR"),
    (send(FIX, json={**ADD, "qty": 2}), 422, "VALIDATION_ERROR"),
    (send(FIX, json={**ADD, "action": "void"}), 422, "VALIDATION_ERROR"),
    (send(FIX, json={**ADD, "posting_id": str(UUID(int=1))}), 422, "VALIDATION_ERROR"),
    (send(FIX, json={**ADD, "action": "remove"}), 422, "VALIDATION_ERROR"),
    (send(FIX, json={"action": "void", "posting_id": "x", "reason": "x", "doctor_id": "D1"}), 422, "VALIDATION_ERROR"),
    (send(FIX, json={**VOID, "posting_id": str(UUID(int=1))}), 404, "POSTING_NOT_FOUND"),
    (send(FIX, json=ADD, headers={"Idempotency-Key": "k" * 129}), 422, "VALIDATION_ERROR"),
    (send(f"{SURGERIES}/{NEVER}/corrections", json=ADD), 404, "SURGERY_NOT_FOUND"),
    (send(f"{SURGERIES}/x/corrections", json=ADD), 422, "VALIDATION_ERROR"),
    (ask(f"{BOOKED}/corrections"), 405, "METHOD_NOT_ALLOWED"),
    # reading
    (("GET", SURGERIES, {}), 200, None),
    (("GET", f"{SURGERIES}?state=running&limit=1&offset=1", {}), 200, None),
    (("GET", f"{SURGERIES}?state=asleep", {}), 422, "VALIDATION_ERROR"),
    (("GET", f"{SURGERIES}?limit=0", {}), 422, "VALIDATION_ERROR"),
    (("GET", f"{SURGERIES}?limit=201", {}), 422, "VALIDATION_ERROR"),
    (("GET", f"{SURGERIES}?offset=-1", {}), 422, "VALIDATION_ERROR"),
    (("GET", f"{SURGERIES}?offset=99999999999999999999999", {}), 422, "VALIDATION_ERROR"),
    (ask(BOOKED), 200, None),
    (ask(NEVER), 404, "SURGERY_NOT_FOUND"),
    (ask("12345"), 422, "VALIDATION_ERROR"),
    (ask(f"{BOOKED}/ledger"), 200, None),
    (ask(f"{NEVER}/ledger"), 404, "SURGERY_NOT_FOUND"),
    (ask("x/ledger"), 422, "VALIDATION_ERROR"),
    (ask(f"{BOOKED}/report.tsv"), 200, None),
    (ask(f"{BOOKED}/report.md"), 200, None),
    (ask(f"{BOOKED}/report.csv"), 200, None),
    (ask(f"{BOOKED}/report.xlsx"), 200, None),
    (ask(f"{BOOKED}/report.pdf"), 422, "VALIDATION_ERROR"),
    (ask(f"{NEVER}/report.md"), 404, "SURGERY_NOT_FOUND"),
]


def _name(row: tuple[tuple[str, str, dict[str, Any]], int, str | None]) -> str:
    (method, path, content), status, code = row
    told = ascii(content)[:40] if content else ""
    return f"{method} {path.removeprefix(SURGERIES)[:40]} {told} -> {status} {code or ''}".strip()


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("row", TABLE, ids=_name)
async def test_every_route_answers_with_its_status_and_code(
    ward: tuple[Daemon, dict[str, str]], row: tuple[tuple[str, str, dict[str, Any]], int, str | None]
) -> None:
    daemon, names = ward
    (method, path, content), status, code = row
    if "json" in content:
        # As any client's library would write it, lone surrogates included.
        body = json.dumps(content["json"]).encode()
        content = {"content": body, "headers": {**JSON_BODY, **content.get("headers", {})}}
    answer = await daemon.http.request(method, path.format(**names), **content)
    assert answer.status_code == status, answer.text
    if code is not None:
        check_error(answer, code)


def check_error(answer: httpx.Response, code: str) -> dict[str, Any]:
    """The one shape of every error."""
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert set(body) == {"detail"}
    detail: dict[str, Any] = body["detail"]
    assert {"code", "message", "surgery_id"} <= set(detail)
    assert detail["code"] == code
    assert isinstance(detail["message"], str)
    assert detail["message"]
    return detail


@pytest.mark.asyncio(loop_scope="module")
async def test_an_error_about_a_surgery_names_it(ward: tuple[Daemon, dict[str, str]]) -> None:
    daemon, names = ward
    for path, surgery_id in [
        (f"{NEVER}/result", NEVER),
        (f"{EMPTY}/pending-confirmation", EMPTY),
        (f"{NEVER}/ledger", NEVER),
        (f"{BOOKED}/report.pdf", BOOKED),
    ]:
        assert (await daemon.get(path)).json()["detail"]["surgery_id"] == surgery_id
    assert (await daemon.start(NEVER, "or-cam-99")).json()["detail"]["surgery_id"] == NEVER
    assert (await daemon.end(NEVER)).json()["detail"]["surgery_id"] == NEVER
    assert (await daemon.choose(ASKED, names["unknown"], rejected=True)).json()["detail"]["surgery_id"] == ASKED


@pytest.mark.asyncio(loop_scope="module")
async def test_a_start_that_cannot_be_says_why(ward: tuple[Daemon, dict[str, str]]) -> None:
    daemon, _ = ward
    unknown = check_error(await daemon.start(NEVER, "or-cam-99", "spare", "or-cam-98"), "RECORDING_CANNOT_START")
    assert unknown["camera_ids"] == ["or-cam-99", "or-cam-98"]
    assert "or-cam-99" in unknown["message"]
    taken = check_error(await daemon.start(NEVER, "gauze"), "CAMERA_ALREADY_IN_USE")
    assert taken["camera_ids"] == ["gauze"]
    assert BOOKED in taken["message"]
    running = check_error(await daemon.start(BOOKED, "spare"), "SURGERY_ALREADY_RUNNING")
    assert running["camera_ids"] == ["gauze"]


@pytest.mark.asyncio(loop_scope="module")
async def test_result_has_exactly_the_fields_of_the_seed(ward: tuple[Daemon, dict[str, str]]) -> None:
    daemon, _ = ward
    body = (await daemon.get(f"{BOOKED}/result")).json()
    assert set(body) == {"surgery_id", "status", "message", "details", "summary"}
    assert (body["surgery_id"], body["status"], body["message"]) == (BOOKED, "completed", "查询成功。")
    (detail,) = body["details"]
    assert set(detail) == {"item_id", "item_name", "qty", "doctor_id", "timestamp"}
    assert (detail["item_id"], detail["item_name"], detail["qty"]) == ("纱布", "纱布", 1)
    seen_at = datetime.fromisoformat(detail["timestamp"])
    assert seen_at.utcoffset() is not None
    assert detail["timestamp"].endswith("+08:00")
    assert body["summary"] == [{"item_id": "纱布", "item_name": "纱布", "total_quantity": 1}]


@pytest.mark.asyncio(loop_scope="module")
async def test_an_open_question_is_in_the_result_only_on_request(ward: tuple[Daemon, dict[str, str]]) -> None:
    daemon, _ = ward
    hidden = check_error(await daemon.get(f"{ASKED}/result"), "RESULT_NOT_READY")
    assert "1 条待确认" in hidden["message"]
    shown = (await daemon.get(f"{ASKED}/result?include_pending=true")).json()
    assert [detail["status"] for detail in shown["details"]] == ["pending"]
    assert shown["summary"] == [{"item_id": "纱布", "item_name": "纱布", "total_quantity": 0}]
    booked = (await daemon.get(f"{BOOKED}/result?include_pending=true")).json()
    assert [detail["status"] for detail in booked["details"]] == ["booked"]


@pytest.mark.asyncio(loop_scope="module")
async def test_the_queue_without_a_voice_gives_the_question_for_touch(ward: tuple[Daemon, dict[str, str]]) -> None:
    daemon, names = ward
    detail = check_error(await daemon.get(f"{ASKED}/pending-confirmation"), "BAIDU_NOT_CONFIGURED")
    assert detail["confirmation_id"] == names["question"]
    assert "纱布" in detail["prompt_text"]
    assert [option["label"] for option in detail["options"]] == ["纱布", "缝线"]
    assert [round(option["confidence"], 1) for option in detail["options"]] == [0.6, 0.3]


@pytest.mark.asyncio(loop_scope="module")
async def test_health_is_the_seeds_body(ward: tuple[Daemon, dict[str, str]]) -> None:
    daemon, _ = ward
    assert (await daemon.http.get("/health")).json() == {"status": "ok", "database": "connected"}


@pytest.mark.asyncio(loop_scope="module")
async def test_ready_says_what_works(ward: tuple[Daemon, dict[str, str]]) -> None:
    daemon, _ = ward
    answer = await daemon.http.get("/ready")
    body = answer.json()
    assert body["ready"] is True, answer.text
    assert body["provider"] == "CPUExecutionProvider"
    assert {"model", "ledger", "camera:gauze"} <= set(body["components"])


@pytest.mark.asyncio(loop_scope="module")
async def test_surgeries_are_listed_newest_first_and_by_page(ward: tuple[Daemon, dict[str, str]]) -> None:
    daemon, _ = ward

    async def listed(query: str) -> list[str]:
        body = (await daemon.http.get(f"{SURGERIES}?{query}")).json()
        return [row["surgery_id"] for row in body["surgeries"]]

    assert await listed("state=running") == [EMPTY, ASKED, BOOKED]
    assert await listed("state=running&limit=2") == [EMPTY, ASKED]
    assert await listed("state=running&limit=2&offset=2") == [BOOKED]
    assert await listed("state=ended") == [ENDED_EMPTY]
    assert await listed("state=running&offset=3") == []


@pytest.mark.asyncio(loop_scope="module")
async def test_reports_are_the_files(ward: tuple[Daemon, dict[str, str]]) -> None:
    daemon, _ = ward
    folder = daemon.settings.logs.folder / "consumption"
    for surgery_id in (BOOKED, ASKED):
        for form, kind in [("tsv", "text/tab-separated-values"), ("md", "text/markdown")]:
            (file,) = folder.glob(f"{surgery_id}_*.{form}")
            answer = await daemon.get(f"{surgery_id}/report.{form}")
            assert answer.text == file.read_text(encoding="utf-8")
            assert answer.headers["content-type"] == f"{kind}; charset=utf-8"


@pytest.mark.asyncio(loop_scope="module")
async def test_the_ledger_shows_every_row(ward: tuple[Daemon, dict[str, str]]) -> None:
    daemon, names = ward
    (row,) = await daemon.ledger(ASKED)
    assert (row["kind"], row["voids"], row["source"]) == ("placeholder", None, "vision")
    (row,) = await daemon.ledger(BOOKED)
    assert (row["kind"], row["item_id"], row["confirmation_id"]) == ("consumption", "纱布", None)
    UUID(row["posting_id"])
    overview = (await daemon.get(ASKED)).json()
    assert [question["state"] for question in overview["questions"]] == ["pending"]
    assert overview["questions"][0]["confirmation_id"] == names["question"]


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("page", ["/docs", "/redoc"])
async def test_the_documentation_needs_no_internet(ward: tuple[Daemon, dict[str, str]], page: str) -> None:
    daemon, _ = ward
    answer = await daemon.http.get(page)
    assert answer.status_code == 200
    assert "http://" not in answer.text
    assert "https://" not in answer.text
    for quote in answer.text.split('"')[1::2]:
        if quote.endswith((".js", ".css", ".png")):
            assert (await daemon.http.get(quote)).status_code == 200, quote


@pytest.mark.asyncio(loop_scope="module")
async def test_a_body_that_never_ends_is_cut_off(ward: tuple[Daemon, dict[str, str]]) -> None:
    daemon, _ = ward

    async def endless() -> AsyncIterator[bytes]:
        for _ in range(400):
            yield b" " * 1024

    answer = await daemon.http.post(START, content=endless(), headers=JSON_BODY)
    assert "content-length" not in answer.request.headers
    assert answer.status_code == 413
    check_error(answer, "BODY_TOO_LARGE")


async def test_a_caller_who_asks_too_often_is_told_so(daemon_on: DaemonOn) -> None:
    async with daemon_on(server={"rate_per_minute": 3}) as daemon:
        statuses = [(await daemon.http.get(SURGERIES)).status_code for _ in range(3)]
        refused = await daemon.http.get(SURGERIES)
        assert statuses == [200, 200, 200]
        assert refused.status_code == 429
        assert refused.headers["retry-after"] == "60"
        check_error(refused, "TOO_MANY_REQUESTS")
        assert (await daemon.http.get("/health")).status_code == 200


async def test_an_answer_by_touch_books_the_item_once(daemon: Daemon) -> None:
    await daemon.started("100002", "doubtful")
    question = await daemon.question("100002")
    answer = await daemon.choose("100002", question, label="缝线", doctor_id="D1001")
    assert answer.status_code == 200
    assert answer.json() == {
        "surgery_id": "100002",
        "confirmation_id": question,
        "status": "accepted",
        "message": "已确认并记账：缝线。",
        "resolved_label": "缝线",
        "rejected": False,
        "asr_text": None,
        "asr_provider": None,
        "audio_object_key": None,
    }
    (detail,) = (await daemon.get("100002/result")).json()["details"]
    assert (detail["item_name"], detail["doctor_id"]) == ("缝线", "D1001")
    for again in ({"label": "缝线"}, {"rejected": True}, {"label": "nothing"}):
        late = await daemon.choose("100002", question, **again)
        assert late.status_code == 409
        assert check_error(late, "CONFIRMATION_ALREADY_RESOLVED")["confirmation_id"] == question
    voice = await daemon.http.post(f"{SURGERIES}/100002/pending-confirmation/{question}/resolve", files={"audio": WAV})
    check_error(voice, "CONFIRMATION_ALREADY_RESOLVED")
    assert (await daemon.get("100002/pending-confirmation")).status_code == 404
    placeholder, consumption = await daemon.ledger("100002")
    assert consumption["voids"] == placeholder["posting_id"]
    assert consumption["source"] == "touch"


async def test_a_booking_is_voided_and_another_added_also_after_the_end(daemon: Daemon) -> None:
    await daemon.started("100001", "gauze")
    await daemon.heard("100001", "booked")
    (wrong,) = await daemon.ledger("100001")
    fix = f"{SURGERIES}/100001/corrections"
    void = {**VOID, "posting_id": wrong["posting_id"]}
    voided = await daemon.http.post(fix, json=void, headers={"Idempotency-Key": "tablet 1/17"})
    assert voided.status_code == 200, voided.text
    assert voided.json()["message"] == "已作废：纱布。"
    assert voided.json()["voids"] == wrong["posting_id"]
    assert (await daemon.get("100001/result")).status_code == 503
    assert (await daemon.end("100001")).status_code == 200
    again = await daemon.http.post(fix, json=void, headers={"Idempotency-Key": "tablet 1/17"})
    assert (again.status_code, again.json()) == (200, voided.json())
    check_error(await daemon.http.post(fix, json=void), "POSTING_ALREADY_VOIDED")
    check_error(
        await daemon.http.post(fix, json=ADD, headers={"Idempotency-Key": "tablet 1/17"}), "IDEMPOTENCY_KEY_REUSED"
    )
    of_void = await daemon.http.post(fix, json={**void, "posting_id": voided.json()["posting_id"]})
    assert of_void.status_code == 409
    assert check_error(of_void, "POSTING_NOT_VOIDABLE")["surgery_id"] == "100001"
    unknown = check_error(await daemon.http.post(fix, json={**ADD, "item": "纱巾"}), "ITEM_UNKNOWN")
    assert unknown["similar"] == ["纱布"]
    added = await daemon.http.post(fix, json={**ADD, "item": "止血钳", "reason": " 手术结束后补记 "})
    assert added.status_code == 200, added.text
    (total,) = (await daemon.get("100001/result")).json()["summary"]
    assert total == {"item_id": "止血钳", "item_name": "止血钳", "total_quantity": 1}
    first, second, third = await daemon.ledger("100001")
    assert (first["voided_by"], first["reason"]) == (second["posting_id"], None)
    assert (second["kind"], second["voids"], second["reason"]) == ("void", first["posting_id"], "认错了")
    assert (third["source"], third["reason"], third["voided_by"]) == ("correction", "手术结束后补记", None)
    event = await daemon.heard("100001", "voided")
    assert (event["voids"], event["qty"], event["evidence"]) == (first["posting_id"], 1, None)
    # The files of a surgery that has ended are brought up to date, too.
    (file,) = (daemon.settings.logs.folder / "consumption").glob("100001_*.tsv")
    assert file.read_text(encoding="utf-8") == (await daemon.get("100001/report.tsv")).text
    assert [line.split("\t")[2] for line in file.read_text().splitlines()[1:]] == ["已记账", "作废", "已记账"]


async def test_a_denial_books_nothing(daemon: Daemon) -> None:
    await daemon.started("100002", "doubtful")
    question = await daemon.question("100002")
    answer = (await daemon.choose("100002", question, rejected=True)).json()
    assert (answer["resolved_label"], answer["rejected"]) == (None, True)
    assert (await daemon.get("100002/result?include_pending=true")).status_code == 503
    assert [row["kind"] for row in await daemon.ledger("100002")] == ["placeholder", "void"]


async def test_of_many_answers_at_once_one_counts(daemon: Daemon) -> None:
    await daemon.started("100002", "doubtful")
    question = await daemon.question("100002")
    answers = await asyncio.gather(*(daemon.choose("100002", question, label="纱布") for _ in range(8)))
    assert sorted(answer.status_code for answer in answers) == [200] + [409] * 7
    assert len((await daemon.get("100002/result")).json()["details"]) == 1


async def test_a_question_can_be_answered_by_the_product_code(daemon_on: DaemonOn, tmp_path: Any) -> None:
    table = tmp_path / "catalogue.csv"
    table.write_text("名称,产品编码,别名\n医用纱布,HC001/HC002,纱布\n缝线,HC003,\n", encoding="utf-8")
    async with daemon_on(catalogue={"path": str(table)}) as daemon:
        answer = await daemon.start("100002", "doubtful", candidates=["HC002", "缝线", "胶带"])
        assert "胶带" in answer.json()["message"]
        question = await daemon.question("100002")
        chosen = (await daemon.choose("100002", question, label="HC002")).json()
        assert chosen["resolved_label"] == "纱布"
        (total,) = (await daemon.get("100002/result")).json()["summary"]
        assert total == {"item_id": "HC002", "item_name": "医用纱布", "total_quantity": 1}


async def test_a_broken_ledger_is_degraded_and_says_so_everywhere(daemon: Daemon) -> None:
    async with daemon.parts.context.unit.begin() as tx:
        await tx.ledger._connection.exec_driver_sql("ALTER TABLE surgeries RENAME TO away")
    health = await daemon.http.get("/health")
    assert (health.status_code, health.json()) == (503, {"status": "degraded", "database": "unavailable"})
    for answer in (
        await daemon.get("100001/result"),
        await daemon.start("100001", "gauze"),
        await daemon.end("100001"),
    ):
        assert answer.status_code == 503
        check_error(answer, "LEDGER_UNAVAILABLE")


async def test_a_ledger_file_overwritten_with_rubbish_is_degraded(daemon: Daemon) -> None:
    ledger = daemon.settings.database.ledger
    for path in ledger.parent.glob("ledger.db*"):
        with path.open("r+b") as file:
            file.write(b"rubbish!" * (path.stat().st_size // 8))
    health = await daemon.http.get("/health")
    assert (health.status_code, health.json()) == (503, {"status": "degraded", "database": "unavailable"})
    check_error(await daemon.get("100001"), "LEDGER_UNAVAILABLE")


def test_every_refusal_has_a_row_in_the_table() -> None:
    refusals = {cls for cls in vars(errors).values() if isinstance(cls, type) and issubclass(cls, errors.Refused)}
    assert refusals - {errors.Refused, errors.VoiceRefused} == set(STATUS_AND_CODE)
    assert not set(STATUS_AND_CODE) & set(FIXED)
