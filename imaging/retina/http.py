"""KServe v2 over HTTP with its binary tensors. The bodies are tritonclient's; the wire is ours, which bounds it."""

import json
from functools import partial
from typing import Any
from urllib.parse import SplitResult

import numpy.typing as npt
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput

from imaging.errors import Failed, Refused, Unauthorized, Unclear
from imaging.retina.contract import ANSWER_MAX, SECTION, Arrays, Contract, RetinaRules, one_line
from imaging.wire import OffLoop, RawReply, Wire

# Names and shapes come before the tensors.
_CONTENT_MAX = ANSWER_MAX + 2**20
_HEADER = "inference-header-content-length"


class HttpLink:
    def __init__(self, parts: SplitResult, rules: RetinaRules, *, name: str, off_loop: OffLoop) -> None:
        """Raises InputInvalid of an unusable ca_file."""
        self._rules = rules
        self._name = name
        self._off_loop = off_loop
        self._base = f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}/v2"
        version = f"/versions/{rules.model_version}" if rules.model_version else ""
        self._model = f"{self._base}/models/{rules.model_name}{version}"
        self._wire = Wire(
            name,
            SECTION,
            off_loop=off_loop,
            connect_timeout_s=rules.connect_timeout_s,
            timeout_s=rules.timeout_s,
            ca_file=rules.ca_file,
            answer_max=_CONTENT_MAX,
        )

    async def is_live(self, within_s: float) -> bool:
        return self._says_yes(await self._wire.exchange("GET", f"{self._base}/health/live", timeout_s=within_s))

    async def is_ready(self, within_s: float) -> bool:
        return self._says_yes(await self._wire.exchange("GET", f"{self._model}/ready", timeout_s=within_s))

    async def metadata(self, within_s: float) -> Any:
        return await self._told(await self._wire.exchange("GET", self._model, timeout_s=within_s))

    async def config(self, within_s: float) -> Any:
        answer = await self._wire.exchange("GET", f"{self._model}/config", timeout_s=within_s)
        # An extension of Triton's.
        return None if answer.status in (404, 405, 501) else await self._told(answer)

    async def run(self, contract: Contract, pictures: npt.NDArray[Any]) -> Arrays:
        """Raises Unreachable, Unclear, Refused, and Failed of an answer that is no tensors."""
        content, size = await self._off_loop(partial(_request, contract, pictures))
        headers = {"Inference-Header-Content-Length": str(size), "Content-Type": "application/octet-stream"}
        answer = await self._wire.exchange("POST", f"{self._model}/infer", headers=headers, content=content)
        self._check(answer)
        return await self._off_loop(partial(_arrays, answer, contract))  # type: ignore[no-any-return]

    async def close(self) -> None:
        await self._wire.close()

    async def _told(self, answer: RawReply) -> Any:
        self._check(answer)
        try:
            return await self._off_loop(partial(json.loads, answer.content))
        except (ValueError, RecursionError):
            raise Unclear(f"{self._name}的应答不是有效的 JSON。", code=str(answer.status)) from None

    def _says_yes(self, answer: RawReply) -> bool:
        """Whoever does not let us in says nothing of the server or its model."""
        self._check_let_in(answer)
        return answer.status == 200

    def _check_let_in(self, answer: RawReply) -> None:
        if answer.status in (401, 403):
            code = str(answer.status)
            raise Unauthorized(f"{self._name}拒绝访问（HTTP {code}）。", code=code)

    def _check(self, answer: RawReply) -> None:
        self._check_let_in(answer)
        code = str(answer.status)
        if answer.status >= 500 or answer.status == 429:
            raise Unclear(f"{self._name}内部错误或过载（HTTP {code}）。", code=code)
        if answer.status != 200:
            raise Refused(f"{self._name}拒绝了请求（HTTP {code}）：{_reason(answer.content)}", code=code)


def _request(contract: Contract, pictures: npt.NDArray[Any]) -> tuple[bytes, int]:
    picture = InferInput(contract.input.name, list(pictures.shape), contract.input.dtype)
    picture.set_data_from_numpy(pictures, binary_data=True)
    outputs = [InferRequestedOutput(name, binary_data=True) for name in contract.outputs]
    content, size = InferenceServerClient.generate_request_body([picture], outputs=outputs)
    return content, size


def _arrays(answer: RawReply, contract: Contract) -> Arrays:
    try:
        result = InferenceServerClient.parse_response_body(answer.content, header_length=answer.headers.get(_HEADER))
        found = {name: result.as_numpy(name) for name in contract.outputs}
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
        raise Failed(f"模型 {contract.name} 的应答不是 KServe v2 张量（{type(error).__name__}）。") from None
    return {name: array for name, array in found.items() if array is not None}


def _reason(content: bytes) -> str:
    """The server's own words, short and on one line."""
    try:
        told = json.loads(content[:65_536])
    except (ValueError, RecursionError):
        return "没有说明原因"
    text = told.get("error") if isinstance(told, dict) else None
    return one_line(text) if isinstance(text, str) and text else "没有说明原因"
