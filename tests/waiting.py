"""Waiting for what others do, with a deadline that only a test that hangs ever meets.

await until(lambda: health.components["objects"].ok)  # what this loop brings about
until_beside(process, is_listening)  # what another process brings about
"""

import asyncio
import subprocess
import time
from collections.abc import Callable
from typing import Any

# A wait that ends by itself ends sooner on any machine, however slow or busy.
DEADLINE_S = 120.0
_OUTSIDE_S = 0.05


async def until(condition: Callable[[], Any], deadline_s: float = DEADLINE_S) -> None:
    """Wait until it holds; looked at in each turn of the loop, so that nothing which the loop does is missed.

    Of threads, files and other processes the loop hears nothing: while somebody waits here, it does not stay in its
    selector for longer than `_OUTSIDE_S`.
    """
    if condition():
        return
    loop = asyncio.get_running_loop()
    held = loop.create_future()

    def look() -> bool:
        try:
            if not held.done() and condition():
                held.set_result(None)
        except Exception as error:  # noqa: BLE001  it is raised where the test waits
            held.set_exception(error)
        return held.done()

    looks = _looks_of(loop)
    looks.append(look)
    try:
        async with asyncio.timeout(deadline_s):
            await held
    finally:
        looks.remove(look)


def _looks_of(loop: Any) -> list[Callable[[], bool]]:
    """What this loop calls each time before it waits in its selector; one that returns True keeps it from waiting."""
    selector = loop._selector
    if not hasattr(selector, "looks"):
        select, selector.looks = selector.select, []

        def looking(timeout: float | None = None) -> Any:
            if selector.looks:
                timeout = _OUTSIDE_S if timeout is None else min(timeout, _OUTSIDE_S)
                timeout = 0 if any(look() for look in tuple(selector.looks)) else timeout
            return select(timeout)

        selector.select = looking
    found: list[Callable[[], bool]] = selector.looks
    return found


def until_beside(
    process: "subprocess.Popen[Any]",
    holds: Callable[[], Any],
    *,
    deadline_s: float = DEADLINE_S,
    said: Callable[[], str] = str,
) -> float:
    """Wait until it holds; returns how long it took, in seconds.

    For what another process does and only an answer of its tells: between two looks this waits for the end of that
    process, after which it would never hold. said: what a failure shows.
    """
    began_mono_s = time.monotonic()
    while not holds():
        assert time.monotonic() - began_mono_s < deadline_s, f"not within {deadline_s:g} s: {holds}\n{said()}"
        try:
            code = process.wait(_OUTSIDE_S)
        except subprocess.TimeoutExpired:
            continue
        raise AssertionError(f"the process ended with {code}\n{said()}")
    return time.monotonic() - began_mono_s
