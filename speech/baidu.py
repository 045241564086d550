"""Baidu's voice and ear, by its SDK, with what the SDK leaves out.

The SDK verifies no TLS, reads the proxies of the environment, waits for minutes, gives away the secret in a URL, and
hides the status of an answer. So it gets a session of ours and tokens of ours, and only builds the requests. This rests
on the insides of one version, which is pinned.

Errors say what happened in our words: those of the libraries print addresses, and with them secrets.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
from aip import AipSpeech

from net.deadline import bounded, left_s
from speech import mp3
from speech.audio import wav_bytes
from speech.baidu_http import NAME, BaiduHttp, BaiduReply, BaiduRules, Tokens, check_ca, checked_url, code_of, read_json
from speech.errors import NotUnderstood, ProviderFailed, ProviderTimedOut, TextEmpty, TextNotSpeakable
from speech.provider import RATE_HZ, Heard, Spoken
from speech.workers import Workers

T = TypeVar("T")

_CUID = "orwatch"
_TEXT_GBK_MAX = 1024
# What the speaker can mend by saying it again.
_OF_THE_SPEAKER = {
    2000: "empty recording",
    3301: "no clear speech",
    3308: "too long",
    3309: "cannot be decoded",
    3314: "too short",
    3316: "cannot be decoded",
}
_TOKEN_WRONG = (110, 111, 502, 3302)
_BACKEND = (3303, 3307, 3313, 3315)


class BaiduSynthesizer:
    name = NAME

    def __init__(self, rules: BaiduRules) -> None:
        """Raises ProviderUnusable."""
        self._rules = rules
        self._service = _Service(rules, checked_url(rules.tts_url, "tts_url"))

    @property
    def voice(self) -> str:
        rules = self._rules
        return f"{NAME} {rules.person} {rules.speed} {rules.pitch} {rules.volume}"

    def synthesize(self, text: str) -> Spoken:
        """Raises TextEmpty, TextNotSpeakable, ProviderFailed, ProviderTimedOut."""
        if not text.strip():
            raise TextEmpty("there is nothing to say")
        try:
            size = len(text.encode("gbk"))
        except UnicodeEncodeError:
            raise TextNotSpeakable(f"{NAME}: a character is not in GBK") from None
        if size > _TEXT_GBK_MAX:
            raise TextNotSpeakable(f"{NAME}: {size} bytes of GBK, expected at most {_TEXT_GBK_MAX}")
        rules = self._rules
        options = {
            "cuid": _CUID,
            "per": rules.person,
            "spd": rules.speed,
            "pit": rules.pitch,
            "vol": rules.volume,
            "aue": 3,
        }
        return self._service.call(lambda client: client.synthesis(text, "zh", 1, options), _sound)


class BaiduRecognizer:
    name = NAME

    def __init__(self, rules: BaiduRules) -> None:
        """Raises ProviderUnusable."""
        self._options = {"cuid": _CUID, "dev_pid": rules.dev_pid}
        self._service = _Service(rules, checked_url(rules.asr_url, "asr_url"))

    def recognize(self, pcm: np.ndarray, phrases: Sequence[str]) -> Heard:
        """phrases are not for Baidu to see. Raises NotUnderstood, ProviderFailed, ProviderTimedOut."""
        wav = wav_bytes(pcm)
        words = self._service.call(lambda client: client.asr(wav, "wav", RATE_HZ, self._options), _words)
        return Heard(text=words, confidence=None, provider=NAME)


class _Refused(Exception):
    """The service says that it did not do it."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class _Client(AipSpeech):  # type: ignore[misc]
    """The SDK, which builds the request; the reply comes back as it is."""

    def __init__(self, rules: BaiduRules, url: str, tokens: Tokens) -> None:
        super().__init__(rules.app_id, "", "")
        self._tokens = tokens
        self.token = ""
        self.refused = ""
        self.s = self._AipBase__client = BaiduHttp(rules)
        # ASR and TTS share a way of calling; which of them it is shows in the URL alone.
        self._AipSpeech__asrUrl = self._AipSpeech__ttsUrl = url
        self._isCloudUser = False

    def synthesis(self, *args: Any) -> Any:
        self._AipSpeech__asrUrl = ""
        return super().synthesis(*args)

    def _auth(self, refresh: bool = False) -> dict[str, str]:
        self.token, self.refused = self._tokens.get(self.refused), ""
        return {"access_token": self.token}

    def _request(self, url: str, data: dict[str, Any], headers: Any = None) -> dict[str, BaiduReply]:
        params = self._getParams(self._auth())
        return {"reply": self.s.post(url, self._proccessRequest(url, params, data, headers))}


class _Service:
    def __init__(self, rules: BaiduRules, url: str) -> None:
        if rules.ca_file is not None:
            check_ca(rules.ca_file)
        self._timeout_s = rules.timeout_s
        self._tokens = Tokens(rules)
        self._clients = Workers(lambda: _Client(rules, url, self._tokens), rules.workers)

    def call(self, ask: Callable[[_Client], dict[str, BaiduReply]], read: Callable[[BaiduReply], T]) -> T:
        """Once, or once more where that may help: with another token, or a back end that stumbled."""
        with bounded(within_s=self._timeout_s):
            try:
                with self._clients.one(left_s()) as client:
                    try:
                        return read(_reply(ask(client)))
                    except _Refused as refused:
                        if refused.number in _TOKEN_WRONG:
                            client.refused = client.token
                        elif refused.number not in _BACKEND:
                            raise _failed(refused) from None
                    try:
                        return read(_reply(ask(client)))
                    except _Refused as refused:
                        raise _failed(refused) from None
            except ProviderFailed:
                raise
            except TimeoutError:
                raise ProviderTimedOut(NAME, f"not done within {self._timeout_s:g} s") from None


def _reply(found: dict[str, BaiduReply]) -> BaiduReply:
    return found["reply"]


def _sound(reply: BaiduReply) -> Spoken:
    if reply.content.lstrip()[:1] == b"{":
        raise _Refused(_number(read_json(reply)))
    try:
        duration_s = mp3.duration_s(reply.content)
    except mp3.NotMp3:
        duration_s = 0.0
    # HTML with 500 comes in the place of audio, too, and audio under any name.
    if reply.status != 200 or not duration_s:
        raise ProviderFailed(NAME, "sent no MP3", code=str(reply.status))
    return Spoken(mp3=reply.content, provider=NAME, duration_s=duration_s)


def _words(reply: BaiduReply) -> str:
    body = read_json(reply)
    if (number := _number(body)) in _OF_THE_SPEAKER:
        raise NotUnderstood(NAME, _OF_THE_SPEAKER[number], code=str(number))
    if number != 0:
        raise _Refused(number)
    if reply.status != 200:
        raise ProviderFailed(NAME, "refused", code=str(reply.status))
    result = body.get("result")
    words = result[0] if isinstance(result, list) and result else ""
    if not isinstance(words, str) or not words.strip():
        raise NotUnderstood(NAME, "no words")
    return words


def _number(body: dict[str, Any]) -> int:
    """0: success. An answer without a number is none of theirs."""
    for key in ("err_no", "error_code"):
        if isinstance(body.get(key), int):
            return int(body[key])
    raise ProviderFailed(NAME, "sent neither a result nor an error number", code=code_of(body))


def _failed(refused: _Refused) -> ProviderFailed:
    return ProviderFailed(NAME, "refused", code=str(refused.number))
