"""The pathology back end, one method for each of its calls; the upload of a slide between them is cos.py's.

Login, credentials and the list are asked again where an answer is missing. Register and create are sent again only
where nothing was sent: a second one would be a second record.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Any, Self, TypeVar

import stamina

from imaging.cos.slide import CosCredentials
from imaging.errors import ImagingError, Unauthorized, Unclear, Unreachable
from imaging.pathology.answers import Diagnosis, PathologyRules, Token, check, record_id
from imaging.wire import Wire

T = TypeVar("T")
NAME = "病理平台"
ATTEMPTS = 3
# Before a call is asked again; the second wait is twice that.
_RETRY_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Created:
    """A slide record. response: the answer as it came."""

    slide_id: str
    response: Mapping[str, Any]


class Pathology:
    """One connection pool to the back end. Raises NotConfigured where a call's address is not set."""

    def __init__(self, rules: PathologyRules) -> None:
        """Raises InputInvalid of a ca_file that cannot be used."""
        self.rules = rules
        self._wire = Wire(
            NAME,
            "imaging.pathology",
            connect_timeout_s=rules.connect_timeout_s,
            timeout_s=rules.timeout_s,
            ca_file=rules.ca_file,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        await self._wire.close()

    async def login(self, username: str, password: str, now: datetime) -> Token:
        """Step 1. now: aware. Raises Unauthorized of a wrong name or password."""
        url, content = self.rules.url("login_url"), {"username": username, "password": password}

        async def ask() -> Token:
            reply = await self._wire.call("POST", url, body=content)
            check(reply.body, password, username)
            return Token.read(reply.body, now)

        try:
            return await self._again(ask, Unreachable, Unclear)
        except Unauthorized as error:
            raise Unauthorized("病理平台拒绝了用户名或密码。", code=error.code) from None

    async def credentials(self, token: str) -> tuple[CosCredentials, Mapping[str, Any]]:
        """Step 2: keys for the upload that soon expire, and the answer that holds them."""
        url = self.rules.url("credentials_url")

        async def ask() -> tuple[CosCredentials, Mapping[str, Any]]:
            reply = await self._wire.call("GET", url, headers=self._headers(token))
            check(reply.body, token)
            return CosCredentials.read(reply.body), reply.body

        return await self._again(ask, Unreachable, Unclear)

    async def register(
        self, token: str, *, path: str, filename: str, total_md5: str, disease: str, size: int | None = None
    ) -> Mapping[str, Any]:
        """Step 4: tell of an upload that is whole; the answer as it came.

        path: as cos.callback_path gives it. Beyond `path` the fields are believed: those of step 5, and `size`, bytes,
        where it is known.
        """
        url = self.rules.url("callback_url")
        content = {
            "path": path,
            "filename": filename,
            "total_md5": total_md5,
            "disease": self.rules.disease(disease),
            **({} if size is None else {"size": size}),
        }
        return await self._once(url, token, content, "文件记录可能已经创建，可以再次运行这一步。")

    async def create(
        self, token: str, *, filename: str, total_md5: str, disease: str, source: int, is_run: bool
    ) -> Created:
        """Step 5: a slide record, and with is_run its analysis.

        Raises Unclear where it may have been created all the same.
        """
        url = self.rules.url("create_url")
        content = {
            "filename": filename,
            "total_md5": total_md5,
            "disease": self.rules.disease(disease),
            "source": source,
            "is_run": is_run,
        }
        doubt = "切片记录可能已经创建，请先在平台上确认，再决定是否重新提交。"
        body = await self._once(url, token, content, doubt)
        slide_id = record_id(body)
        if slide_id is None:
            raise Unclear(f"病理平台的应答里没有切片编号（id）。{doubt}")
        return Created(slide_id=slide_id, response=body)

    async def find(self, token: str, slide_id: str) -> Diagnosis:
        """Step 6: what the back end says of a slide now. Raises Refused where it has none of this id."""
        url = self.rules.url("list_url")

        async def ask() -> Diagnosis:
            reply = await self._wire.call("GET", url, headers=self._headers(token), params={"id": slide_id})
            check(reply.body, token)
            return Diagnosis.read(reply.body, slide_id)

        return await self._again(ask, Unreachable, Unclear)

    def _headers(self, token: str) -> dict[str, str]:
        return {"Authorization": f"{self.rules.auth_scheme} {token}"}

    async def _once(self, url: str, token: str, content: Mapping[str, Any], doubt: str) -> Mapping[str, Any]:
        """doubt: what a person must know where it may have been acted on."""

        async def ask() -> Mapping[str, Any]:
            reply = await self._wire.call("POST", url, headers=self._headers(token), body=content)
            check(reply.body, token)
            return reply.body

        try:
            return await self._again(ask, Unreachable)
        except Unclear as error:
            raise Unclear(f"{error.message}{doubt}", code=error.code) from None

    async def _again(self, ask: Callable[[], Awaitable[T]], *on: type[ImagingError]) -> T:
        retries = stamina.retry_context(
            on=on,
            attempts=ATTEMPTS,
            timeout=None,
            wait_initial=_RETRY_S,
            wait_max=4 * _RETRY_S,
            wait_jitter=_RETRY_S / 2,
        )
        async for attempt in retries:
            with attempt:
                return await ask()
        raise AssertionError("stamina raises what the last attempt raised")
