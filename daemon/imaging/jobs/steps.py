"""What a gateway is to the job: named steps, each of which does one thing to the back end.

An expected outcome is a value: Done, or NotYet. What failed is one of the errors of `imaging.errors`, and
those say what may be done next.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from daemon.domain.imaging import Job, JobFile, JobKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """output: JSON, kept with the job for the steps after it; never a secret. result: of the last step."""

    output: Mapping[str, Any]
    message: str
    result: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NotYet:
    """The back end is still at work; polls_max: how often it may say so, counted from the first time."""

    wait_s: float
    message: str
    polls_max: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What a step is given. files, paths: in the same order. folder: the job's own, for what a step makes.

    progress(share, message): any thread; share from 0 to 1.
    """

    job: Job
    files: tuple[JobFile, ...]
    paths: tuple[Path, ...]
    folder: Path
    progress: Callable[[float, str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """title: Chinese. run: one attempt.

    is_repeatable: False where doing it twice would leave two of something with the back end.
    recall: of one that is not repeatable: asks the back end whether it was done; None: it was not.
    """

    name: str
    title: str
    run: Callable[[Work], Awaitable[Done | NotYet]]
    is_repeatable: bool = True
    recall: Callable[[Work], Awaitable[Done | None]] | None = None


class Gateway(Protocol):
    """One back end. hint: what a person should look at when it is in doubt whether a step was done."""

    @property
    def kind(self) -> JobKind: ...

    @property
    def steps(self) -> tuple[Step, ...]: ...

    @property
    def hint(self) -> str: ...

    async def accept(self, inputs: Mapping[str, Any], files: Sequence[tuple[str, Path]]) -> Mapping[str, Any]:
        """Everything that can be checked without the back end. files: name and place.

        Returns the inputs of the job, whole. Raises InputInvalid and its kinds, NotConfigured.
        """

    async def close(self) -> None: ...


# What a webhook is told of a job that has ended: JSON.
Notice = Callable[[Job], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class JobBackEnd:
    """A back end as its jobs see it.

    gateway: None where it is not configured; missing: the keys that would do so. notice: None: nobody is owed one.
    """

    kind: JobKind
    gateway: Gateway | None
    missing: str
    notice: Notice | None = None


def step_named(gateway: Gateway, name: str) -> tuple[Step, Step | None]:
    """That step and the one after it."""
    names = [step.name for step in gateway.steps]
    place = names.index(name)
    return gateway.steps[place], gateway.steps[place + 1] if place + 1 < len(names) else None
