"""Baidu's voice and ear against a server of its wire format: what it says is taken for what it is, and nothing else."""

import logging
import socket
import subprocess
import threading
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from aip import AipSpeech

from speech.audio import wav_bytes
from speech.baidu import BaiduRecognizer, BaiduSynthesizer
from speech.baidu_http import BaiduRules, Secret
from speech.errors import (
    NotUnderstood,
    ProviderFailed,
    ProviderTimedOut,
    ProviderUnusable,
    SpeechError,
    TextEmpty,
    TextNotSpeakable,
)
from tests import rules
from tests.servers import baidu
from tests.servers.baidu import API_KEY, SECRET_KEY, BaiduServer, Fault
from tests.waiting import DEADLINE_S

PCM = np.zeros(16_000, np.int16)
TEXT = "请确认：刚才使用的是纱布吗？"
LATE_S = 1.5


def rules_for(server: BaiduServer, **changes: object) -> BaiduRules:
    known = rules.baidu(
        app_id="1",
        api_key=API_KEY,
        secret_key=SECRET_KEY,
        token_url=server.url("token"),
        asr_url=server.url("asr"),
        tts_url=server.url("tts"),
        timeout_s=20.0,
    )
    return replace(known, **changes)  # type: ignore[arg-type]


def ear(server: BaiduServer, **changes: object) -> BaiduRecognizer:
    return BaiduRecognizer(rules_for(server, **changes))


def voice(server: BaiduServer, **changes: object) -> BaiduSynthesizer:
    return BaiduSynthesizer(rules_for(server, **changes))


def test_the_server_takes_what_the_plain_sdk_sends(
    server: BaiduServer, sound: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "*")
    client = AipSpeech("1", API_KEY, SECRET_KEY)
    client._AipBase__accessTokenUrl = server.url("token")
    client._AipSpeech__asrUrl, client._AipSpeech__ttsUrl = server.url("asr"), server.url("tts")
    assert client.asr(wav_bytes(PCM), "wav", 16_000, {"dev_pid": 1537})["result"] == ["纱布。"]
    assert client.synthesis(TEXT) == sound
    client.s.close()


def test_it_hears_and_speaks_with_one_token(server: BaiduServer, sound: bytes) -> None:
    listening = ear(server)
    for _ in range(3):
        heard = listening.recognize(PCM, ["纱布"])
        assert (heard.text, heard.confidence, heard.provider) == ("纱布。", None, "baidu")
    assert (server.calls.token, server.calls.asr) == (1, 3)
    assert server.calls.seen[0] == {
        "channel": 1,
        "format": "wav",
        "rate": 16000,
        "len": 32_044,
        "cuid": "orwatch",
        "dev_pid": 1537,
    }
    spoken = voice(server, person=4).synthesize(TEXT)
    assert (spoken.mp3, spoken.provider) == (sound, "baidu")
    assert spoken.duration_s == pytest.approx(1.0, abs=0.1)
    assert (server.calls.seen[-1]["tex"], server.calls.seen[-1]["per"]) == (TEXT, "4")


@pytest.mark.parametrize("number", [2000, 3301, 3308, 3309, 3314, 3316])
def test_what_the_speaker_can_mend_is_no_fault(server: BaiduServer, number: int) -> None:
    server.next("asr", Fault(number=number))
    with pytest.raises(NotUnderstood) as caught:
        ear(server).recognize(PCM, [])
    assert caught.value.code == str(number)


@pytest.mark.parametrize("words", ["", "  "])
def test_no_words_are_not_understood(server: BaiduServer, words: str) -> None:
    server.say = words
    with pytest.raises(NotUnderstood):
        ear(server).recognize(PCM, [])


@pytest.mark.parametrize("number", [3300, 3304, 3305, 3310, 3311, 3312, 1234])
def test_a_fault_of_the_ear_is_one_and_not_repeated(server: BaiduServer, number: int) -> None:
    server.next("asr", Fault(number=number))
    with pytest.raises(ProviderFailed) as caught:
        ear(server).recognize(PCM, [])
    assert caught.value.code == str(number)
    assert server.calls.asr == 1


@pytest.mark.parametrize("number", [500, 501, 503, 513, 6, 13, 15, 16, 18, 999])
def test_a_fault_of_the_voice_is_one(server: BaiduServer, number: int) -> None:
    server.next("tts", Fault(number=number))
    with pytest.raises(ProviderFailed) as caught:
        voice(server).synthesize(TEXT)
    assert caught.value.code == str(number)
    assert server.calls.tts == 1


@pytest.mark.parametrize("number", [3303, 3307, 3313, 3315])
def test_a_back_end_that_stumbles_is_asked_once_more(server: BaiduServer, number: int) -> None:
    server.next("asr", Fault(number=number))
    assert ear(server).recognize(PCM, []).text == "纱布。"
    server.next("asr", Fault(number=number), Fault(number=number))
    with pytest.raises(ProviderFailed):
        ear(server).recognize(PCM, [])
    assert server.calls.asr == 4


