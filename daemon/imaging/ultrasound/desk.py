"""The ultrasound desk: takes pictures, draws samples, has records judged; each leaves a row of who and what."""

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from prometheus_client.core import Metric

from daemon.bridge import in_thread, off_loop
from daemon.domain.errors import (
    ImagingInputInvalid,
    ImagingInputTooLarge,
    ImagingNotConfigured,
    ImagingRequestInvalid,
    ImagingStorageFull,
    Refused,
    UltrasoundBusy,
    UltrasoundFailed,
)
from daemon.health import Health
from daemon.imaging.jobs.accesses import Who, noted
from daemon.imaging.jobs.asking import refusing
from daemon.imaging.jobs.folder import JobFolder
from daemon.imaging.jobs.turns import Turns
from daemon.metrics import counter, gauge
from daemon.storage.database import Unit
from daemon.storage.imaging import Access
from imaging import errors
from imaging.ultrasound.terms import UNSUPPORTED_TASK, Task, task_of
from inference.errors import ModelError

if TYPE_CHECKING:
    from imaging.ultrasound.files import UltrasoundFiles
    from imaging.ultrasound.models import Ultrasound
    from imaging.ultrasound.record import Record

log = logging.getLogger(__name__)

# Below the uploads: a picture is moved from here to its place, which must not cross file systems.
RECEIVING = ".receiving"

_COMPONENT = "ultrasound"
_FIRST = "records[0]."
# A thread that loads or runs a model cannot be told to stop.
_ENDS_WITHIN_S = 60.0
_DECODED_AT_ONCE = 2
# The folder is cleaned early once so much of what may be kept is new.
_GROWTH_MAX = 0.02
READABLE = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".json": "application/json"}


class Shelf(StrEnum):
    """What clients may look at."""

    UPLOADS = "uploads"
    ANSWERS = "answers"
    DATA = "data"


