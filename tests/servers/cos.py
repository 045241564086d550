"""Tencent COS on loopback: one bucket, temporary tokens, signed requests, multipart uploads, and every way to fail.

Parts and objects lie in a folder, never in memory.
"""

import base64
import hashlib
import itertools
import secrets
import ssl
import threading
import time
import xml.etree.ElementTree as ET
from collections import Counter, defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl, quote, unquote, urlsplit
from xml.sax.saxutils import escape

from tests.servers.cos_faults import Fault, Request, drain, misbehaves, refuse, reset, send
from tests.servers.cos_signature import Token, refusal
from tests.waiting import DEADLINE_S

_MIB = 2**20


@dataclass(slots=True)
class Multipart:
    key: str
    meta: dict[str, str]
    # number -> (file, MD5)
    parts: dict[int, tuple[Path, str]] = field(default_factory=dict)


class CosServer:
    """faults: by action ("head", "get", "put", "initiate", "part", "list", "complete", "abort"), next first."""

    def __init__(
        self, folder: Path, *, bucket: str = "slides-1", region: str = "test-1", tls: tuple[Path, Path] | None = None
    ) -> None:
        self.folder, self.bucket, self.region = folder, bucket, region
        folder.mkdir(parents=True, exist_ok=True)
        self.objects: dict[str, Path] = {}
        self.meta: dict[str, dict[str, str]] = {}
        self.uploads: dict[str, Multipart] = {}
        self.tokens: dict[str, Token] = {}
        # How often each (key, part) was asked to be stored, and each action; part 0 is a whole object.
        self.asked: Counter[tuple[str, int]] = Counter()
        self.actions: Counter[str] = Counter()
        self.connections = 0
        self.faults: defaultdict[str, deque[Fault]] = defaultdict(deque)
        # Actions that no token allows.
        self.forbidden: set[str] = set()
        self.page_max = 1000
        # Parts beyond so many are read by half and wait, until release() or the end.
        self.holds_after: int | None = None
        # Called, before its answer, with the number of each part that was stored.
        self.on_part: Callable[[int], None] = lambda number: None
        self._stored = self._admitted = 0
        self._names = itertools.count()
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._released = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        if tls is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*tls)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), name="cos")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def port(self) -> int:
        return self._server.server_port

    def issue(self, prefix: str, lasts_s: float = 1800) -> dict[str, Any]:
        """Temporary credentials as STS gives them."""
        token = Token(
            secret_id=f"id-{secrets.token_hex(8)}",
            secret_key=f"key-{secrets.token_hex(16)}",
            session_token=f"session-{secrets.token_hex(24)}",
            prefix=prefix,
            ends_s=time.time() + lasts_s,
        )
        self.tokens[token.secret_id] = token
        return {
            "credentials": {
                "tmpSecretId": token.secret_id,
                "tmpSecretKey": token.secret_key,
                "sessionToken": token.session_token,
            },
            "startTime": int(time.time()),
            "expiredTime": int(token.ends_s),
            "expiration": datetime.fromtimestamp(int(token.ends_s), UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        }

    def expire(self) -> None:
        """Every token that was issued is refused from now on."""
        self.tokens = {name: replace(token, ends_s=0.0) for name, token in self.tokens.items()}

    def drop_uploads(self) -> None:
        """As a lifecycle rule of the bucket does with old ones."""
        self.uploads.clear()

    def next(self, action: str, *faults: Fault) -> None:
        self.faults[action].extend(faults)

    def release(self) -> None:
        self._released.set()

    def wait_for_parts(self, count: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self._stored >= count, DEADLINE_S), f"{self._stored} parts came"

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        request = self._read(handler)
        with self._lock:
            self.actions[request.action] += 1
            if request.action in ("put", "part"):
                self.asked[request.key, request.part] += 1
            faults = self.faults[request.action]
            request.fault = faults.popleft() if faults else None
        code = refusal(handler.command, f"/{request.key}", request.params, request.headers, self.tokens)
        if request.action in self.forbidden or not request.headers.get("host", "").startswith(f"{self.bucket}."):
            code = code or "AccessDenied"
        if code:
            drain(request)
            refuse(request, 403, code)
            return
        if request.fault is not None:
            # What misbehaves closes its connection and says so: a quick client would lose a try on one that is dying.
            was_closing, handler.close_connection = handler.close_connection, True
            if misbehaves(request, request.fault, self._released):
                return
            handler.close_connection = was_closing
        getattr(self, f"_{request.action}")(request)

    def _read(self, handler: BaseHTTPRequestHandler) -> Request:
        parts = urlsplit(handler.path)
        params = dict(parse_qsl(parts.query, keep_blank_values=True))
        action = {"HEAD": "head", "GET": "get", "PUT": "put", "POST": "initiate", "DELETE": "abort"}[handler.command]
        if "uploadId" in params:
            action = {"get": "list", "put": "part", "initiate": "complete"}.get(action, action)
        headers = {name.lower(): value for name, value in handler.headers.items()}
        key = unquote(parts.path).removeprefix("/")
        return Request(handler, action, key, params, headers, int(headers.get("content-length", "0")))

    def _store(self, request: Request) -> tuple[Path, str] | None:
        """The file that was sent, and its MD5; None where it did not come whole or as its Content-MD5 says."""
        path = self.folder / f"{next(self._names)}"
        digest, left = hashlib.md5(), request.length
        with path.open("wb") as file:
            while left > 0 and (block := request.handler.rfile.read(min(left, 65_536))):
                left -= len(block)
                digest.update(block)
                file.write(block)
        if left:
            path.unlink()
            request.handler.close_connection = True
            return None
        if request.headers.get("content-md5", "") != base64.b64encode(digest.digest()).decode():
            path.unlink()
            refuse(request, 400, "BadDigest")
            return None
        if request.fault is not None and request.fault.how == "spoil":
            path.write_bytes(b"?" + path.read_bytes()[1:])
            return path, hashlib.md5(path.read_bytes()).hexdigest()
        return path, digest.hexdigest()

    def _put(self, request: Request) -> None:
        if (stored := self._store(request)) is None:
            return
        self.objects[request.key], self.meta[request.key] = stored[0], _meta(request) | {"ETag": f'"{stored[1]}"'}
        self._give(request, headers={"ETag": f'"{self._tag(request, stored[1])}"'})

    def _initiate(self, request: Request) -> None:
        drain(request)
        upload_id = f"{time.time_ns()}{secrets.token_hex(16)}"
        self.uploads[upload_id] = Multipart(request.key, _meta(request))
        inner = f"<Bucket>{self.bucket}</Bucket><Key>{escape(request.key)}</Key><UploadId>{upload_id}</UploadId>"
        self._give(request, f"<InitiateMultipartUploadResult>{inner}</InitiateMultipartUploadResult>")

    def _part(self, request: Request) -> None:
        if (upload := self._upload(request)) is None:
            return
        with self._lock:
            is_held = self.holds_after is not None and self._admitted >= self.holds_after
            self._admitted += not is_held
        if is_held:
            request.handler.rfile.read(request.length // 2)
            self._released.wait(DEADLINE_S)
            reset(request.handler)
            return
        if not 1 <= request.part <= 10_000:
            drain(request)
            refuse(request, 400, "InvalidArgument")
        elif (stored := self._store(request)) is not None:
            with self._changed:
                upload.parts[request.part] = stored
                self._stored += 1
                self._changed.notify_all()
            self.on_part(request.part)
            self._give(request, headers={"ETag": f'"{self._tag(request, stored[1])}"'})

    def _list(self, request: Request) -> None:
        if (upload := self._upload(request)) is None:
            return
        after, most = int(request.params["part-number-marker"]), int(request.params["max-parts"])
        numbers = sorted(number for number in upload.parts if number > after)
        page = numbers[: min(most, self.page_max)]
        inner = "".join(
            f"<Part><PartNumber>{number}</PartNumber><LastModified>2026-01-01T00:00:00.000Z</LastModified>"
            f"<ETag>&quot;{upload.parts[number][1]}&quot;</ETag><Size>{upload.parts[number][0].stat().st_size}</Size></Part>"
            for number in page
        )
        is_cut = len(page) < len(numbers)
        following = f"<NextPartNumberMarker>{page[-1]}</NextPartNumberMarker>" if is_cut else ""
        self._give(
            request,
            f"<ListPartsResult><Bucket>{self.bucket}</Bucket><Encoding-type>url</Encoding-type>"
            f"<Key>{quote(request.key)}</Key><PartNumberMarker>{after}</PartNumberMarker>{following}"
            f"<MaxParts>{most}</MaxParts><IsTruncated>{str(is_cut).lower()}</IsTruncated>{inner}</ListPartsResult>",
        )

    def _complete(self, request: Request) -> None:
        body = request.handler.rfile.read(min(request.length, 4 * _MIB))
        if (upload := self._upload(request)) is None:
            return
        named = [
            (int(part.findtext("PartNumber", "0")), part.findtext("ETag", "").strip('"'))
            for part in ET.fromstring(body).findall("Part")
        ]
        stored = [upload.parts.get(number) for number, _ in named]
        if [number for number, _ in named] != sorted({number for number, _ in named}):
            refuse(request, 400, "InvalidPartOrder")
        elif not named or any(had is None or had[1] != tag for had, (_, tag) in zip(stored, named, strict=True)):
            refuse(request, 400, "InvalidPart")
        elif any(had is not None and had[0].stat().st_size < _MIB for had in stored[:-1]):
            refuse(request, 400, "EntityTooSmall")
        else:
            tag = self._join(request, [had for had in stored if had is not None], upload)
            inner = f"<Bucket>{self.bucket}</Bucket><Key>{escape(request.key)}</Key><ETag>&quot;{tag}&quot;</ETag>"
            self._give(request, f"<CompleteMultipartUploadResult>{inner}</CompleteMultipartUploadResult>")

    def _join(self, request: Request, stored: list[tuple[Path, str]], upload: Multipart) -> str:
        path = self.folder / f"{next(self._names)}"
        with path.open("wb") as file:
            is_cut = request.fault is not None and request.fault.how == "spoil"
            for part, _ in stored[:-1] if is_cut else stored:
                with part.open("rb") as source:
                    while block := source.read(_MIB):
                        file.write(block)
                part.unlink()
        tag = f"{hashlib.md5(''.join(md5 for _, md5 in stored).encode()).hexdigest()}-{len(stored)}"
        self.objects[request.key], self.meta[request.key] = path, upload.meta | {"ETag": f'"{tag}"'}
        del self.uploads[request.params["uploadId"]]
        return tag

    def _abort(self, request: Request) -> None:
        if self._upload(request) is not None:
            del self.uploads[request.params["uploadId"]]
            send(request.handler, 204, {})

    def _head(self, request: Request) -> None:
        if (path := self.objects.get(request.key)) is None:
            send(request.handler, 404, {})
        else:
            send(request.handler, 200, self.meta[request.key], length=path.stat().st_size)

    def _get(self, request: Request) -> None:
        if (path := self.objects.get(request.key)) is None:
            refuse(request, 404, "NoSuchKey")
        else:
            send(request.handler, 200, self.meta[request.key], path.read_bytes())

    def _upload(self, request: Request) -> Multipart | None:
        upload = self.uploads.get(request.params["uploadId"])
        if upload is None or upload.key != request.key:
            if request.action == "part":
                drain(request)
            refuse(request, 404, "NoSuchUpload")
            return None
        return upload

    def _tag(self, request: Request, md5: str) -> str:
        return md5[::-1] if request.fault is not None and request.fault.how == "lie" else md5

    def _give(self, request: Request, xml: str = "", headers: dict[str, str] | None = None) -> None:
        body = f'<?xml version="1.0" encoding="UTF-8"?>{xml}'.encode() if xml else b""
        how = request.fault.how if request.fault is not None else ""
        if how == "lost":
            reset(request.handler)
        else:
            send(request.handler, 200, headers or {}, body[: len(body) // 2] if how == "half" else body)


def _meta(request: Request) -> dict[str, str]:
    return {name: value for name, value in request.headers.items() if name.startswith("x-cos-meta-")}


def _handler(server: CosServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def setup(self) -> None:
            server.connections += 1
            super().setup()

        def _do(self) -> None:
            try:
                server.answer(self)
            except OSError:
                self.close_connection = True  # the client has gone

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _do  # noqa: N815

        def log_message(self, *_args: Any) -> None:
            """A test says what it saw."""

        def handle_one_request(self) -> None:
            try:
                super().handle_one_request()
            except OSError:
                self.close_connection = True

    return Handler
