"""`multipart/form-data` of any size into a folder: what arrives is written as it arrives, bounded, and never in memory.

The framework's own form parser puts uploads into the system's folder for temporary files, and again where they
belong; a slide of gigabytes should be written once, to the disk that was chosen for it.
"""

import asyncio
import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

from daemon.bridge import off_loop
from daemon.domain.errors import ImagingInputInvalid, ImagingInputTooLarge, ImagingStorageFull
from daemon.imaging.jobs.asking import Received
from daemon.imaging.jobs.folder import safe_name

_FIELD_BYTES_MAX = 64 * 1024
_FIELDS_MAX = 64
# Who sends nothing for so long has gone.
_IDLE_MAX_S = 60.0
_MEDIA_TYPE = re.compile(r"[\w.+-]{1,31}/[\w.+-]{1,31}", re.ASCII)


@dataclass(slots=True)
class Form:
    """fields: the values of each name, in order. files: the same; they lie in the folder that was given."""

    fields: dict[str, list[str]] = field(default_factory=dict)
    files: dict[str, list[Received]] = field(default_factory=dict)


async def receive(request: Request, folder: Path, *, files_max: int, file_bytes_max: int) -> Form:
    """The whole form, files durable. Raises ImagingInputInvalid, ImagingInputTooLarge, ImagingStorageFull, HTTP 400.

    What was written when it raises is for the caller to delete.
    """
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    boundary = options.get(b"boundary")
    if kind != b"multipart/form-data" or not boundary:
        raise ImagingInputInvalid(
            "请求体应为 multipart/form-data。", field="Content-Type", value=request.headers.get("content-type", "")[:80]
        )
    writer = _Writer(folder, files_max=files_max, file_bytes_max=file_bytes_max)
    parser = MultipartParser(boundary, writer.callbacks())  # type: ignore[arg-type]
    try:
        stream = request.stream()
        while True:
            async with asyncio.timeout(_IDLE_MAX_S):
                chunk = await anext(stream, None)
            if chunk is None:
                break
            await off_loop(parser.write, chunk)
        await off_loop(parser.finalize)
    except (FormParserError, ClientDisconnect, TimeoutError) as error:
        raise HTTPException(400) from error
    except OSError as error:
        raise ImagingStorageFull(f"无法写入影像暂存目录：{error.strerror}。") from error
    finally:
        writer.close()
    if not writer.is_whole:
        raise HTTPException(400)
    return writer.form


class _Writer:
    """The parser's callbacks: a part with a file name is a file, any other a field."""

    def __init__(self, folder: Path, *, files_max: int, file_bytes_max: int) -> None:
        self.form = Form()
        self.is_whole = False
        self._folder = folder
        self._files_max = files_max
        self._file_bytes_max = file_bytes_max
        self._headers: dict[bytes, bytes] = {}
        self._header_name = self._header_value = b""
        self._name = ""
        self._value = bytearray()
        self._file: BinaryIO | None = None
        self._file_name = ""
        self._media_type = "application/octet-stream"
        self._digest = hashlib.sha256()
        self._size = self._count = 0

    def callbacks(self) -> Mapping[str, object]:
        return {
            "on_part_begin": self._part_begins,
            "on_part_data": self._part_data,
            "on_part_end": self._part_ends,
            "on_header_field": self._header_field,
            "on_header_value": self._header_content,
            "on_header_end": self._header_ends,
            "on_headers_finished": self._headers_end,
            "on_end": self._all_ends,
        }

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def _part_begins(self) -> None:
        self._headers = {}
        self._value = bytearray()

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def _header_content(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def _header_ends(self) -> None:
        self._headers[self._header_name.lower()] = self._header_value
        self._header_name = self._header_value = b""

    def _headers_end(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition"))
        self._name = options.get(b"name", b"").decode("utf-8", "replace")[:64]
        if not self._name:
            raise HTTPException(400)
        if (file_name := options.get(b"filename")) is None:
            if sum(map(len, self.form.fields.values())) >= _FIELDS_MAX:
                raise ImagingInputTooLarge(f"表单字段超过 {_FIELDS_MAX} 个。", field=self._name)
            return
        self._count += 1
        if self._count > self._files_max:
            raise ImagingInputTooLarge(f"文件超过 {self._files_max} 个。", field=self._name)
        self._file_name = safe_name(file_name.decode("utf-8", "replace"))
        kind, _ = parse_options_header(self._headers.get(b"content-type"))
        media_type = kind.decode("ascii", "replace")
        self._media_type = media_type if _MEDIA_TYPE.fullmatch(media_type) else "application/octet-stream"
        self._digest, self._size = hashlib.sha256(), 0
        # Two files of one name are two files.
        self._file = (self._folder / f"{self._count:02d}-{self._file_name}").open("xb")

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        if self._file is None:
            self._value += data[start:end]
            if len(self._value) > _FIELD_BYTES_MAX:
                raise ImagingInputTooLarge(f"字段 {self._name} 超过 {_FIELD_BYTES_MAX} 字节。", field=self._name)
            return
        block = memoryview(data)[start:end]
        self._size += len(block)
        if self._size > self._file_bytes_max:
            raise ImagingInputTooLarge(
                f"文件 {self._file_name} 超过上限 {self._file_bytes_max} 字节。",
                field=self._name,
                value=self._file_name,
            )
        self._digest.update(block)
        self._file.write(block)

    def _part_ends(self) -> None:
        if self._file is None:
            self.form.fields.setdefault(self._name, []).append(self._value.decode("utf-8", "replace"))
            return
        self._file.flush()
        os.fsync(self._file.fileno())
        path = Path(self._file.name)
        self._file.close()
        self._file = None
        received = Received(
            name=self._file_name,
            path=path.relative_to(self._folder),
            media_type=self._media_type,
            size=self._size,
            sha256=self._digest.hexdigest(),
        )
        self.form.files.setdefault(self._name, []).append(received)

    def _all_ends(self) -> None:
        self.is_whole = True
