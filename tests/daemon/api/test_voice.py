"""Questions and answers by voice over HTTP, with Baidu's wire format on the far side: every outcome."""

import asyncio
import base64
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import numpy as np
import pytest

from speech import mp3
from tests.daemon.conftest import DaemonOn
from tests.daemon.harness import Daemon
from tests.servers import baidu
from tests.servers.baidu import API_KEY, SECRET_KEY, BaiduServer, Fault
from tests.spoken import spoken
from tests.waiting import DEADLINE_S, until

# "doubtful" is asked about with two options, 纱布 and 缝线.
SURGERY = "100002"
WAV = spoken("缝线")


@pytest.fixture
def server() -> Iterator[BaiduServer]:
    tone = (8000 * np.sin(np.arange(16_000) / 10)).astype(np.int16)
    sound = mp3.encode(tone, 16_000)
    with BaiduServer(say="缝线。", sound=lambda text: sound) as running:
        yield running


def speech(server: BaiduServer, **changes: Any) -> dict[str, Any]:
    account = {"app_id": "1", "api_key": API_KEY, "secret_key": SECRET_KEY, "timeout_s": 2.0}
    urls = {f"{route}_url": server.url(route) for route in ("token", "asr", "tts")}
    return {"tts": ["baidu"], "asr": ["baidu"], "baidu": {**account, **urls}, "breaker_failures": 100, **changes}


@pytest.fixture
async def asked(daemon_on: DaemonOn, server: BaiduServer) -> AsyncIterator[tuple[Daemon, str]]:
    async with daemon_on(speech=speech(server)) as daemon:
        await daemon.started(SURGERY, "doubtful")
        yield daemon, await daemon.question(SURGERY)


async def head(daemon: Daemon, status: int = 200) -> dict[str, Any]:
    with daemon.parts.context.questions.changed.subscribe() as changed:
        async with asyncio.timeout(DEADLINE_S):
            while (answer := await daemon.get(f"{SURGERY}/pending-confirmation")).status_code == 404:
                await changed.next()
    assert answer.status_code == status, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def resolve(
    daemon: Daemon, question: str, wav: bytes = WAV, *, surgery: str = SURGERY, **data: str
) -> httpx.Response:
    return await daemon.http.post(
        f"/client/surgeries/{surgery}/pending-confirmation/{question}/resolve",
        files={"audio": ("answer.wav", wav, "audio/wav")},
        data=data,
    )


