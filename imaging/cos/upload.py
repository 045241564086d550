"""One file to COS, part by part, whatever breaks on the way.

Which parts are there is asked of COS and never remembered, so that a process may be killed at any moment: the next one
finds the upload by its record, keeps the parts that are there as they should be, and sends the others. The threads are
those of the SDK's pool; each sends one part at a time and hands the outcome to the thread of the caller, which alone
asks for credentials, reports progress and decides what is sent again.
"""

import logging
import queue
import sys
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import TypeVar

from qcloud_cos.cos_threadpool import SimpleThreadPool

from imaging.cos.bucket import Bucket, Client, Denied, NotTrusted, UploadUnknown
from imaging.cos.credentials import CosCredentials, CosRules
from imaging.cos.parts import Part, Slide
from imaging.cos.record import Record, RecordFile
from imaging.errors import Stopped, Unclear, Unreachable

log = logging.getLogger(__name__)

T = TypeVar("T")

_LOOK_S = 0.1


@dataclass(frozen=True, slots=True)
class Sent:
    parts_sent: int
    parts_kept: int


@dataclass(slots=True)
class _Outcome:
    """How sending one part came out: error is None where it arrived. client: whose credentials it was sent with."""

    part: Part
    client: Client
    error: BaseException | None = None


class Access:
    """The credentials in hand, always used in the thread of the caller."""

    def __init__(self, bucket: Bucket, credentials: Callable[[], CosCredentials]) -> None:
        self._bucket, self._fetch = bucket, credentials
        self._take(credentials())

    def client(self) -> Client:
        """With credentials that are valid yet."""
        # Those that came expired show that our clock is wrong: COS tells then when they are refused.
        if self._came_valid and not self._in_hand.is_valid(datetime.now(UTC)):
            self._renew()
        return self._client

    def after_refusal_of(self, refused: Client) -> Client:
        """Others than those: fetched now, unless they were meanwhile."""
        if refused is self._client:
            self._renew()
        return self._client

    def _renew(self) -> None:
        log.info("fetching new COS credentials")
        self._take(self._fetch())

    def _take(self, credentials: CosCredentials) -> None:
        self._in_hand = credentials
        self._came_valid = credentials.is_valid(datetime.now(UTC))
        self._client = self._bucket.allowed(credentials)


