"""One request at a time to one bucket of Tencent COS, through its SDK, and what its answers mean to us.

The SDK's own `upload_file` keeps its records under the home folder and cannot change a token in mid-upload, so that
only its single requests are used here. Its errors hold addresses and its log holds keys: neither gets out.
"""

import re
import ssl
import threading
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import requests
from qcloud_cos import CosConfig, CosS3Client
from qcloud_cos.cos_exception import CosClientError, CosServiceError
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError

from imaging.cos.credentials import CosCredentials, CosRules
from imaging.cos.parts import Part, PartBody, Slide
from imaging.cos.session import Redirected, Session, TooLong, keep_quiet
from imaging.errors import ImagingError, InputInvalid, Refused, Stopped, Unclear, Unreachable
from net import Halted, bounded
from net.causes import causes

T = TypeVar("T")

_NAME = "对象存储"
# A line slower than this for a whole part is taken for dead.
_BYTES_PER_S_MIN = 16 * 2**10
_PART_JOINED_S = 0.1
_CODE = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_HOST = re.compile(r"([A-Za-z0-9](?:[A-Za-z0-9.-]{0,252}))(?::([0-9]{1,5}))?")
_BUCKET, _REGION = (
    re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"),
    re.compile(r"[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?"),
)
# Statuses and codes after which the same request may well succeed.
_PASSING = {"RequestTimeout", "SlowDown", "BadDigest", "IncompleteBody"}


class Denied(Refused):
    """COS answered 403: these credentials do not allow it, or do no more."""


class UploadUnknown(Refused):
    """COS knows no such multipart upload: it was completed, aborted, or cleared away."""


class NotTrusted(Unreachable):
    """No TLS, or a certificate that cannot be verified."""


class Bucket:
    """Connections to the bucket of the rules; each call is made with credentials of its own."""

    def __init__(self, rules: CosRules) -> None:
        """Raises InputInvalid of rules that name no bucket."""
        keep_quiet()
        _checked(rules.bucket, _BUCKET, "cos_bucket")
        _checked(rules.region, _REGION, "cos_region")
        self._rules = rules
        self._address = _address(rules)
        ca_file = str(rules.ca_file) if rules.ca_file else None
        try:
            if ca_file:
                ssl.create_default_context(cafile=ca_file)
        except OSError as error:
            raise InputInvalid(f"ca_file：无法读取证书（{error.strerror}）：{ca_file}", field="ca_file") from None
        self._session = Session(connections=rules.threads + 1, ca_file=ca_file)

    def close(self) -> None:
        self._session.close()

    def allowed(self, credentials: CosCredentials) -> "Client":
        """Raises Unclear of credentials that cannot be any."""
        try:
            config = CosConfig(
                Region=self._rules.region,
                SecretId=credentials.secret_id,
                SecretKey=credentials.secret_key,
                Token=credentials.session_token,
                Scheme="https" if self._rules.secure else "http",
                Timeout=(self._rules.connect_timeout_s, self._rules.timeout_s),
                AllowRedirects=False,
                **self._address,
            )
        except CosClientError:
            raise Unclear("COS 临时凭证无法使用：SecretId 或 SecretKey 为空或含空格。") from None
        # Its own repetition would multiply with ours.
        return Client(CosS3Client(config, retry=0, session=self._session), self._rules)


