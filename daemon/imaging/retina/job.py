"""The retina back end as steps of a job: the picture is fetched, analysed, and its result written where it was asked.

Each of them may be done again: fetching and analysing leave nothing behind, and a result goes to the same key.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from daemon.bridge import off_loop
from daemon.domain.imaging import JobKind
from daemon.imaging.jobs.asking import in_their_names
from daemon.imaging.jobs.folder import MADE
from daemon.imaging.jobs.steps import Done, Step, Work
from imaging.buckets.store import BucketObject, Buckets
from imaging.errors import InputInvalid, NotConfigured
from imaging.retina.analysis import Retina
from imaging.retina.parameters import Parameters

RESULT = "result.json"
# Where a picture that was uploaded begins: there is nothing to fetch.
INFER = "infer"
_FETCHED = "fetched"


class RetinaGateway:
    kind = JobKind.RETINA
    hint = ""

    def __init__(self, retina: Retina, buckets: "ConfiguredBuckets", *, image_bytes_max: int) -> None:
        self.retina = retina
        self.buckets = buckets
        self._image_bytes_max = image_bytes_max
        self.steps = (
            Step(name="fetch_image", title="读取图像", run=self._fetch),
            Step(name=INFER, title="推理", run=self._infer),
            Step(name="write_result", title="保存结果", run=self._write),
        )

    async def close(self) -> None:
        await self.retina.close()
        await off_loop(self.buckets.close)

    async def accept(self, inputs: Mapping[str, Any], files: Sequence[tuple[str, Path]]) -> Mapping[str, Any]:
        """inputs: as RetinaDesk makes them. What lies in a bucket is looked at when it is here."""
        if inputs["source"] is None:
            [(_, path)] = files
            await off_loop(self.retina.look, path, _parameters(inputs))
        return inputs

    async def _fetch(self, work: Work) -> Done:
        source = work.job.inputs["source"]
        buckets, found = self.buckets.of(source["store"]), BucketObject(**source["object"])
        place = work.folder / _FETCHED
        await off_loop(work.folder.mkdir, parents=True, exist_ok=True)
        await off_loop(buckets.fetch, source["bucket"], found, place, bytes_max=self._image_bytes_max)
        return Done(output={}, message="图像已从存储桶读取")

    async def _infer(self, work: Work) -> Done:
        path = work.paths[0] if work.paths else work.folder / _FETCHED
        if not await off_loop(path.is_file):
            raise InputInvalid("图像已按保留期限删除，无法再分析。", field="image")
        parameters, made = _parameters(work.job.inputs), work.folder / MADE
        await off_loop(made.mkdir, parents=True, exist_ok=True)
        with in_their_names([(work.job.inputs["filename"], path)]):
            result = await self.retina.analyse(path, parameters, into=made, progress=work.progress)
        await off_loop(_write_json, made / RESULT, result)
        return Done(output={}, message="推理完成")

    async def _write(self, work: Work) -> Done:
        result = await off_loop(_read_json, work.folder / MADE / RESULT)
        if (output := work.job.inputs["output"]) is not None:
            await off_loop(self._put, work, output, result)
            result = {**result, "result_path": output["path"]}
        await off_loop((work.folder / _FETCHED).unlink, missing_ok=True)
        return Done(output={}, message="分析完成", result=result)

    def _put(self, work: Work, output: Mapping[str, Any], result: Mapping[str, Any]) -> None:
        """The masks first: where the result lies, all that it names does. Blocking."""
        buckets, bucket, path = self.buckets.of(output["store"]), output["bucket"], str(output["path"])
        for mask in sorted((work.folder / MADE).glob("mask_*.png")):
            buckets.put(bucket, f"{path.rpartition('/')[0]}/{mask.name}", mask, "image/png")
        told = {
            "request_uuid": str(work.job.id),
            "examination_id": work.job.inputs["examination_id"],
            "filename": work.job.inputs["filename"],
            "status": "success",
            "result": result,
        }
        buckets.put(bucket, path, json.dumps(told, ensure_ascii=False).encode(), "application/json")


def result_path(job_id: str) -> str:
    """Where the result of a job lies in the output bucket: nothing of the examination is in its name."""
    return f"results/{job_id}/{RESULT}"


def _parameters(inputs: Mapping[str, Any]) -> Parameters:
    return Parameters.model_validate(inputs["parameters"])


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, ensure_ascii=False, allow_nan=False), encoding="utf-8")


def _read_json(path: Path) -> dict[str, Any]:
    """Raises InputInvalid where it is gone."""
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputInvalid("推理结果已按保留期限删除，请重新提交。", field="image") from None
    return found


class ConfiguredBuckets:
    """The stores that are configured, by name."""

    def __init__(self, stores: Mapping[str, Buckets]) -> None:
        self._stores = stores

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._stores)

    def of(self, store: str) -> Buckets:
        """Raises NotConfigured."""
        if (found := self._stores.get(store)) is None:
            raise NotConfigured(f"没有配置存储 {store}（imaging.retina）。")
        return found

    def close(self) -> None:
        for store in self._stores.values():
            store.close()
