"""A fundus back end on loopback: both uploads and the query, checked as a vendor would, and every way to fail."""

import base64
import binascii
import hashlib
import hmac
import json
import re
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from tests.servers.forms import read_form
from tests.servers.fundus_answers import ok
from tests.servers.vendor import Vendor, VendorHandler, send

APP_ID, TOKEN = "wide-1", "test-token-wide-do-not-print"
APP_ID_45, TOKEN_45 = "narrow-1", "test-token-narrow-do-not-print"
_TOKENS = {APP_ID: TOKEN, APP_ID_45: TOKEN_45}
_AI_TYPES = {APP_ID: (12,), APP_ID_45: (0, 1, 2)}
_ROUTES = {"studyupload/v2": "upload", "fileImageUpload/v1": "file", "queryEyeAIResult": "query"}
_SIGNED_WITHIN_S = 300
_TOGETHER_MAX, _FILE_MAX = 5 * 2**20, 100 * 2**20
_MAGIC = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")


@dataclass(frozen=True, slots=True)
class Fault:
    """What one call gets. code and message: an answer of theirs; otherwise status and body; how: below.

    is_kept: an upload is taken in before it fails.
    """

    code: int | str | None = None
    message: str = ""
    data: Any = None
    status: int = 200
    body: bytes = b""
    kind: str = "application/json"
    # "reset" in the middle, "stall" before anything, "flood" without end, "trickle": a byte now and then
    how: str = ""
    is_kept: bool = False


HTML = Fault(status=500, body=b"<html><body>Internal Server Error</body></html>", kind="text/html")
HTML_200 = Fault(body=b"<html>gateway</html>", kind="text/html")
EMPTY = Fault()
HALF_JSON = Fault(body=b'{"code":0,"message":"\xe4\xb8')
NO_OBJECT = Fault(body=b"[0]")
NO_CODE = Fault(body=b'{"message": "ok"}')
NESTED = Fault(body=b"[" * 1_000_000)
RESET, STALL, FLOOD, TRICKLE = (Fault(how=how) for how in ("reset", "stall", "flood", "trickle"))
PROCESSING = Fault(code=30008, message="处理中")


@dataclass(frozen=True, slots=True)
class Sent:
    """One picture that arrived."""

    image_id: str
    eye: str
    size: int
    sha256: str
    kind: str


@dataclass
class Kept:
    """One study. fields: all but the pictures."""

    way: str
    app_id: str
    fields: dict[str, Any]
    images: list[Sent] = field(default_factory=list)


