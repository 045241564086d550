"""The one line that each step of a slide leaves on standard output, for a machine, and the exit code after it."""

from dataclasses import dataclass
from enum import Enum
from types import TracebackType
from typing import Self

import typer

from daemon.cli.failures import FAILED, MISUSED, line_of

PENDING = 3
# Fields of an InputInvalid that were typed, or left out, on the command line or in the configuration.
_TYPED = {"disease", "date", "organization", "local_file", "slide_id"}


class Step(Enum):
    LOGIN = (1, "login_auth")
    CREDENTIALS = (2, "get_cos_credentials")
    UPLOAD = (3, "upload_wsi_to_cos")
    REGISTER = (4, "create_wsi_file_record")
    CREATE = (5, "create_wsi_record")
    RESULT = (6, "get_ai_diagnosis_result")


class Status(Enum):
    SUCCESS = "success"
    ERROR = "error"
    PENDING = "pending"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Outcome:
    status: Status
    message: str


def status_line(step: Step, outcome: Outcome) -> str:
    """On one line, whatever the message holds."""
    number, name = step.value
    printable = "".join(each if each.isprintable() else " " for each in outcome.message)
    message = " ".join(printable.replace("|", "/").split())
    return f"STEP_STATUS|step={number}|name={name}|status={outcome.status.value}|message={message}"


class Teller:
    """Says how each step ended. As a context it says the one that fails too, and gives the command its exit code."""

    def __init__(self, first: Step) -> None:
        self.step = first
        self._said: set[Step] = set()

    def say(self, outcome: Outcome) -> None:
        """Print how the step that was begun last came out. Pending ends the command."""
        assert self.step not in self._said, "one line for each step"
        self._said.add(self.step)
        typer.echo(status_line(self.step, outcome))
        if outcome.status is Status.PENDING:
            raise typer.Exit(PENDING)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if error is None or isinstance(error, typer.Exit):
            return
        if self.step not in self._said:
            self.say(Outcome(Status.ERROR, _told(error)))
        if line := line_of(error):
            typer.echo(f"orwatch: {line}", err=True)
            raise typer.Exit(MISUSED if _is_typed(error) else FAILED) from None
        # A bug keeps its traceback, and Ctrl-C its exit code.


def _told(error: BaseException) -> str:
    """In the words of the error; of a bug only its kind, since its words are not for this line."""
    if isinstance(error, KeyboardInterrupt):
        return "已中断，再次运行会从中断处继续。"
    # As every ImagingError has it; its hint is for standard error.
    if isinstance(message := getattr(error, "message", None), str) and message:
        return message
    return line_of(error) or f"内部错误（{type(error).__name__}）。"


def _is_typed(error: BaseException) -> bool:
    field = getattr(error, "field", None)
    is_key = isinstance(field, str) and (field in _TYPED or field.startswith("imaging."))
    return is_key or any(kind.__name__ == "ConfigError" for kind in type(error).__mro__)
