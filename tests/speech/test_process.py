"""The processes here are real; what they run are the small functions below."""

import fcntl
import os
import signal
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from speech import process
from speech.errors import ProviderFailed, ProviderTimedOut, ProviderUnusable
from speech.process import ProcessPool
from tests.waiting import DEADLINE_S

Doubled = ProcessPool[int, int | None]


def doubling() -> Callable[[int], int | None]:
    return _double


def _double(number: int) -> int | None:
    """None for 0; a negative number is a fault, and 1 the end of the process."""
    if number == 1:
        print("spoken words", file=sys.stderr, flush=True)
        os._exit(3)
    if number < 0:
        raise ValueError("spoken words")
    return 2 * number or None


def broken(reason: str) -> Callable[[int], int | None]:
    raise RuntimeError(reason)


def ending() -> Callable[[int], int | None]:
    print("vocab_size does not exist", file=sys.stderr, flush=True)
    os._exit(255)


def stuck(held: Path) -> Callable[[int], int | None]:
    """Loaded as soon as nobody holds the file."""
    with held.open() as file:
        fcntl.flock(file, fcntl.LOCK_SH)
    return _double


@contextmanager
def holding(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def process_id() -> Callable[[int], int]:
    return _process_id


def _process_id(_: int) -> int:
    return os.getpid()


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_question_is_answered_and_none_is_an_answer() -> None:
    pool = Doubled("p", doubling, workers=1)
    assert [pool.ask(number, DEADLINE_S) for number in (2, 0, 3)] == [4, None, 6]
    pool.close()


def test_the_reason_why_it_cannot_start_is_told() -> None:
    with pytest.raises(ProviderUnusable, match="no such model"):
        Doubled("p", partial(broken, "no such model"), workers=1)


@pytest.fixture
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """How a process ended is waited for, however late the machine comes to it."""
    monkeypatch.setattr(process, "_EXIT_TIMEOUT_S", DEADLINE_S)


@pytest.mark.usefixtures("patience")
def test_a_library_that_ends_its_process_at_the_start_takes_nothing_with_it() -> None:
    with pytest.raises(ProviderUnusable, match="ended with 255: vocab_size does not exist"):
        Doubled("p", ending, workers=1)


def test_one_that_is_not_loaded_in_time_is_unusable(tmp_path: Path) -> None:
    held = tmp_path / "held"
    with holding(held), pytest.raises(ProviderUnusable, match="not loaded within"):
        Doubled("p", partial(stuck, held), workers=1, start_timeout_s=0.3)


@pytest.mark.usefixtures("patience")
def test_a_process_that_ended_is_a_failure_and_the_next_question_has_a_new_one() -> None:
    pool = Doubled("p", doubling, workers=1)
    with pytest.raises(ProviderFailed, match="ended with 3") as failed:
        pool.ask(1, DEADLINE_S)
    assert "spoken words" not in str(failed.value)
    assert pool.ask(2, DEADLINE_S) == 4
    pool.close()


def test_a_fault_is_told_without_its_words_and_the_process_goes_on() -> None:
    pool = Doubled("p", doubling, workers=1)
    with pytest.raises(ProviderFailed, match="ValueError") as failed:
        pool.ask(-1, DEADLINE_S)
    assert "spoken words" not in str(failed.value)
    assert pool.ask(2, DEADLINE_S) == 4
    pool.close()


def test_a_hanging_process_is_ended_at_the_deadline_and_replaced() -> None:
    pool = ProcessPool[int, int]("p", process_id, workers=1)
    first = pool.ask(0, DEADLINE_S)
    os.kill(first, signal.SIGSTOP)
    with pytest.raises(ProviderTimedOut):
        pool.ask(0, 0.2)
    assert not is_running(first)
    assert pool.ask(0, DEADLINE_S) != first
    pool.close()


def test_a_question_longer_than_the_pipe_does_not_wait_for_ever_on_a_stopped_process() -> None:
    pool = ProcessPool[bytes, int]("p", process_id, workers=1)  # type: ignore[arg-type]
    os.kill(pool.ask(b"", DEADLINE_S), signal.SIGSTOP)
    with pytest.raises(ProviderFailed):
        pool.ask(bytes(8 * 2**20), 0.2)
    assert pool.ask(b"", DEADLINE_S)
    pool.close()


def test_a_replacement_that_loads_slowly_is_waited_for_by_a_later_question(tmp_path: Path) -> None:
    held = tmp_path / "held"
    held.touch()
    pool = Doubled("p", partial(stuck, held), workers=1)
    with holding(held):
        with pytest.raises(ProviderFailed):
            pool.ask(1, DEADLINE_S)
        with pytest.raises(ProviderTimedOut):
            pool.ask(2, 0.3)
    assert pool.ask(2, DEADLINE_S) == 4
    pool.close()


def test_two_workers_answer_at_the_same_time_and_a_third_question_waits_no_longer_than_its_deadline() -> None:
    pool = ProcessPool[int, int]("p", process_id, workers=2)
    with pool._worker(1) as one, pool._worker(1) as two:
        assert one is not two
        with pytest.raises(ProviderTimedOut, match="busy"):
            pool.ask(0, 0.2)
    with ThreadPoolExecutor(8) as threads:
        assert len(set(threads.map(lambda _: pool.ask(0, DEADLINE_S), range(40)))) <= 2
    pool.close()


def test_closing_ends_the_processes() -> None:
    pool = ProcessPool[int, int]("p", process_id, workers=1)
    pid = pool.ask(0, DEADLINE_S)
    pool.close()
    assert not is_running(pid)


def test_a_process_that_is_at_work_when_the_pool_is_closed_ends_after_it() -> None:
    pool = ProcessPool[int, int]("p", process_id, workers=1)
    with pool._worker(30) as worker:
        pool.close()
        pid = worker.ask(0, 30)
    assert isinstance(pid, int)
    assert not is_running(pid)