def test_an_expired_token_is_fetched_anew(server: BaiduServer, sound: bytes) -> None:
    listening, speaking = ear(server), voice(server)
    listening.recognize(PCM, [])
    speaking.synthesize(TEXT)
    server.expire()
    assert listening.recognize(PCM, []).text == "纱布。"
    assert speaking.synthesize(TEXT).mp3 == sound
    assert server.calls.token == 4


@pytest.mark.parametrize("number", [110, 111, 3302])
def test_a_token_that_is_refused_for_ever_is_a_fault(server: BaiduServer, number: int) -> None:
    server.next("asr", Fault(number=number), Fault(number=number))
    with pytest.raises(ProviderFailed):
        ear(server).recognize(PCM, [])
    assert (server.calls.token, server.calls.asr) == (2, 2)


@pytest.mark.parametrize("lasts", [b"0", b"-1", b"1" + b"0" * 400, b"NaN", b"null", b'"soon"'])
def test_a_token_of_a_strange_lifetime_is_used(server: BaiduServer, lasts: bytes) -> None:
    server.tokens.add("24.strange")
    server.next("token", Fault(body=b'{"access_token": "24.strange", "expires_in": ' + lasts + b"}"))
    assert ear(server).recognize(PCM, []).text == "纱布。"


BROKEN = {
    "html": baidu.HTML,
    "empty": baidu.EMPTY,
    "half JSON": baidu.HALF_JSON,
    "no object": baidu.NO_OBJECT,
    "no number": baidu.NO_NUMBER,
    "nested without end": baidu.NESTED,
    "reset": baidu.RESET,
}
LATE = {"stall": baidu.STALL, "trickle": baidu.TRICKLE, "trickle in the head": baidu.TRICKLE_HEAD}


@pytest.mark.parametrize("fault", BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize("route", ["token", "asr"])
def test_whatever_else_the_ear_answers_is_a_fault(server: BaiduServer, route: str, fault: Fault) -> None:
    server.next(route, fault)
    with pytest.raises(ProviderFailed) as caught:
        ear(server).recognize(PCM, [])
    assert not isinstance(caught.value, ProviderTimedOut)


@pytest.mark.parametrize("fault", [*BROKEN.values(), baidu.HTML_AS_AUDIO], ids=[*BROKEN, "HTML as audio"])
def test_whatever_else_the_voice_answers_is_no_sound(server: BaiduServer, fault: Fault) -> None:
    server.next("tts", fault)
    with pytest.raises(ProviderFailed):
        voice(server).synthesize(TEXT)


def test_sound_under_a_wrong_name_is_sound(server: BaiduServer, sound: bytes) -> None:
    server.next("tts", Fault(body=sound, kind="application/json"))
    assert voice(server).synthesize(TEXT).mp3 == sound


@pytest.mark.parametrize("fault", LATE.values(), ids=LATE)
@pytest.mark.parametrize("route", ["token", "asr", "tts"])
def test_who_is_late_is_left_at_the_deadline(server: BaiduServer, route: str, fault: Fault) -> None:
    server.next(route, fault)
    late_voice, late_ear = voice(server, timeout_s=LATE_S), ear(server, timeout_s=LATE_S)
    with pytest.raises(ProviderTimedOut):
        late_voice.synthesize(TEXT) if route == "tts" else late_ear.recognize(PCM, [])


def test_a_connection_that_a_firewall_forgot_is_not_used(server: BaiduServer, sound: bytes) -> None:
    server.forgets_connections = True
    listening, speaking = ear(server), voice(server)
    for _ in range(2):
        assert listening.recognize(PCM, []).text == "纱布。"
        assert speaking.synthesize(TEXT).mp3 == sound


def test_addresses_that_never_answer_hold_nobody(server: BaiduServer, monkeypatch: pytest.MonkeyPatch) -> None:
    # A full backlog: whoever connects after that waits.
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, socket.create_connection(full.getsockname()):
        found = socket.getaddrinfo("127.0.0.1", full.getsockname()[1], type=socket.SOCK_STREAM)
        monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: found * 1000)
        with pytest.raises(ProviderTimedOut):
            ear(server, timeout_s=LATE_S).recognize(PCM, [])


