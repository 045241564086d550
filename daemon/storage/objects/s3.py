"""Objects on an S3 server, through the MinIO client library, over connections of ours: each call ends in time.

A server may answer in a form that the library does not expect, so its whole tree of errors, and what it makes of an
answer of another kind, are one here. No error text carries a key or a signature.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from minio import Minio
from minio.error import MinioException, S3Error
from urllib3.exceptions import ConnectTimeoutError, HTTPError, ReadTimeoutError

from daemon.storage.objects.store import ObjectMissing, StoreUnavailable, checked
from net import TooMuch, bounded
from net.causes import causes
from net.pools import pool

CONNECT_TIMEOUT_S = 3.0
# For a connection that moves no byte, and for a whole answer that is no object.
READ_TIMEOUT_S = 10.0
# A line slower than this for a whole object is taken for dead.
BYTES_PER_S_MIN = 64 * 2**10
RETRIES = 1
# A store may take so long to join the parts of a large file before it answers.
_JOINED_BYTES_PER_S_MIN = 64 * 2**20
# What comes besides an object: heads, errors.
_ANSWERS_MAX = 2**20
_PART_BYTES = 8 * 2**20
_PARTS_MAX = 10_000
# ParseError is a SyntaxError; a length that no machine holds is an OverflowError or a MemoryError.
_BROKEN = (
    *(MinioException, HTTPError, OSError, SyntaxError, ValueError, LookupError, TypeError, AttributeError),
    *(ArithmeticError, RecursionError, MemoryError),
)


class S3Store:
    def __init__(
        self, endpoint: str, bucket: str, *, access_key: str, secret_key: str, secure: bool, region: str | None
    ) -> None:
        self._where = f"bucket {bucket} on {endpoint}"
        self._bucket = bucket
        # With the region named, the library does not ask the server for it first.
        self._client = Minio(
            endpoint,
            access_key=access_key,
            secret_key=secret_key,
            secure=secure,
            region=region or "us-east-1",
            http_client=pool(connect_timeout_s=CONNECT_TIMEOUT_S, repeats=RETRIES),
        )

    def put(self, key: str, content: bytes, content_type: str) -> None:
        self._put(checked(key), io.BytesIO(content), len(content), content_type)

    def put_file(self, key: str, path: Path, content_type: str) -> None:
        with path.open("rb") as file:
            self._put(checked(key), file, path.stat().st_size, content_type)

    def get(self, key: str, *, bytes_max: int) -> bytes:
        key = checked(key)
        with self._calling("get", receives=bytes_max):
            try:
                response = self._client.get_object(self._bucket, key)
            except MinioException as error:
                if _status(error) == 404:
                    raise ObjectMissing(key) from None
                raise
            try:
                return bytes(response.read(bytes_max + 1))
            finally:
                # A connection with something unread on it is closed, any other goes back to the pool.
                response.close()
                response.release_conn()

    def delete(self, key: str) -> None:
        key = checked(key)
        with self._calling("delete"):
            try:
                self._client.remove_object(self._bucket, key)
            except MinioException as error:
                if _status(error) != 404:
                    raise

    def check(self) -> None:
        with self._calling("ask"):
            exists = self._client.bucket_exists(self._bucket)
        if not exists:
            raise StoreUnavailable(f"{self._where}: no such bucket")

    def _put(self, key: str, file: BinaryIO, size: int, content_type: str) -> None:
        with self._calling("put", sends=size):
            # One part at a time: the library would hold several in memory, and send them from threads without bounds.
            stored = self._client.put_object(
                self._bucket,
                key,
                file,
                size,
                content_type=content_type,
                part_size=max(_PART_BYTES, -(-size // _PARTS_MAX)),
                num_parallel_uploads=1,
            )
        # Every S3 names what it keeps. A proxy's page in its place is a 200, too, and would empty the spool.
        if not stored.etag:
            raise StoreUnavailable(f"put {self._where}: the answer names no object (ETag); is it an S3 server?")

    @contextmanager
    def _calling(self, verb: str, *, sends: int = 0, receives: int = 0) -> Iterator[None]:
        """End within one READ_TIMEOUT_S for each try and what the slowest line needs for the bytes."""
        idle_s = READ_TIMEOUT_S + sends / _JOINED_BYTES_PER_S_MIN
        try:
            with bounded(
                within_s=(1 + RETRIES) * READ_TIMEOUT_S + (sends + receives) / BYTES_PER_S_MIN,
                idle_s=idle_s,
                answer_s=idle_s + receives / BYTES_PER_S_MIN,
                receives=receives + _ANSWERS_MAX,
            ):
                yield
        except ObjectMissing:
            raise
        except _BROKEN as error:
            raise StoreUnavailable(f"{verb} {self._where}: {_why(error)}") from None


def _status(error: Exception) -> int | None:
    if isinstance(error, S3Error) and error.code in ("NoSuchKey", "NoSuchObject"):
        return 404
    response = getattr(error, "response", None)
    status = getattr(response, "status", None) or getattr(error, "_code", None) or getattr(error, "status_code", None)
    return status if isinstance(status, int) else None


def _why(error: Exception) -> str:
    """What kind of failure, in few words: the texts of the library carry whole requests."""
    if isinstance(error, S3Error):
        return f"the server refused: {error.code}"
    if (status := _status(error)) is not None:
        return f"the server answered {status}"
    found = list(causes(error))
    if any(isinstance(cause, TooMuch) for cause in found):
        return "the answer is longer than any may be"
    if any(isinstance(cause, ConnectTimeoutError) for cause in found):
        return "no connection in time"
    if any(isinstance(cause, TimeoutError | ReadTimeoutError) for cause in found):
        return "no whole answer in time"
    reason = getattr(error, "reason", None)
    return type(reason if isinstance(reason, BaseException) else error).__name__
