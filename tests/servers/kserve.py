"""A KServe-v2 server on loopback, over gRPC and over HTTP with binary tensors, with ONNX Runtime behind both.

It declares what its models declare, checks what a server would check, counts, and misbehaves when it is told to.
"""

import json
import re
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, Self

import grpc
import numpy as np
from tritonclient.grpc import model_config_pb2, service_pb2, service_pb2_grpc
from tritonclient.utils import np_to_triton_dtype, triton_to_np_dtype

from inference.runtime import open_session
from tests.servers.vendor import Vendor, VendorHandler, send
from tests.waiting import DEADLINE_S

_TYPES = {"tensor(float)": "FP32", "tensor(float16)": "FP16", "tensor(uint8)": "UINT8"}
_ROUTE = re.compile(r"^(?:/[a-z]+)?/v2/models/([^/]+)(?:/versions/(\d+))?(?:/(ready|config|infer))?$")


class Wrong(Exception):
    """An answer other than tensors. code: of gRPC."""

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message


class Model:
    def __init__(self, path: Path) -> None:
        self.session = open_session(path, device="cpu", threads=1)

    def declared(self, nodes: list[Any]) -> list[dict[str, Any]]:
        return [
            {
                "name": node.name,
                "datatype": _TYPES[node.type],
                "shape": [size if isinstance(size, int) else -1 for size in node.shape],
            }
            for node in nodes
        ]


class Rack:
    """The models and the behaviour of a server, whatever is spoken to it.

    fault: "" or one of not_live, not_ready, busy (UNAVAILABLE), internal, stall, stall_metadata, denied, reset, shape,
    half (fewer bytes than the shape says), nan, no_output, no_config, typed (numbers instead of raw bytes).
    """

    def __init__(self, models: Mapping[str, Path], *, max_batch_size: int = 8) -> None:
        self.models = {name: Model(path) for name, path in models.items()}
        self.max_batch_size = max_batch_size
        self.fault = ""
        self.requests = 0
        self.batches: list[int] = []
        self.together_max = 0
        # An answer is held back until so many requests are on their way at once.
        self.meet = 1
        self.released = threading.Event()
        self.arrived = threading.Event()
        self._together = 0
        self._changed = threading.Condition()

    def model(self, name: str, version: str = "") -> Model:
        if name not in self.models or version not in ("", "3"):
            raise Wrong(grpc.StatusCode.NOT_FOUND, f"Request for unknown model: '{name}' is not found")
        return self.models[name]

    def metadata(self, name: str, version: str = "") -> dict[str, Any]:
        model = self.model(name, version)
        if self.fault == "denied":
            raise Wrong(grpc.StatusCode.UNAUTHENTICATED, "who are you")
        if self.fault == "stall_metadata":
            self.released.wait(DEADLINE_S)
        return {
            "name": name,
            "versions": ["2", "3"],
            "platform": "onnxruntime_onnx",
            "inputs": model.declared(model.session.get_inputs()),
            "outputs": model.declared(model.session.get_outputs()),
        }

    def infer(self, name: str, version: str, inputs: Mapping[str, np.ndarray], wanted: list[str]) -> dict[str, Any]:
        """Arrays by name."""
        model = self.model(name, version)
        (batch,) = {len(array) for array in inputs.values()}
        with self._changed:
            self.requests += 1
            self.batches.append(batch)
            self._together += 1
            self.together_max = max(self.together_max, self._together)
            self._changed.notify_all()
            self.arrived.set()
            assert self._changed.wait_for(lambda: self.together_max >= self.meet, DEADLINE_S), "they never met"
        try:
            return self._answer(model, batch, inputs, wanted)
        finally:
            with self._changed:
                self._together -= 1

    def _answer(self, model: Model, batch: int, inputs: Mapping[str, np.ndarray], wanted: list[str]) -> dict[str, Any]:
        if self.fault == "stall":
            self.released.wait(DEADLINE_S)
        if self.fault == "busy":
            raise Wrong(grpc.StatusCode.UNAVAILABLE, "too many requests in the queue")
        if self.fault == "internal":
            raise Wrong(grpc.StatusCode.INTERNAL, "out of memory at 127.0.0.1")
        if self.max_batch_size and batch > self.max_batch_size:
            raise Wrong(grpc.StatusCode.INVALID_ARGUMENT, f"batch-size must be <= {self.max_batch_size}")
        for node in model.session.get_inputs():
            shape = inputs[node.name].shape
            if any(isinstance(size, int) and size != got for size, got in zip(node.shape, shape, strict=True)):
                raise Wrong(
                    grpc.StatusCode.INVALID_ARGUMENT, f"unexpected shape for input '{node.name}': {list(shape)}"
                )
        found = dict(zip(wanted, model.session.run(wanted, dict(inputs)), strict=True))
        if self.fault == "shape":
            found = {name: array[:, :1] for name, array in found.items()}
        if self.fault == "nan":
            found = {name: np.full_like(array, np.nan) for name, array in found.items()}
        if self.fault == "no_output":
            found.clear()
        return found


