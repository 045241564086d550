"""The three bucket stores for tests: real servers, and clients of ours that lead there."""

import io
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from minio import Minio

from imaging.buckets.azure import AzureBuckets
from imaging.buckets.gcs import GcsBuckets
from imaging.buckets.s3 import S3Buckets
from imaging.buckets.store import BucketObject, Buckets
from tests import rules
from tests.servers import azurite
from tests.servers.azurite import ACCOUNT_KEY, AzuriteServer, connection
from tests.servers.gcs import GcsServer
from tests.servers.s3 import ACCESS_KEY, SECRET_KEY, S3Server

# Long enough for a loaded machine; what stalls costs so long.
TIMEOUT_S = 20.0
OTHER_KEY = "YW5vdGhlci1rZXktb2YtdGhlLXRlc3QtMTIzNDU2Nzg="
# An object that nobody has written.
WANTED = BucketObject(key="a.png", size=5000, media_type="image/png", version="7")
_numbers = count(1)


@dataclass
class Store:
    """A running server, and how to make clients of it."""

    name: str
    port: int
    make: Callable[[str], None]
    put: Callable[[str, str, bytes, str], None]

    def new_bucket(self) -> str:
        """New and empty."""
        name = f"oct-{next(_numbers)}"
        self.make(name)
        return name

    def buckets(self, port: int | None = None, *, secret: str | None = None, timeout_s: float = TIMEOUT_S) -> Buckets:
        """port: of what stands before it. secret: in the place of the right one."""
        at = port or self.port
        bounds: dict[str, Any] = {"timeout_s": timeout_s, "connect_timeout_s": 5.0}
        if self.name == "gcs":
            return GcsBuckets(rules.gcs(endpoint=f"http://127.0.0.1:{at}", **bounds))
        if self.name == "azure":
            return AzureBuckets(rules.azure(connection_string=connection(at, secret or ACCOUNT_KEY), **bounds))
        keys = {"access_key": ACCESS_KEY, "secret_key": secret or SECRET_KEY}
        return S3Buckets(rules.s3(endpoint=f"127.0.0.1:{at}", secure=False, **keys, **bounds))


def started(name: str, folder: Path, stack: ExitStack) -> Store:
    if name == "gcs":
        gcs = stack.enter_context(GcsServer())
        return Store(name, gcs.port, gcs.make, gcs.put)
    if name == "azure":
        if reason := azurite.why_unavailable():
            pytest.skip(reason)
        azure = stack.enter_context(AzuriteServer(folder))
        return Store(name, azure.port, azure.make, azure.put)
    s3 = stack.enter_context(S3Server(folder))
    client = Minio(s3.endpoint, access_key=ACCESS_KEY, secret_key=SECRET_KEY, secure=False, region="us-east-1")

    def put(bucket: str, key: str, content: bytes, media_type: str) -> None:
        client.put_object(bucket, key, io.BytesIO(content), len(content), content_type=media_type)

    return Store(name, s3.port, client.make_bucket, put)


def the_one(buckets: Buckets, bucket: str, key: str) -> BucketObject:
    [found] = buckets.find(bucket, key, files_max=1)
    return found


def acts(buckets: Buckets, bucket: str, found: BucketObject, folder: Path) -> list[Callable[[], object]]:
    """Everything that a client does."""
    return [
        lambda: buckets.check(bucket),
        lambda: buckets.find(bucket, "a.png", files_max=1),
        lambda: buckets.find(bucket, "exam/", files_max=1),
        lambda: buckets.fetch(bucket, found, folder / "a.png", bytes_max=10_000),
        lambda: buckets.put(bucket, "b.png", b"x", "image/png"),
    ]
