"""What an error of a library was made of: they wrap theirs in arguments, reasons and contexts."""

from collections.abc import Iterator

_CAUSES_MAX = 64


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error and all that led to it, each once, nearest first."""
    waiting, seen = [error], set[int]()
    while waiting and len(seen) < _CAUSES_MAX:
        cause = waiting.pop(0)
        if cause is None or id(cause) in seen:
            continue
        seen.add(id(cause))
        yield cause
        waiting += [inner for inner in cause.args if isinstance(inner, BaseException)]
        for name in ("reason", "inner_exception"):
            inner = getattr(cause, name, None)
            waiting += [inner] if isinstance(inner, BaseException) else []
        waiting += [cause.__cause__, cause.__context__]
