"""A retina model from an ONNX file, run in this process; for sites without an inference server."""

import asyncio
import hashlib
import os
from functools import partial
from pathlib import Path
from typing import Any

import numpy.typing as npt

from imaging.errors import Failed, NotConfigured
from imaging.retina.contract import SECTION, Arrays, Contract, RetinaRules, Tensor, contract_of
from imaging.wire import OffLoop
from inference.errors import ModelError
from inference.runtime import failures, onnxruntime, open_session, probabilities_by

_DTYPES = {"tensor(float)": "FP32", "tensor(float16)": "FP16", "tensor(double)": "FP64", "tensor(uint8)": "UINT8"}
_THREADS_MAX = 4
_HASHED = 2**20


class LocalModel:
    """Loaded on first use and then kept. One run at a time: a session has threads of its own."""

    at_once = 1

    def __init__(self, path: Path, rules: RetinaRules, *, off_loop: OffLoop) -> None:
        self._path = path
        self._rules = rules
        self._off_loop = off_loop
        self._lock = asyncio.Lock()
        self._loaded: tuple[Any, Contract] | None = None

    async def contract(self, *, within_s: float | None = None) -> Contract:
        """Raises NotConfigured: the file is missing, is no model of ours, or does not run on this device."""
        return (await self._session())[1]

    async def run(self, contract: Contract, pictures: npt.NDArray[Any]) -> Arrays:
        """Raises Failed."""
        session, _ = await self._session()
        return await self._off_loop(partial(self._run, session, contract, pictures))  # type: ignore[no-any-return]

    async def close(self) -> None:
        self._loaded = None

    async def _session(self) -> tuple[Any, Contract]:
        async with self._lock:
            if self._loaded is None:
                self._loaded = await self._off_loop(self._load)
            return self._loaded

    def _load(self) -> tuple[Any, Contract]:
        if not self._path.is_file():
            raise NotConfigured(f"{SECTION}.model_path：{self._path} 不存在或不是文件。")
        threads = min(_THREADS_MAX, os.cpu_count() or 1)
        try:
            session = open_session(self._path, device=self._rules.device, threads=threads)
        except ModelError as error:
            raise NotConfigured(f"{SECTION}.model_path：{self._path} 无法加载（{error}）。") from error
        contract = contract_of(
            self._rules,
            name=self._path.stem,
            version=_sha256(self._path)[:12],
            inputs=[_tensor(node) for node in session.get_inputs()],
            outputs=[_tensor(node) for node in session.get_outputs()],
        )
        for name in contract.outputs if self._rules.activation != "none" else ():
            # A sigmoid on probabilities leaves all of them at 0.5 and more, a softmax makes them nearly equal.
            if last := probabilities_by(self._path, name):
                raise NotConfigured(
                    f"{SECTION}.activation：现为 {self._rules.activation}，而模型 {self._path} 的输出 {name} "
                    f"以 {last} 结尾，已经是概率；请设为 none。"
                )
        return session, contract

    def _run(self, session: Any, contract: Contract, pictures: npt.NDArray[Any]) -> Arrays:
        try:
            found = session.run(list(contract.outputs), {contract.input.name: pictures})
        except failures(onnxruntime()) as error:
            why = (str(error).splitlines() or [""])[0][:200]
            raise Failed(f"模型 {contract.name} 运行失败（{len(pictures)} 张图）：{why}") from error
        return dict(zip(contract.outputs, found, strict=True))


def _tensor(node: Any) -> Tensor:
    shape = tuple(size if isinstance(size, int) and size > 0 else None for size in node.shape)
    return Tensor(name=node.name, dtype=_DTYPES.get(node.type, node.type), shape=shape)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while some := file.read(_HASHED):
            digest.update(some)
    return digest.hexdigest()
