"""The daemon from outside, over the same HTTP and WebSocket that the HIS and the console use."""

import asyncio
import json
import time
from collections.abc import Mapping
from typing import Any, Protocol

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidURI

from daemon.api.schemas import Event, Question, SurgeryOverview
from daemon.cli.failures import CommandFailed
from daemon.domain.facts import FactKind
from daemon.supervise import Backoff, keep_running

_REQUEST_TIMEOUT_S = 10.0
# A start waits for every camera's first frame; the HIS is told to allow 300 s.
START_TIMEOUT_S = 300.0
# After the end of a surgery, what is still on its way has this long to arrive.
_QUIET_S = 1.0

# Close codes of the events WebSocket that no second attempt can change.
_REFUSALS = {
    4401: "Give a valid API key with --key-file or in ORWATCH_API_KEY",
    4403: "Use a key that may read and is not bound to other rooms",
    4404: "Check the number: `curl {url}/client/surgeries` lists them all",
    4422: "A surgery id has six digits",
}


class NotAnswering(CommandFailed):
    """No daemon answers at that address."""


class Refused(CommandFailed):
    """The daemon answers, and says no."""


class _Interrupted(Exception):
    """The connection broke; the next one goes on from there."""


class View(Protocol):
    """What shows a surgery: a screen that is redrawn, or lines."""

    def event(self, event: Event) -> None: ...

    def questions(self, questions: list[Question]) -> None:
        """All of them, after an event about one."""

    def note(self, text: str) -> None: ...


class Daemon:
    """One daemon at one address, with one key."""

    def __init__(self, url: str, key: str | None = None) -> None:
        self.url = url.rstrip("/")
        self.headers = {"X-API-Key": key} if key else {}

    async def request(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, *, timeout_s: float = _REQUEST_TIMEOUT_S
    ) -> Any:
        """The JSON of the answer. Raises NotAnswering or, with the daemon's own words, Refused."""
        try:
            # httpx's own is for each byte.
            async with (
                asyncio.timeout(timeout_s),
                httpx.AsyncClient(base_url=self.url, headers=self.headers, timeout=timeout_s, trust_env=False) as http,
            ):
                answer = await http.request(method, path, json=body)
                content = answer.json()
        except (httpx.HTTPError, httpx.InvalidURL, json.JSONDecodeError, TimeoutError) as error:
            raise NotAnswering(
                f"{self.url}: no orwatch answers: {_why(error)}", hint="Is `orwatch run` up? See --url and server.port"
            ) from error
        if answer.is_error:
            detail = content.get("detail", {}) if isinstance(content, dict) else {}
            code, message = detail.get("code", "no code"), detail.get("message", answer.reason_phrase)
            raise Refused(f"{method} {path}: {answer.status_code} {code}: {message}")
        return content

    async def overview(self, surgery_id: str) -> SurgeryOverview:
        return SurgeryOverview.model_validate(await self.request("GET", f"/client/surgeries/{surgery_id}"))


class Follower:
    """Shows a surgery's events, each once, across restarts of the daemon.

    Every connection goes on after the last event seen. Only the first must succeed: a wrong address never will.
    """

    def __init__(self, daemon: Daemon, surgery_id: str, view: View, *, after: int = 0, stays: bool = False) -> None:
        """stays: the end of the surgery is not the end of following it."""
        self._daemon = daemon
        self._surgery_id = surgery_id
        self._view = view
        self._seq = after
        self._stays = stays
        self._was_connected = False
        self._connected_since_mono_s: float | None = None
        self._is_away = False
        self._has_ended = False

    async def run(self) -> None:
        """Until the surgery has ended. Raises NotAnswering or Refused."""

        def interrupted(error: Exception, _wait_s: float) -> None:
            if not self._is_away:  # said once when it breaks and once when it is back
                self._view.note(f"connection lost ({error}), trying again")
            self._is_away = True

        await keep_running(
            self._attempt,
            on_failure=interrupted,
            backoff=Backoff(max_s=2.0),
            on=_Interrupted,
            works_since=lambda: self._connected_since_mono_s,
        )

    async def _attempt(self) -> None:
        url = "ws" + self._daemon.url.removeprefix("http")
        address = f"{url}/client/surgeries/{self._surgery_id}/events?after={self._seq}"
        self._connected_since_mono_s = None
        try:
            async with connect(address, additional_headers=self._daemon.headers, proxy=None) as socket:
                self._was_connected, self._connected_since_mono_s = True, time.monotonic()
                if self._is_away:
                    self._is_away = False
                    self._view.note("connected again")
                    await self._show_questions()
                await self._until_ended(socket)
        except ConnectionClosed as closed:
            code, reason = (closed.rcvd.code, closed.rcvd.reason) if closed.rcvd else (0, "")
            if code in _REFUSALS:
                hint = _REFUSALS[code].format(url=self._daemon.url)
                raise Refused(f"surgery {self._surgery_id} at {self._daemon.url}: {reason}", hint=hint) from closed
            raise _Interrupted(reason or "the daemon went away") from closed
        except (OSError, InvalidURI, InvalidHandshake, NotAnswering) as error:
            if self._was_connected:
                raise _Interrupted(_why(error)) from error
            raise NotAnswering(
                f"{self._daemon.url}: no orwatch answers: {_why(error)}",
                hint="Is `orwatch run` up? See --url and server.port",
            ) from error

    async def _until_ended(self, socket: ClientConnection) -> None:
        while True:
            try:
                async with asyncio.timeout(_QUIET_S if self._has_ended and not self._stays else None):
                    text = await socket.recv()
            except TimeoutError:
                return
            event = Event.model_validate_json(text)
            self._seq = event.seq
            # A surgery can go on after its end: what counts is what comes last; a correction does not wake it.
            if event.type in (FactKind.SURGERY_STARTED, FactKind.SURGERY_RESUMED):
                self._has_ended = False
            self._has_ended |= event.type is FactKind.SURGERY_ENDED
            self._view.event(event)
            if event.confirmation_id is not None:
                await self._show_questions()

    async def _show_questions(self) -> None:
        self._view.questions((await self._daemon.overview(self._surgery_id)).questions)


def _why(error: BaseException) -> str:
    """The end of the chain says more than "All connection attempts failed"."""
    if isinstance(error, httpx.TimeoutException | TimeoutError):
        return "it does not answer in time"
    if isinstance(error, json.JSONDecodeError):
        return "what answers there is no orwatch"
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(text)
