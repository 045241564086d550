"""What works and what does not, since when and why; and the watchdog that tells systemd."""

import asyncio
import logging
import os
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    ok: bool
    since: datetime
    why: str


class Health:
    """One entry per component, set by whoever runs it. Event loop only."""

    def __init__(self) -> None:
        self._components: dict[str, Component] = {}

    def set(self, name: str, *, ok: bool, why: str = "") -> bool:
        """Note the state; returns True if it changed between good and bad (then it is worth a log line)."""
        old = self._components.get(name)
        changed = old is None or old.ok != ok
        since = datetime.now(UTC) if changed or old is None else old.since
        self._components[name] = Component(ok=ok, since=since, why=why)
        return changed

    def forget(self, name: str) -> None:
        self._components.pop(name, None)

    @property
    def components(self) -> Mapping[str, Component]:
        return dict(self._components)

    @property
    def is_ready(self) -> bool:
        return all(component.ok for component in self._components.values())


def notify(state: str) -> bool:
    """Tell systemd, if it started us (sd_notify(3)). Returns whether there was anyone who listened."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagram:
        try:
            # A leading @ stands for the NUL of an abstract address.
            datagram.connect("\0" + address[1:] if address[0] == "@" else address)
            datagram.send(state.encode())
        except OSError as error:
            # Surgeries must go on without systemd; without pings it will act on its own.
            log.warning("systemd at %s cannot be told %r: %s", address, state, error)
            return False
    return True


async def watchdog(progress: Mapping[str, Callable[[], float]], *, stuck_after_s: float) -> None:
    """Ping systemd while everything makes progress; when something stands still, stay silent and be restarted.

    progress: name -> monotonic seconds of its last progress. Being in the loop, this task proves the loop's own.
    """
    interval_s = int(os.environ.get("WATCHDOG_USEC", "0")) / 2_000_000
    if interval_s <= 0:
        return
    while True:
        now = time.monotonic()
        stuck = [name for name, last in progress.items() if now - last() > stuck_after_s]
        if stuck:
            notify(f"STATUS=stuck: {', '.join(stuck)}")
        else:
            notify("WATCHDOG=1")
        await asyncio.sleep(interval_s)
