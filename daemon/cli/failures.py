"""What went wrong, as one line on stderr and an exit code; never a traceback for what was foreseen.

Every error that orwatch raises on purpose carries a `hint` for whoever has to mend it: that is how it is known here,
without importing the packages that raise it. Anything else is a bug and keeps its traceback.
"""

from collections.abc import Iterator
from types import TracebackType

import typer

FAILED, MISUSED = 1, 2

# What a person wrote or named is wrong: starting again cannot help.
_MISUSES = {"ConfigError", "CatalogueBroken", "KeysBroken", "TruthInvalid", "ModelNotFound", "ModelFileInvalid"}


class CommandFailed(Exception):
    """A command cannot go on. The message says what and where, the hint how to mend it."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class told:  # noqa: N801  reads as a phrase: `with told():`
    """Turns a foreseen error into its line on stderr and typer.Exit."""

    def __enter__(self) -> None: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if error is None:
            return
        causes = list(_leaves(error))
        lines = [line_of(cause) for cause in causes]
        if None in lines:
            return
        for line in dict.fromkeys(lines):
            typer.echo(f"orwatch: {line}", err=True)
        raise typer.Exit(MISUSED if all(_is_misuse(cause) for cause in causes) else FAILED) from None


# A module of ours that is not there is a bug, no library that somebody forgot to install.
_OURS = ("daemon", "streams", "inference", "speech", "imaging", "net", "migrations")


def line_of(error: BaseException) -> str | None:
    """What, where and how to mend it, in one line; None for an error that nobody foresaw."""
    if isinstance(error, typer.TyperException):
        return _usage_line(error)
    hint = getattr(error, "hint", None)
    if isinstance(hint, str):
        return sentences(str(error) or (type(error).__doc__ or ""), hint)
    if isinstance(cause := getattr(error, "orig", None), Exception):  # SQLAlchemy's, around the driver's own
        return sentences(
            f"database: {cause}", "Is the ledger locked by a running daemon, or its disk full or read-only?"
        )
    if isinstance(error, ImportError) and not (error.name or "").startswith(_OURS):
        return sentences(
            str(error), 'A library is missing: install orwatch with what it needs, pip install "orwatch[cpu]"'
        )
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return sentences(f"{error.filename}: {error.strerror}", "Look at the path and its permissions")
    return None


def sentences(*parts: str) -> str:
    """The parts on one line, each ended by a full stop."""
    clean = (" ".join(part.split()) for part in parts)
    return " ".join(part if part.endswith((".", "!", "?", "。")) else f"{part}." for part in clean if part)


def _leaves(error: BaseException) -> Iterator[BaseException]:
    """What a task group collected, one by one."""
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error


def _usage_line(error: typer.TyperException) -> str | None:
    """A wrong command line. A command that was given nothing shows its help, which is more than a line."""
    format_message, context = getattr(error, "format_message", None), getattr(error, "ctx", None)
    if format_message is None or context is None or type(error).__name__ == "NoArgsIsHelpError":
        return None
    return sentences(format_message(), f"See `{context.command_path} --help`")


def _is_misuse(error: BaseException) -> bool:
    return isinstance(error, typer.TyperException) or any(kind.__name__ in _MISUSES for kind in type(error).__mro__)
