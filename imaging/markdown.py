"""A stranger's words within our Markdown: they stay words."""

import re
import unicodedata
from urllib.parse import quote, urlsplit

_TEXT_MAX = 2000
_LINK_MAX = 4096
_ENTITIES = {"&": "&amp;", "<": "&lt;"}
# What some renderers turn into links by themselves.
_AUTOLINK = re.compile(r"(://|www\.)", re.IGNORECASE)


def plain(text: str) -> str:
    """One line that shows as it is: no markup, no link, no HTML, no control character; cut where it is endless."""
    kept = "".join(" " if unicodedata.category(c)[0] in "CZ" else c for c in text[:_TEXT_MAX])
    line = " ".join(kept.split()) + ("…" if len(text) > _TEXT_MAX else "")
    line = re.sub("[&<]", lambda found: _ENTITIES[found[0]], line)
    return _AUTOLINK.sub(lambda found: found[0].replace(":", "&#58;").replace(".", "&#46;"), _escaped(line))


def _escaped(line: str) -> str:
    """Only where it would mean something: a lesion-1_2 stays readable in the source, too."""
    line = re.sub(r"([\\`*\[\]|~])", r"\\\1", line)
    line = re.sub(r"(?<![^\W_])_|_(?![^\W_])", r"\\_", line)
    return re.sub(r"^([#>+=-]|\d+[.)])", r"\\\1", line)


def safe_link(url: str | None, *, http_host: str | None = None) -> str | None:
    """A URL that may stand in a Markdown link; None for anything but https, or http to that host."""
    if not url or len(url) > _LINK_MAX:
        return None
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return None
    is_safe = parts.scheme == "https" or (parts.scheme == "http" and host is not None and host == http_host)
    if not host or not is_safe or "@" in parts.netloc or any(c.isspace() or not c.isprintable() for c in url):
        return None
    return quote(url, safe="%/:?#@!$&'*+,;=~-._[]").replace("[", "%5B").replace("]", "%5D")
