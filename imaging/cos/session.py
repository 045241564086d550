"""The HTTP under the COS SDK: connections of ours, and answers that are bounded and lead nowhere else."""

import logging
from typing import Any

import requests

from net.pools import tamed

_ANSWER_MAX = 2 * 2**20
_BLOCK = 128 * 2**10


class TooLong(requests.RequestException):
    """An answer of more bytes than any of COS has."""


class Redirected(requests.RequestException):
    """An answer that sends us to another address; the SDK would take it for a success."""


class Session(requests.Session):
    """Verifies TLS, follows no redirect, reads bounded answers, and knows no proxy or password of the environment."""

    def __init__(self, *, connections: int, ca_file: str | None) -> None:
        super().__init__()
        self.verify = ca_file or True
        tamed(self, connections=connections, blocksize=_BLOCK)

    def send(self, request: requests.PreparedRequest, **settings: Any) -> requests.Response:
        settings |= {"stream": True, "allow_redirects": False}
        response = super().send(request, **settings)
        try:
            # As requests does it, which has no bound.
            content: bytes = response.raw.read(_ANSWER_MAX + 1, decode_content=True)
            response._content, response._content_consumed = content, len(content) <= _ANSWER_MAX
        finally:
            # A connection with something unread on it is closed, any other goes back to the pool.
            response.close()
        if not response._content_consumed:
            raise TooLong
        if 300 <= response.status_code < 400:
            raise Redirected(response.status_code)
        # Otherwise it is guessed, which takes longer than the request.
        response.encoding = "utf-8"
        return response


def keep_quiet() -> None:
    """Silence the SDK, which logs tokens, signatures and signing keys."""
    for name, logger in logging.root.manager.loggerDict.items():
        if name.partition(".")[0] == "qcloud_cos" and isinstance(logger, logging.Logger):
            logger.disabled = True
