"""The files by which the six steps of a slide hand over to each other, and by which each may run alone.

Each holds the back end's answer as it came under `response`, and what the next step needs beside it. Two hold secrets:
every one is written whole or not at all, for its owner's eyes only.
"""

import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from imaging.cos.slide import CosCredentials, callback_path
from imaging.errors import InputInvalid, Unclear
from imaging.pathology.answers import Token, expiry_inside, moment, record_id
from imaging.pathology.client import Created

FOLDER = Path("scripts") / "data"
TOKEN, CREDENTIALS, UPLOAD, RECORD = (
    "token_store.json",
    "cos_credentials.json",
    "cos_upload_result.json",
    "wsi_record_result.json",
)
BYTES_MAX = 8 * 2**20
# How long a token in a file lasts that does not say: enough to be tried, too short for step 1 to keep it.
UNKNOWN_LASTS = timedelta(seconds=30)


class StepFileMissing(InputInvalid, FileNotFoundError):
    """The step that makes this file has not run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadResult:
    """What step 3 leaves for steps 4 and 5. cos_path: the whole key. path: as the callback wants it. size: bytes."""

    file_md5: str
    filename: str
    cos_path: str
    path: str
    size: int | None


def save_token(path: Path, token: Token) -> None:
    content = {"token": token.value, "expired_time": int(token.expires_at.timestamp()), "response": token.response}
    write(path, content)


def load_token(path: Path, now: datetime) -> Token:
    """Raises StepFileMissing, InputInvalid."""
    content = read(path, "token_file", "第一步 login")
    value = _text(content, "token", path, "token_file")
    try:
        # It knows which tokens can travel in a header.
        known = Token.read({"token": value}, now)
    except Unclear:
        raise _unusable(path, "token_file", "字段 token 应为可打印的 ASCII 文本") from None
    said = moment(content.get("expired_time"), now) or expiry_inside(value, now)
    return replace(known, expires_at=said or now + UNKNOWN_LASTS)


def save_credentials(path: Path, credentials: CosCredentials, response: Mapping[str, Any]) -> None:
    expires_at = credentials.expires_at
    write(path, {"expired_time": int(expires_at.timestamp()) if expires_at else None, "response": response})


def load_credentials(path: Path, now: datetime) -> CosCredentials:
    """Raises StepFileMissing, InputInvalid."""
    content = read(path, "credentials_file", "第二步 credentials")
    response = content.get("response")
    try:
        credentials = CosCredentials.read(response if isinstance(response, Mapping) else content)
    except Unclear as error:
        raise _unusable(path, "credentials_file", error.message.rstrip("。")) from None
    expires_at = moment(content.get("expired_time"), now)
    return replace(credentials, expires_at=expires_at) if expires_at else credentials


def save_upload(path: Path, result: UploadResult) -> None:
    write(path, asdict(result))


def load_upload(path: Path) -> UploadResult:
    """Raises StepFileMissing, InputInvalid."""
    content = read(path, "upload_result_file", "第三步 upload")
    texts = {name: _text(content, name, path, "upload_result_file") for name in ("file_md5", "filename", "cos_path")}
    size = content.get("size")
    if size is not None and (isinstance(size, bool) or not isinstance(size, int) or size <= 0):
        raise _unusable(path, "upload_result_file", "字段 size 应为正整数（文件字节数）")
    try:
        callback = callback_path(texts["cos_path"])
    except InputInvalid as error:
        raise _unusable(path, "upload_result_file", f"字段 cos_path：{error.message}".rstrip("。")) from None
    return UploadResult(**texts, path=callback, size=size)


def save_record(path: Path, created: Created) -> None:
    """`response.id` is there wherever the answer had it."""
    write(path, {"response": {**created.response, "id": created.response.get("id", created.slide_id)}})


def load_slide_id(path: Path) -> str:
    """Raises StepFileMissing, InputInvalid."""
    content = read(path, "wsi_record_file", "第五步 create")
    response = content.get("response")
    found = record_id(response) if isinstance(response, Mapping) else None
    if found is None:
        raise _unusable(path, "wsi_record_file", "缺少字段 response.id")
    return found


def write(path: Path, content: Mapping[str, Any]) -> None:
    """Whole or not at all, mode 0600 whatever it was, its folder with it. Raises OSError."""
    text = json.dumps(content, ensure_ascii=False, indent=2) + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    handle = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with open(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def read(path: Path, field: str, maker: str) -> dict[str, Any]:
    """field: the option that named it. maker: the step that makes it. Raises StepFileMissing, InputInvalid."""
    try:
        with path.open("rb") as file:
            raw = file.read(BYTES_MAX + 1)
    except FileNotFoundError:
        message = f"没有文件 {path.name}（{path}）：请先运行{maker}。"
        raise StepFileMissing(message, field=field, value=path.name) from None
    except OSError as error:
        raise _unusable(path, field, f"不可读（{error.strerror}）") from None
    if len(raw) > BYTES_MAX:
        raise _unusable(path, field, f"超过 {BYTES_MAX} 字节")
    try:
        content = json.loads(raw)
    except (ValueError, RecursionError):
        raise _unusable(path, field, f"不是有效的 JSON，请重新运行{maker}") from None
    if not isinstance(content, dict):
        raise _unusable(path, field, f"应为 JSON 对象，请重新运行{maker}")
    return content


def _text(content: Mapping[str, Any], name: str, path: Path, field: str) -> str:
    value = content.get(name)
    if not isinstance(value, str) or not value:
        raise _unusable(path, field, f"缺少字段 {name}（应为非空文本）")
    return value


def _unusable(path: Path, field: str, why: str) -> InputInvalid:
    return InputInvalid(f"文件 {path.name}（{path}）不可用：{why}。", field=field, value=path.name)
