"""The pathology back end as steps of a job. Token and upload keys live in memory only: a restart logs in again."""

import asyncio
import concurrent.futures
import threading
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Any, TypeVar

from daemon.bridge import in_thread, off_loop
from daemon.domain.imaging import JobKind
from daemon.imaging.jobs.folder import MADE
from daemon.imaging.jobs.steps import Done, NotYet, Step, Work
from daemon.supervise import Backoff
from imaging.cos.slide import CosCredentials, CosRules, callback_path, file_md5, slide_key, upload
from imaging.errors import InputInvalid, NotConfigured, Refused, Stopped, Unauthorized
from imaging.pathology.answers import WORDS, Token
from imaging.pathology.client import Pathology
from imaging.pathology.slides import check_slide

T = TypeVar("T")

DISCLAIMER = "AI 结果仅供参考，诊断以病理医师的意见为准。"
# Between the attempts at one request; an upload that fails for good is a job's step to be tried again.
COS_BACKOFF = Backoff(initial_s=0.5, max_s=15.0)
_RECORD = "cos_upload.json"
# How much of the step a slide's MD5 is: reading is quick beside sending.
_MD5_SHARE = 0.1
_UNLISTED_POLLS_MAX = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class PathologyJobRules:
    """cos: where to put a slide, given what the back end named. zone: of the day in a key."""

    username: str | None = field(repr=False)
    password: str | None = field(repr=False)
    organization: str | None
    source: int
    cos: Callable[[CosCredentials], CosRules]
    poll_interval_s: float
    polls_max: int
    zone: tzinfo | None


