"""OCT images through a model: slices are cut to their zones, judged in batches, and told in one JSON object.

The model runs on a KServe-v2 server or in this process; see retina_contract.py for what it must be.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Any, Self

import numpy.typing as npt

from imaging.errors import NotConfigured
from imaging.retina.contract import SECTION, Arrays, Contract, RetinaRules, Runner, batched, opinions, prepared
from imaging.retina.images import ImageInfo, look, slices
from imaging.retina.model import LocalModel
from imaging.retina.parameters import Parameters, invalid
from imaging.retina.report import Cut, Report
from imaging.retina.server import Server
from imaging.retina.zones import zones_of
from imaging.wire import OffLoop, here

__all__ = ["Retina", "RetinaRules"]

CHECK_S = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Batch:
    cuts: tuple[Cut, ...]
    pictures: npt.NDArray[Any]


class Retina:
    """One model. Nothing is connected or loaded before it is asked for."""

    def __init__(self, rules: RetinaRules, *, off_loop: OffLoop = here) -> None:
        """off_loop: as `Wire` has it. Raises InputInvalid of an unusable server_url or ca_file."""
        self.rules = rules
        self._off_loop = off_loop
        self._runner: Runner | None = None
        if rules.server_url:
            self._runner = Server(rules.server_url, rules, off_loop=off_loop)
        elif rules.model_path:
            self._runner = LocalModel(rules.model_path, rules, off_loop=off_loop)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        if self._runner is not None:
            await self._runner.close()

    async def check(self) -> None:
        """Is the server live and its model ready, or does the local one load.

        Raises NotConfigured, Unreachable, Unclear, Refused; from a server within three seconds.
        """
        await self._configured().contract(within_s=min(CHECK_S, self.rules.connect_timeout_s))

    def look(self, path: Path, parameters: Parameters) -> ImageInfo:
        """All that can be known to be wrong before the model is asked. Blocking. Raises InputInvalid."""
        info = look(path, slices_max=self.rules.slices_max)
        plan(info, parameters)
        return info

    async def analyse(
        self, path: Path, parameters: Parameters, *, into: Path, progress: Callable[[float, str], None]
    ) -> dict[str, Any]:
        """Judge every zone of every slice asked for; the result as `Report.result` has it.

        into: a folder for the masks of a model that gives maps; none is left there by an analysis that fails.
        progress: gets 0..1 and a short text. Raises InputInvalid, NotConfigured, Unreachable, Unclear, Refused, Failed.
        """
        runner = self._configured()
        info = await self._off_loop(partial(look, path, slices_max=self.rules.slices_max))
        cuts = await self._off_loop(partial(plan, info, parameters))
        contract = await runner.contract()
        report = Report(contract, info, parameters, into=into)
        reading = _Reading(path, info, cuts, contract, self.rules)
        underway: deque[asyncio.Task[int]] = deque()
        done, is_whole = 0, False
        try:
            while True:
                batch = await self._off_loop(reading.take)
                if batch is not None:
                    underway.append(asyncio.create_task(self._judge(runner, contract, batch, report)))
                if not underway:
                    break
                if batch is None or len(underway) >= runner.at_once:
                    done += await underway.popleft()
                    progress(done / len(cuts), f"已分析 {done}/{len(cuts)} 个区域")
            result = await self._off_loop(report.result)
            is_whole = True
            return result  # type: ignore[no-any-return]
        finally:
            for task in underway:
                task.cancel()
            await asyncio.gather(*underway, return_exceptions=True)
            await self._off_loop(reading.close)
            if not is_whole:
                await self._off_loop(report.discard)

    async def _judge(self, runner: Runner, contract: Contract, batch: _Batch, report: Report) -> int:
        answer = await runner.run(contract, batch.pictures)
        await self._off_loop(partial(self._report, answer, contract, batch, report))
        return len(batch.cuts)

    def _report(self, answer: Arrays, contract: Contract, batch: _Batch, report: Report) -> None:
        for cut, opinion in zip(batch.cuts, opinions(answer, contract, self.rules, len(batch.cuts)), strict=True):
            report.add(cut, opinion)

    def _configured(self) -> Runner:
        if self._runner is None:
            raise NotConfigured(f"没有配置 OCT 模型：请设置 {SECTION}.server_url 或 {SECTION}.model_path。")
        return self._runner


def plan(info: ImageInfo, parameters: Parameters) -> tuple[Cut, ...]:
    """What is looked at, slice by slice. Raises InputInvalid of the parameter that does not fit the image."""
    spacing = info.spacing_mm[1] if info.spacing_mm else None
    return tuple(
        Cut(number=number, frame=frame, slice_index=index, zone=zone)
        for number, (frame, index, zone) in enumerate(
            (frame, index, zone)
            for frame, index in _wanted(info, parameters)
            for zone in zones_of(parameters, width=info.width, slice_index=index, spacing_mm=spacing)
        )
    )


def _wanted(info: ImageInfo, parameters: Parameters) -> list[tuple[int, int]]:
    """Each slice as its place in the file and its index in the examination, which differ for a single image."""
    wanted = parameters.slices
    if info.slices == 1:
        if wanted is not None and len(wanted) > 1:
            raise invalid("slice_idx", wanted, "图像只有一个切片，应为一个整数（它在检查中的序号）")
        if wanted is None and parameters.nerve_zone_slice_indices is not None:
            raise invalid("slice_idx", None, "单张图像的视神经区裁剪需要它在检查中的序号")
        return [(0, wanted[0] if wanted else 0)]
    for key, indices in (("slice_idx", wanted), ("nerve_zone_slice_indices", parameters.nerve_zone_slice_indices)):
        if indices is not None and max(indices) >= info.slices:
            raise invalid(key, max(indices), f"图像有 {info.slices} 个切片，应为 0 到 {info.slices - 1}")
    return [(index, index) for index in (range(info.slices) if wanted is None else wanted)]


class _Reading:
    """The batches of an image, made when they are asked for. Any thread, one at a time."""

    def __init__(
        self, path: Path, info: ImageInfo, cuts: tuple[Cut, ...], contract: Contract, rules: RetinaRules
    ) -> None:
        self._cuts = deque(cuts)
        self._contract = contract
        self._rules = rules
        self._slices = slices(path, sorted({cut.frame for cut in cuts}) if info.slices > 1 else None)
        self._prepared = self._each()
        self._lock = Lock()

    def take(self) -> _Batch | None:
        """None after the last. Raises InputInvalid of a slice that cannot be decoded."""
        with self._lock:
            some = list(islice(self._prepared, self._contract.batch))
        if not some:
            return None
        cuts, pictures = zip(*some, strict=True)
        return _Batch(cuts=cuts, pictures=batched(pictures, self._contract))

    def close(self) -> None:
        """Waits for a slice that is being read: its decoder ends in time."""
        with self._lock:
            self._slices.close()

    def _each(self) -> Iterator[tuple[Cut, npt.NDArray[Any]]]:
        for frame, grey in self._slices:
            while self._cuts and self._cuts[0].frame == frame:
                cut = self._cuts.popleft()
                part = grey[:, cut.zone.left : cut.zone.right]
                yield cut, prepared(part, self._contract, self._rules)