class UltrasoundDesk:
    def __init__(
        self,
        unit: Unit,
        engine: "Ultrasound",
        files: "UltrasoundFiles",
        health: Health,
        *,
        is_wanted: bool,
        records_max: int,
        queue_max: int,
        keep: timedelta,
        bytes_max: int,
        every_s: float = 3600.0,
    ) -> None:
        """is_wanted: a model is configured; without one the daemon is in order all the same.

        records_max: of one call. keep, bytes_max: of uploads and answers, together.
        """
        self._unit = unit
        self._engine = engine
        self._files = files
        self._health = health
        self._is_wanted = is_wanted
        self._records_max = records_max
        self._keep = keep
        self._bytes_max = bytes_max
        self._every_s = every_s
        self._receiving = JobFolder(files.roots.uploads / RECEIVING, bytes_max=bytes_max)
        self._turns = Turns(queue_max=queue_max)
        self._decoding = asyncio.Semaphore(_DECODED_AT_ONCE)
        self._why_not: tuple[type[Refused], str] | None = UltrasoundBusy, "超声模型正在加载，请稍后重试。"
        # Since the last cleaning.
        self._new_bytes = 0
        self._is_much = asyncio.Event()
        self._counts: Counter[tuple[str, str]] = Counter()
        self._seconds = dict.fromkeys((task.value for task in Task), 0.0)

    async def run(self) -> None:
        # What was being received when the process ended was never promised.
        with suppress(OSError):
            await off_loop(self._receiving.sweep, frozenset())
        async with asyncio.TaskGroup() as group:
            group.create_task(self._load())
            group.create_task(self._clean_for_ever())

    @property
    def why_not(self) -> str:
        """Why nothing can be judged now; "" where it can."""
        return self._why_not[1] if self._why_not else ""

    def can(self) -> list[tuple[str, str]]:
        """(task, dataset) pairs that have a model."""
        return [] if self._why_not else self._engine.can()

    async def upload(
        self, receive: Callable[[Path], Awaitable[tuple[Path, str]]], announced: int, who: Who, now: datetime
    ) -> dict[str, Any]:
        """What `receive` put into the folder it is given, and what it was called, becomes a picture of ours.

        Raises what it raises, ImagingInputInvalid, ImagingInputTooLarge, ImagingStorageFull; nothing is kept then.
        """
        async with self._audited(who, "ultrasound upload", now):
            draft = uuid4()
            try:
                with _disk():
                    await off_loop(self._receiving.check_room, announced)
                    folder = await off_loop(self._receiving.make, draft)
                received, name = await receive(folder)
                async with self._decoding:
                    with refusing(), _disk():
                        taken = await off_loop(self._files.take, received, name)
                self._grew(taken["img_size_bytes"])
                return taken
            finally:
                await off_loop(self._receiving.drop, draft)

    async def sample(self, task: str, dataset_name: str, who: Who, now: datetime) -> dict[str, Any]:
        """The record of a picture at random. Raises ImagingRequestInvalid, ImagingInputNotFound."""
        async with self._audited(who, "ultrasound sample", now):
            _check_task(task, "task")
            with refusing(), _disk():
                return await off_loop(self._files.sample, task, dataset_name, rng=random.SystemRandom())

    async def predict(self, records: Sequence["Record"], who: Who, now: datetime) -> list[dict[str, Any]]:
        """The answers, in order: either all of them or none.

        Raises ImagingRequestInvalid and what else is wrong with a record or with how many there are,
        ImagingNotConfigured, UltrasoundBusy, UltrasoundFailed, ImagingStorageFull.
        """
        async with self._audited(who, "ultrasound predict", now):
            self._check_count(len(records))
            for number, record in enumerate(records):
                _check_task(record.task, "task" if len(records) == 1 else f"records[{number}].task")
            if self._why_not is not None:
                kind, message = self._why_not
                raise kind(message)
            with _alone(len(records) == 1), refusing(), _disk():
                paths = await off_loop(self._resolved, records)
                async with self._turns.one():
                    return await self._judged(records, paths)

    async def find(self, shelf: Shelf, path: str, who: Who, now: datetime) -> tuple[Path, str]:
        """A picture or a JSON that lies there, with its media type.

        Raises ImagingPathForbidden, ImagingInputNotFound, ImagingNotConfigured.
        """
        roots = self._files.roots
        root = {Shelf.UPLOADS: roots.uploads, Shelf.ANSWERS: roots.outputs, Shelf.DATA: roots.data}[shelf]
        async with self._audited(who, f"ultrasound {shelf.value}", now):
            with refusing():
                return await off_loop(_found, root, path)

    async def clean(self, now: datetime) -> None:
        """Uploads and answers that are too old, then the oldest where they are too much. Raises OSError."""
        gone = await off_loop(self._files.clean, now, keep=self._keep, bytes_max=self._bytes_max)
        if gone:
            log.info("ultrasound: %d uploads and answers are deleted by age or size", gone)

    def readings(self) -> Iterator[Metric]:
        counts: list[tuple[list[str], float]] = [([*key], value) for key, value in sorted(self._counts.items())]
        yield counter("orwatch_ultrasound_predictions", "Ultrasound records judged", ["task", "outcome"], counts)
        seconds: list[tuple[list[str], float]] = [([task], value) for task, value in sorted(self._seconds.items())]
        yield counter("orwatch_ultrasound_seconds", "Time spent on ultrasound records", ["task"], seconds)
        waiting: list[tuple[list[str], float]] = [([], self._turns.waiting)]
        yield gauge("orwatch_ultrasound_waiting", "Ultrasound calls that wait for another", [], waiting)

    async def _load(self) -> None:
        try:
            await in_thread("ultrasound:load", lambda _stop: self._engine.load(), stop_within_s=_ENDS_WITHIN_S)
        except errors.NotConfigured as error:
            self._why_not = ImagingNotConfigured, error.message
            if self._is_wanted:
                self._is_broken(error, error.hint)
        except ModelError as error:
            told = "超声模型无法加载，请联系运维（原因见 /ready 的 ultrasound 部件）。"
            self._why_not = ImagingNotConfigured, told
            self._is_broken(error, error.hint)
        else:
            self._why_not = None
            self._health.set(_COMPONENT, ok=True, why=self._engine.provider)
            log.info("ultrasound: models for %d tasks and datasets are loaded", len(self._engine.can()))

    def _is_broken(self, error: Exception, hint: str) -> None:
        self._health.set(_COMPONENT, ok=False, why=f"{error} {hint}".strip())
        log.error("ultrasound: the models cannot be used: %s. %s", error, hint)

    async def _clean_for_ever(self) -> None:
        while True:
            self._is_much.clear()
            self._new_bytes = 0
            try:
                await self.clean(datetime.now(UTC))
            except OSError as error:
                log.warning("ultrasound: cleaning waits for the next round: %s", error)
            with suppress(TimeoutError):
                async with asyncio.timeout(self._every_s):
                    await self._is_much.wait()

    def _grew(self, size: int) -> None:
        """A folder that fills up is cleaned before its time."""
        self._new_bytes += size
        if self._new_bytes > self._bytes_max * _GROWTH_MAX:
            self._is_much.set()

    def _check_count(self, count: int) -> None:
        """Raises ImagingInputInvalid, ImagingInputTooLarge."""
        if not count:
            raise ImagingInputInvalid("records：至少需要一条记录。", field="records")
        if count > self._records_max:
            raise ImagingInputTooLarge(
                f"records：一次 {count} 条，上限 {self._records_max} 条（imaging.ultrasound.records_max）。",
                field="records",
            )

    def _resolved(self, records: Sequence["Record"]) -> list[Path]:
        paths = []
        for number, record in enumerate(records):
            try:
                paths.append(self._files.resolve(record.img_path_relative))
            except errors.InputInvalid as error:
                message = f"records[{number}].{error.message}"
                raise type(error)(message, field=f"records[{number}].{error.field}", value=error.value) from error
        return paths

    async def _judged(self, records: Sequence["Record"], paths: Sequence[Path]) -> list[dict[str, Any]]:
        outcome = "failed"
        try:
            answers, sizes = await in_thread(
                "ultrasound", lambda _stop: self._work(records, paths), stop_within_s=_ENDS_WITHIN_S
            )
            outcome = "ok"
        except (errors.InputInvalid, errors.NotConfigured):
            outcome = "refused"
            raise
        except errors.ImagingError as error:
            raise UltrasoundFailed(error.message) from error
        finally:
            self._counts.update((record.task, outcome) for record in records)
        for record, answer in zip(records, answers, strict=True):
            self._seconds[record.task] += answer["inference_time_sec"]
        self._grew(sum(sizes))
        return answers

    def _work(self, records: Sequence["Record"], paths: Sequence[Path]) -> tuple[list[dict[str, Any]], list[int]]:
        """The answers, and the bytes that each takes on the disk, more or less."""
        from imaging.ultrasound.memory import usage

        predictions = self._engine.predict(records, paths)
        used = usage(self._engine.provider)
        pairs = zip(records, predictions, strict=True)
        answers = [self._files.write(record, prediction, used) for record, prediction in pairs]
        folders = [Path(answer["json_path"]).parent for answer in answers]
        return answers, [sum(path.stat().st_size for path in folder.iterdir()) for folder in folders]

    def _audited(self, who: Who, action: str, now: datetime) -> AbstractAsyncContextManager[Access]:
        return noted(self._unit, who, action, now)


