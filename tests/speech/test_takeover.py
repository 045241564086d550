"""Whatever befalls Baidu's service, the next provider answers, and Baidu's is used again when it is well."""

import pytest

from speech.chain import Ear, Voice
from tests import rules
from tests.servers import baidu
from tests.servers.baidu import BaiduServer, Fault
from tests.speech.test_baidu import LATE_S, PCM, TEXT, ear, voice
from tests.speech.test_chain import Clock, Far

RULES = rules.breaker(failures_max=1, open_s=10)
NUMBERS_ASR = (3300, 3302, 3303, 3304, 3305, 3307, 3310, 3311, 3312, 3313, 3315, 110, 111)
NUMBERS_TTS = (500, 501, 502, 503, 513, 6, 13, 15, 16, 18, 999)
OTHERS = {
    "html": baidu.HTML,
    "html as audio": baidu.HTML_AS_AUDIO,
    "empty": baidu.EMPTY,
    "half JSON": baidu.HALF_JSON,
    "no object": baidu.NO_OBJECT,
    "reset": baidu.RESET,
    "stall": baidu.STALL,
    "trickle": baidu.TRICKLE,
}
FAULTS_ASR = {**{str(number): Fault(number=number) for number in NUMBERS_ASR}, **OTHERS}
FAULTS_TTS = {**{str(number): Fault(number=number) for number in NUMBERS_TTS}, **OTHERS}


class Told(list[tuple[str, bool]]):
    def __call__(self, name: str, is_ok: bool, why: str) -> None:
        self.append((name, is_ok))


@pytest.mark.parametrize("fault", FAULTS_ASR.values(), ids=FAULTS_ASR)
def test_the_next_one_hears_and_baidu_is_used_again_when_it_is_well(server: BaiduServer, fault: Fault) -> None:
    clock, told = Clock(), Told()
    listening = Ear([ear(server, timeout_s=LATE_S), Far("next")], RULES, on_change=told, clock=clock)
    server.next("asr", fault, fault)
    assert listening.hear(PCM, []).provider == "next"
    assert told == [("baidu", False)]
    asked = server.calls.asr
    assert listening.hear(PCM, []).provider == "next"
    assert server.calls.asr == asked, "left alone"
    server.faults["asr"].clear()
    clock.now_s += 10
    assert listening.hear(PCM, []).provider == "baidu"
    assert told == [("baidu", False), ("baidu", True)]


@pytest.mark.parametrize("fault", FAULTS_TTS.values(), ids=FAULTS_TTS)
def test_the_next_one_speaks_and_baidu_is_used_again_when_it_is_well(server: BaiduServer, fault: Fault) -> None:
    clock, told = Clock(), Told()
    speaking = Voice([voice(server, timeout_s=LATE_S), Far("next")], RULES, on_change=told, clock=clock)
    server.next("tts", fault, fault)
    assert speaking.speak(TEXT).provider == "next"
    assert told == [("baidu", False)]
    server.faults["tts"].clear()
    clock.now_s += 10
    assert speaking.speak(TEXT).provider == "baidu"
    assert told == [("baidu", False), ("baidu", True)]


def test_the_next_one_takes_over_from_a_service_that_is_away() -> None:
    with BaiduServer() as gone:
        away = ear(gone)
    assert Ear([away, Far("next")], RULES, on_change=Told()).hear(PCM, []).provider == "next"


def test_the_next_one_takes_over_where_the_credentials_are_wrong(server: BaiduServer) -> None:
    server.next("token", Fault(status=401, body=b'{"error": "invalid_client"}'))
    assert Ear([ear(server), Far("next")], RULES, on_change=Told()).hear(PCM, []).provider == "next"