def refused(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    detail: dict[str, Any] = answer.json()["detail"]
    assert detail["code"] == code
    assert SECRET_KEY not in answer.text
    return detail


async def test_after_a_restart_a_question_is_pending_at_once_with_the_sound_that_was_kept(
    daemon_on: DaemonOn, server: BaiduServer
) -> None:
    async with daemon_on(speech=speech(server)) as daemon:
        await daemon.started(SURGERY, "doubtful")
        before = await head(daemon)
        async with daemon.events(SURGERY) as events:
            while not str((await events.until("object_stored"))["evidence"]).endswith(".mp3"):
                pass
    # Nobody could speak it anew.
    async with daemon_on(speech={"tts": [], "asr": []}) as daemon:
        answer = await daemon.get(f"{SURGERY}/pending-confirmation")
        assert answer.status_code == 200, answer.text
        assert answer.json() == before


async def booked(daemon: Daemon) -> list[str]:
    answer = await daemon.get(f"{SURGERY}/result")
    return [row["item_name"] for row in answer.json().get("details", [])]


async def test_a_question_is_spoken_heard_and_settled(asked: tuple[Daemon, str], server: BaiduServer) -> None:
    daemon, question = asked
    body = await head(daemon)
    assert set(body) == {
        "surgery_id",
        "confirmation_id",
        "prompt_text",
        "prompt_audio_mp3_base64",
        "options",
        "model_top1_label",
        "model_top1_confidence",
        "created_at",
    }
    assert mp3.is_mp3(base64.b64decode(body["prompt_audio_mp3_base64"], validate=True))
    assert server.calls.seen[0]["tex"] == body["prompt_text"]
    for _ in range(3):
        assert await head(daemon) == body
    assert server.calls.tts == 1, "no poll makes a sound"
    answer = await resolve(daemon, question, doctor_id="N1")
    assert answer.status_code == 200, answer.text
    settled = answer.json()
    key = settled.pop("audio_object_key")
    assert settled == {
        "surgery_id": SURGERY,
        "confirmation_id": question,
        "status": "accepted",
        "message": "已确认并记账：缝线。",
        "resolved_label": "缝线",
        "rejected": False,
        "asr_text": "缝线。",
        "asr_provider": "baidu",
    }
    (row,) = (await daemon.get(f"{SURGERY}/result")).json()["details"]
    assert (row["item_name"], row["doctor_id"]) == ("缝线", "N1")
    (posted,) = [row for row in await daemon.ledger(SURGERY) if row["kind"] == "consumption"]
    assert (posted["source"], posted["confirmation_id"]) == ("voice", question)
    stored = daemon.settings.objects.folder / key
    await until(stored.exists)
    assert stored.read_bytes() == WAV
    refused(await resolve(daemon, question), 409, "CONFIRMATION_ALREADY_RESOLVED")


async def test_none_of_them_books_nothing(asked: tuple[Daemon, str], server: BaiduServer) -> None:
    daemon, question = asked
    server.say = "都不是。"
    settled = (await resolve(daemon, question)).json()
    assert (settled["resolved_label"], settled["rejected"]) == (None, True)
    assert await booked(daemon) == []


async def test_what_is_not_clear_is_asked_again_and_counted(asked: tuple[Daemon, str], server: BaiduServer) -> None:
    daemon, question = asked
    said = [("今天天气不错", "UNCLEAR"), ("不知道", "UNSURE"), ("取消", "CANCELLED"), ("缝线和纱布", "UNCLEAR")]
    for left, (words, outcome) in zip((2, 1, 0, 0), said, strict=True):
        server.say = words
        detail = refused(await resolve(daemon, question), 422, f"VOICE_ANSWER_{outcome}")
        assert (detail["retry_remaining"], detail["asr_text"]) == (left, words)
    assert "请在触屏上确认" in detail["message"]
    assert (await head(daemon))["confirmation_id"] == question
    server.say = "第一个"
    assert (await resolve(daemon, question)).status_code == 200, "who is understood at last is not sent away"


async def test_files_that_are_no_answer_are_refused_and_not_counted(
    asked: tuple[Daemon, str], server: BaiduServer
) -> None:
    daemon, question = asked
    silence = WAV[:44] + bytes(64_000)
    loud = np.clip(np.frombuffer(WAV[44:], np.int16).astype(np.int32) * 200, -32768, 32767).astype("<i2").tobytes()
    minutes = WAV[:44] + WAV[44:] * 30
    for content, code, left in (
        (b"", "VOICE_AUDIO_EMPTY", 3),
        (b"RIFF", "VOICE_AUDIO_INVALID", 3),
        (b"ID3" + bytes(500), "VOICE_AUDIO_INVALID", 3),
        (minutes, "VOICE_AUDIO_TOO_LONG", 3),
        (WAV[:44] + bytes(4_300_000), "VOICE_AUDIO_TOO_LARGE", 3),
        (silence, "VOICE_NO_SPEECH", 2),
        (WAV[:44] + loud, "VOICE_AUDIO_CLIPPED", 1),
    ):
        detail = refused(await resolve(daemon, question, content), 422, code)
        assert detail["retry_remaining"] == left
    path = f"/client/surgeries/{SURGERY}/pending-confirmation/{question}/resolve"
    named = await daemon.http.post(path, files={"audio": ("answer.mp3", WAV, "audio/wav")})
    detail = refused(named, 422, "VOICE_AUDIO_INVALID")
    assert (detail["retry_remaining"], "answer.mp3" in detail["message"]) == (1, True)
    assert server.calls.asr == 0, "nobody is asked about what is no answer"


SPEAKER = {2000, 3301, 3308, 3309, 3314, 3316}
FAULTS = [3300, 3302, 3303, 3304, 3305, 3307, 3310, 3311, 3312, 3313, 3315, 110, 111]


async def test_every_error_number_is_the_speakers_or_a_fault(asked: tuple[Daemon, str], server: BaiduServer) -> None:
    daemon, question = asked
    for number in sorted(SPEAKER):
        server.next("asr", Fault(number=number))
        refused(await resolve(daemon, question), 422, "VOICE_ASR_FAILED")
    for number in FAULTS:
        server.next("asr", Fault(number=number), Fault(number=number))
        refused(await resolve(daemon, question), 503, "ASR_ERROR")
        server.faults["asr"].clear()
    broken = [baidu.HTML, baidu.EMPTY, baidu.HALF_JSON, baidu.NO_OBJECT, baidu.RESET, baidu.STALL, baidu.TRICKLE]
    for fault in broken:
        server.next("asr", fault)
        refused(await resolve(daemon, question), 503, "ASR_ERROR")
    assert await booked(daemon) == []
    assert (await resolve(daemon, question)).status_code == 200, "the question was there all the time"


async def test_a_voice_that_fails_shows_the_question_and_is_tried_again(
    daemon_on: DaemonOn, server: BaiduServer
) -> None:
    server.next("tts", Fault(number=503))
    async with daemon_on(speech=speech(server)) as daemon:
        await daemon.started(SURGERY, "doubtful")
        question = await daemon.question(SURGERY)
        detail = (await head(daemon, 503))["detail"]
        assert (detail["code"], detail["confirmation_id"]) == ("TTS_ERROR", question)
        assert [option["label"] for option in detail["options"]] == ["纱布", "缝线"]
        assert (await daemon.choose(SURGERY, question, label="缝线")).status_code == 200


async def test_when_the_first_ear_fails_the_next_one_hears(daemon_on: DaemonOn, server: BaiduServer) -> None:
    chain = speech(server, asr=["baidu", "pocketsphinx"], breaker_failures=1)
    async with daemon_on(speech=chain) as daemon:
        await daemon.started(SURGERY, "doubtful")
        question = await daemon.question(SURGERY)
        server.next("asr", baidu.HTML)
        answer = await resolve(daemon, question, spoken("第一个", variant="f5", words_per_minute=160))
        assert answer.status_code == 200, answer.text
        assert (answer.json()["asr_provider"], answer.json()["resolved_label"]) == ("pocketsphinx", "纱布")
        ready = (await daemon.http.get("/ready")).json()["components"]
        assert not ready["speech:baidu"]["ok"]


async def test_of_two_answers_at_once_one_settles(asked: tuple[Daemon, str]) -> None:
    daemon, question = asked
    answers = await asyncio.gather(*(resolve(daemon, question) for _ in range(4)))
    assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409]
    assert await booked(daemon) == ["缝线"]


