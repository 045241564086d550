"""The keys of slides at COS, and the temporary credentials in every spelling that they are known in."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from imaging.cos.slide import CosCredentials, callback_path, slide_key
from imaging.errors import InputInvalid, Unclear

MD5 = "0123456789abcdef" * 2
SECRETS = {"tmpSecretId": "id-1", "tmpSecretKey": "key-do-not-print", "sessionToken": "token-do-not-print"}
SNAKE = {"tmp_secret_id": "id-1", "tmp_secret_key": "key-do-not-print", "session_token": "token-do-not-print"}
PLAIN = {"secret_id": "id-1", "secret_key": "key-do-not-print", "token": "token-do-not-print"}
AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
SECONDS = int(AT.timestamp())
STS = {"TmpSecretId": "id-1", "TmpSecretKey": "key-do-not-print", "Token": "token-do-not-print"}
DATES = ("", "2026-1-2", "2026010", "202601020", "20261301", "20260230", "２０２６０１０２", "2026010\n")
NAMES = ("", " ", ".", "..", "a/b", "a\\b")


def test_a_key_is_laid_out_as_the_back_end_wants_it() -> None:
    key = slide_key("20260102", "测试医院", MD5, "切片 1.svs")

    assert key == f"SLIDES/chunked_uploads/20260102/测试医院/{MD5}/切片 1.svs"
    assert callback_path(key) == f"chunked_uploads/20260102/测试医院/{MD5}/切片 1.svs"


@pytest.mark.parametrize(
    ("part", "value"),
    [
        *(("date", bad) for bad in DATES),
        *(("organization", bad) for bad in (*NAMES, "a\nb", "a\0b", "a\x7fb", "\ud800", "a\u2028b")),
        *(("filename", bad) for bad in (*NAMES, "../x.svs", "a\rb.svs", "x" * 900 + ".svs", "片" * 300)),
        *(("md5", bad) for bad in ("", "0" * 31, "0" * 33, "g" * 32, MD5.upper(), "0" * 32 + "\n")),
    ],
)
def test_a_part_of_a_key_that_would_lead_elsewhere_is_named(part: str, value: str) -> None:
    parts = {"date": "20260102", "organization": "医院", "md5": MD5, "filename": "a.svs"} | {part: value}

    with pytest.raises(InputInvalid) as caught:
        slide_key(parts["date"], parts["organization"], parts["md5"], parts["filename"])
    assert caught.value.field == part
    caught.value.message.encode()


@pytest.mark.parametrize("name", ["a..b.svs", "a b.svs", "片(1)+&=%?#.svs", "…svs", "病理　科.ndpi"])
def test_unusual_names_are_names(name: str) -> None:
    assert slide_key("20260102", name, MD5, name).endswith(f"/{name}")


@pytest.mark.parametrize("key", ["", "SLIDES/", "slides/a", "chunked_uploads/a", "/SLIDES/a"])
def test_a_key_of_another_layout_has_no_callback_path(key: str) -> None:
    with pytest.raises(InputInvalid, match="SLIDES/"):
        callback_path(key)


@pytest.mark.parametrize(
    "body",
    [
        {"credentials": SECRETS, "startTime": 1, "expiredTime": SECONDS, "expiration": "2026-01-02T03:04:05Z"},
        {"data": {"credentials": SECRETS, "expiredTime": str(SECONDS)}},
        {"response": {"data": {"credentials": SNAKE, "expired_time": SECONDS}}},
        {"Response": {"Credentials": STS, "ExpiredTime": SECONDS}},
        {"credentials": SECRETS, "expiration": "2026-01-02T03:04:05Z"},
        {"credentials": {**SECRETS, "expiration": "2026-01-02T11:04:05+08:00"}},
        {**SECRETS, "expired_time": float(SECONDS)},
        {**SNAKE, "expiredTime": "2026-01-02 03:04:05"},
        {**PLAIN, "expired_time": SECONDS * 1000},
        {"token": "login-token", "data": PLAIN, "expired_time": SECONDS, "expiredTime": None},
    ],
)
def test_every_spelling_of_credentials_is_read(body: dict[str, Any]) -> None:
    read = CosCredentials.read(body)

    assert (read.secret_id, read.secret_key, read.session_token) == ("id-1", "key-do-not-print", "token-do-not-print")
    assert read.expires_at == AT
    assert read.expires_at.utcoffset() == timedelta(0)
    assert (read.bucket, read.region) == (None, None)


def test_where_to_send_is_read_where_it_is_told() -> None:
    read = CosCredentials.read({"code": 0, "data": {"credentials": SECRETS, "bucket": "slides-1", "region": "test-1"}})

    assert (read.bucket, read.region, read.expires_at) == ("slides-1", "test-1", None)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "tmpSecretId"),
        ({"credentials": None}, "tmpSecretId"),
        ({"credentials": [SECRETS]}, "tmpSecretId"),
        ({"token": "login-token"}, "tmpSecretId"),
        ({**SECRETS, "tmpSecretKey": ""}, "tmpSecretKey"),
        ({**SECRETS, "tmpSecretKey": "key-do-not-print "}, "tmpSecretKey"),
        ({**SECRETS, "sessionToken": 7}, "sessionToken"),
        ({**SECRETS, "sessionToken": "token-do-not-print\r\nX: 1"}, "sessionToken"),
        ({"token": "login-token", "credentials": {"tmpSecretId": "i", "tmpSecretKey": "k"}}, "sessionToken"),
        ({**SECRETS, "expiredTime": "soon: do-not-print"}, "expiredTime"),
        ({**SECRETS, "expiredTime": True}, "expiredTime"),
        ({**SECRETS, "expiredTime": 10**30}, "expiredTime"),
        ({**SECRETS, "expiredTime": float("nan")}, "expiredTime"),
        ({**SECRETS, "bucket": "a/b"}, "bucket"),
        ({**SECRETS, "region": ["x"]}, "region"),
    ],
)
def test_what_is_missing_is_named_and_no_value_is_shown(body: dict[str, Any], field: str) -> None:
    with pytest.raises(Unclear, match=field) as caught:
        CosCredentials.read(body)
    assert "do-not-print" not in repr(caught.value) + caught.value.message


def test_nesting_without_end_is_no_trouble() -> None:
    body: dict[str, Any] = {}
    body["data"] = body

    with pytest.raises(Unclear, match="tmpSecretId"):
        CosCredentials.read(body)


def test_credentials_print_as_nothing() -> None:
    read = CosCredentials.read({**SECRETS, "expiredTime": SECONDS})

    assert "id-1" not in repr(read)
    assert "do-not-print" not in repr(read) + str(read)


def test_credentials_are_valid_while_a_reserve_is_left() -> None:
    read = CosCredentials.read({**SECRETS, "expiredTime": SECONDS})

    assert read.is_valid(AT - timedelta(seconds=61))
    assert not read.is_valid(AT - timedelta(seconds=60))
    assert read.is_valid(AT - timedelta(seconds=5), reserve_s=4)
    assert not read.is_valid(AT, reserve_s=0)
    assert CosCredentials.read(SECRETS).is_valid(AT)