@dataclass(slots=True, kw_only=True)
class Upload:
    """The upload of one file to one key."""

    slide: Slide
    key: str
    md5: str
    rules: CosRules
    access: Access
    record: RecordFile
    wait_s: Callable[[int], float]
    stop: threading.Event
    progress: Callable[[int, int], None]
    _kept: int = field(default=0, init=False)

    def run(self) -> Sent:
        known = self._known()
        part_size = known.part_size if known else self.slide.part_size(self.rules.part_size_mib * 2**20)
        parts = self.slide.survey(part_size, self.md5, stop=self.stop)
        if self._is_there():
            self.record.delete()
            self.progress(self.slide.size, self.slide.size)
            return Sent(0, len(parts))
        if len(parts) == 1:
            self.progress(0, self.slide.size)
            self._ask(lambda client: client.put(self.key, self.slide, parts[0], halt=self.stop))
            sent = Sent(1, 0)
        else:
            sent = self._send_in_parts(parts, part_size, known)
        if self._is_there() is False:
            raise Unclear("上传完成后核对失败：对象存储上的文件与本地不一致。")
        self.record.delete()
        self.progress(self.slide.size, self.slide.size)
        return sent

    def _known(self) -> Record | None:
        known = self.record.read()
        if known is None:
            return None
        wanted = (self.rules.bucket, self.rules.region, self.key, self.md5, self.slide.size)
        is_same = (known.bucket, known.region, known.key, known.md5, known.size) == wanted
        return known if is_same and known.part_size == self.slide.part_size(known.part_size) else None

    def _is_there(self) -> bool | None:
        """None where the credentials do not allow to look: some are for sending only."""
        try:
            found = self._ask(lambda client: client.head(self.key, halt=self.stop), renews=False)
        except Denied:
            return None
        if found is None:
            return False
        is_ours = self.md5 in (found.get("x-cos-meta-md5"), found.get("etag", "").strip('"'))
        return is_ours and found.get("content-length") == str(self.slide.size)

    def _send_in_parts(self, parts: tuple[Part, ...], part_size: int, known: Record | None) -> Sent:
        try:
            upload_id, there = self._resumed(known) if known else (self._begun(part_size), {})
            return self._finish(upload_id, parts, there)
        except UploadUnknown as error:
            # Aborted or cleared away in the middle, or completed although the answer was lost.
            if self._is_there():
                return Sent(len(parts) - self._kept, self._kept)
            log.warning("the multipart upload is gone (%s), starting afresh", error.code)
            return self._finish(self._begun(part_size), parts, {})

    def _begun(self, part_size: int) -> str:
        upload_id = self._ask(lambda client: client.initiate(self.key, self.md5, halt=self.stop))
        self.record.write(
            Record(
                bucket=self.rules.bucket,
                region=self.rules.region,
                key=self.key,
                md5=self.md5,
                size=self.slide.size,
                part_size=part_size,
                upload_id=upload_id,
            )
        )
        return upload_id

    def _resumed(self, known: Record) -> tuple[str, dict[int, tuple[int, str]]]:
        """With size and MD5 of each part that is there, by number."""
        there: dict[int, tuple[int, str]] = {}
        try:
            after = 0
            while True:
                page, after = self._ask(partial(self._page, known.upload_id, after))
                there |= {number: (size, md5) for number, size, md5 in page}
                if not after:
                    return known.upload_id, there
        except Denied:
            log.warning("the COS credentials do not allow to list parts, starting afresh")
            return self._begun(known.part_size), {}

    def _page(self, upload_id: str, after: int, client: Client) -> tuple[list[tuple[int, int, str]], int]:
        return client.list_parts(self.key, upload_id, after, halt=self.stop)

    def _finish(self, upload_id: str, parts: tuple[Part, ...], there: dict[int, tuple[int, str]]) -> Sent:
        missing = [part for part in parts if there.get(part.number) != (part.size, part.md5)]
        self._kept = len(parts) - len(missing)
        self._send(upload_id, missing)
        self._ask(lambda client: client.complete(self.key, upload_id, parts, halt=self.stop))
        return Sent(len(missing), self._kept)

    def _send(self, upload_id: str, missing: list[Part]) -> None:
        """Returns when all are there; after an error, when no thread is at work any more."""
        done = self.slide.size - sum(part.size for part in missing)
        self.progress(done, self.slide.size)
        waiting, running = deque(missing), 0
        refused: set[int] = set()
        outcomes: queue.Queue[_Outcome] = queue.Queue()
        halt = threading.Event()
        pool = SimpleThreadPool(num_threads=max(1, min(self.rules.threads, len(missing))))
        try:
            while waiting or running:
                while waiting and running < self.rules.threads:
                    pool.add_task(self._attempt, upload_id, waiting.popleft(), self.access.client(), halt, outcomes)
                    running += 1
                outcome = self._next(outcomes)
                running -= 1
                if outcome.error is None:
                    done += outcome.part.size
                    self.progress(done, self.slide.size)
                elif isinstance(outcome.error, Denied) and outcome.part.number not in refused:
                    refused.add(outcome.part.number)
                    self.access.after_refusal_of(outcome.client)
                    waiting.append(outcome.part)
                else:
                    raise outcome.error
        finally:
            halt.set()
            pool.wait_completion()

    def _attempt(
        self, upload_id: str, part: Part, client: Client, halt: threading.Event, outcomes: queue.Queue[_Outcome]
    ) -> None:
        """In a thread of the pool, which would swallow what is raised."""
        outcome = _Outcome(part, client)
        try:
            self._persistently(lambda: client.send_part(self.key, upload_id, self.slide, part, halt=halt), halt)
        finally:
            outcome.error = sys.exc_info()[1]
            outcomes.put(outcome)

    def _next(self, outcomes: queue.Queue[_Outcome]) -> _Outcome:
        while True:
            if self.stop.is_set():
                raise Stopped("上传已停止，可以续传。")
            try:
                return outcomes.get(timeout=_LOOK_S)
            except queue.Empty:
                continue

    def _ask(self, call: Callable[[Client], T], *, renews: bool = True) -> T:
        """With credentials that COS takes; others are fetched once where it does not."""
        client = self.access.client()
        try:
            return self._persistently(lambda: call(client), self.stop)
        except Denied:
            if not renews:
                raise
        other = self.access.after_refusal_of(client)
        return self._persistently(lambda: call(other), self.stop)

    def _persistently(self, attempt: Callable[[], T], halt: threading.Event) -> T:
        """Attempt again after what may pass, with a wait between that `halt` ends."""
        attempts = self.rules.attempts
        for count in range(1, attempts + 1):
            try:
                return attempt()
            except (Unreachable, Unclear) as error:
                if isinstance(error, NotTrusted) or count == attempts:
                    raise
                why = error.code or type(error).__name__
                log.info("COS request failed (%s), attempt %d of %d", why, count, attempts)
                if halt.wait(self.wait_s(count)):
                    raise Stopped("上传已停止，可以续传。") from None
        raise AssertionError(attempts)
