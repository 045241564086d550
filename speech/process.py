"""Recognizers in processes of their own.

pocketsphinx keeps Python's lock while it works, half a second for a long answer, and all cameras would wait;
one runtime ends the whole process where a model is not what its name says. Here a process that hangs is ended at its
deadline, one that ends is replaced, and a model that cannot be loaded is an error with a reason.
"""

import os
import socket
import struct
import subprocess
import sys
import tempfile
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, Pipe
from threading import Lock, Semaphore
from typing import IO, Generic, TypeVar, cast

from speech.errors import ProviderFailed, ProviderTimedOut, ProviderUnusable

Question = TypeVar("Question")
Answer = TypeVar("Answer")

_CHILD = "import sys; from speech.process import serve; serve(int(sys.argv[1]))"
# What a library says of a model that it cannot load is at the end of much that it always says.
_SAID_CHARS = 300
_SEND_TIMEOUT_S = 2
_EXIT_TIMEOUT_S = 0.2


@dataclass(frozen=True, slots=True)
class Failed:
    """What a process sends instead of an answer; exceptions with arguments of their own do not survive the journey."""

    reason: str


class ProcessPool(Generic[Question, Answer]):
    """Up to `workers` processes, each for one question at a time. The first starts at once, others when needed."""

    def __init__(
        self,
        provider: str,
        make: Callable[[], Callable[[Question], Answer]],
        *,
        workers: int,
        start_timeout_s: float = 120.0,
    ) -> None:
        """make: is sent to the process: a plain function or class, or a `functools.partial` of one. It may raise
        ImportError, OSError, RuntimeError, ValueError, whose text becomes the reason; what it makes, the last two,
        whose text is dropped, as it may hold spoken words.

        Raises ProviderUnusable if the first process cannot start.
        """
        assert workers >= 1, "without a worker every question would time out"
        self._provider, self._make, self._start_timeout_s = provider, make, start_timeout_s
        self._free = Semaphore(workers)
        self._lock = Lock()
        self._is_closed = False
        first: _Worker[Question, Answer] = _Worker(make, start_timeout_s)
        try:
            first.load(start_timeout_s)
        except TimeoutError as error:
            first.end()
            raise ProviderUnusable(f"{provider}: not loaded within {start_timeout_s:g} s") from error
        except _NotLoaded as error:
            raise ProviderUnusable(f"{provider}: {error}") from error
        self._idle = [first]

    def ask(self, question: Question, timeout_s: float) -> Answer:
        """Raises ProviderTimedOut, also when all are busy or loading for so long; ProviderFailed, also when closed."""
        deadline_mono_s = time.monotonic() + timeout_s
        with self._worker(timeout_s) as worker:
            try:
                worker.load(deadline_mono_s - time.monotonic())
                answer = worker.ask(question, deadline_mono_s - time.monotonic())
            except TimeoutError as error:
                raise ProviderTimedOut(self._provider, f"no answer within {timeout_s:g} s") from error
            except _NotLoaded as error:
                raise ProviderFailed(self._provider, str(error)) from error
        if isinstance(answer, Failed):
            raise ProviderFailed(self._provider, answer.reason)
        return answer

    def close(self) -> None:
        """End the idle processes, and each other after its answer; they also end with this one."""
        with self._lock:
            self._is_closed = True
            idle, self._idle = self._idle, []
        for worker in idle:
            worker.end()

    @contextmanager
    def _worker(self, timeout_s: float) -> Iterator["_Worker[Question, Answer]"]:
        if not self._free.acquire(timeout=timeout_s):
            raise ProviderTimedOut(self._provider, f"all workers were busy for {timeout_s:g} s")
        try:
            with self._lock:
                if self._is_closed:
                    raise ProviderFailed(self._provider, "is closed")
                worker = self._idle.pop() if self._idle else None
            if worker is None:
                worker = _Worker(self._make, self._start_timeout_s)
            try:
                yield worker
            finally:
                with self._lock:
                    is_kept = worker.alive and not self._is_closed
                    if is_kept:
                        self._idle.append(worker)
                if not is_kept:
                    worker.end()
        finally:
            self._free.release()


