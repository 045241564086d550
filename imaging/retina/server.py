"""A retina model on a KServe-v2 server (Triton), over gRPC or HTTP: is it there, what is it, and one run of it.

A server need not have Triton's configuration extension; how much it batches is then read from the input's shape.
"""

import asyncio
from typing import Annotated, Any, Protocol
from urllib.parse import SplitResult, urlsplit

import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from imaging.errors import InputInvalid, NotConfigured, Unclear, Unreachable
from imaging.retina.contract import SECTION, Arrays, Contract, RetinaRules, Tensor, contract_of
from imaging.wire import OffLoop, checked_url

NAME = "OCT 推理服务"
_FIELD = f"{SECTION}.server_url"


class _Declared(BaseModel):
    model_config = ConfigDict(extra="ignore")

    name: Annotated[str, Field(max_length=200)]
    datatype: Annotated[str, Field(max_length=20)]
    shape: Annotated[list[int], Field(max_length=16)]

    def tensor(self) -> Tensor:
        return Tensor(
            name=self.name, dtype=self.datatype, shape=tuple(size if size > 0 else None for size in self.shape)
        )


class _Metadata(BaseModel):
    model_config = ConfigDict(extra="ignore")

    versions: Annotated[list[str], Field(max_length=1000)] = []
    # A model has both: an answer without them is of something else.
    inputs: Annotated[list[_Declared], Field(max_length=64)]
    outputs: Annotated[list[_Declared], Field(max_length=64)]


class _Configured(BaseModel):
    model_config = ConfigDict(extra="ignore")

    max_batch_size: Annotated[int, Field(ge=0)] = 0


class Link(Protocol):
    """One protocol's wire. Each call ends by within_s; raises Unreachable, Unclear, Refused."""

    async def is_live(self, within_s: float) -> bool: ...

    async def is_ready(self, within_s: float) -> bool:
        """The model."""

    async def metadata(self, within_s: float) -> Any: ...

    async def config(self, within_s: float) -> Any:
        """None where the server does not tell."""

    async def run(self, contract: Contract, pictures: npt.NDArray[Any]) -> Arrays: ...

    async def close(self) -> None: ...


class Server:
    """One connection, made when it is first needed."""

    def __init__(self, url: str, rules: RetinaRules, *, off_loop: OffLoop) -> None:
        """Raises InputInvalid of an unusable server_url or ca_file, NotConfigured of no model_name."""
        if not rules.model_name:
            raise NotConfigured(f"{SECTION}.model_name：没有设置，应为推理服务上的模型名。")
        self.at_once = rules.requests_max
        self._rules = rules
        self._name = rules.model_name
        self._link = _link(_parts(url, rules), rules, off_loop)

    async def contract(self, *, within_s: float | None = None) -> Contract:
        """Raises Unreachable (away, or the model is not ready), Unclear, Refused (no such model), NotConfigured."""
        within_s = within_s or self._rules.connect_timeout_s
        try:
            async with asyncio.timeout(within_s):
                if not await self._link.is_live(within_s):
                    raise Unreachable(f"{NAME}还没有就绪。")
                if not await self._link.is_ready(within_s):
                    await self._link.metadata(within_s)  # of a model that it does not have, it says so
                    raise Unreachable(f"{NAME}的模型 {self._name} 还没有就绪。")
                metadata = await self._link.metadata(within_s)
                config = await self._link.config(within_s)
        except TimeoutError:
            raise Unclear(f"{NAME}没有在 {within_s:g} 秒内说明它的模型。") from None
        return self._read(metadata, config)

    async def run(self, contract: Contract, pictures: npt.NDArray[Any]) -> Arrays:
        return await self._link.run(contract, pictures)

    async def close(self) -> None:
        await self._link.close()

    def _read(self, metadata: Any, config: Any) -> Contract:
        try:
            told = _Metadata.model_validate(metadata)
            configured = None if config is None else _Configured.model_validate(config)
        except ValidationError as error:
            where = ".".join(map(str, error.errors(include_url=False)[0]["loc"]))
            raise Unclear(f"{NAME}对模型 {self._name} 的说明不可用（{where}）。") from None
        return contract_of(
            self._rules,
            name=self._name,
            version=self._rules.model_version or (told.versions[-1][:20] if told.versions else ""),
            inputs=[each.tensor() for each in told.inputs],
            outputs=[each.tensor() for each in told.outputs],
            batch_max=configured.max_batch_size if configured and configured.max_batch_size else None,
        )


def _parts(url: str, rules: RetinaRules) -> SplitResult:
    parts = urlsplit(checked_url(url, _FIELD, allow_http=rules.allow_http))
    if parts.port is None or parts.query or parts.fragment or (rules.protocol == "grpc" and parts.path.strip("/")):
        expected = "https://主机:端口" if rules.protocol == "grpc" else "https://主机:端口[/路径]"
        raise InputInvalid(f"{_FIELD}：应为 {expected}，并写明端口（{rules.protocol}）。", field=_FIELD)
    return parts


def _link(parts: SplitResult, rules: RetinaRules, off_loop: OffLoop) -> Link:
    # Each of them brings a large library along.
    if rules.protocol == "grpc":
        from imaging.retina.grpc import GrpcLink

        return GrpcLink(parts, rules, name=NAME, off_loop=off_loop)
    from imaging.retina.http import HttpLink

    return HttpLink(parts, rules, name=NAME, off_loop=off_loop)
