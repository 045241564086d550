"""Azure Blob Storage through Microsoft's client library; a bucket is what Azure calls a container."""

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
    the_one,
    whole_file,
)
from imaging.errors import ImagingError, InputInvalid, NotConfigured
from imaging.wire import checked_url

if TYPE_CHECKING:
    import requests

_KEY = "imaging.retina.azure_connection_string"
# The library holds one block in memory.
_BLOCK = 4 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class AzureRules:
    connection_string: str | None = field(repr=False)
    timeout_s: float
    connect_timeout_s: float


class AzureBuckets:
    name = "Azure Blob"

    def __init__(self, rules: AzureRules) -> None:
        from imaging.buckets.sdk import Lazy

        self._rules = rules
        self._session: Lazy[requests.Session] = Lazy(_session)
        self._client: Lazy[Any] = Lazy(lambda: _client(rules, self._session.get()))

    def find(self, bucket: str, location: str, *, files_max: int) -> list[BucketObject]:
        from imaging.buckets.sdk import LIST_MAX

        with self._calling(bucket, INPUT_BUCKET, receives=LIST_MAX):
            if not location.endswith("/") and (one := self._one(bucket, location)) is not None:
                return [one]
            prefix = location.rstrip("/") + "/"
            folder = Folder(prefix, files_max=files_max)
            for blob in self._container(bucket).walk_blobs(name_starts_with=prefix, delimiter="/"):
                settings = blob.get("content_settings")
                kind = partial(getattr, settings, "content_type", None)
                folder.add(blob.name, blob.get("size"), kind, _bare(blob.get("etag")))
            return folder.pictures(location)

    def fetch(self, bucket: str, found: BucketObject, to: Path, *, bytes_max: int) -> None:
        from azure.core import MatchConditions

        check_size(found, bytes_max)
        call = self._calling(bucket, INPUT_BUCKET, found.key, moves=found.size, receives=found.size)
        with call, whole_file(to, found) as file:
            stream = self._container(bucket).download_blob(
                found.key, etag=f'"{found.version}"', match_condition=MatchConditions.IfNotModified, max_concurrency=1
            )
            if _bare(stream.properties.etag) != found.version:
                raise changed(found.key)
            file.write_all(stream.chunks())

    def put(self, bucket: str, key: str, content: Path | bytes, media_type: str) -> None:
        from azure.storage.blob import ContentSettings

        with io.BytesIO(content) if isinstance(content, bytes) else content.open("rb") as file:
            size = file.seek(0, io.SEEK_END)
            file.seek(0)
            with self._calling(bucket, OUTPUT_BUCKET, moves=size):
                self._container(bucket).upload_blob(
                    key,
                    file,
                    length=size,
                    overwrite=True,
                    max_concurrency=1,
                    content_settings=ContentSettings(content_type=media_type),
                )

    def check(self, bucket: str) -> None:
        with self._calling(bucket, "bucket"):
            next(iter(self._container(bucket).list_blobs(results_per_page=1)), None)

    def close(self) -> None:
        self._client.taken()
        if (session := self._session.taken()) is not None:
            session.close()

    def _container(self, bucket: str) -> Any:
        return self._client.get().get_container_client(bucket)

    def _one(self, bucket: str, key: str) -> BucketObject | None:
        from azure.core.exceptions import ResourceNotFoundError

        try:
            blob = self._container(bucket).get_blob_client(key).get_blob_properties()
        except ResourceNotFoundError:
            return None
        # Storage with a hierarchical namespace keeps its folders as objects.
        if (blob.metadata or {}).get("hdi_isfolder") == "true":
            return None
        return the_one(key, blob.size, blob.content_settings.content_type, _bare(blob.etag))

    @contextmanager
    def _calling(
        self, bucket: str, field: str, key: str | None = None, *, moves: int = 0, receives: int = 0
    ) -> Iterator[None]:
        from azure.core.exceptions import AzureError

        from imaging.buckets.sdk import BROKEN, UNREADABLE, bounded, meaning

        try:
            with bounded(timeout_s=self._rules.timeout_s, moves=moves, receives=receives):
                yield
        except ImagingError:
            raise
        except (AzureError, *BROKEN, *UNREADABLE) as error:
            status, code = _status(error)
            raise meaning(self.name, error, status, code, bucket=bucket, field=field, key=key) from None


def _bare(etag: str | None) -> str:
    """A list gives it without its quotes."""
    return (etag or "").strip('"')


def _status(error: Exception) -> tuple[int | None, str]:
    """The HTTP status of the answer, and the store's own code."""
    from azure.core.exceptions import ClientAuthenticationError, HttpResponseError

    if not isinstance(error, HttpResponseError):
        return None, ""
    if error.status_code is None and isinstance(error, ClientAuthenticationError):
        return 401, ""  # a key that nothing can be signed with
    code = getattr(error, "error_code", "") or ""
    return error.status_code, str(getattr(code, "value", code))


def _session() -> "requests.Session":
    import requests

    from imaging.buckets.sdk import tamed

    return tamed(requests.Session())


def _client(rules: AzureRules, session: "requests.Session") -> Any:
    """Raises NotConfigured, InputInvalid."""
    from azure.core.pipeline.transport import RequestsTransport
    from azure.storage.blob import BlobServiceClient

    if not rules.connection_string:
        raise NotConfigured(f"Azure Blob 未配置：请设置 {_KEY}。")
    timeouts: dict[str, Any] = {"connection_timeout": rules.connect_timeout_s, "read_timeout": rules.timeout_s}
    transport = RequestsTransport(session=session, session_owner=False, use_env_settings=False, **timeouts)
    try:
        client = BlobServiceClient.from_connection_string(
            rules.connection_string,
            transport=transport,
            retry_total=0,
            permit_redirects=False,
            max_single_get_size=_BLOCK,
            max_chunk_get_size=_BLOCK,
            max_single_put_size=_BLOCK,
            max_block_size=_BLOCK,
            **timeouts,
        )
        address = str(client.primary_endpoint).partition("?")[0]
    except (ValueError, TypeError, LookupError):
        # Their words may hold a piece of the key.
        raise InputInvalid(f"{_KEY}：不是有效的连接字符串。", field=_KEY) from None
    checked_url(address, _KEY)
    return client
