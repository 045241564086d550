"""The bounds of one call over the network, and the socket that minds them under whatever library makes the call.

The time-outs of urllib3 and requests are per socket operation, so that a server which sends a byte now and then holds
a thread for as long as it likes, its answers have no bound, and nothing could interrupt them. Here a thread sets bounds
for the call that it makes, and every operation of a connection is held against those of the thread that uses it. A
thread that has set none, such as a worker of an SDK, cannot use a connection at all.

Names are looked up by the system's resolver, whose own time-outs hold.
"""

import io
import math
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

_SLICE_S = 0.1


class Halted(InterruptedError):
    """The call was told to stop."""


class TooMuch(OSError):
    """More bytes came than the call may receive."""


class Unbounded(RuntimeError):
    """A connection is used by a thread that has set no bounds."""


@dataclass(slots=True)
class _Bounds:
    """answered_mono_s: when the answer has to be whole, once it is waited for. bytes_left: of what may come yet."""

    ends_mono_s: float
    idle_s: float
    answer_s: float
    bytes_left: float
    halt: threading.Event | None
    answered_mono_s: float | None = None


_call = threading.local()


@contextmanager
def bounded(
    *,
    within_s: float,
    idle_s: float = math.inf,
    answer_s: float = math.inf,
    receives: float = math.inf,
    halt: threading.Event | None = None,
) -> Iterator[None]:
    """Bound all that this thread does in here over our connections.

    within_s: for everything together. idle_s: in which a connection has to move a byte. answer_s: for each answer, from
    when it is first waited for to its last byte. receives: bytes that may come, heads and repetitions included.
    What is over a bound raises TimeoutError or TooMuch; Halted comes within a tenth of a second after halt is set, but
    while it connects or shakes hands only at the end of that.
    """
    assert not is_bounded(), "one call at a time"
    _call.bounds = _Bounds(time.monotonic() + within_s, idle_s, answer_s, receives, halt)
    try:
        yield
    finally:
        del _call.bounds


def is_bounded() -> bool:
    return hasattr(_call, "bounds")


def left_s() -> float:
    """The seconds that are left for the call. Raises Halted, TooMuch, TimeoutError when there are none."""
    bounds = _bounds()
    if bounds.halt is not None and bounds.halt.is_set():
        raise Halted(Halted.__doc__)
    if bounds.bytes_left < 0:
        raise TooMuch(TooMuch.__doc__)
    return _left_until(bounds.ends_mono_s)


def receives_at_most(count: int) -> None:
    """So many bytes may come from now on, or fewer, if the call has less left."""
    bounds = _bounds()
    bounds.bytes_left = min(bounds.bytes_left, count)


def has_passed() -> bool:
    return time.monotonic() >= _bounds().ends_mono_s


def pause(wait_s: float) -> None:
    """Wait so long, or until the call ends. Raises what left_s raises."""
    halt = _bounds().halt
    wait_s = min(wait_s, left_s())
    if halt is None:
        time.sleep(wait_s)
    else:
        halt.wait(wait_s)
    left_s()


def _bounds() -> _Bounds:
    bounds: _Bounds | None = getattr(_call, "bounds", None)
    if bounds is None:
        raise Unbounded(Unbounded.__doc__)
    return bounds


def _left_until(ends_mono_s: float) -> float:
    left = ends_mono_s - time.monotonic()
    if left <= 0:
        raise TimeoutError("out of time")
    return left


class BoundedSocket:
    """A connected socket, of TLS or not, that minds the bounds of the call that uses it."""

    def __init__(self, wrapped: Any) -> None:
        self._wrapped = wrapped

    def __getattr__(self, name: str) -> Any:
        return getattr(self._wrapped, name)

    def recv_into(self, *args: Any) -> int:
        bounds = _bounds()
        if bounds.answered_mono_s is None:
            bounds.answered_mono_s = time.monotonic() + bounds.answer_s
        count = self._in_time(partial(self._wrapped.recv_into, *args), bounds.answered_mono_s)
        bounds.bytes_left -= count
        if bounds.bytes_left < 0:
            raise TooMuch(TooMuch.__doc__)
        return count

    def sendall(self, content: bytes) -> None:
        # Not the wrapped one's: that of TLS starts the clock anew with every record, the other gives all of it one.
        _bounds().answered_mono_s = None
        rest = memoryview(content)
        while rest:
            rest = rest[self._in_time(partial(self._wrapped.send, rest), math.inf) :]

    def makefile(self, mode: str, *_args: Any) -> io.BufferedReader:
        assert mode == "rb", mode
        self._wrapped._io_refs += 1
        return io.BufferedReader(socket.SocketIO(self, "r"))  # type: ignore[arg-type]

    def _in_time(self, operation: Callable[[], int], ends_mono_s: float) -> int:
        bounds = _bounds()
        ends_mono_s = min(ends_mono_s, time.monotonic() + bounds.idle_s)
        while True:
            wait_s = min(left_s(), _left_until(ends_mono_s))
            # In slices only where somebody may set halt meanwhile.
            self._wrapped.settimeout(wait_s if bounds.halt is None else min(wait_s, _SLICE_S))
            try:
                return operation()
            except TimeoutError:
                continue
