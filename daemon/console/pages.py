"""Static pages from memory: a few small files, known by their names, so that no path leads anywhere else."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

STATIC = Path(__file__).parent / "static"
ULTRASOUND = "/imaging/ultrasound/page"

# cropperjs styles its elements by script, which needs no 'unsafe-inline'; pictures come with the key, as blobs.
POLICY = (
    "default-src 'self'; img-src 'self' blob:; object-src 'none'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    # Asked again each time, answered with 304: an update is seen at once.
    "Cache-Control": "no-cache",
}
# A script without its own type does not run where sniffing is off.
_MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".md": "text/plain; charset=utf-8",
}


def console_pages() -> Mapping[str, ASGIApp]:
    """Where each page stands, and what answers there. Blocking: reads the files."""
    return {ULTRASOUND: Pages({"": STATIC / "ultrasound", "vendor/": STATIC / "vendor"})}


@dataclass(frozen=True, slots=True, kw_only=True)
class _File:
    content: bytes
    media_type: str
    etag: str


class Pages:
    """Answers below a mount; `index.html` where nothing is named."""

    def __init__(self, folders: Mapping[str, Path]) -> None:
        """folders: what comes before the names of their files -> the folder."""
        self._files = {
            f"{before}{path.name}": _file(path)
            for before, folder in folders.items()
            for path in sorted(folder.iterdir())
            if path.suffix in _MEDIA_TYPES
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._answer(Request(scope)).__call__(scope, receive, send)

    def _answer(self, request: Request) -> Response:
        if request.method not in ("GET", "HEAD"):
            return PlainTextResponse("该页面只能读取。", 405, {"Allow": "GET, HEAD"})
        name = request.scope["path"].removeprefix(request.scope.get("root_path", "")).lstrip("/")
        file = self._files.get(name or "index.html")
        if file is None:
            return PlainTextResponse("没有这个页面。", 404, {"X-Content-Type-Options": "nosniff"})
        headers = {**_HEADERS, "ETag": file.etag}
        if file.etag in request.headers.get("if-none-match", ""):
            return Response(None, 304, headers)
        return Response(file.content, 200, headers, media_type=file.media_type)


def _file(path: Path) -> _File:
    content = path.read_bytes()
    etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    return _File(content=content, media_type=_MEDIA_TYPES[path.suffix], etag=etag)