class FundusServer(Vendor):
    """answer: what a query gets once the faults of "query" are used up; None: 30008 for ever."""

    def __init__(self, answer: dict[str, Any] | None = None) -> None:
        super().__init__("fundus")
        self.answer = answer
        self.faults: dict[str, deque[Fault]] = {route: deque() for route in ("upload", "file", "query")}
        self.calls = dict.fromkeys(self.faults, 0)
        self.studies: dict[str, Kept] = {}
        self.queries: list[dict[str, Any]] = []
        self.refusals: list[str] = []
        self._used: set[str] = set()

    @property
    def url(self) -> str:
        return f"http://localhost:{self.port}"

    def next(self, route: str, *faults: Fault) -> None:
        self.faults[route].extend(faults)

    def take(self, handler: VendorHandler) -> None:
        found = re.fullmatch(r"/thirdparty/(studyupload/v2|fileImageUpload/v1|queryEyeAIResult)/([^/?]+)", handler.path)
        if found is None:
            send(handler, 404, b"{}")
            return
        route, app_id = _ROUTES[found[1]], found[2]
        with self._lock:
            self.calls[route] += 1
            fault = self.faults[route].popleft() if self.faults[route] else None
        if fault is not None and not fault.is_kept:
            _drain(handler)
        else:
            answered = getattr(self, f"_{route}")(handler, app_id)
        if fault is None:
            send(handler, 200, json.dumps(answered, ensure_ascii=False).encode())
        elif fault.how:
            self.misbehave(handler, fault.how)
        elif fault.code is not None:
            data = {} if fault.data is None else fault.data
            body = {"code": fault.code, "message": fault.message, "requestId": "r", "data": data}
            send(handler, 200, json.dumps(body, ensure_ascii=False).encode())
        else:
            send(handler, fault.status, fault.body, fault.kind)

    def _upload(self, handler: VendorHandler, app_id: str) -> dict[str, Any]:
        body = handler.rfile.read(_length(handler, 8 * 2**20))
        if not handler.headers.get("Content-Type", "").startswith("application/json"):
            return self._no(1, "no JSON")
        if refusal := self._signature_refusal(handler, app_id):
            return refusal
        try:
            request = json.loads(body)
            images = [self._image(image) for image in request.pop("images")]
        except (ValueError, KeyError, TypeError, binascii.Error) as error:
            return self._no(1, f"bad request: {error!r}")
        if problem := _wrong_fields(request, (int, int)):
            return self._no(1, problem)
        if not 1 <= len(images) <= 20 or sum(image.size for image in images) > _TOGETHER_MAX:
            return self._no(1, "too many or too much")
        if len({image.image_id for image in images}) != len(images):
            return self._no(1, "imageId twice")
        self.studies[request["studyId"]] = Kept("upload", app_id, request, images)
        return ok("上传成功")

    def _image(self, image: dict[str, Any]) -> Sent:
        content = base64.b64decode(image["content"], validate=True)
        eye = image.get("descPosition", "0")
        if eye not in ("0", "1", "2"):
            raise ValueError(f"descPosition {eye!r}")
        return Sent(image["imageId"], eye, len(content), hashlib.sha256(content).hexdigest(), _kind(content[:132]))

    def _file(self, handler: VendorHandler, app_id: str) -> dict[str, Any]:
        boundary = re.fullmatch(r"multipart/form-data; boundary=(\S+)", handler.headers.get("Content-Type", ""))
        if boundary is None:
            _drain(handler)
            return self._no(1, "no form-data")
        fields, file = read_form(handler.rfile, boundary[1].encode(), _length(handler, _FILE_MAX + 2**20))
        header = handler.headers
        if header.get("god-portal-timestamp") != header.get("timestamp") or header.get(
            "god-portal-signature"
        ) != header.get("signature"):
            return self._no(90002, "the two header sets differ")
        if refusal := self._signature_refusal(handler, app_id):
            return refusal
        if problem := _wrong_fields(fields, (str, str)):
            return self._no(1, problem)
        if file is None or fields.get("cameraType") not in ("0", "1", "2") or not fields.get("imageId"):
            return self._no(1, "file, cameraType and imageId are required")
        size, sha256, magic = file
        if not 0 < size <= _FILE_MAX:
            return self._no(1, "size")
        sent = Sent(fields["imageId"], fields.get("descPosition", "0"), size, sha256, _kind(magic))
        self.studies[fields["studyId"]] = Kept("file", app_id, fields, [sent])
        return ok("上传成功")

    def _query(self, handler: VendorHandler, app_id: str) -> dict[str, Any]:
        body = handler.rfile.read(_length(handler, 65_536))
        if refusal := self._signature_refusal(handler, app_id):
            return refusal
        request = json.loads(body)
        self.queries.append(request)
        if set(request) - {"patientId"} != {"hospitalId", "studyId", "aiType", "needReport"}:
            return self._no(1, f"fields {sorted(request)}")
        if request["hospitalId"] != app_id or request["needReport"] not in (0, 1):
            return self._no(1, "hospitalId or needReport")
        if request["aiType"] not in _AI_TYPES[app_id]:
            return self._no(90001, "请联系 help@vendor.example 开通服务")
        if request["studyId"] not in self.studies:
            return self._no(10003, "no data")
        return self.answer or {"code": 30008, "message": "处理中", "data": None}

    def _signature_refusal(self, handler: VendorHandler, app_id: str) -> dict[str, Any] | None:
        """What is wrong with the headers appId, signature and timestamp, which every call carries."""
        header = handler.headers
        timestamp = header.get("timestamp", "")
        if app_id not in _TOKENS or header.get("appId") != app_id:
            return self._no(90001, "appId")
        expected = hmac.new(_TOKENS[app_id].encode(), (app_id + timestamp).encode(), hashlib.sha256).hexdigest()
        if not hmac.compare_digest(expected, header.get("signature", "")):
            return self._no(90002, "signature")
        if not re.fullmatch("[0-9]{13}", timestamp) or abs(time.time() - int(timestamp) / 1000) > _SIGNED_WITHIN_S:
            return self._no(90002, "timestamp")
        with self._lock:
            if timestamp in self._used:
                return self._no(90002, "timestamp used before")
            self._used.add(timestamp)
        return None

    def _no(self, code: int, why: str) -> dict[str, Any]:
        self.refusals.append(why)
        return {"code": code, "message": why, "requestId": "r", "data": {}}


# --- what a study must have ---


def _wrong_fields(fields: dict[str, Any], kinds: tuple[type, type]) -> str:
    """kinds: of studyDate and studyType, which are numbers in JSON and text in a form."""
    if not fields.get("studyId") or not fields.get("studyName"):
        return "studyId and studyName"
    date, study_type = fields.get("studyDate"), fields.get("studyType")
    if not isinstance(date, kinds[0]) or abs(int(date) - time.time()) > 600:
        return "studyDate"
    if not isinstance(study_type, kinds[1]) or str(study_type) != "2":
        return "studyType"
    if fields.get("patientGender", "0") not in ("0", "1", "2", "3"):
        return "patientGender"
    return "" if re.fullmatch(r"\d{4}-\d\d-\d\d", fields.get("patientBirthday", "2000-01-01")) else "patientBirthday"


def _kind(head: bytes) -> str:
    if head.startswith(_MAGIC):
        return "JPEG" if head[:1] == b"\xff" else "PNG"
    return "DICOM" if head[128:132] == b"DICM" else "unknown"


def _length(handler: VendorHandler, largest: int) -> int:
    length = int(handler.headers["Content-Length"])
    assert length <= largest, f"{length} bytes are more than {largest}"
    return length


def _drain(handler: VendorHandler) -> None:
    left = int(handler.headers.get("Content-Length", "0"))
    while left > 0:
        left -= len(handler.rfile.read(min(left, 1 << 20)))
