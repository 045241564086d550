"""Reads a Source in a thread of the test, and waits for what it does."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from streams import Frame, Source, SourceConfig
from tests import rules
from tests.waiting import DEADLINE_S


def decoding_all(url: str | Path, **changes: Any) -> SourceConfig:
    """What is sampled is told frame by frame here: no picture is repeated, unless a test wants it."""
    return rules.camera(url, **({"adaptive": False} | changes))


class Reader:
    """with Reader(url=...) as reader: reader.wait_for(3)"""

    def __init__(self, **config: Any) -> None:
        self.source = Source(decoding_all(**config))
        self.frames: list[Frame] = []
        self.error: BaseException | None = None
        self.stop = threading.Event()
        self._changed = threading.Condition()
        self._done = False
        self._thread = threading.Thread(target=self._run, name="capture:or-cam-01", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop.set()
        self._thread.join(DEADLINE_S)
        assert not self._thread.is_alive(), "the source did not stop"

    def wait_for(self, count: int) -> list[Frame]:
        """The first `count` frames, once they are there."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.frames) >= count or self._done, DEADLINE_S)
        if len(self.frames) < count:
            raise AssertionError(f"got {len(self.frames)} of {count} frames, then {self.error!r}") from self.error
        return self.frames[:count]

    def until(self, holds: Callable[[list[Frame]], bool]) -> list[Frame]:
        """All frames, once it holds of them; looked at with each."""
        with self._changed:
            assert self._changed.wait_for(lambda: holds(self.frames) or self._done, DEADLINE_S)
            frames = list(self.frames)
        if not holds(frames):
            raise AssertionError(f"it does not hold of {len(frames)} frames, then {self.error!r}") from self.error
        return frames

    def wait_for_end(self, within_s: float = DEADLINE_S) -> BaseException | None:
        """What `run` raised, None if it returned."""
        self._thread.join(within_s)
        assert not self._thread.is_alive(), "the source did not end"
        return self.error

    def _run(self) -> None:
        try:
            self.source.run(self._keep, self.stop)
        except OSError as error:
            self.error = error
        except ValueError as error:
            self.error = error
        finally:
            with self._changed:
                self._done = True
                self._changed.notify_all()

    def _keep(self, frame: Frame) -> None:
        with self._changed:
            self.frames.append(frame)
            self._changed.notify_all()


def read_file(clip: Path, **config: Any) -> tuple[list[Frame], Source]:
    """A whole recording, in this thread, as fast as it goes."""
    source = Source(decoding_all(clip, **({"pace": "fast"} | config)))
    frames: list[Frame] = []
    source.run(frames.append, threading.Event())
    return frames, source
