"""The fundus back end: a study goes up by one of two ways, and is asked for until it is done.

Every request has its own signature. Queries are repeated where the network failed; an upload is not, since the back end
may have it: `was_received` tells.
"""

import asyncio
import base64
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self
from urllib.parse import quote, urlsplit

import stamina

from imaging.errors import NotConfigured, Refused, Unclear, Unreachable
from imaging.fundus.answer import Processing, StudyAnswer, read_answer
from imaging.fundus.signing import CLOSED, NAME, Credential, Signer, code_of, refused
from imaging.fundus.study import EyeImage, Study, Way, checked_study_id, plan
from imaging.fundus.terms import CODES, NO_DATA, OK, PROCESSING, AiType
from imaging.wire import OffLoop, Reply, Wire, checked_url, here

_QUERY_ATTEMPTS = 3
_ANSWER_MAX = 32 * 2**20
# Before a failed query is asked again, and twice that before the last; no site chooses it.
RETRY_WAIT_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class FundusRules:
    """app_id and token: ultra-wide; those with _45: aiType 0, 1 and 2. timeout_s: of an upload; a query has a quarter.

    allow_http: to another machine; http to this one needs no leave.
    """

    base_url: str | None
    allow_http: bool
    ca_file: Path | None
    app_id: str | None
    token: str | None = field(repr=False)
    app_id_45: str | None
    token_45: str | None = field(repr=False)
    connect_timeout_s: float
    timeout_s: float
    poll_interval_s: float
    polls_max: int
    polls_max_45: int
    retry_wait_s: float

    @property
    def http_host(self) -> str | None:
        """Whose links may be without TLS: a back end that itself is reached so."""
        parts = urlsplit(self.base_url or "")
        return parts.hostname if parts.scheme == "http" else None

    def polls(self, ai_type: AiType) -> int:
        return self.polls_max if ai_type.is_ultra_wide else self.polls_max_45


