"""Both stores by one suite, and the spool in front of them."""

import hashlib
import logging
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from daemon.storage.objects import (
    FolderStore,
    ObjectMissing,
    ObjectStore,
    S3Store,
    Spool,
    SpoolFull,
    StoreUnavailable,
    s3,
)
from tests.servers.proxy import FaultProxy
from tests.servers.raw import RawServer, dripping, saying, silent
from tests.servers.s3 import ACCESS_KEY, BUCKET, SECRET_KEY, S3Server

KEY = "100001/0a0b/one.jpg"
MAX = 1 << 30


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
    content = bytes(range(256)) * 70_000  # more than two parts of a multipart upload
    store.put(KEY, b"first", "image/jpeg")
    store.put(KEY, content, "image/jpeg")
    assert store.get(KEY, bytes_max=len(content)) == content
    assert store.get(KEY, bytes_max=9) == content[:10]
    store.delete(KEY)
    with pytest.raises(ObjectMissing):
        store.get(KEY, bytes_max=MAX)
    store.delete(KEY)


def test_a_file_is_put_whole_or_not_at_all(store: ObjectStore, tmp_path: Path) -> None:
    content = bytes(range(256)) * 70_000  # more than two parts
    file = tmp_path / "slide"
    file.write_bytes(content)

    store.put_file(KEY, file, "application/octet-stream")

    assert store.get(KEY, bytes_max=MAX) == content
    with pytest.raises(FileNotFoundError):
        store.put_file("100001/0a0b/two.jpg", tmp_path / "missing", "image/jpeg")
    with pytest.raises(ObjectMissing):
        store.get("100001/0a0b/two.jpg", bytes_max=MAX)


@pytest.mark.parametrize("key", ["../x", "a/../../x", "/etc/x", "a//b", "", "a/.hidden", "a\\b", "a\nb", "x" * 301])
def test_a_key_stays_where_it_belongs(store: ObjectStore, key: str, tmp_path: Path) -> None:
    for verb in (
        lambda: store.put(key, b"", "image/jpeg"),
        lambda: store.get(key, bytes_max=MAX),
        lambda: store.delete(key),
    ):
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
        s3_store(S3Server(tmp_path)).get(KEY, bytes_max=MAX)


HEAD = b"HTTP/1.1 200 OK\r\nConnection: close\r\n"
LATE = {
    "says nothing": silent,
    "drips its head": dripping(HEAD + b"X: "),
    "drips its body": dripping(HEAD + b"Content-Length: 100000\r\n\r\n"),
}


def at(server: RawServer | FaultProxy) -> S3Store:
    endpoint = f"127.0.0.1:{server.port}"
    return S3Store(endpoint, BUCKET, access_key=ACCESS_KEY, secret_key=SECRET_KEY, secure=False, region=None)


def calls(store: S3Store, file: Path) -> dict[str, Callable[[], object]]:
    file.write_bytes(bytes(20_000_000))
    return {
        "put": lambda: store.put(KEY, b"x", "image/jpeg"),
        "put of many parts": lambda: store.put(KEY, bytes(20_000_000), "image/jpeg"),
        "put_file": lambda: store.put_file(KEY, file, "image/jpeg"),
        "get": lambda: store.get(KEY, bytes_max=100_000),
        "delete": lambda: store.delete(KEY),
        "check": store.check,
    }