def test_the_proxies_of_the_environment_are_not_used(server: BaiduServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for key in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(key, "http://127.0.0.1:9")
    for key in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(key, raising=False)
    assert ear(server).recognize(PCM, []).text == "纱布。"


def test_a_redirect_is_not_followed(server: BaiduServer) -> None:
    server.next("asr", Fault(status=307, headers={"Location": server.url("asr")}))
    with pytest.raises(ProviderFailed):
        ear(server).recognize(PCM, [])
    assert server.calls.asr == 1


def test_an_answer_without_end_is_not_read_to_the_end(server: BaiduServer) -> None:
    server.next("asr", baidu.FLOOD)
    with pytest.raises(ProviderFailed, match="more than"):
        ear(server).recognize(PCM, [])


def test_a_refused_connection_is_a_fault(sound: bytes) -> None:
    with BaiduServer(sound=lambda text: sound) as gone:
        listening, speaking = ear(gone), voice(gone)
    for call in (lambda: listening.recognize(PCM, []), lambda: speaking.synthesize(TEXT)):
        with pytest.raises(ProviderFailed):
            call()


def test_wrong_credentials_are_a_fault_with_its_name(server: BaiduServer) -> None:
    with pytest.raises(ProviderFailed) as caught:
        ear(server, secret_key=Secret(value="wrong")).recognize(PCM, [])
    assert caught.value.code == "invalid_client"


@pytest.mark.parametrize(
    ("text", "error"), [(" ", TextEmpty), ("纱" * 513, TextNotSpeakable), ("纱布😀", TextNotSpeakable)]
)
def test_a_text_that_it_cannot_say_is_not_sent(server: BaiduServer, text: str, error: type[SpeechError]) -> None:
    with pytest.raises(error):
        voice(server).synthesize(text)
    assert (server.calls.token, server.calls.tts) == (0, 0)


def test_many_at_once_share_one_token_and_few_connections(server: BaiduServer) -> None:
    server.takes_s = 0.02
    listening = ear(server, workers=2)
    heard: list[str] = []
    threads = [
        threading.Thread(target=lambda: heard.extend(listening.recognize(PCM, []).text for _ in range(5)))
        for _ in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE_S)
    assert heard == ["纱布。"] * 80
    assert server.calls.token == 1
    assert server.calls.most == 2


def test_the_secret_and_the_token_are_printed_nowhere(server: BaiduServer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    listening = ear(server, timeout_s=LATE_S)
    told = [repr(listening), repr(rules_for(server))]
    faults = [*BROKEN.values(), baidu.STALL, Fault(number=3302), Fault(number=3300)]
    for route in ("token", "asr"):
        for fault in faults:
            server.expire()
            server.next(route, fault, fault)
            told += _told(lambda: ear(server, timeout_s=LATE_S).recognize(PCM, []))
    with BaiduServer() as gone:
        away = ear(gone)
    told += _told(lambda: away.recognize(PCM, []))
    for fault in (*faults, baidu.HTML_AS_AUDIO, Fault(number=502)):
        server.next("tts", fault, fault)
        told += _told(lambda: voice(server, timeout_s=LATE_S).synthesize(TEXT))
    whole = "\n".join([*told, caplog.text])
    assert "localhost" in whole, "the errors of the libraries say what they connect to"
    assert "urllib3" not in caplog.text
    assert SECRET_KEY not in whole
    assert API_KEY not in whole
    assert "24." not in whole
    assert TEXT not in whole


def _told(call: Callable[[], object]) -> list[str]:
    told: list[str] = []
    try:
        call()
    except SpeechError as error:
        told += traceback.format_exception(error)
        # Those that `from None` hides are there for whoever looks.
        hidden: BaseException | None = error
        while hidden is not None:
            told += [repr(hidden), str(hidden), repr(hidden.args)]
            hidden = hidden.__cause__ or hidden.__context__
    return told


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("ca")
    made, key = folder / "cert.pem", folder / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=DNS:localhost", "-out", str(made), "-keyout", str(key)]
    subprocess.run(command, check=True, capture_output=True)
    return made, key


def test_tls_is_verified(certificate: tuple[Path, Path], sound: bytes) -> None:
    with BaiduServer(sound=lambda text: sound, tls=certificate) as server:
        with pytest.raises(ProviderFailed, match="certificate"):
            ear(server).recognize(PCM, [])
        assert ear(server, ca_file=certificate[0]).recognize(PCM, []).text == "纱布。"


@pytest.mark.parametrize("fault", LATE.values(), ids=LATE)
def test_who_is_late_over_tls_is_left_too(certificate: tuple[Path, Path], fault: Fault) -> None:
    with BaiduServer(tls=certificate) as server:
        listening = ear(server, ca_file=certificate[0], timeout_s=LATE_S)
        server.next("asr", fault)
        with pytest.raises(ProviderTimedOut):
            listening.recognize(PCM, [])


@pytest.mark.parametrize("key", ["token_url", "asr_url"])
@pytest.mark.parametrize(
    "url",
    [
        "http://speech.example/x",
        "ftp://localhost/x",
        "https://user:pw@speech.example/x",
        "https://:pw@speech.example/x",
        "https://[::1/x",
        "https://speech.example:99999/x",
        f"https://{'a' * 64}.example/x",
        "",
    ],
)
def test_an_address_that_would_give_secrets_away_is_refused(server: BaiduServer, key: str, url: str) -> None:
    with pytest.raises(ProviderUnusable, match=f"baidu.{key}") as caught:
        ear(server, **{key: url})
    assert "pw" not in str(caught.value)


@pytest.mark.parametrize("content", [None, b"no certificate"])
def test_a_certificate_that_is_none_is_named(server: BaiduServer, tmp_path: Path, content: bytes | None) -> None:
    found = tmp_path / "ca.pem"
    if content is not None:
        found.write_bytes(content)
    with pytest.raises(ProviderUnusable, match=r"baidu\.ca_file"):
        ear(server, ca_file=found)