class GrpcServer:
    """tls: certificate and key, PEM."""

    def __init__(self, rack: Rack, *, port: int = 0, tls: tuple[Path, Path] | None = None) -> None:
        self.rack = rack
        self._pool = ThreadPoolExecutor(16, thread_name_prefix="kserve")
        self._server = grpc.server(self._pool, options=[("grpc.max_receive_message_length", -1)])
        service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(_Servicer(self), self._server)
        address = f"127.0.0.1:{port}"
        if tls is None:
            self.port = self._server.add_insecure_port(address)
        else:
            pair = (tls[1].read_bytes(), tls[0].read_bytes())
            self.port = self._server.add_secure_port(address, grpc.ssl_server_credentials([pair]))
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.rack.released.set()
        self.break_off().wait(DEADLINE_S)
        self._pool.shutdown()

    def break_off(self) -> threading.Event:
        """End every call that is underway, and listen no more."""
        return self._server.stop(grace=None)  # type: ignore[no-any-return]


class _Servicer(service_pb2_grpc.GRPCInferenceServiceServicer):
    def __init__(self, server: GrpcServer) -> None:
        self._server = server
        self._rack = server.rack

    def ServerLive(self, request: Any, context: Any) -> Any:  # noqa: N802
        return service_pb2.ServerLiveResponse(live=self._rack.fault != "not_live")

    def ServerReady(self, request: Any, context: Any) -> Any:  # noqa: N802
        return service_pb2.ServerReadyResponse(ready=self._rack.fault != "not_ready")

    def ModelReady(self, request: Any, context: Any) -> Any:  # noqa: N802
        is_ready = request.name in self._rack.models and self._rack.fault != "not_ready"
        return service_pb2.ModelReadyResponse(ready=is_ready)

    def ModelMetadata(self, request: Any, context: Any) -> Any:  # noqa: N802
        try:
            told = self._rack.metadata(request.name, request.version)
        except Wrong as wrong:
            _abort(context, wrong)
        tensor = service_pb2.ModelMetadataResponse.TensorMetadata
        return service_pb2.ModelMetadataResponse(
            name=told["name"],
            versions=told["versions"],
            platform=told["platform"],
            inputs=[tensor(**each) for each in told["inputs"]],
            outputs=[tensor(**each) for each in told["outputs"]],
        )

    def ModelConfig(self, request: Any, context: Any) -> Any:  # noqa: N802
        if self._rack.fault == "no_config":
            context.abort(grpc.StatusCode.UNIMPLEMENTED, "unknown method ModelConfig")
        config = model_config_pb2.ModelConfig(name=request.name, max_batch_size=self._rack.max_batch_size)
        return service_pb2.ModelConfigResponse(config=config)

    def ModelInfer(self, request: Any, context: Any) -> Any:  # noqa: N802
        inputs = {
            each.name: np.frombuffer(raw, triton_to_np_dtype(each.datatype)).reshape(list(each.shape))
            for each, raw in zip(request.inputs, request.raw_input_contents, strict=True)
        }
        if self._rack.fault == "reset":
            self._server.break_off()
            self._rack.released.wait(DEADLINE_S)
        try:
            found = self._rack.infer(
                request.model_name, request.model_version, inputs, [o.name for o in request.outputs]
            )
        except Wrong as wrong:
            _abort(context, wrong)
        answer = service_pb2.ModelInferResponse(model_name=request.model_name, model_version="3")
        for name, array in found.items():
            output = answer.outputs.add(name=name, datatype=np_to_triton_dtype(array.dtype), shape=array.shape)
            if self._rack.fault == "typed":
                output.contents.fp32_contents.extend(array.ravel().tolist())
            else:
                answer.raw_output_contents.append(array.tobytes()[: -4 if self._rack.fault == "half" else None])
        return answer


