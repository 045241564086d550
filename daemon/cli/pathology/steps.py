"""The six steps of a slide, each from the files of those before it.

A token or credentials that still serve are used again. A 401 in any step leads to one new login, then the step goes on.
"""

import asyncio
import sys
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from daemon.bridge import in_thread, off_loop
from daemon.cli.options import console
from daemon.cli.pathology.step_status import Outcome, Status
from daemon.config import Settings
from daemon.imaging.pathology.job import COS_BACKOFF, DISCLAIMER, from_loop
from daemon.imaging.pathology.setup import cos_rules_of
from imaging.cos.slide import CosCredentials, Uploaded, callback_path, file_md5, slide_key
from imaging.cos.slide import upload as upload_to_cos
from imaging.errors import ImagingError, InputInvalid, NotConfigured, Unauthorized
from imaging.pathology import step_files
from imaging.pathology.answers import WORDS, Token, identity
from imaging.pathology.client import Pathology
from imaging.pathology.slides import check_slide

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """Where the steps hand over."""

    token: Path = step_files.FOLDER / step_files.TOKEN
    credentials: Path = step_files.FOLDER / step_files.CREDENTIALS
    upload: Path = step_files.FOLDER / step_files.UPLOAD
    record: Path = step_files.FOLDER / step_files.RECORD