class PathologyGateway:
    kind = JobKind.PATHOLOGY
    hint = "请先在病理平台上核对该切片，再决定是否重试。"

    def __init__(self, client: Pathology, rules: PathologyJobRules) -> None:
        self._client = client
        self._rules = rules
        self._token: Token | None = None
        self._credentials: CosCredentials | None = None
        self._logging_in = asyncio.Lock()
        self.steps = (
            Step(name="login_auth", title="登录", run=self._login_step),
            Step(name="get_cos_credentials", title="获取上传凭证", run=self._credentials_step),
            Step(name="upload_wsi_to_cos", title="上传切片", run=self._upload_step),
            Step(name="create_wsi_file_record", title="登记文件", run=self._register_step, is_repeatable=False),
            Step(name="create_wsi_record", title="创建切片记录", run=self._create_step, is_repeatable=False),
            Step(name="get_ai_diagnosis_result", title="查询诊断结果", run=self._result_step),
        )

    async def close(self) -> None:
        await self._client.close()

    async def accept(self, inputs: Mapping[str, Any], files: Sequence[tuple[str, Path]]) -> Mapping[str, Any]:
        """inputs: disease, organization, source, is_run. Everything that the six steps need is in what it returns."""
        [(name, path)] = files
        organization = inputs["organization"] or self._rules.organization
        if not organization:
            raise InputInvalid("organization：缺少机构名称，配置中也没有。", field="organization")
        disease = str(inputs["disease"])
        self._client.rules.disease(disease)
        for key in ("login_url", "credentials_url", "callback_url", "create_url", "list_url"):
            self._client.rules.url(key)
        self._secrets()
        slide_key("20000101", organization, "0" * 32, name)
        info = await off_loop(check_slide, path)
        return {
            "disease": disease,
            "organization": organization,
            "source": self._rules.source if inputs["source"] is None else inputs["source"],
            "is_run": inputs["is_run"],
            "filename": name,
            "size": info.size,
            "width": info.width,
            "height": info.height,
            "vendor": info.vendor,
        }

    async def _login_step(self, _work: Work) -> Done:
        had = self._token is not None and self._token.is_valid(_now())
        if not had:
            await self._login()
        return Done(output={}, message="登录仍然有效" if had else "登录成功")

    async def _credentials_step(self, _work: Work) -> Done:
        had = self._credentials is not None and self._credentials.is_valid(_now())
        if not had:
            await self._fetch_credentials()
        return Done(output={}, message="上传凭证仍然有效" if had else "已取得上传凭证")

    async def _upload_step(self, work: Work) -> Done:
        loop, inputs, path = asyncio.get_running_loop(), work.job.inputs, work.paths[0]
        # What ended the step before may have ended the credentials, too: a restart, or hours without a network.
        first = self._credentials
        if first is None or not first.is_valid(_now()):
            first = await self._fetch_credentials()
        rules, unused = self._rules.cos(first), [first]

        def send(stop: threading.Event) -> dict[str, Any]:
            def credentials() -> CosCredentials:
                return unused.pop() if unused else from_loop(self._fetch_credentials(), loop, stop)

            def read(done: int, total: int) -> None:
                work.progress(_MD5_SHARE * done / total, "计算 MD5")

            def sent(done: int, total: int) -> None:
                share = _MD5_SHARE + (1 - _MD5_SHARE) * done / total
                work.progress(share, f"已上传 {done / 2**20:.0f} / {total / 2**20:.0f} MB")

            md5 = file_md5(path, stop=stop, progress=read)
            day = f"{work.job.created_at.astimezone(self._rules.zone):%Y%m%d}"
            key = slide_key(day, inputs["organization"], md5, inputs["filename"])
            record = work.folder / MADE / _RECORD
            record.parent.mkdir(parents=True, exist_ok=True)
            uploaded = upload(
                path,
                key,
                md5,
                rules=rules,
                credentials=credentials,
                record=record,
                wait_s=COS_BACKOFF.wait_s,
                stop=stop,
                progress=sent,
            )
            with suppress(OSError):  # a slide of the server leaves an empty folder
                record.parent.rmdir()
                work.folder.rmdir()
            return {"file_md5": md5, "cos_path": key, "path": callback_path(key), "size": uploaded.size}

        output = await in_thread(f"upload:{work.job.id}", send)
        return Done(output=output, message=f"切片已上传，MD5 {output['file_md5']}")

    async def _register_step(self, work: Work) -> Done:
        inputs, sent = work.job.inputs, work.job.outputs["upload_wsi_to_cos"]
        await self._authorised(
            lambda token: self._client.register(
                token,
                path=sent["path"],
                filename=inputs["filename"],
                total_md5=sent["file_md5"],
                size=sent["size"],
                disease=inputs["disease"],
            )
        )
        return Done(output={}, message="文件记录已创建")

    async def _create_step(self, work: Work) -> Done:
        inputs, sent = work.job.inputs, work.job.outputs["upload_wsi_to_cos"]
        created = await self._authorised(
            lambda token: self._client.create(
                token,
                filename=inputs["filename"],
                total_md5=sent["file_md5"],
                disease=inputs["disease"],
                source=inputs["source"],
                is_run=inputs["is_run"],
            )
        )
        return Done(output={"slide_id": created.slide_id}, message=f"切片记录已创建，编号 {created.slide_id}")

    async def _result_step(self, work: Work) -> Done | NotYet:
        slide_id = work.job.outputs["create_wsi_record"]["slide_id"]
        if not work.job.inputs["is_run"]:
            result = {"slide_id": slide_id, "status": None, "value": None, "note": "按要求未运行分析。"}
            return Done(output={}, message="切片已登记，按要求未运行分析", result=result)
        try:
            found = await self._authorised(lambda token: self._client.find(token, slide_id))
        except Refused as error:
            # A record that was made just now may not be in the list yet.
            if error.code != "not_found" or work.job.polls >= _UNLISTED_POLLS_MAX:
                raise
            return NotYet(wait_s=self._rules.poll_interval_s, message=error.message, polls_max=self._rules.polls_max)
        diagnosis = found.outcome()
        if diagnosis is None:
            return NotYet(
                wait_s=self._rules.poll_interval_s,
                message=f"切片 {slide_id} {WORDS[found.status]}，稍后再查",
                polls_max=self._rules.polls_max,
            )
        result = {
            "slide_id": slide_id,
            "status": found.code,
            # Named as in the back end's own answer.
            "modified_ai_diagnosis_result_map": {"value": found.value},
            "value": found.value,
            "note": DISCLAIMER,
        }
        return Done(output={}, message=diagnosis, result=result)

    async def _authorised(self, call: Callable[[str], Awaitable[T]]) -> T:
        """With a token; one that is refused is replaced once."""
        token = self._token if self._token is not None and self._token.is_valid(_now()) else await self._login()
        try:
            return await call(token.value)
        except Unauthorized:
            return await call((await self._login(refused=token)).value)

    async def _login(self, refused: Token | None = None) -> Token:
        async with self._logging_in:
            # Another job may have logged in meanwhile.
            if self._token is not None and self._token is not refused and self._token.is_valid(_now()):
                return self._token
            self._token = await self._client.login(*self._secrets(), _now())
            return self._token

    async def _fetch_credentials(self) -> CosCredentials:
        credentials, _ = await self._authorised(self._client.credentials)
        self._credentials = credentials
        return credentials

    def _secrets(self) -> tuple[str, str]:
        """Raises NotConfigured."""
        if self._rules.username is None or self._rules.password is None:
            raise NotConfigured("没有登录凭据：请设置环境变量 PATHOLOGY_USERNAME 和 PATHOLOGY_PASSWORD。")
        return self._rules.username, self._rules.password


def from_loop(work: Coroutine[Any, Any, T], loop: asyncio.AbstractEventLoop, stop: threading.Event) -> T:
    """What the loop makes of `work`, for a thread beside it. Raises Stopped."""
    future = asyncio.run_coroutine_threadsafe(work, loop)
    while not concurrent.futures.wait([future], timeout=0.2).done:
        if stop.is_set():
            future.cancel()
            raise Stopped("上传已停止。")
    return future.result()


def _now() -> datetime:
    return datetime.now(UTC)