@pytest.mark.parametrize("how", LATE)
@pytest.mark.parametrize("call", ["put", "put of many parts", "put_file", "get", "delete", "check"])
def test_a_call_to_a_server_that_is_late_ends(
    call: str, how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if (call, how) == ("check", "drips its body"):
        pytest.skip("the answer to HEAD has no body, whatever it says")
    monkeypatch.setattr(s3, "READ_TIMEOUT_S", 0.3)
    monkeypatch.setattr(s3, "BYTES_PER_S_MIN", 1 << 30)
    with RawServer(LATE[how]) as server:
        act = calls(at(server), tmp_path / "file")[call]
        with pytest.raises(StoreUnavailable, match=f"bucket {BUCKET} on .*: no whole answer in time"):
            act()


def test_an_upload_over_a_slow_line_that_lives_goes_through(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of it takes longer than any time-out, and no wait for a byte does."""
    monkeypatch.setattr(s3, "CONNECT_TIMEOUT_S", 2.0)
    monkeypatch.setattr(s3, "READ_TIMEOUT_S", 2.0)
    monkeypatch.setattr(s3, "BYTES_PER_S_MIN", 10_000)
    content = bytes(range(250)) * 8_000
    with FaultProxy(server.port) as proxy:
        proxy.flow(bytes_per_s=500_000)
        at(proxy).put(KEY, content, "image/jpeg")
    assert s3_store(server).get(KEY, bytes_max=MAX) == content


def test_a_connection_that_a_firewall_forgot_costs_a_try_and_no_object(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3, "READ_TIMEOUT_S", 2.0)
    stored = b"HTTP/1.1 200 OK\r\nETag: x\r\nContent-Length: 0\r\n\r\n"

    def serve(connection: socket.socket, released: threading.Event) -> None:
        connection.recv(65_536)
        connection.sendall(stored)
        released.wait()

    with RawServer(serve) as server:
        store = at(server)
        store.put(KEY, b"x", "image/jpeg")
        store.put(KEY, b"x", "image/jpeg")
    assert server.accepted == 2


def test_an_answer_that_is_longer_than_the_object_is_not_read_to_its_end() -> None:
    def flood(connection: socket.socket, released: threading.Event) -> None:
        connection.recv(65_536)
        connection.sendall(HEAD + b"\r\n")
        while not released.is_set():
            connection.sendall(b"x" * 65_536)

    def headless(connection: socket.socket, released: threading.Event) -> None:
        connection.recv(65_536)
        connection.sendall(b"HTTP/1.1 403 No\r\nConnection: close\r\n\r\n")
        while not released.is_set():
            connection.sendall(b"x" * 65_536)

    with RawServer(flood) as server:
        assert at(server).get(KEY, bytes_max=5) == b"xxxxxx"
    with RawServer(headless) as server, pytest.raises(StoreUnavailable, match="longer than any"):
        at(server).get(KEY, bytes_max=5)


def test_an_object_that_comes_by_half_is_not_given() -> None:
    half = HEAD + b"Content-Length: 5\r\n\r\nxx"
    with RawServer(saying(half)) as server, pytest.raises(StoreUnavailable, match="get"):
        at(server).get(KEY, bytes_max=5)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 400 No\r\nContent-Type: application/xml\r\nConnection: close\r\nContent-Length: 3\r\n\r\n<a>",
        b"HTTP/1.1 301 No\r\nLocation: http://127.0.0.1:9/\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
        b"SSH-2.0\r\n",
    ],
    ids=["no whole XML", "elsewhere", "no HTTP"],
)
def test_what_speaks_no_s3_takes_no_object(answer: bytes) -> None:
    with RawServer(saying(answer)) as server, pytest.raises(StoreUnavailable, match="put"):
        at(server).put(KEY, b"x", "image/jpeg")


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


def test_an_answer_that_names_no_object_is_not_taken_for_stored() -> None:
    page = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nlogin"
    with RawServer(saying(page)) as proxy, pytest.raises(StoreUnavailable, match="names no object"):
        at(proxy).put(KEY, b"picture", "image/jpeg")


ODD = {
    "as long as no machine holds": b'HTTP/1.1 200 OK\r\nETag: "x"\r\nContent-Length: 9223372036854775808\r\n\r\n',
    "packed twice": b'HTTP/1.1 200 OK\r\nETag: "x"\r\nContent-Encoding: gzip, gzip\r\nContent-Length: 3\r\n\r\nxxx',
    "packed": b'HTTP/1.1 200 OK\r\nETag: "x"\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nxxx',
}


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("call", ["put", "get", "delete"])
def test_an_answer_that_cannot_be_one_ends_nothing_but_the_call(call: str, odd: str, tmp_path: Path) -> None:
    with RawServer(saying(ODD[odd])) as server, pytest.raises(StoreUnavailable):
        calls(at(server), tmp_path / "file")[call]()
