"""The values of Session and Transport (RFC 2326, 12.37 and 12.39)."""

from dataclasses import dataclass

SESSION_TIMEOUT_S = 60.0  # where the camera names none
_SESSION_TIMEOUT_MAX_S = 3600.0


@dataclass(frozen=True, slots=True)
class Transport:
    """What is not said is None. channels: of interleaved packets. ports: of the camera. source: from where it sends."""

    channels: tuple[int | None, int | None]
    ports: tuple[int | None, int | None]
    source: str | None


def session(value: str) -> tuple[str, float | None]:
    """The id, and after how many seconds without a word the camera ends it; None if it does not say."""
    name, *parameters = (part.strip() for part in value.split(";"))
    for key, _, text in (each.partition("=") for each in parameters):
        number = text.strip()
        if key.strip().lower() == "timeout" and number.isascii() and number.isdigit() and len(number) < 10:
            # A camera that says 0 means that it never ends one.
            return name, min(float(number) or SESSION_TIMEOUT_S, _SESSION_TIMEOUT_MAX_S)
    return name, None


def transport(value: str) -> Transport:
    """The first where a camera names several."""
    parts = (each.partition("=") for each in value.split(",", maxsplit=1)[0].split(";"))
    given = {name.strip().lower(): text.strip() for name, _, text in parts}
    return Transport(_pair(given.get("interleaved", "")), _pair(given.get("server_port", "")), given.get("source"))


def _pair(text: str) -> tuple[int | None, int | None]:
    """`4-5`, of ports or channels."""
    first, _, second = text.partition("-")
    return _number(first), _number(second)


def _number(text: str) -> int | None:
    is_number = text.isascii() and text.isdigit() and len(text) < 6 and int(text) < 65536
    return int(text) if is_number else None
