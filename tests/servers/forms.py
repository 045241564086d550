"""multipart/form-data of any size, read as it comes."""

import hashlib
import re
from typing import BinaryIO


def read_form(source: BinaryIO, boundary: bytes, left: int) -> tuple[dict[str, str], tuple[int, str, bytes] | None]:
    """The text fields, and size, SHA-256 and first bytes of the file, which is never whole in memory."""
    fields: dict[str, str] = {}
    file = None
    mark, buffer = b"\r\n--" + boundary, b"\r\n"

    def fill() -> bool:
        nonlocal buffer, left
        chunk = source.read(min(left, 65_536))
        left -= len(chunk)
        buffer += chunk
        return bool(chunk)

    while fill() or buffer:
        if mark in buffer:
            break
    buffer = buffer.partition(mark)[2]
    while not buffer.startswith(b"--"):
        while b"\r\n\r\n" not in buffer and fill():
            pass
        head, _, buffer = buffer.partition(b"\r\n\r\n")
        name = re.search(rb'name="([^"]+)"', head)
        assert name, head
        is_file = b'filename="' in head
        digest, size, magic, text = hashlib.sha256(), 0, b"", b""
        while True:
            end = buffer.find(mark)
            piece = buffer[:end] if end >= 0 else buffer[: max(len(buffer) - len(mark), 0)]
            if is_file:
                magic = magic or piece[:132]
                digest.update(piece)
                size += len(piece)
            else:
                text += piece
            buffer = buffer[end + len(mark) :] if end >= 0 else buffer[len(piece) :]
            if end >= 0 or not fill():
                break
        while len(buffer) < 2 and fill():
            pass
        if is_file:
            file = size, digest.hexdigest(), magic
        else:
            fields[name[1].decode()] = text.decode()
    while left > 0 and fill():
        buffer = b""
    return fields, file
