"""A pathology back end on loopback: login, COS keys, callback, create and list, strict about each, and its failures."""

import hashlib
import json
import re
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.servers.vendor import Vendor, VendorHandler, send

USERNAME, PASSWORD = "test-clerk", "test-password-do-not-print"
ROUTES = {
    "/api/user/login": "login",
    "/api/v1/cos/credentials/": "credentials",
    "/api/v1/image/callback/": "callback",
    "/api/v1/image/create/": "create",
    "/api/v1/embed/image/list/": "list",
}
_PATH = re.compile(r"chunked_uploads/(?P<day>[0-9]{8})/(?P<organization>[^/]+)/(?P<md5>[0-9a-f]{32})/(?P<name>[^/]+)")
_METHODS = {"login": "POST", "credentials": "GET", "callback": "POST", "create": "POST", "list": "GET"}
DIAGNOSIS = "慢性炎|症，\n未见肿瘤"


@dataclass(frozen=True, slots=True)
class Fault:
    """What one call gets in the place of an answer. acts: the back end does its work all the same."""

    status: int = 200
    body: bytes = b""
    kind: str = "application/json"
    # "reset" in the middle, "stall" before anything, "trickle": a byte now and then
    how: str = ""
    acts: bool = False


HTML = Fault(status=500, body=b"<html><body>Internal Server Error</body></html>", kind="text/html")
EMPTY = Fault()
HALF_JSON = Fault(body=b'{"data": {"tok')
NO_OBJECT = Fault(body=b"[1, 2]")
REFUSED_INSIDE = Fault(body='{"code": 4003, "msg": "机构不存在"}'.encode())
UNSUCCESSFUL = Fault(body=b'{"success": false}')
UNAUTHORIZED = Fault(status=401, body=b'{"detail": "Authentication credentials were not provided."}')
UNAUTHORIZED_INSIDE = Fault(body=b'{"code": 401, "msg": "token expired"}')
RESET, STALL, TRICKLE = Fault(how="reset"), Fault(how="stall"), Fault(how="trickle")


@dataclass
class Seen:
    """How often each route was asked, what JSON it was sent, and what each request carried for a token."""

    calls: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_METHODS, 0))
    sent: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: {name: [] for name in _METHODS})
    authorizations: list[str] = field(default_factory=list)


