"""The lines of `orwatch check`: one finding each, and how to mend it."""

from typing import Literal, NamedTuple

State = Literal["ok", "note", "problem"]
OK: State = "ok"
NOTE: State = "note"
PROBLEM: State = "problem"

_SHOWN_MAX = 8


class Line(NamedTuple):
    """One finding. A note does not keep the daemon from running."""

    state: State
    what: str
    found: str
    mend: str = ""


def listed(words: list[str]) -> str:
    more = len(words) - _SHOWN_MAX
    return ", ".join(words[:_SHOWN_MAX]) + (f" and {more} more" if more > 0 else "")