class Steps:
    def __init__(self, settings: Settings, client: Pathology, files: Files) -> None:
        self._settings = settings
        self._rules = settings.imaging.pathology
        self._client = client
        self._files = files

    async def login(self) -> Outcome:
        try:
            token = step_files.load_token(self._files.token, _now())
        except step_files.StepFileMissing:
            token = None
        except InputInvalid as error:
            typer.echo(f"{error.message}将重新登录。", err=True)
            token = None
        if token and token.is_valid(_now()):
            return Outcome(Status.SKIPPED, f"已有的 token 仍然有效（至 {_local(token.expires_at)}）。")
        token = await self._login()
        return Outcome(Status.SUCCESS, f"登录成功，token 有效期至 {_local(token.expires_at)}。")

    async def credentials(self) -> Outcome:
        try:
            credentials = step_files.load_credentials(self._files.credentials, _now())
        except step_files.StepFileMissing:
            credentials = None
        except InputInvalid as error:
            typer.echo(f"{error.message}将重新获取。", err=True)
            credentials = None
        if credentials and credentials.is_valid(_now()):
            return Outcome(Status.SKIPPED, f"已有的上传凭证仍然有效{_until(credentials)}。")
        credentials = await self._credentials()
        return Outcome(Status.SUCCESS, f"已取得上传凭证{_until(credentials)}。")

    async def upload(self, slide: Path, organization: str | None, day: str | None) -> Outcome:
        """organization: else the configured one. day: YYYYMMDD, else today."""
        organization, day = await self.check_upload(slide, organization, day)
        stored = step_files.load_credentials(self._files.credentials, _now())
        uploaded = await self._send(slide, organization, day, stored)
        result = step_files.UploadResult(
            file_md5=uploaded.md5,
            filename=slide.name,
            cos_path=uploaded.key,
            path=callback_path(uploaded.key),
            size=uploaded.size,
        )
        step_files.save_upload(self._files.upload, result)
        parts = f"发送 {uploaded.parts_sent} 块，沿用已传 {uploaded.parts_kept} 块"
        return Outcome(
            Status.SUCCESS, f"已上传 {slide.name}（{uploaded.size} 字节，{parts}），MD5 {uploaded.md5}，{uploaded.key}"
        )

    async def check_upload(self, slide: Path, organization: str | None, day: str | None) -> tuple[str, str]:
        """The organization and the day, once they, and the slide, can be sent. Raises InputInvalid."""
        organization = organization or self._rules.organization
        if not organization:
            raise InputInvalid(
                "缺少机构名称：请用 --organization 指定，或设置 imaging.pathology.organization。", field="organization"
            )
        day = day or f"{datetime.now().astimezone():%Y%m%d}"
        # What was typed is judged before gigabytes are read.
        slide_key(day, organization, "0" * 32, slide.name)
        await off_loop(check_slide, slide)
        return organization, day

    def check_disease(self, disease: str) -> str:
        """Raises InputInvalid."""
        self._client.rules.disease(disease)
        return disease

    async def register(self, disease: str) -> Outcome:
        self.check_disease(disease)
        upload = step_files.load_upload(self._files.upload)
        await self._authorised(
            lambda token: self._client.register(
                token,
                path=upload.path,
                filename=upload.filename,
                total_md5=upload.file_md5,
                size=upload.size,
                disease=disease,
            )
        )
        return Outcome(Status.SUCCESS, f"文件记录已创建：{upload.path}")

    async def create(self, disease: str, source: int | None, is_run: bool) -> Outcome:
        self.check_disease(disease)
        upload = step_files.load_upload(self._files.upload)
        created = await self._authorised(
            lambda token: self._client.create(
                token,
                filename=upload.filename,
                total_md5=upload.file_md5,
                disease=disease,
                source=self._rules.source if source is None else source,
                is_run=is_run,
            )
        )
        try:
            step_files.save_record(self._files.record, created)
        except OSError as error:
            raise ImagingError(
                f"切片记录已创建，编号 {created.slide_id}，但 {self._files.record.name} 无法写入（{error.strerror}）。"
                f"请不要再次创建，用 result --slide-id {created.slide_id} 查询。"
            ) from None
        return Outcome(Status.SUCCESS, f"切片记录已创建，编号 {created.slide_id}。")

    async def result(self, slide_id: str | None, wait_s: float) -> Outcome:
        """Asks once, after wait_s."""
        wanted = identity(slide_id) if slide_id is not None else step_files.load_slide_id(self._files.record)
        if wanted is None:
            raise InputInvalid("切片编号 --slide-id 应为数字，或字母、数字、- 和 _。", field="slide_id")
        await asyncio.sleep(wait_s)
        found = await self._authorised(lambda token: self._client.find(token, wanted))
        diagnosis = found.outcome()
        if diagnosis is None:
            return Outcome(
                Status.PENDING, f"切片 {wanted} {WORDS[found.status]}（状态 {found.code}），请 1 分钟后再试。"
            )
        typer.echo(DISCLAIMER, err=True)
        return Outcome(Status.SUCCESS, diagnosis)

    async def _authorised(self, call: Callable[[str], Awaitable[T]]) -> T:
        token = step_files.load_token(self._files.token, _now())
        if not token.is_valid(_now(), reserve_s=0):
            typer.echo("token 已过期，重新登录。", err=True)
            return await call((await self._login()).value)
        try:
            return await call(token.value)
        except Unauthorized:
            typer.echo("token 已失效（401），重新登录。", err=True)
            return await call((await self._login()).value)

    async def _login(self) -> Token:
        username, password = self._rules.username, self._rules.password
        if username is None or password is None:
            raise NotConfigured("没有登录凭据：请设置环境变量 PATHOLOGY_USERNAME 和 PATHOLOGY_PASSWORD。")
        token = await self._client.login(username.get_secret_value(), password.get_secret_value(), _now())
        step_files.save_token(self._files.token, token)
        return token

    async def _credentials(self) -> CosCredentials:
        credentials, response = await self._authorised(self._client.credentials)
        step_files.save_credentials(self._files.credentials, credentials, response)
        return credentials

    async def _send(self, slide: Path, organization: str, day: str, stored: CosCredentials) -> Uploaded:
        loop = asyncio.get_running_loop()
        first = stored if stored.is_valid(_now()) else await self._credentials()
        rules = cos_rules_of(self._settings, first)
        unused = [first]

        def work(stop: threading.Event) -> Uploaded:
            def credentials() -> CosCredentials:
                return unused.pop() if unused else from_loop(self._credentials(), loop, stop)

            with _progress() as bar:
                md5 = file_md5(slide, stop=stop, progress=_task(bar, "校验"))
                return upload_to_cos(
                    slide,
                    slide_key(day, organization, md5, slide.name),
                    md5,
                    rules=rules,
                    credentials=credentials,
                    record=self._files.upload.with_name(f"cos_upload_{md5}.json"),
                    wait_s=COS_BACKOFF.wait_s,
                    stop=stop,
                    progress=_task(bar, "上传"),
                )

        return await in_thread("upload", work, stop_within_s=rules.timeout_s + rules.connect_timeout_s)


def _progress() -> Progress:
    """On standard error, and only where somebody watches."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=console(err=True),
        disable=not sys.stderr.isatty(),
    )


def _task(bar: Progress, name: str) -> Callable[[int, int], None]:
    task = bar.add_task(name, total=None)

    def moved(done: int, total: int) -> None:
        bar.update(task, completed=done, total=total)

    return moved


def _now() -> datetime:
    return datetime.now(UTC)


def _local(when: datetime) -> str:
    return f"{when.astimezone():%Y-%m-%d %H:%M:%S}"


def _until(credentials: CosCredentials) -> str:
    return f"，有效期至 {_local(credentials.expires_at)}" if credentials.expires_at else ""
