"""Both stores by one suite, and the spool in front of them."""

import hashlib
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon.storage.objects import FolderStore, ObjectMissing, ObjectStore, S3Store, Spool, SpoolFull, StoreUnavailable
from tests.servers.s3 import ACCESS_KEY, BUCKET, SECRET_KEY, S3Server

KEY = "100001/0a0b/one.jpg"


def s3_store(server: S3Server, secret: str = SECRET_KEY) -> S3Store:
    return S3Store(server.endpoint, BUCKET, access_key=ACCESS_KEY, secret_key=secret, secure=False, region=None)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with S3Server(tmp_path_factory.mktemp("s3")) as running:
        yield running


@pytest.fixture(params=["folder", "minio"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    if request.param == "folder":
        return FolderStore(tmp_path / "objects")
    return s3_store(request.getfixturevalue("server"))


def test_what_is_put_is_got_and_replaced_and_deleted(store: ObjectStore) -> None:
    store.check()
    content = bytes(range(256)) * 30_000  # more than one part of a multipart upload
    store.put(KEY, b"first", "image/jpeg")
    store.put(KEY, content, "image/jpeg")
    assert store.get(KEY) == content
    store.delete(KEY)
    with pytest.raises(ObjectMissing):
        store.get(KEY)
    store.delete(KEY)


def test_a_file_is_put_whole_or_not_at_all(store: ObjectStore, tmp_path: Path) -> None:
    content = bytes(range(256)) * 70_000  # more than two parts
    file = tmp_path / "slide"
    file.write_bytes(content)

    store.put_file(KEY, file, "application/octet-stream")

    assert store.get(KEY) == content
    with pytest.raises(FileNotFoundError):
        store.put_file("100001/0a0b/two.jpg", tmp_path / "missing", "image/jpeg")
    with pytest.raises(ObjectMissing):
        store.get("100001/0a0b/two.jpg")


@pytest.mark.parametrize("key", ["../x", "a/../../x", "/etc/x", "a//b", "", "a/.hidden", "a\\b", "a\nb", "x" * 301])
def test_a_key_stays_where_it_belongs(store: ObjectStore, key: str, tmp_path: Path) -> None:
    for verb in (lambda: store.put(key, b"", "image/jpeg"), lambda: store.get(key), lambda: store.delete(key)):
        with pytest.raises(ValueError, match="object key"):
            verb()
    with pytest.raises(ValueError, match="object key"):
        Spool(tmp_path / "spool", bytes_max=100).put(key, b"")


def test_a_wrong_secret_is_said_and_not_shown(server: S3Server, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with pytest.raises(StoreUnavailable, match=r"403|AccessDenied|SignatureDoesNotMatch") as refused:
        s3_store(server, "wrong-secret-word").put(KEY, b"x", "image/jpeg")
    assert refused.value.__cause__ is None
    shown = f"{refused.value} {refused.value!r} {caplog.text}"
    assert "wrong-secret-word" not in shown
    assert ACCESS_KEY not in shown


def test_a_server_that_is_away_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="evidence"):
        s3_store(S3Server(tmp_path)).get(KEY)


def test_the_spool_is_bounded(tmp_path: Path) -> None:
    spool = Spool(tmp_path, bytes_max=10)
    spool.put("a/b.jpg", b"123456")
    with pytest.raises(SpoolFull):
        spool.put("a/c.jpg", b"12345")
    spool.delete("a/b.jpg")
    spool.put("a/c.jpg", b"12345")


def test_what_no_row_speaks_of_or_is_damaged_is_set_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    spool = Spool(tmp_path, bytes_max=1000)
    for name in ("waits", "stored", "foreign"):
        spool.put(f"a/{name}.jpg", name.encode())
    again = Spool(tmp_path, bytes_max=1000)
    again.open(waiting={"a/waits.jpg"}, stored={"a/stored.jpg"})
    assert (tmp_path / "aside" / "a~foreign.jpg-1").read_bytes() == b"foreign"
    assert "a~foreign.jpg" in caplog.text
    assert again.get("a/waits.jpg", hashlib.sha256(b"waits").hexdigest()) == b"waits"
    assert again.get("a/waits.jpg", hashlib.sha256(b"other").hexdigest()) is None
    assert (tmp_path / "aside" / "a~waits.jpg-1").read_bytes() == b"waits"
    assert [path.name for path in tmp_path.iterdir()] == ["aside"]