def _abort(context: Any, wrong: Wrong) -> NoReturn:
    context.abort(wrong.code, wrong.message)
    raise AssertionError("abort raises")


_HTTP = {
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.UNAUTHENTICATED: 401,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.INTERNAL: 500,
}


class HttpServer(Vendor):
    def __init__(self, rack: Rack, *, tls: tuple[Path, Path] | None = None) -> None:
        super().__init__("kserve", tls=tls)
        # Head and body are two packets, and the second would wait for the first one's receipt.
        self._server.RequestHandlerClass.disable_nagle_algorithm = True  # type: ignore[attr-defined]
        self.rack = rack
        self.url = f"{self._scheme}://127.0.0.1:{self.port}"

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.rack.released.set()
        super().__exit__(kind, error, trace)

    def take(self, handler: VendorHandler) -> None:
        content = handler.body()
        if handler.path.endswith("/v2/health/live"):
            send(handler, 400 if self.rack.fault == "not_live" else 200, b"")
            return
        found = _ROUTE.match(handler.path)
        if found is None:
            _tell(handler, 404, {"error": "Not Found"})
            return
        name, version, what = found[1], found[2] or "", found[3] or "metadata"
        try:
            if what == "ready":
                is_ready = name in self.rack.models and self.rack.fault != "not_ready"
                send(handler, 200 if is_ready else 400, b"")
            elif what == "metadata":
                _tell(handler, 200, self.rack.metadata(name, version))
            elif what == "config" and self.rack.fault != "no_config":
                _tell(handler, 200, {"name": name, "max_batch_size": self.rack.max_batch_size})
            elif what == "config":
                _tell(handler, 404, {"error": "Not Found"})
            elif self.rack.fault == "reset":
                self.misbehave(handler, "reset")
            else:
                self._infer(handler, name, version, content)
        except Wrong as wrong:
            _tell(handler, _HTTP[wrong.code], {"error": wrong.message})

    def _infer(self, handler: VendorHandler, name: str, version: str, content: bytes) -> None:
        size = int(handler.headers["Inference-Header-Content-Length"])
        request, at = json.loads(content[:size]), size
        inputs = {}
        for each in request["inputs"]:
            length = each["parameters"]["binary_data_size"]
            dtype = triton_to_np_dtype(each["datatype"])
            inputs[each["name"]] = np.frombuffer(content[at : at + length], dtype).reshape(each["shape"])
            at += length
        assert at == len(content)
        found = self.rack.infer(name, version, inputs, [each["name"] for each in request["outputs"]])
        outputs, raw = [], b""
        for output, array in found.items():
            told = {"name": output, "datatype": np_to_triton_dtype(array.dtype), "shape": list(array.shape)}
            if self.rack.fault == "typed":
                outputs.append(told | {"data": array.ravel().tolist()})
                continue
            some = array.tobytes()[: -4 if self.rack.fault == "half" else None]
            outputs.append(told | {"parameters": {"binary_data_size": len(some)}})
            raw += some
        head = json.dumps({"model_name": name, "model_version": "3", "outputs": outputs}).encode()
        headers = {"Inference-Header-Content-Length": str(len(head))} if raw else {}
        send(handler, 200, head + raw, "application/octet-stream", headers)


def _tell(handler: VendorHandler, status: int, body: Mapping[str, Any]) -> None:
    send(handler, status, json.dumps(body).encode())