class Client:
    """The calls that an upload consists of. Each raises Unreachable, Unclear, Refused or Stopped.

    halt: ends the call with Stopped.
    """

    def __init__(self, sdk: CosS3Client, rules: CosRules) -> None:
        self._sdk, self._rules = sdk, rules

    def head(self, key: str, *, halt: threading.Event) -> Mapping[str, str] | None:
        """The headers of the object, their names in lower case; None if there is none."""
        try:
            found = self._call(lambda: self._sdk.head_object(Bucket=self._rules.bucket, Key=key), halt)
        except Refused as error:
            if error.code == "NoSuchResource":
                return None
            raise
        return {name.lower(): value for name, value in found.items()}

    def put(self, key: str, slide: Slide, whole: Part, *, halt: threading.Event) -> None:
        def put() -> Any:
            return self._sdk.put_object(
                Bucket=self._rules.bucket,
                Key=key,
                Body=PartBody(slide, whole),
                ContentMD5=whole.content_md5,
                Metadata=_metadata(whole.md5),
            )

        _check_tag(self._call(put, halt, moves=whole.size), whole)

    def initiate(self, key: str, md5: str, *, halt: threading.Event) -> str:
        """The upload id."""
        answer = self._call(
            lambda: self._sdk.create_multipart_upload(Bucket=self._rules.bucket, Key=key, Metadata=_metadata(md5)),
            halt,
        )
        upload_id = answer.get("UploadId")
        if not isinstance(upload_id, str) or not upload_id.isascii() or not 0 < len(upload_id) <= 1024:
            raise Unclear(f"{_NAME}的应答没有 UploadId。")
        return upload_id

    def send_part(self, key: str, upload_id: str, slide: Slide, part: Part, *, halt: threading.Event) -> None:
        def send() -> Any:
            return self._sdk.upload_part(
                Bucket=self._rules.bucket,
                Key=key,
                Body=PartBody(slide, part),
                PartNumber=part.number,
                UploadId=upload_id,
                ContentMD5=part.content_md5,
            )

        _check_tag(self._call(send, halt, moves=part.size), part)

    def list_parts(
        self, key: str, upload_id: str, after: int, *, halt: threading.Event
    ) -> tuple[list[tuple[int, int, str]], int]:
        """One page: (number, size, MD5) of each part that came whole, and the number to go on after, 0 at the end."""
        answer = self._call(
            lambda: self._sdk.list_parts(
                Bucket=self._rules.bucket, Key=key, UploadId=upload_id, PartNumberMarker=after, MaxParts=1000
            ),
            halt,
        )
        try:
            parts = [(int(p["PartNumber"]), int(p["Size"]), p["ETag"].strip('"')) for p in answer.get("Part", [])]
            is_cut = answer.get("IsTruncated") == "true"
            following = int(answer["NextPartNumberMarker"]) if is_cut else 0
        except (KeyError, TypeError, ValueError, AttributeError):
            raise Unclear(f"{_NAME}的分块列表无法读取。") from None
        if is_cut and following <= after:
            raise Unclear(f"{_NAME}的分块列表没有结尾。")
        return parts, following

    def complete(self, key: str, upload_id: str, parts: tuple[Part, ...], *, halt: threading.Event) -> None:
        listed = [{"PartNumber": part.number, "ETag": f'"{part.md5}"'} for part in parts]
        self._call(
            lambda: self._sdk.complete_multipart_upload(
                Bucket=self._rules.bucket, Key=key, UploadId=upload_id, MultipartUpload={"Part": listed}
            ),
            halt,
            joins=len(parts),
        )

    def _call(self, act: Callable[[], T], halt: threading.Event, *, moves: int = 0, joins: int = 0) -> T:
        """moves: bytes to send. joins: parts that COS puts together before it answers."""
        idle_s = self._rules.timeout_s + joins * _PART_JOINED_S
        try:
            within_s = idle_s + moves / _BYTES_PER_S_MIN
            with bounded(within_s=within_s, idle_s=idle_s, answer_s=idle_s, halt=halt):
                return act()
        except CosServiceError as error:
            raise _judged(error) from None
        except CosClientError as error:
            # What the SDK caught; its own words hold the address.
            raise _broken(error.__context__) from None
        except (SyntaxError, ValueError, LookupError, TypeError, RecursionError, MemoryError) as error:
            if isinstance(error, ImagingError):
                raise
            # ElementTree's ParseError is a SyntaxError; the others are what the SDK makes of XML of another kind.
            raise Unclear(f"{_NAME}的应答不是有效的 XML。") from None


def _metadata(md5: str) -> dict[str, str]:
    return {"x-cos-meta-md5": md5}


def _check_tag(answer: Mapping[str, str], part: Part) -> None:
    tag = next((value for name, value in answer.items() if name.lower() == "etag"), "")
    if tag.strip('"').lower() != part.md5:
        raise Unclear(f"{_NAME}收到的第 {part.number} 块与发送的不一致（ETag 与 MD5 不符）。")


def _judged(error: CosServiceError) -> ImagingError:
    status, digest = error.get_status_code(), error.get_digest_msg()
    said = digest.get("code", "") if isinstance(digest, Mapping) else ""
    code = said if isinstance(said, str) and _CODE.fullmatch(said) else ""
    shown = f"HTTP {status}" + (f"，{code}" if code else "")
    if status >= 500 or status in (200, 408, 429) or code in _PASSING:
        return Unclear(f"{_NAME}没有完成请求（{shown}）。", code=code or str(status))
    if code == "NoSuchUpload":
        return UploadUnknown(f"{_NAME}没有这个分块上传（{shown}）。", code=code)
    if status in (401, 403):
        return Denied(f"{_NAME}拒绝了上传凭证（{shown}）。", code=code or str(status))
    return Refused(f"{_NAME}拒绝了请求（{shown}）。", code=code or str(status))


def _broken(error: BaseException | None) -> ImagingError:
    """What requests raised, in our words."""
    found = list(causes(error))
    for cause in found:
        if isinstance(cause, ImagingError | Halted):
            return Stopped("已停止。") if isinstance(cause, Halted) else cause
        if isinstance(cause, ssl.SSLCertVerificationError):
            return NotTrusted(f"无法连接{_NAME}（TLS 证书无法验证）。")
    if isinstance(error, Redirected):
        return Refused(f"{_NAME}的应答指向另一个地址，未跟随。", code=str(error))
    if isinstance(error, TooLong):
        return Unclear(f"{_NAME}的应答过长。")
    kind = "超时" if any(isinstance(cause, TimeoutError | requests.Timeout) for cause in found) else "连接中断"
    if any(isinstance(cause, NewConnectionError | ConnectTimeoutError) for cause in found):
        return Unreachable(f"无法连接{_NAME}（{kind if kind == '超时' else '连接被拒绝或域名无法解析'}）。")
    return Unclear(f"{_NAME}没有完整应答（{kind}）。")


def _checked(value: str, pattern: re.Pattern[str], field: str) -> None:
    if not pattern.fullmatch(value):
        raise InputInvalid(f"{field}：应为小写字母、数字和 -：{value[:64]!r}", field=field, value=value[:64])


def _address(rules: CosRules) -> dict[str, Any]:
    """IP and Port of the SDK, the only way that keeps the bucket's own Host header and needs no DNS of its own."""
    if rules.endpoint is None:
        return {}
    matched = _HOST.fullmatch(rules.endpoint)
    port = int((matched and matched[2]) or (443 if rules.secure else 80))
    if matched is None or not 0 < port < 65_536:
        shown = rules.endpoint[:64]
        raise InputInvalid(f"cos_endpoint：应为 主机 或 主机:端口：{shown!r}", field="cos_endpoint", value=shown)
    return {"IP": matched[1], "Port": port}
