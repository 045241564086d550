"""What a request may name, what a folder's order is, and what a configuration must have; no network."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imaging.buckets.azure import AzureBuckets
from imaging.buckets.gcs import GcsBuckets
from imaging.buckets.s3 import S3Buckets
from imaging.buckets.store import Buckets, allowed_bucket, checked_location, natural
from imaging.errors import InputForbidden, InputInvalid, NotConfigured
from tests import rules
from tests.waiting import DEADLINE_S

READ = {
    "exams/42/": "exams/42/",
    "exams/42/slice_1.png": "exams/42/slice_1.png",
    "  exams/a.png ": "exams/a.png",
    "a b.png": "a b.png",
    "a%20b.png": "a b.png",
    "a+b.png": "a+b.png",
    "%E5%B7%A6%E7%9C%BC/1.png": "左眼/1.png",
    "左眼/1.png": "左眼/1.png",
    "左眼/1.png".encode().decode("latin-1"): "左眼/1.png",
    "é.png": "é.png",
    "100%.png": "100%.png",
    "100%25.png": "100%.png",
    "%252e%252e/a.png": "%2e%2e/a.png",
    "scan..2.png": "scan..2.png",
    "a//b.png": "a//b.png",
    "a:b.png": "a:b.png",
    "a" * 1024: "a" * 1024,
}

NOT_READ = [
    None,
    "",
    "  ",
    "/",
    "/exams/a.png",
    "%2Fexams/a.png",
    "../a.png",
    "exams/../../a.png",
    "exams/..",
    "exams/%2e%2e/a.png",
    "exams/%2E./a.png",
    "./a.png",
    "exams\\a.png",
    "exams%5C..%5Ca.png",
    "a\x00.png",
    "a%00.png",
    "a%0D%0AHost:x.png",
    "a\n.png",
    "a\x7f.png",
    "a%C2%85.png",
    "a%E2%80%A8.png",
    "%FF%FE.png",
    "%E5%B7.png",
    "a" * 1025,
    "眼" * 342,
    "%61" * 5000,
    "gs://bucket/exams/a.png",
    "s3://bucket/a.png",
    "https://account.blob.example/oct/a.png?sv=1&sig=SECRETSIGNATURE",
    "HTTPS://x",
    "file:///etc/passwd",
]


@pytest.mark.parametrize("location", READ, ids=lambda location: ascii(location)[:30])
def test_a_location_is_read_however_it_was_written(location: str) -> None:
    assert checked_location(location) == READ[location]


@pytest.mark.parametrize("location", NOT_READ, ids=lambda location: ascii(location)[:30])
def test_a_location_that_is_none_is_refused(location: str | None) -> None:
    with pytest.raises(InputInvalid, match="Input-Location") as caught:
        checked_location(location)
    assert caught.value.field == "Input-Location"
    assert "SECRETSIGNATURE" not in caught.value.message + caught.value.value
    assert len(caught.value.value) <= 80


def test_a_whole_address_is_refused_with_a_hint() -> None:
    with pytest.raises(InputInvalid, match="Input-Bucket-Name"):
        checked_location("gs://bucket/exams/a.png")


@given(st.text(max_size=60))
def test_any_location_gives_a_safe_key_or_an_error_of_ours(location: str) -> None:
    try:
        key = checked_location(location)
    except InputInvalid as error:
        error.message.encode()
    else:
        assert key
        assert not key.startswith("/")
        assert ".." not in key.split("/")
        assert not any(ord(letter) < 32 for letter in key)
        assert len(key.encode()) <= 1024


def test_a_bucket_is_the_one_asked_for_or_the_default() -> None:
    listed: dict[str, Any] = {"allowed": ["other", "third"], "field": "Input-Bucket-Name"}
    assert allowed_bucket(None, default="oct", **listed) == "oct"
    assert allowed_bucket("  ", default="oct", **listed) == "oct"
    assert allowed_bucket("oct", default="oct", **listed) == "oct"
    assert allowed_bucket(" third ", default="oct", **listed) == "third"
    assert allowed_bucket("third", default=None, **listed) == "third"


@pytest.mark.parametrize("asked", ["secret-bucket", "OTHER", "other/x", "oth", "../other", "x" * 5000, "\ud800"])
def test_a_bucket_that_is_not_on_the_list_is_forbidden_and_the_list_is_not_told(asked: str) -> None:
    with pytest.raises(InputForbidden) as caught:
        allowed_bucket(asked, default="oct", allowed=["other", "third"], field="Output-Bucket-Name")
    assert caught.value.field == "Output-Bucket-Name"
    assert "third" not in caught.value.message
    caught.value.message.encode()


def test_no_bucket_at_all_is_an_error() -> None:
    with pytest.raises(InputInvalid, match="Input-Bucket-Name") as caught:
        allowed_bucket(None, default=None, allowed=["other"], field="Input-Bucket-Name")
    assert type(caught.value) is InputInvalid


def test_keys_are_ordered_as_a_person_counts() -> None:
    ordered = ["", "1", "a", "A1", "a1", "a2", "A10", "a10b", "b1.9", "b1.10", "片2", "片10"]

    shuffled = ordered[1::2] + ordered[::2]

    assert sorted(shuffled, key=natural) == ordered


@given(st.lists(st.text(max_size=12), max_size=6))
def test_any_keys_have_an_order(keys: list[str]) -> None:
    assert sorted(sorted(keys), key=natural) == sorted(sorted(keys, reverse=True), key=natural)


# --- configuration ---


def test_what_is_not_configured_is_named() -> None:
    cases: list[tuple[Buckets, str]] = [
        (GcsBuckets(rules.gcs()), "imaging.retina.gcs_credentials_file"),
        (AzureBuckets(rules.azure(connection_string="")), "imaging.retina.azure_connection_string"),
        (S3Buckets(rules.s3()), "imaging.retina.s3_endpoint"),
        (S3Buckets(rules.s3(endpoint="s3.example", access_key="a")), "imaging.retina.s3_secret_key"),
    ]
    for buckets, key in cases:
        with pytest.raises(NotConfigured, match=key):
            buckets.check("oct")
        buckets.close()


_KEY = "SECRETKEYSECRETKEYSECRETKEYSECRE"


@pytest.mark.parametrize(
    "connection",
    [
        "no connection string",
        f"AccountKey={_KEY}",
        f"DefaultEndpointsProtocol=http;AccountName=a;AccountKey={_KEY};EndpointSuffix=core.example",
        f"BlobEndpoint=http://account.example/a;AccountName=a;AccountKey={_KEY}",
        f"BlobEndpoint=https://u:{_KEY}@account.example/a;AccountName=a;AccountKey={_KEY}",
    ],
)
def test_a_connection_string_that_is_none_or_not_safe_is_refused(connection: str) -> None:
    buckets = AzureBuckets(rules.azure(connection_string=connection))
    with pytest.raises(InputInvalid, match=r"imaging\.retina\.azure_connection_string") as caught:
        buckets.check("oct")
    assert _KEY not in str(caught.value)
    buckets.close()


def test_plain_http_leads_to_this_machine_only(tmp_path: Path) -> None:
    gcs = GcsBuckets(rules.gcs(endpoint="http://gcs.example"))
    with pytest.raises(InputInvalid, match=r"imaging\.retina\.gcs_endpoint"):
        gcs.check("oct")
    s3 = S3Buckets(rules.s3(endpoint="s3.example:9000", access_key="a", secret_key="b", secure=False))
    with pytest.raises(InputInvalid, match=r"imaging\.retina\.s3_endpoint"):
        s3.check("oct")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"{}",
        b"no json " + _KEY.encode(),
        json.dumps({"token_uri": "https://token.example"}).encode(),
        json.dumps({"token_uri": "http://token.example", "client_email": "a@example"}).encode(),
        json.dumps({"token_uri": "https://t.example", "client_email": "a@b", "private_key": _KEY}).encode(),
        b"\xff\xfe",
    ],
)
def test_a_credentials_file_that_is_none_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "gcs.json"
    path.write_bytes(content)
    buckets = GcsBuckets(rules.gcs(credentials_file=path))
    with pytest.raises(InputInvalid, match=r"imaging\.retina\.gcs_credentials_file") as caught:
        buckets.check("oct")
    assert _KEY not in str(caught.value)


def test_a_credentials_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputInvalid, match=r"gcs_credentials_file"):
        GcsBuckets(rules.gcs(credentials_file=tmp_path / "missing.json")).check("oct")


def test_rules_do_not_print_their_secrets() -> None:
    told = [rules.azure(connection_string=_KEY), rules.s3(access_key=_KEY, secret_key=_KEY)]

    assert _KEY not in repr(told)


def test_the_sdks_are_not_imported_before_they_are_needed() -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys, imaging.buckets.gcs, imaging.buckets.azure, imaging.buckets.s3\n"
            "print([each for each in ('google.cloud.storage', 'azure', 'minio', 'requests') if each in sys.modules])",
        ],
        capture_output=True,
        text=True,
        check=True,
        timeout=DEADLINE_S,
    )
    assert done.stdout.strip() == "[]"
