"""What the routes work with, and who may use them."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Annotated

from fastapi import Depends, Header, Path, Request, Security
from fastapi.security import APIKeyHeader, HTTPBearer
from starlette.requests import HTTPConnection

from daemon.api.errors import Forbidden, Unauthorized
from daemon.api.keys import Caller, Keys, Right
from daemon.config import Settings
from daemon.domain.errors import SurgeryNotFound
from daemon.domain.facts import Fact
from daemon.feed import Feed
from daemon.health import Health
from daemon.metrics import Metrics
from daemon.services import read
from daemon.services.answers import Answers
from daemon.services.archive import Archiver
from daemon.services.correct import Corrections
from daemon.services.objects import Objects
from daemon.services.questions import Questions
from daemon.services.surgeries import Surgeries
from daemon.services.terminals import Terminals
from daemon.storage.archive import Archive
from daemon.storage.consumption_log import ConsumptionLog
from daemon.storage.database import Unit


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """The parts the control plane speaks to.

    keys: None where everyone may do everything. archive: None where there is none configured.
    """

    settings: Settings
    keys: Keys | None
    unit: Unit
    archive: Archive | None
    archiver: Archiver | None
    surgeries: Surgeries
    corrections: Corrections
    feed: Feed[Fact]
    health: Health
    metrics: Metrics
    pages: ConsumptionLog
    objects: Objects
    questions: Questions
    answers: Answers
    terminals: Terminals
    model_name: str
    provider: str
    zone: tzinfo | None

    def local(self, at: datetime) -> datetime:
        return at.astimezone(self.zone)


SURGERY_ID = r"^[0-9]{6}$"
SurgeryId = Annotated[str, Path(pattern=SURGERY_ID, description="6 位数字", examples=["123456"])]
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=128,
        pattern=r"^[ -~]+$",
        description="可打印的 ASCII 字符。同一个键重发得到同样的答复，不重复记账",
    ),
]

_header = APIKeyHeader(name="X-API-Key", auto_error=False)
_bearer = HTTPBearer(auto_error=False)


def context(connection: HTTPConnection) -> Context:
    found = connection.app.state.context
    assert isinstance(found, Context)
    return found


Injected = Annotated[Context, Depends(context)]


def now() -> datetime:
    return datetime.now(UTC)


def presented_key(connection: HTTPConnection) -> str | None:
    if key := connection.headers.get("X-API-Key"):
        return key
    scheme, _, token = connection.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" and token else None


def caller_of(connection: HTTPConnection, parts: Context) -> Caller | None:
    """None where no keys are asked for. Raises Unauthorized."""
    if parts.keys is None:
        return None
    caller = parts.keys.caller(presented_key(connection) or "")
    if caller is None:
        raise Unauthorized
    return caller


def needs(right: Right) -> Callable[[Request], Awaitable[Caller | None]]:
    """A dependency: the caller, who has this right. Named in OpenAPI as either of the two key headers."""

    async def dependency(
        request: Request, _key: str | None = Security(_header), _token: object = Security(_bearer)
    ) -> Caller | None:
        caller = caller_of(request, context(request))
        if caller is not None and not caller.may(right):
            raise Forbidden
        return caller

    return dependency


def cameras_of(caller: Caller | None, settings: Settings) -> frozenset[str] | None:
    """A key bound to rooms sees only surgeries whose cameras all stand in them. None: it is bound to none."""
    if caller is None or caller.rooms is None:
        return None
    return frozenset(camera for room in caller.rooms for camera in settings.rooms[room].cameras)


def check_rooms(caller: Caller | None, cameras: tuple[str, ...], settings: Settings) -> None:
    """Raises Forbidden."""
    allowed = cameras_of(caller, settings)
    if allowed is not None and not allowed.issuperset(cameras):
        raise Forbidden


async def check_surgery(
    caller: Caller | None, surgery_id: str, parts: Context, *, starting_at: datetime | None = None
) -> None:
    """The same for a surgery that may not exist; what does not exist is for the route to say.

    starting_at: of a start, which concerns the earlier run only if it goes on with it.
    """
    if caller is None or caller.rooms is None:
        return
    try:
        # Whoever starts one goes on with a run of this server's own, or with none.
        elsewhere = parts.archive if starting_at is None else None
        run = await read.surgery(parts.unit, surgery_id, archive=elsewhere)
    except SurgeryNotFound:
        return
    window = timedelta(hours=parts.settings.surgery.resume_window_h)
    if starting_at is None or run.continues(starting_at, window):
        check_rooms(caller, run.cameras, parts.settings)
