"""Google Cloud Storage, or what speaks its JSON API, through Google's client library.

Its credentials come from the file of the configuration or are none: never from the environment or a metadata server.
"""

import io
import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from imaging.buckets.store import (
    INPUT_BUCKET,
    OUTPUT_BUCKET,
    BucketObject,
    Folder,
    changed,
    check_size,
    the_one,
    unusable,
    whole_file,
)
from imaging.errors import ImagingError, InputInvalid, NotConfigured
from imaging.wire import checked_url

# Google's library warns, on its first import, of a Python that it will leave one day: nothing for a log of ours.
warnings.filterwarnings("ignore", "You are using a Python version", FutureWarning)

_SCOPE = "https://www.googleapis.com/auth/devstorage.read_write"
_CREDENTIALS, _ENDPOINT = "imaging.retina.gcs_credentials_file", "imaging.retina.gcs_endpoint"
_CREDENTIALS_BYTES_MAX = 2**16
_PAGE = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class GcsRules:
    """credentials_file: of a service account; None goes with an endpoint that asks for none."""

    credentials_file: Path | None
    endpoint: str | None
    timeout_s: float
    connect_timeout_s: float


class GcsBuckets:
    name = "GCS"

    def __init__(self, rules: GcsRules) -> None:
        from imaging.buckets.sdk import Lazy

        self._rules = rules
        self._timeout = (rules.connect_timeout_s, rules.timeout_s)
        self._client: Lazy[Any] = Lazy(partial(_client, rules))

    def find(self, bucket: str, location: str, *, files_max: int) -> list[BucketObject]:
        from imaging.buckets.sdk import LIST_MAX

        with self._calling(bucket, INPUT_BUCKET, receives=LIST_MAX):
            if not location.endswith("/"):
                blob = self._client.get().bucket(bucket).get_blob(location, retry=None, timeout=self._timeout)
                if blob is not None:
                    return [the_one(location, blob.size, blob.content_type, str(blob.generation))]
            prefix = location.rstrip("/") + "/"
            folder = Folder(prefix, files_max=files_max)
            for blob in self._listed(bucket, prefix=prefix, delimiter="/", page_size=_PAGE):
                folder.add(blob.name, blob.size, partial(getattr, blob, "content_type"), str(blob.generation))
            return folder.pictures(location)

    def fetch(self, bucket: str, found: BucketObject, to: Path, *, bytes_max: int) -> None:
        check_size(found, bytes_max)
        call = self._calling(bucket, INPUT_BUCKET, found.key, moves=found.size, receives=found.size)
        with call, whole_file(to, found) as file:
            blob = self._client.get().bucket(bucket).blob(found.key)
            # Raw: as it was stored. The library would unpack what came as gzip, to any size.
            blob.download_to_file(
                file,
                raw_download=True,
                if_generation_match=int(found.version),
                retry=None,
                timeout=self._timeout,
            )
            if blob.generation is None:
                # Not every server that speaks this API minds the condition, or says what it gave.
                blob.reload(retry=None, timeout=self._timeout)
            if blob.generation is None:
                raise unusable(self.name)
            if str(blob.generation) != found.version:
                raise changed(found.key)

    def put(self, bucket: str, key: str, content: Path | bytes, media_type: str) -> None:
        with io.BytesIO(content) if isinstance(content, bytes) else content.open("rb") as file:
            size = file.seek(0, io.SEEK_END)
            file.seek(0)
            with self._calling(bucket, OUTPUT_BUCKET, moves=size):
                blob = self._client.get().bucket(bucket).blob(key)
                blob.upload_from_file(file, size=size, content_type=media_type, retry=None, timeout=self._timeout)
                if blob.generation is None:
                    raise unusable(self.name)

    def check(self, bucket: str) -> None:
        with self._calling(bucket, "bucket"):
            for _ in self._listed(bucket, max_results=1):
                pass

    def close(self) -> None:
        if (client := self._client.taken()) is not None:
            client.close()

    def _listed(self, bucket: str, **options: Any) -> Iterator[Any]:
        fields = "items(name,size,contentType,generation),nextPageToken"
        yield from self._client.get().list_blobs(bucket, fields=fields, retry=None, timeout=self._timeout, **options)

    @contextmanager
    def _calling(
        self, bucket: str, field: str, key: str | None = None, *, moves: int = 0, receives: int = 0
    ) -> Iterator[None]:
        from google.api_core.exceptions import GoogleAPICallError
        from google.auth.exceptions import GoogleAuthError
        from google.cloud.storage.exceptions import DataCorruption, InvalidResponse

        from imaging.buckets.sdk import BROKEN, UNREADABLE, bounded, meaning

        try:
            with bounded(timeout_s=self._rules.timeout_s, moves=moves, receives=receives):
                yield
        except ImagingError:
            raise
        except (GoogleAPICallError, GoogleAuthError, DataCorruption, InvalidResponse, *BROKEN, *UNREADABLE) as error:
            raise meaning(self.name, error, _status(error), "", bucket=bucket, field=field, key=key) from None


def _status(error: Exception) -> int | None:
    from google.api_core.exceptions import GoogleAPICallError
    from google.auth.exceptions import RefreshError, TransportError

    if isinstance(error, RefreshError) and not isinstance(error, TransportError):
        # Google's token server does not know the key of the file.
        return 401 if not error.retryable else 503
    code = error.code if isinstance(error, GoogleAPICallError) else None
    return None if code is None else int(code)


def _client(rules: GcsRules) -> Any:
    """Raises NotConfigured, InputInvalid."""
    import requests
    from google.auth.credentials import AnonymousCredentials
    from google.auth.transport.requests import AuthorizedSession, Request
    from google.cloud.storage import Client

    from imaging.buckets.sdk import tamed

    if rules.credentials_file is None and rules.endpoint is None:
        raise NotConfigured(f"GCS 未配置：请设置 {_CREDENTIALS}。")
    if rules.endpoint is not None:
        checked_url(rules.endpoint, _ENDPOINT)
    # The library is typed, but not all of it.
    anonymous: Any = AnonymousCredentials
    authorized: Any = AuthorizedSession
    known = _service_account(rules.credentials_file) if rules.credentials_file else anonymous()
    session = authorized(known, auth_request=Request(tamed(requests.Session())))
    client = Client(
        # Only for buckets that are made or listed, which we never do; without it, the environment is asked.
        project="orwatch",
        credentials=known,
        _http=tamed(session),
        client_options={"api_endpoint": rules.endpoint or "https://storage.googleapis.com"},
    )
    # It would ask for each bucket's place in a thread of its own, for traces that nobody takes.
    client._bucket_metadata_cache = None
    return client


def _service_account(path: Path) -> Any:
    from google.auth.exceptions import GoogleAuthError
    from google.oauth2.service_account import Credentials

    try:
        with path.open("rb") as file:
            told = json.loads(file.read(_CREDENTIALS_BYTES_MAX))
        checked_url(told["token_uri"], _CREDENTIALS)
        known: Any = Credentials
        return known.from_service_account_info(told, scopes=[_SCOPE])
    except InputInvalid:
        raise
    except OSError as error:
        why = f"无法读取（{error.strerror}）"
    except (GoogleAuthError, ValueError, LookupError, TypeError, AttributeError):
        # Their words may hold a piece of the key.
        why = "不是服务账号的 JSON 密钥"
    raise InputInvalid(f"{_CREDENTIALS}：{path} {why}。", field=_CREDENTIALS, value=str(path)) from None