def _check_task(task: str, field: str) -> None:
    if task_of(task) is None:
        raise ImagingRequestInvalid(UNSUPPORTED_TASK, field=field, value=task[:80])


@contextmanager
def _alone(is_alone: bool) -> Iterator[None]:
    """Who sent one record sent no list: its fields are named without a number."""
    try:
        yield
    except Refused as error:
        if not is_alone or "field" not in error.extra:
            raise
        error.extra["field"] = str(error.extra["field"]).removeprefix(_FIRST)
        raise type(error)(error.message.replace(_FIRST, ""), surgery_id=None, **error.extra) from error


@contextmanager
def _disk() -> Iterator[None]:
    try:
        yield
    except (Refused, errors.ImagingError):
        raise
    except OSError as error:
        raise ImagingStorageFull(f"无法读写超声图像的目录：{error.strerror}。") from error


def _found(root: Path | None, asked: str) -> tuple[Path, str]:
    from imaging.ultrasound.files import confined

    if root is None:
        raise errors.NotConfigured("没有配置 imaging.ultrasound.data_dir。")
    media_type = READABLE.get(PurePosixPath(asked).suffix.lower())
    if media_type is None:
        message = f"path：{asked[:200]!r} 不是图像或 JSON 文件（{'、'.join(READABLE)}）。"
        raise errors.InputForbidden(message, field="path", value=asked[:200])
    return confined(root, PurePosixPath(asked), told=asked, field="path"), media_type
