"""Objects on an S3 server, through the MinIO client library.

Its own time-outs of minutes would hold a thread for as long, hence our pool. A server may answer an error in a form
that the library does not expect, so its whole tree of errors is one here. No error text carries a key or a signature.
"""

import io
import logging
from pathlib import Path

import urllib3
from minio import Minio
from minio.error import MinioException, S3Error
from urllib3.exceptions import HTTPError

from daemon.storage.objects.store import ObjectMissing, StoreUnavailable, checked

CONNECT_TIMEOUT_S = 3.0
READ_TIMEOUT_S = 10.0
RETRIES = 1
_PART_BYTES = 8 * 2**20
_PARTS_MAX = 10_000

# urllib3 tells of each attempt that it repeats, with the address; we say once what failed.
logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)


class S3Store:
    def __init__(
        self, endpoint: str, bucket: str, *, access_key: str, secret_key: str, secure: bool, region: str | None
    ) -> None:
        self._where = f"bucket {bucket} on {endpoint}"
        self._bucket = bucket
        pool = urllib3.PoolManager(
            timeout=urllib3.Timeout(connect=CONNECT_TIMEOUT_S, read=READ_TIMEOUT_S),
            retries=urllib3.Retry(total=RETRIES, backoff_factor=0.2, status_forcelist=(500, 502, 503, 504)),
            maxsize=4,
        )
        # With the region named, the library does not ask the server for it first.
        self._client = Minio(
            endpoint,
            access_key=access_key,
            secret_key=secret_key,
            secure=secure,
            region=region or "us-east-1",
            http_client=pool,
        )

    def put(self, key: str, content: bytes, content_type: str) -> None:
        try:
            self._client.put_object(
                self._bucket, checked(key), io.BytesIO(content), len(content), content_type=content_type
            )
        except (MinioException, HTTPError, OSError) as error:
            raise self._away("put", error) from None

    def put_file(self, key: str, path: Path, content_type: str) -> None:
        size = path.stat().st_size
        with path.open("rb") as file:
            try:
                # One part at a time: the library would hold several in memory.
                self._client.put_object(
                    self._bucket,
                    checked(key),
                    file,
                    size,
                    content_type=content_type,
                    part_size=max(_PART_BYTES, -(-size // _PARTS_MAX)),
                    num_parallel_uploads=1,
                )
            except (MinioException, HTTPError, OSError) as error:
                raise self._away("put", error) from None

    def get(self, key: str) -> bytes:
        try:
            response = self._client.get_object(self._bucket, checked(key))
            try:
                return bytes(response.read())
            finally:
                response.close()
                response.release_conn()
        except (MinioException, HTTPError, OSError) as error:
            if _status(error) == 404:
                raise ObjectMissing(key) from None
            raise self._away("get", error) from None

    def delete(self, key: str) -> None:
        try:
            self._client.remove_object(self._bucket, checked(key))
        except (MinioException, HTTPError, OSError) as error:
            if _status(error) != 404:
                raise self._away("delete", error) from None

    def check(self) -> None:
        try:
            exists = self._client.bucket_exists(self._bucket)
        except (MinioException, HTTPError, OSError) as error:
            raise self._away("ask", error) from None
        if not exists:
            raise StoreUnavailable(f"{self._where}: no such bucket")

    def _away(self, verb: str, error: Exception) -> StoreUnavailable:
        why = _why(error)
        return StoreUnavailable(f"{verb} {self._where}: {why}")


def _status(error: Exception) -> int | None:
    if isinstance(error, S3Error) and error.code in ("NoSuchKey", "NoSuchObject"):
        return 404
    response = getattr(error, "response", None)
    status = getattr(response, "status", None) or getattr(error, "_code", None)
    return status if isinstance(status, int) else None


def _why(error: Exception) -> str:
    """What kind of failure, in few words: the texts of the library carry whole requests."""
    if isinstance(error, S3Error):
        return f"the server refused: {error.code}"
    if (status := _status(error)) is not None:
        return f"the server answered {status}"
    reason = getattr(error, "reason", None) or error
    return type(reason).__name__
