"""A part of a thing on request (RFC 9110, 14): some players play nothing without."""

import re

from fastapi import Response
from fastapi.responses import JSONResponse

from daemon.api import errors

_ONE = re.compile(r"bytes=(?:(\d{1,18})-(\d{0,18})|-(\d{1,18}))")


def ranged(content: bytes, asked: str | None, media_type: str) -> Response:
    """The part that a Range header asks for; the whole for none, for several, and for what is no range of bytes."""
    headers = {"Accept-Ranges": "bytes"}
    match = _ONE.fullmatch(asked.strip()) if asked else None
    size = len(content)
    if match is None:
        return Response(content, media_type=media_type, headers=headers)
    first, last, tail = match.groups()
    start = int(first) if first else max(0, size - int(tail))
    end = min(int(last), size - 1) if last else size - 1
    if first and last and int(last) < int(first):
        return Response(content, media_type=media_type, headers=headers)
    if start >= size:
        told = errors.body("RANGE_NOT_SATISFIABLE", f"Range「{asked}」超出内容，共 {size} 字节。")
        return JSONResponse(told, 416, {**headers, "Content-Range": f"bytes */{size}"})
    headers["Content-Range"] = f"bytes {start}-{end}/{size}"
    return Response(content[start : end + 1], 206, media_type=media_type, headers=headers)