class PathologyServer(Vendor):
    """cos: who issues the keys and holds the objects. Without one the keys are made up, and no object is looked for."""

    def __init__(self, cos: Any = None, *, scheme: str = "Bearer", token_lasts_s: int = 7200) -> None:
        super().__init__("pathology")
        self.cos = cos
        self.seen = Seen()
        self.faults: dict[str, deque[Fault]] = {name: deque() for name in _METHODS}
        # The answers to one query each; the last stays.
        self.statuses: deque[Any] = deque([4])
        self.value: Any = DIAGNOSIS
        self.needs_callback = False
        self.keys_last_s = 1800
        self.records: dict[int, dict[str, Any]] = {}
        self.callbacks: dict[str, dict[str, Any]] = {}
        self.tokens: set[str] = set()
        self.secrets: set[str] = {PASSWORD}
        # How the login's answer is put together: (token, seconds it lasts) -> body.
        self.login_answer: Callable[[str, int], dict[str, Any]] = lambda token, lasts_s: {
            "code": 0,
            "data": {"token": token, "expired_time": int(time.time()) + lasts_s},
        }
        self.list_answer: Callable[[list[dict[str, Any]]], dict[str, Any]] = lambda found: {"results": found}
        self._auth_scheme = scheme
        self._token_lasts_s = token_lasts_s

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def next(self, route: str, *faults: Fault) -> None:
        self.faults[route].extend(faults)

    def expire(self) -> None:
        """Every token that was given is refused from now on."""
        self.tokens.clear()

    def take(self, handler: VendorHandler) -> None:
        raw = handler.body()
        parts = urlsplit(handler.path)
        route = ROUTES.get(parts.path)
        if route is None or handler.command != _METHODS[route]:
            return _answer(handler, 404, {"detail": "Not found."})
        with self._lock:
            self.seen.calls[route] += 1
            fault = self.faults[route].popleft() if self.faults[route] else None
            if fault is None or fault.acts:
                status, body = self._act(route, handler.headers, raw, parse_qs(parts.query))
        if fault is None:
            return _answer(handler, status, body)
        if fault.how:
            return self.misbehave(handler, fault.how)
        return send(handler, fault.status, fault.body, fault.kind)

    def _act(
        self, route: str, headers: Mapping[str, str], raw: bytes, query: dict[str, list[str]]
    ) -> tuple[int, dict[str, Any]]:
        try:
            sent = json.loads(raw) if raw else {}
        except ValueError:
            return 400, {"detail": "JSON parse error"}
        self.seen.sent[route].append(sent)
        if route == "login":
            return self._login(sent)
        authorization = headers.get("Authorization", "")
        self.seen.authorizations.append(authorization)
        scheme, _, token = authorization.partition(" ")
        if scheme != self._auth_scheme or token not in self.tokens:
            return 401, {"detail": "Given token not valid for any token type"}
        acts: dict[str, Callable[[], tuple[int, dict[str, Any]]]] = {
            "credentials": self._credentials,
            "callback": lambda: self._callback(sent),
            "create": lambda: self._create(sent),
            "list": lambda: self._list(query),
        }
        return acts[route]()

    def _login(self, sent: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if sent != {"username": USERNAME, "password": PASSWORD}:
            return 401, {"detail": "No active account found with the given credentials"}
        token = f"test-token-{len(self.secrets)}-{time.monotonic_ns()}"
        self.tokens.add(token)
        self.secrets.add(token)
        return 200, self.login_answer(token, self._token_lasts_s)

    def _credentials(self) -> tuple[int, dict[str, Any]]:
        if self.cos is not None:
            given = self.cos.issue("SLIDES/chunked_uploads/", self.keys_last_s)
        else:
            now = int(time.time())
            mark = time.monotonic_ns()
            given = {
                "tmpSecretId": f"test-id-{mark}",
                "tmpSecretKey": f"test-key-{mark}",
                "sessionToken": f"test-session-{mark}",
                "startTime": now,
                "expiredTime": now + self.keys_last_s,
            }
        keys = given.get("credentials", given)
        self.secrets |= {str(keys[name]) for name in ("tmpSecretId", "tmpSecretKey", "sessionToken")}
        return 200, {"code": 0, "data": given}

    def _callback(self, sent: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        match = _PATH.fullmatch(str(sent.get("path", "")))
        if not match or match["md5"] != sent.get("total_md5") or match["name"] != sent.get("filename"):
            return 400, {"path": ["Invalid path."]}
        if sent.get("disease") not in (6, 14):
            return 400, {"disease": ["Invalid choice."]}
        if self.cos is not None and not self._is_there(f"SLIDES/{sent['path']}", sent):
            return 400, {"path": ["No such object."]}
        self.callbacks[sent["total_md5"]] = sent
        return 200, {"code": 0, "data": {}}

    def _is_there(self, key: str, sent: dict[str, Any]) -> bool:
        held = self.cos.objects.get(key)
        if held is None:
            return False
        content = held.read_bytes() if isinstance(held, Path) else bytes(held)
        return len(content) == sent.get("size") and hashlib.md5(content).hexdigest() == sent["total_md5"]

    def _create(self, sent: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        is_right = (
            set(sent) == {"filename", "total_md5", "disease", "source", "is_run"}
            and re.fullmatch("[0-9a-f]{32}", str(sent["total_md5"]))
            and sent["disease"] in (6, 14)
            and type(sent["source"]) is int
            and type(sent["is_run"]) is bool
        )
        if not is_right or (self.needs_callback and sent["total_md5"] not in self.callbacks):
            return 400, {"detail": "Invalid record."}
        slide_id = 9000 + len(self.records)
        self.records[slide_id] = sent
        return 201, {"id": slide_id, "filename": sent["filename"]}

    def _list(self, query: dict[str, list[str]]) -> tuple[int, dict[str, Any]]:
        wanted = int(query.get("id", ["0"])[0]) if query.get("id", ["0"])[0].isdecimal() else 0
        other = {"id": 1, "ai_diagnosis_status": 4, "modified_ai_diagnosis_result_map": {"value": "another patient's"}}
        if wanted not in self.records:
            return 200, self.list_answer([other])
        status = self.statuses.popleft() if len(self.statuses) > 1 else self.statuses[0]
        found = {"id": wanted, "ai_diagnosis_status": status, "modified_ai_diagnosis_result_map": None}
        if status == 4:
            found["modified_ai_diagnosis_result_map"] = {"value": self.value}
        return 200, self.list_answer([other, found])


def _answer(handler: VendorHandler, status: int, body: dict[str, Any]) -> None:
    send(handler, status, json.dumps(body).encode())
