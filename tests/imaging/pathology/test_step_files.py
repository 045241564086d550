"""The files between the steps: whole, private, and clear about what is wrong with them."""

import json
import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from imaging.cos.slide import CosCredentials
from imaging.errors import InputInvalid
from imaging.pathology import step_files
from imaging.pathology.answers import Token
from imaging.pathology.client import Created
from imaging.pathology.step_files import StepFileMissing, UploadResult

NOW = datetime(2026, 3, 1, 8, 0, tzinfo=UTC)
MD5 = "0123456789abcdef0123456789abcdef"
KEYS = {"tmpSecretId": "id-1", "tmpSecretKey": "key-1", "sessionToken": "session-1"}
UPLOAD = UploadResult(
    file_md5=MD5,
    filename="胃.svs",
    cos_path=f"SLIDES/chunked_uploads/20260301/市医院/{MD5}/胃.svs",
    path=f"chunked_uploads/20260301/市医院/{MD5}/胃.svs",
    size=9,
)


def test_what_was_saved_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "scripts" / "data" / "x.json"
    token = Token(value="abc", expires_at=NOW + timedelta(hours=1), response={"data": {"token": "abc"}})
    step_files.save_token(path, token)
    assert json.loads(path.read_bytes()) == {
        "token": "abc",
        "expired_time": int(token.expires_at.timestamp()),
        "response": {"data": {"token": "abc"}},
    }
    loaded = step_files.load_token(path, NOW)
    assert (loaded.value, loaded.expires_at) == ("abc", token.expires_at)

    body = {"code": 0, "data": {"credentials": KEYS, "expiredTime": int(NOW.timestamp()) + 1800}}
    credentials = CosCredentials.read(body)
    step_files.save_credentials(path, credentials, body)
    assert step_files.load_credentials(path, NOW) == credentials

    step_files.save_upload(path, UPLOAD)
    assert step_files.load_upload(path) == UPLOAD

    step_files.save_record(path, Created(slide_id="77", response={"data": {"id": 77}}))
    assert json.loads(path.read_bytes())["response"]["id"] == "77"
    assert step_files.load_slide_id(path) == "77"


def test_files_that_were_written_by_hand_are_read_too(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    later = NOW + timedelta(hours=2)
    path.write_text(json.dumps({"token": "abc", "expired_time": later.isoformat()}), encoding="utf-8")
    assert step_files.load_token(path, NOW).expires_at == later
    path.write_text(json.dumps({"token": "abc"}), encoding="utf-8")
    unknown = step_files.load_token(path, NOW)
    assert unknown.is_valid(NOW, reserve_s=0), "it is tried"
    assert not unknown.is_valid(NOW), "step 1 does not rely on it"
    for content in (
        {**KEYS, "expired_time": str(int(later.timestamp()))},
        {"response": KEYS, "expired_time": later.isoformat()},
    ):
        path.write_text(json.dumps(content), encoding="utf-8")
        assert step_files.load_credentials(path, NOW).expires_at == later
    sizeless = {name: getattr(UPLOAD, name) for name in ("file_md5", "filename", "cos_path")}
    path.write_text(json.dumps(sizeless), encoding="utf-8")
    assert step_files.load_upload(path) == replace(UPLOAD, size=None)
    path.write_text(json.dumps({"response": {"id": 5}}), encoding="utf-8")
    assert step_files.load_slide_id(path) == "5"


def test_a_file_is_for_its_owner_only_even_one_that_was_not(tmp_path: Path) -> None:
    path = tmp_path / "token_store.json"
    path.write_text("{}", encoding="utf-8")
    path.chmod(0o666)
    step_files.write(path, {"a": "胃"})

    assert path.stat().st_mode & 0o777 == 0o600
    assert json.loads(path.read_text(encoding="utf-8")) == {"a": "胃"}
    assert os.listdir(tmp_path) == ["token_store.json"]


def test_a_file_that_cannot_be_written_leaves_the_old_one_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    step_files.write(path, {"old": 1})
    with pytest.raises(TypeError):
        step_files.write(path, {"new": object()})
    with pytest.raises(UnicodeEncodeError):
        step_files.write(path, {"new": "\udc80"})
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError):
        step_files.write(tmp_path / "folder", {"new": 1})

    assert json.loads(path.read_bytes()) == {"old": 1}
    assert sorted(os.listdir(tmp_path)) == ["folder", "x.json"]


READERS = {
    "第一步 login": ("token_file", lambda path: step_files.load_token(path, NOW)),
    "第二步 credentials": ("credentials_file", lambda path: step_files.load_credentials(path, NOW)),
    "第三步 upload": ("upload_result_file", step_files.load_upload),
    "第五步 create": ("wsi_record_file", step_files.load_slide_id),
}


@pytest.mark.parametrize("maker", READERS)
def test_a_missing_file_names_the_step_that_makes_it(tmp_path: Path, maker: str) -> None:
    field, load = READERS[maker]
    with pytest.raises(StepFileMissing, match=f"请先运行{maker}") as caught:
        load(tmp_path / "x.json")
    assert caught.value.field == field


@pytest.mark.parametrize(
    "content", [b"", b'{"token": "a', b"[]", b"\xff\xfe", b"[" * 200_000, b"{}", b" " * (8 * 2**20 + 1)]
)
@pytest.mark.parametrize("maker", READERS)
def test_a_broken_file_is_named_and_said_why(tmp_path: Path, maker: str, content: bytes) -> None:
    field, load = READERS[maker]
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(InputInvalid, match=r"文件 x\.json（.*不可用") as caught:
        load(tmp_path / "x.json")
    assert (caught.value.field, caught.value.value) == (field, "x.json")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("file_md5", None),
        ("filename", 5),
        ("cos_path", ""),
        ("cos_path", "chunked_uploads/x"),
        ("size", "9"),
        ("size", 0),
    ],
)
def test_a_missing_or_wrong_field_is_named(tmp_path: Path, name: str, value: Any) -> None:
    path = tmp_path / "x.json"
    step_files.save_upload(path, UPLOAD)
    content = json.loads(path.read_bytes())
    path.write_text(json.dumps({**content, name: value}), encoding="utf-8")
    with pytest.raises(InputInvalid, match=name):
        step_files.load_upload(path)


@pytest.mark.parametrize("token", ["a b", "令牌", "a\nb"])
def test_a_token_that_cannot_travel_is_refused_unseen(tmp_path: Path, token: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(json.dumps({"token": token}), encoding="utf-8")
    with pytest.raises(InputInvalid, match="字段 token") as caught:
        step_files.load_token(path, NOW)
    assert token not in caught.value.message