class _NotLoaded(Exception):
    """The process ended, or says that it cannot make the recognizer."""


class _Worker(Generic[Question, Answer]):
    def __init__(self, make: Callable[[], Callable[[Question], Answer]], start_timeout_s: float) -> None:
        self._pipe, theirs = Pipe()
        _bound_sending(self._pipe)
        self._complaints = tempfile.TemporaryFile()  # noqa: SIM115 (closed by the finalizer)
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 (our own interpreter and code)
                [sys.executable, "-P", "-c", _CHILD, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._complaints,
                start_new_session=True,  # Ctrl-C is for the daemon, which then closes the pipe
            )
        self.end = weakref.finalize(self, _end, self._process, self._pipe, self._complaints)
        self._loaded = False
        self._load_by_mono_s = time.monotonic() + start_timeout_s
        self._pipe.send(make)

    @property
    def alive(self) -> bool:
        return self.end.alive

    def load(self, timeout_s: float) -> None:
        """Wait until it is ready, if it is not yet. Late, it goes on loading, and may be ready for a next question.

        Raises TimeoutError, _NotLoaded.
        """
        if self._loaded:
            return
        try:
            if not self._pipe.poll(max(timeout_s, 0)):
                if time.monotonic() > self._load_by_mono_s:
                    self.end()
                raise TimeoutError
            started = self._pipe.recv()
        except (EOFError, ConnectionError):
            started = self._ended()
        if isinstance(started, Failed):
            said = self._said()
            self.end()
            raise _NotLoaded(started.reason + (f": {said}" if said else ""))
        self._loaded = True

    def ask(self, question: Question, timeout_s: float) -> Answer | Failed:
        """A process that is late is ended: its answer would be taken for that to the next question.

        Raises TimeoutError.
        """
        try:
            self._pipe.send(question)
            if self._pipe.poll(max(timeout_s, 0)):
                return cast("Answer | Failed", self._pipe.recv())
        except (EOFError, ConnectionError, BlockingIOError):
            failed = self._ended()
            self.end()
            return failed
        self.end()
        raise TimeoutError

    def _ended(self) -> Failed:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_EXIT_TIMEOUT_S)
        return Failed(f"its process ended with {self._process.returncode}")

    def _said(self) -> str:
        """The end of what the library wrote; it has said nothing yet but of the model."""
        self._complaints.seek(0)
        return " ".join(self._complaints.read().decode(errors="replace")[-_SAID_CHARS:].split())


def _bound_sending(pipe: Connection) -> None:
    """A stopped process does not read; a long recording is more than the pipe holds."""
    with socket.socket(fileno=os.dup(pipe.fileno())) as end:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", _SEND_TIMEOUT_S, 0))


def _end(process: "subprocess.Popen[bytes]", pipe: Connection, complaints: IO[bytes]) -> None:
    pipe.close()
    complaints.close()
    # The closed pipe asks an idle one to end; one inside a decoder does not look.
    with suppress(subprocess.TimeoutExpired):
        process.wait(_EXIT_TIMEOUT_S)
    process.kill()
    process.wait()


def serve(fileno: int) -> None:
    """What the process does: make the recognizer, then answer until the pipe is closed."""
    pipe = Connection(fileno)
    try:
        answer_to = pipe.recv()()
    except (ImportError, OSError, RuntimeError, ValueError) as error:
        pipe.send(Failed(str(error)))
        return
    # From here on a library's complaints could hold what somebody said.
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), sys.stderr.fileno())
    pipe.send(True)
    while True:
        try:
            question = pipe.recv()
        except EOFError:
            return
        try:
            pipe.send(answer_to(question))
        except (RuntimeError, ValueError) as error:
            pipe.send(Failed(type(error).__name__))