class FundusClient:
    """Raises InputInvalid of an unusable base_url, NotConfigured of none."""

    def __init__(
        self,
        rules: FundusRules,
        *,
        clock: Callable[[], float] = time.time,
        off_loop: OffLoop = here,
    ) -> None:
        """clock: unix seconds, for signatures and the study's date. off_loop: as `Wire` has it."""
        if not rules.base_url:
            raise NotConfigured("没有配置眼底平台的地址：请设置 imaging.fundus.base_url。")
        self._base = checked_url(rules.base_url, "imaging.fundus.base_url", allow_http=rules.allow_http).rstrip("/")
        self.rules = rules
        self._clock = clock
        self._signer = Signer(clock)
        self._wire = Wire(
            NAME,
            "imaging.fundus",
            off_loop=off_loop,
            connect_timeout_s=rules.connect_timeout_s,
            timeout_s=rules.timeout_s,
            ca_file=rules.ca_file,
            answer_max=_ANSWER_MAX,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        await self._wire.close()

    def check(self, ai_type: AiType) -> None:
        """Raises NotConfigured where this cannot be asked for."""
        self._credential(ai_type)

    async def submit(self, study: Study) -> Way:
        """Send it once, by the way that fits. Raises ImagingError; after Unclear it may have arrived all the same."""
        way = plan(study.images, study.ai_type)
        credential = self._credential(study.ai_type)
        if way is Way.BASE64:
            images = await self._wire.off_loop(partial(_encoded, study.images))
            payload = {**self._fields(study), "images": images}
            url = self._url("studyupload/v2", credential)
            reply = await self._wire.call("POST", url, headers=self._headers(credential), body=payload)
        else:
            reply = await self._send_file(study, credential)
        code, message = code_of(reply.body)
        if code != OK:
            raise refused(code, message, study.ai_type, credential)
        return way

    async def query(self, study_id: str, ai_type: AiType, *, need_report: bool = True) -> StudyAnswer | Processing:
        """Ask once how it stands, again where the network failed. need_report: a PDF, too.

        Raises Refused of code 10003 where the back end has no such study.
        """
        credential = self._credential(ai_type)
        payload = {
            "hospitalId": credential.app_id,
            "studyId": checked_study_id(study_id),
            "aiType": int(ai_type),
            "needReport": int(need_report),
        }
        wait_s = self.rules.retry_wait_s
        async for attempt in stamina.retry_context(
            on=(Unreachable, Unclear), attempts=_QUERY_ATTEMPTS, timeout=None, wait_initial=wait_s, wait_jitter=wait_s
        ):
            with attempt:
                return await self._asked(payload, credential)
        raise AssertionError("the last attempt returns or raises")

    async def was_received(self, study_id: str, ai_type: AiType) -> bool:
        """Whether an upload whose end is unclear has arrived."""
        try:
            await self.query(study_id, ai_type, need_report=False)
        except Refused as error:
            if error.code != NO_DATA:
                raise
            return False
        return True

    async def wait_for(
        self,
        study_id: str,
        ai_type: AiType,
        *,
        need_report: bool = True,
        on_processing: Callable[[Processing, int, int], None] = lambda state, poll, polls: None,
    ) -> StudyAnswer | Processing:
        """Query as often as the rules allow; Processing where it is still not done then.

        on_processing: told after each query that found nothing yet, with its number and how many there may be.
        """
        polls = self.rules.polls(ai_type)
        for poll in range(1, polls + 1):
            found = await self.query(study_id, ai_type, need_report=need_report)
            if isinstance(found, StudyAnswer):
                return found
            on_processing(found, poll, polls)
            if poll < polls:
                await asyncio.sleep(self.rules.poll_interval_s)
        return found

    def _credential(self, ai_type: AiType) -> Credential:
        """Raises NotConfigured."""
        rules, suffix = self.rules, "" if ai_type.is_ultra_wide else "_45"
        app_id, token = (rules.app_id, rules.token) if ai_type.is_ultra_wide else (rules.app_id_45, rules.token_45)
        for key, value, variable in (("app_id", app_id, "FUNDUS_APPID"), ("token", token, "FUNDUS_TOKEN")):
            if not value:
                also = f"（或环境变量 {variable}）" if not suffix else ""
                raise NotConfigured(f"没有配置“{ai_type.label}”的凭据：请设置 imaging.fundus.{key}{suffix}{also}。")
        assert app_id
        assert token
        return Credential(app_id=app_id, token=token)

    def _headers(self, credential: Credential) -> dict[str, str]:
        return {**self._signer.headers(credential), "Content-Type": "application/json; charset=utf-8"}

    def _url(self, path: str, credential: Credential) -> str:
        return f"{self._base}/thirdparty/{path}/{quote(credential.app_id, safe='')}"

    def _fields(self, study: Study) -> dict[str, Any]:
        told = {
            "patientName": study.patient_name,
            "patientId": study.patient_id,
            "patientGender": None if study.gender is None else str(study.gender),
            "patientBirthday": study.birthday.isoformat() if study.birthday else None,
        }
        return {
            "studyId": study.study_id,
            "studyName": "超广角眼底检查" if study.ai_type.is_ultra_wide else "眼底检查",
            "studyDate": int(self._clock()),
            "studyType": 2,
            **{key: value for key, value in told.items() if value is not None},
        }

    async def _send_file(self, study: Study, credential: Credential) -> Reply:
        image = study.images[0]
        form = {key: str(value) for key, value in self._fields(study).items()}
        form |= {
            "imageId": _image_id(0),
            "descPosition": str(int(image.eye)),
            "cameraType": str(int(study.camera)),
        }
        headers = self._signer.headers(credential)
        # The seed wants these here, the vendor's own client sends the other three.
        headers |= {f"god-portal-{key}": headers[key] for key in ("timestamp", "signature")}
        url = self._url("fileImageUpload/v1", credential)
        with _opened(image.picture.path) as file:
            files = {"file": (image.picture.path.name, file, image.picture.media_type)}
            return await self._wire.call("POST", url, headers=headers, form=form, files=files)

    async def _asked(self, payload: Mapping[str, Any], credential: Credential) -> StudyAnswer | Processing:
        """One attempt."""
        url = self._url("queryEyeAIResult", credential)
        timeout_s = self.rules.timeout_s / 4
        reply = await self._wire.call("POST", url, headers=self._headers(credential), body=payload, timeout_s=timeout_s)
        code, message = code_of(reply.body)
        study_id, ai_type = str(payload["studyId"]), AiType(payload["aiType"])
        if code == PROCESSING:
            return Processing(study_id=study_id, ai_type=ai_type, why=CODES[PROCESSING])
        if code != OK:
            raise refused(code, message, ai_type, credential)
        found = read_answer(reply.body, study_id, ai_type)
        if isinstance(found, Processing) and CLOSED in message:
            raise refused(code, message, ai_type, credential)
        return found


def _encoded(images: tuple[EyeImage, ...]) -> list[dict[str, str]]:
    return [
        {
            "imageId": _image_id(index),
            "content": base64.b64encode(image.picture.path.read_bytes()).decode("ascii"),
            "descPosition": str(int(image.eye)),
        }
        for index, image in enumerate(images)
    ]


def _opened(path: Path) -> BinaryIO:
    """It is read in small pieces while it is sent."""
    return path.open("rb")


def _image_id(index: int) -> str:
    return f"img{index + 1:03d}"
