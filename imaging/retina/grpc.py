"""KServe v2 over gRPC, by tritonclient. Its errors become ours: a transport's words hold addresses and are left out."""

import os
from functools import partial
from typing import Any
from urllib.parse import SplitResult

import numpy as np
import numpy.typing as npt

from imaging.errors import Failed, ImagingError, Refused, Unauthorized, Unclear, Unreachable
from imaging.retina.contract import ANSWER_MAX, SECTION, Arrays, Contract, RetinaRules, one_line
from imaging.wire import OffLoop, trusting

# It would write addresses to stderr by itself, and asks this when it is loaded.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

from tritonclient.grpc import InferInput, InferRequestedOutput
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException

_OPTIONS = [
    # Names, shapes and the tensors of an answer.
    ("grpc.max_receive_message_length", ANSWER_MAX + 2**20),
    ("grpc.max_send_message_length", -1),
    ("grpc.enable_http_proxy", 0),
    # A server that is back is found at once; by default gRPC looks again after two minutes.
    ("grpc.initial_reconnect_backoff_ms", 500),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.use_local_subchannel_pool", 1),
]
_TYPED = {"FP32": "fp32_contents", "FP64": "fp64_contents"}


class GrpcLink:
    def __init__(self, parts: SplitResult, rules: RetinaRules, *, name: str, off_loop: OffLoop) -> None:
        """Raises InputInvalid of an unusable ca_file."""
        if rules.ca_file is not None:
            trusting(rules.ca_file, f"{SECTION}.ca_file")
        self._target = parts.netloc
        self._is_tls = parts.scheme == "https"
        self._rules = rules
        self._name = name
        self._off_loop = off_loop
        self._of = {"model_name": rules.model_name, "model_version": rules.model_version}
        self._opened: Any = None

    async def is_live(self, within_s: float) -> bool:
        return bool(await self._asked("is_server_live", within_s))

    async def is_ready(self, within_s: float) -> bool:
        try:
            return bool(await self._asked("is_model_ready", within_s, **self._of))
        except Refused:
            return False  # asking for its metadata will say why

    async def metadata(self, within_s: float) -> Any:
        return await self._asked("get_model_metadata", within_s, **self._of, as_json=True)

    async def config(self, within_s: float) -> Any:
        try:
            return (await self._asked("get_model_config", within_s, **self._of, as_json=True)).get("config", {})
        except Refused as error:
            if error.code == "UNIMPLEMENTED":  # an extension of Triton's
                return None
            raise

    async def run(self, contract: Contract, pictures: npt.NDArray[Any]) -> Arrays:
        """Raises Unreachable, Unclear, Refused, and Failed of an answer that is no tensors."""
        inputs, outputs = await self._off_loop(partial(_request, contract, pictures))
        result = await self._asked("infer", self._rules.timeout_s, **self._of, inputs=inputs, outputs=outputs)
        return await self._off_loop(partial(_arrays, result, contract))  # type: ignore[no-any-return]

    async def close(self) -> None:
        opened, self._opened = self._opened, None
        if opened is not None:
            await opened.close()

    async def _asked(self, method: str, within_s: float, **what: Any) -> Any:
        try:
            return await getattr(self._client(), method)(client_timeout=within_s, **what)
        except InferenceServerException as error:
            raise self._in_our_words(error, within_s) from None

    def _client(self) -> Any:
        if self._opened is None:
            ca_file = self._rules.ca_file
            self._opened = InferenceServerClient(
                self._target,
                ssl=self._is_tls,
                root_certificates=str(ca_file) if ca_file else None,
                channel_args=_OPTIONS,
            )
        return self._opened

    def _in_our_words(self, error: Any, within_s: float) -> ImagingError:
        code = str(error.status() or "").removeprefix("StatusCode.")
        words = " ".join(str(error.message() or "").split())
        if code == "UNAVAILABLE":
            return self._unavailable(words.lower())
        if code == "DEADLINE_EXCEEDED":
            return Unclear(f"{self._name}没有在 {within_s:g} 秒内应答。", code=code)
        if code in ("UNAUTHENTICATED", "PERMISSION_DENIED"):
            return Unauthorized(f"{self._name}拒绝访问（{code}）。", code=code)
        if code in ("CANCELLED", "UNKNOWN", "ABORTED", "INTERNAL", "DATA_LOSS", ""):
            return Unclear(f"{self._name}内部错误（{code or '没有状态'}）。", code=code)
        return Refused(f"{self._name}拒绝了请求（{code}）：{one_line(words) or '没有说明原因'}", code=code)

    def _unavailable(self, words: str) -> ImagingError:
        """What UNAVAILABLE means: it comes of the transport, or of a server that is too busy."""
        if "handshake" in words or "certificate" in words:
            return Unreachable(f"无法连接{self._name}（TLS 证书无法验证）。", code="UNAVAILABLE")
        if "failed to connect" in words or "dns resolution" in words:
            return Unreachable(f"无法连接{self._name}。", code="UNAVAILABLE")
        return Unclear(f"{self._name}断开了连接，或暂不可用。", code="UNAVAILABLE")


def _request(contract: Contract, pictures: npt.NDArray[Any]) -> tuple[list[Any], list[Any]]:
    picture = InferInput(contract.input.name, list(pictures.shape), contract.input.dtype)
    picture.set_data_from_numpy(pictures)
    return [picture], [InferRequestedOutput(name) for name in contract.outputs]


def _arrays(result: Any, contract: Contract) -> Arrays:
    found = {}
    try:
        for name in contract.outputs:
            array = _array(result, name)
            if array is not None:
                found[name] = array
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise Failed(f"模型 {contract.name} 的应答不是 KServe v2 张量（{type(error).__name__}）。") from None
    return found


def _array(result: Any, name: str) -> npt.NDArray[Any] | None:
    """Raw, as Triton gives it, or typed, as others do and tritonclient does not read."""
    told = result.get_output(name)
    if told is None or result.get_response().raw_output_contents:
        return result.as_numpy(name)  # type: ignore[no-any-return]
    values = getattr(told.contents, _TYPED[told.datatype])
    return np.array(values).reshape(list(told.shape))
