"""What an ONNX file says of itself, read from its own bytes: versions, operators, the data files beside it.

ONNX Runtime says none of this of a file that it refuses, and of one that it takes it does not tell the last operator.
An ONNX is one protobuf message (onnx.proto3); only the fields named below are read, weights are stepped over.
"""

import mmap
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from inference.errors import ModelBroken, ModelIncomplete, ModelNotOnnx
from inference.foreign import kind_by_content, kind_by_name

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_DEPTH_MAX = 8  # of graphs within graphs
_SMALL = 64  # bytes of a constant that is read: a number, or one for each channel
_FLOATS = {1: "f", 10: "e", 11: "d"}  # TensorProto.data_type -> struct
# Domains whose operators come with the format itself or with ONNX Runtime.
_KNOWN = {"", "ai.onnx", "ai.onnx.ml", "ai.onnx.training", "ai.onnx.preview.training"}
_KNOWN |= {"com.microsoft", "com.microsoft.nchwc", "com.microsoft.experimental", "com.ms.internal.nhwc"}
# Operators that hand numbers on within the range that they have, in another shape, size or type.
_PASSING = {"Identity", "Cast", "CastLike", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Dropout"}
_PASSING |= {"QuantizeLinear", "DequantizeLinear", "Resize", "Upsample", "Slice"}


@dataclass(frozen=True, slots=True)
class Node:
    """One operator of the graph."""

    op: str
    domain: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class OnnxFile:
    """opsets: domain -> version. external: data files beside it -> how many bytes they need. constants: small ones."""

    path: Path
    ir_version: int
    opsets: dict[str, int]
    nodes: tuple[Node, ...]
    foreign: tuple[str, ...]
    external: dict[str, int]
    constants: dict[str, tuple[float, ...]]

    def last(self, name: str) -> Node | None:
        """The operator that gives the numbers of this value; None where the graph does not say."""
        makers = {output: node for node in self.nodes for output in node.outputs}
        for _ in self.nodes:
            node = makers.get(name)
            if node is None or node.op not in _PASSING or not node.inputs:
                return node
            name = node.inputs[0]
        return None

    def first(self, name: str) -> tuple[str, tuple[float, ...]] | None:
        """The first operator on this input and its constant, where one operator with one constant comes first."""
        for _ in self.nodes:
            users = [node for node in self.nodes if name in node.inputs]
            if len(users) != 1:
                return None
            (node,) = users
            if node.op not in _PASSING or not node.outputs:
                known = [self.constants[other] for other in node.inputs if other in self.constants]
                return (node.op, known[0]) if len(known) == 1 else None
            name = node.outputs[0]
        return None


def read_onnx(path: Path) -> OnnxFile | None:
    """Read and check the file. None: ONNX Runtime's own format, by its name `.ort`, which has to be taken as it is.

    Raises ModelNotOnnx, ModelBroken (cut off), ModelIncomplete (data files beside it).
    """
    if path.suffix.lower() == ".ort" and path.is_file():
        return None
    try:
        if (kind := kind_by_content(path)) is not None:
            raise ModelNotOnnx(f"{path}: {kind.what}", hint=kind.mend)
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            found = _Reader(path, data).read()
    except ModelBroken as cause:
        if (kind := kind_by_name(path)) is not None:
            raise ModelNotOnnx(f"{path}: {kind.what}", hint=kind.mend) from cause
        raise
    except OSError as cause:
        raise ModelBroken(
            f"{path}: cannot be read: {cause.strerror}", hint="Give the user of the service read access."
        ) from cause
    _check_external(found)
    return found


class _Malformed(Exception):
    """The bytes are no protobuf message. size: what the file would have to have at least, where it is too short."""

    def __init__(self, at: int, size: int | None = None) -> None:
        super().__init__(at)
        self.at, self.size = at, size


class _Reader:
    """One pass over the message; spans are (start, end) in the file."""

    def __init__(self, path: Path, data: mmap.mmap) -> None:
        self._path = path
        self._data = data
        self._ir = 0
        self._opsets: dict[str, int] = {}
        self._nodes: list[Node] = []
        self._used: dict[str, None] = {}  # domain:operator of other makers
        self._own: set[str] = set()  # those that the file defines itself
        self._external: dict[str, int] = {}
        self._constants: dict[str, tuple[float, ...]] = {}

    def read(self) -> OnnxFile:
        size = len(self._data)
        graphs = 0
        try:
            for number, value in self._fields((0, size)):
                if number == 1 and isinstance(value, int):
                    self._ir = value
                elif number == 7:
                    graphs += 1
                    self._graph(value, 0)
                elif number == 8:
                    self._opset(value)
                elif number == 25:
                    self._function(value)
        except _Malformed as cause:
            if cause.size is not None and self._ir:
                raise ModelBroken(
                    f"{self._path}: is cut off: it has {size} bytes, of at least {cause.size} that it announces"
                ) from cause
            raise ModelBroken(
                f"{self._path}: is no readable ONNX model: byte {cause.at} of {size} makes no sense",
                hint="Is it an ONNX file? If so, it was damaged in copying: compare its checksum, copy it again.",
            ) from cause
        if not graphs:
            raise ModelBroken(f"{self._path}: holds no graph: it is cut off, or no ONNX model ({size} bytes)")
        return OnnxFile(
            path=self._path,
            ir_version=self._ir,
            opsets=self._opsets,
            nodes=tuple(self._nodes),
            foreign=tuple(name for name in self._used if name not in self._own),
            external=self._external,
            constants=self._constants,
        )

    def _opset(self, span: Any) -> None:
        domain, version = "", 0
        for number, value in self._fields(span):
            if number == 1:
                domain = self._text(value)
            elif number == 2 and isinstance(value, int):
                version = value
        self._opsets[domain] = version

    def _function(self, span: Any) -> None:
        name, domain = "", ""
        for number, value in self._fields(span):
            if number == 1:
                name = self._text(value)
            elif number == 10:
                domain = self._text(value)
            elif number == 7:
                self._node(value, 1)
        self._own.add(f"{domain}:{name}")

    def _graph(self, span: Any, depth: int) -> None:
        if depth > _DEPTH_MAX:
            raise _Malformed(span[0])
        for number, value in self._fields(span):
            if number == 1:
                self._node(value, depth)
            elif number == 5:
                self._tensor(value)
            elif number == 15:
                for part, tensor in self._fields(value):
                    if part in (1, 2):
                        self._tensor(tensor)

    def _node(self, span: Any, depth: int) -> None:
        op, domain = "", ""
        inputs: list[str] = []
        outputs: list[str] = []
        attributes = []
        for number, value in self._fields(span):
            if number == 1:
                inputs.append(self._text(value))
            elif number == 2:
                outputs.append(self._text(value))
            elif number == 4:
                op = self._text(value)
            elif number == 5:
                attributes.append(value)
            elif number == 7:
                domain = self._text(value)
        for attribute in attributes:
            for number, value in self._fields(attribute):
                if number in (5, 10):
                    self._tensor(value, outputs[0] if op == "Constant" and outputs else None)
                elif number in (6, 11):
                    self._graph(value, depth + 1)
        if domain not in _KNOWN:
            self._used[f"{domain}:{op}"] = None
        if not depth:
            self._nodes.append(Node(op, domain, tuple(inputs), tuple(outputs)))

    def _tensor(self, span: Any, name: str | None = None) -> None:
        kind = None
        raw = b""
        about: dict[str, str] = {}
        for number, value in self._fields(span):
            if number == 2:
                kind = value
            elif number == 8:
                name = name or self._text(value)
            elif number in (4, 9, 10) and isinstance(value, tuple) and value[1] - value[0] <= _SMALL:
                raw += self._data[value[0] : value[1]]
            elif number == 13:
                entry = {part: self._text(text) for part, text in self._fields(value)}
                about[entry.get(1, "")] = entry.get(2, "")
        if "location" in about:
            offset, length = (int(about[key]) if about.get(key, "").isdigit() else 0 for key in ("offset", "length"))
            needed = max(self._external.get(about["location"], 0), offset + length)
            self._external[about["location"]] = needed
        elif name and raw and kind in _FLOATS and len(raw) % struct.calcsize(_FLOATS[kind]) == 0:
            self._constants[name] = tuple(value for (value,) in struct.iter_unpack(f"<{_FLOATS[kind]}", raw))

    def _fields(self, span: Any) -> Iterator[tuple[int, Any]]:
        """Each field of one message: a number, or where its bytes are."""
        at, end = self._span(span)
        while at < end:
            key, begin = self._varint(at, end)
            number, wire = key >> 3, key & 7
            if not number:
                raise _Malformed(at)
            if wire == _VARINT:
                value, at = self._varint(begin, end)
                yield number, value
                continue
            if wire == _BYTES:
                length, begin = self._varint(begin, end)
            elif wire in (_FIXED64, _FIXED32):
                length = 8 if wire == _FIXED64 else 4
            else:
                raise _Malformed(at)
            if begin + length > end:
                raise _Malformed(at, begin + length if end == len(self._data) else None)
            yield number, (begin, begin + length)
            at = begin + length

    def _varint(self, at: int, end: int) -> tuple[int, int]:
        value = 0
        for shift in range(0, 70, 7):
            if at >= end:
                raise _Malformed(at, at + 1 if end == len(self._data) else None)
            byte = self._data[at]
            at += 1
            value |= (byte & 127) << shift
            if byte < 128:
                return value, at
        raise _Malformed(at)

    def _text(self, span: Any) -> str:
        start, end = self._span(span)
        return self._data[start:end].decode("utf-8", "replace")

    @staticmethod
    def _span(value: Any) -> tuple[int, int]:
        """Where the bytes of a field stand; a number in their place is damage."""
        if not isinstance(value, tuple):
            raise _Malformed(0)
        return value


def _check_external(file: OnnxFile) -> None:
    """The weights that stand in files of their own: there, whole, and nowhere but beside the ONNX."""
    for name, needed in file.external.items():
        where = PurePosixPath(name.replace("\\", "/"))
        if where.is_absolute() or ".." in where.parts or not name:
            raise ModelIncomplete(
                f"{file.path}: names the data file {name!r}, which is not in its own folder",
                hint="Export it again with its data beside it, or in one file (save_as_external_data=False).",
            )
        data = file.path.parent / where
        if not data.is_file():
            raise ModelIncomplete(
                f"{file.path}: its weights stand in {name}, which is not beside it: {data} is missing"
            )
        if (size := data.stat().st_size) < needed:
            raise ModelIncomplete(f"{data}: is cut off: it has {size} bytes, {file.path.name} needs {needed}")