async def test_voice_after_touch_after_the_end_and_about_another_surgery(asked: tuple[Daemon, str]) -> None:
    daemon, question = asked
    await daemon.started("100003", "nothing")
    refused(await resolve(daemon, question, surgery="100003"), 404, "CONFIRMATION_NOT_FOUND")
    await daemon.end("100003")
    assert (await daemon.choose(SURGERY, question, label="纱布")).status_code == 200
    refused(await resolve(daemon, question), 409, "CONFIRMATION_ALREADY_RESOLVED")
    assert (await daemon.end(SURGERY)).status_code == 200
    refused(await resolve(daemon, question), 404, "CONFIRMATION_NOT_FOUND")
    assert await booked(daemon) == ["纱布"]


async def test_a_question_left_open_is_named_and_settled_afterwards(asked: tuple[Daemon, str]) -> None:
    daemon, question = asked
    assert (await daemon.end(SURGERY)).status_code == 200
    late = {"action": "settle", "confirmation_id": question, "label": "缝线", "reason": "术后核对", "doctor_id": "N1"}
    path = f"/client/surgeries/{SURGERY}/corrections"
    assert (await daemon.http.post(path, json=late)).status_code == 200
    assert await booked(daemon) == ["缝线"]
    again = await daemon.http.post(path, json={**late, "label": "纱布"})
    refused(again, 409, "CONFIRMATION_ALREADY_RESOLVED")
    both = await daemon.http.post(path, json={**late, "rejected": True})
    refused(both, 422, "VALIDATION_ERROR")
