"""Any S3 server through the MinIO client library."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imaging.buckets.store import (
    INPUT_BUCKET,
    OUTPUT_BUCKET,
    BucketObject,
    Folder,
    changed,
    check_size,
    is_unnamed,
    the_one,
    unusable,
    whole_file,
)
from imaging.errors import ImagingError, InputInvalid, NotConfigured
from imaging.wire import checked_url

if TYPE_CHECKING:
    import urllib3

_ENDPOINT = "imaging.retina.s3_endpoint"
_PART_BYTES = 8 * 2**20
_PARTS_MAX = 10_000
_CHUNK = 256 * 2**10


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Rules:
    """endpoint: host or host:port."""

    endpoint: str | None
    access_key: str | None = field(repr=False)
    secret_key: str | None = field(repr=False)
    region: str | None
    secure: bool
    timeout_s: float
    connect_timeout_s: float


class S3Buckets:
    name = "S3"

    def __init__(self, rules: S3Rules) -> None:
        from imaging.buckets.sdk import Lazy, pool

        self._rules = rules
        self._pool: Lazy[urllib3.PoolManager] = Lazy(partial(pool, connect_timeout_s=rules.connect_timeout_s))
        self._client: Lazy[Any] = Lazy(lambda: _client(rules, self._pool.get()))

    def find(self, bucket: str, location: str, *, files_max: int) -> list[BucketObject]:
        from imaging.buckets.sdk import LIST_MAX

        with self._calling(bucket, INPUT_BUCKET, receives=LIST_MAX):
            if not location.endswith("/") and (one := self._stat(bucket, location)) is not None:
                return [the_one(location, one.size, one.content_type, one.etag)]
            prefix = location.rstrip("/") + "/"
            folder = Folder(prefix, files_max=files_max)
            for each in self._client.get().list_objects(bucket, prefix=prefix):
                folder.add(each.object_name, each.size, partial(self._type, bucket, each.object_name), each.etag)
            return folder.pictures(location)

    def fetch(self, bucket: str, found: BucketObject, to: Path, *, bytes_max: int) -> None:
        check_size(found, bytes_max)
        call = self._calling(bucket, INPUT_BUCKET, found.key, moves=found.size, receives=found.size)
        with call, whole_file(to, found) as file:
            mark = {"If-Match": f'"{found.version}"'}
            answer = self._client.get().get_object(bucket, found.key, request_headers=mark)
            try:
                if "ETag" not in answer.headers:
                    raise unusable(self.name)
                # Not every server minds If-Match.
                if answer.headers.get("ETag", "").strip('"') != found.version:
                    raise changed(found.key)
                file.write_all(answer.stream(_CHUNK, decode_content=False))
            finally:
                # A connection with something unread on it is closed, any other goes back to the pool.
                answer.close()
                answer.release_conn()

    def put(self, bucket: str, key: str, content: Path | bytes, media_type: str) -> None:
        with io.BytesIO(content) if isinstance(content, bytes) else content.open("rb") as file:
            size = file.seek(0, io.SEEK_END)
            file.seek(0)
            with self._calling(bucket, OUTPUT_BUCKET, moves=size):
                # One part at a time: the library would hold several in memory, and make threads.
                written = self._client.get().put_object(
                    bucket,
                    key,
                    file,
                    size,
                    content_type=media_type,
                    part_size=max(_PART_BYTES, -(-size // _PARTS_MAX)),
                    num_parallel_uploads=1,
                )
                if not written.etag:
                    raise unusable(self.name)

    def check(self, bucket: str) -> None:
        with self._calling(bucket, "bucket"):
            next(iter(self._client.get().list_objects(bucket)), None)

    def close(self) -> None:
        self._client.taken()
        if (pool := self._pool.taken()) is not None:
            pool.clear()

    def _stat(self, bucket: str, key: str) -> Any:
        """None where there is none."""
        from minio.error import S3Error

        try:
            return self._client.get().stat_object(bucket, key)
        except S3Error as error:
            if _status(error)[0] == 404:
                return None
            raise

    def _type(self, bucket: str, key: str) -> str | None:
        """The list does not say it, and one question for each object of a folder is too many."""
        if not is_unnamed(key):
            return None
        one = self._stat(bucket, key)
        return None if one is None else str(one.content_type)

    @contextmanager
    def _calling(
        self, bucket: str, field: str, key: str | None = None, *, moves: int = 0, receives: int = 0
    ) -> Iterator[None]:
        from minio.error import MinioException
        from minio.helpers import check_bucket_name

        from imaging.buckets.sdk import BROKEN, UNREADABLE, bounded, meaning

        try:
            check_bucket_name(bucket)
        except ValueError:
            raise InputInvalid(
                f"{field}：不是有效的 S3 存储桶名：{bucket[:64]!r}。", field=field, value=bucket[:64]
            ) from None
        try:
            with bounded(timeout_s=self._rules.timeout_s, moves=moves, receives=receives):
                yield
        except ImagingError:
            raise
        except (MinioException, *BROKEN, *UNREADABLE) as error:
            status, code = _status(error)
            raise meaning(self.name, error, status, code, bucket=bucket, field=field, key=key) from None


def _status(error: Exception) -> tuple[int | None, str]:
    """The HTTP status of the answer, and the store's own code."""
    from minio.error import InvalidResponseError, S3Error, ServerError

    if isinstance(error, S3Error):
        return error.response.status, error.code or ""
    if isinstance(error, ServerError):
        return error.status_code, ""
    # An error page that is no XML of S3.
    return (error._code, "") if isinstance(error, InvalidResponseError) else (None, "")


def _client(rules: S3Rules, pool: "urllib3.PoolManager") -> Any:
    """Raises NotConfigured, InputInvalid."""
    from minio import Minio

    if not (rules.endpoint and rules.access_key and rules.secret_key):
        missing = next(key for key in ("endpoint", "access_key", "secret_key") if not getattr(rules, key))
        raise NotConfigured(f"S3 未配置：请设置 imaging.retina.s3_{missing}。")
    scheme = "https" if rules.secure else "http"
    checked_url(f"{scheme}://{rules.endpoint}", _ENDPOINT)
    try:
        # With the region named, the library does not ask the server for it first.
        return Minio(
            rules.endpoint,
            access_key=rules.access_key,
            secret_key=rules.secret_key,
            secure=rules.secure,
            region=rules.region or "us-east-1",
            http_client=pool,
        )
    except ValueError:
        raise InputInvalid(
            f"{_ENDPOINT}：应为 主机 或 主机:端口：{rules.endpoint!r}。",
            field=_ENDPOINT,
            value=rules.endpoint[:80],
        ) from None
