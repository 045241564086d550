"""How the daemon is: for load balancers, for ops people, for Prometheus."""

from typing import Annotated

from fastapi import APIRouter, Depends, Response

from daemon import __version__
from daemon.api.context import Context, Injected, needs, now
from daemon.api.errors import answers
from daemon.api.keys import Caller, Right
from daemon.api.schemas import ArchiveLag, ComponentState, HealthResponse, ReadyResponse
from daemon.metrics import CONTENT_TYPE
from daemon.storage.archive import ArchiveUnavailable
from daemon.storage.database import LedgerUnavailable

router = APIRouter()
Reader = Annotated[Caller | None, Depends(needs(Right.READ))]


@router.get(
    "/health",
    tags=["health"],
    summary="探活",
    responses={503: {"model": HealthResponse, "description": "数据库不可用（降级）"}},
)
async def health(parts: Injected, response: Response) -> HealthResponse:
    """进程正常且数据库可连通时返回 200；配置了归档库（`database.url`）时包括归档库。不需要密钥。"""
    try:
        await parts.unit.check()
        if parts.archiver is not None:
            await parts.archiver.check()
    except (LedgerUnavailable, ArchiveUnavailable):
        response.status_code = 503
        return HealthResponse(status="degraded", database="unavailable")
    return HealthResponse(status="ok", database="connected")


@router.get(
    "/ready",
    tags=["health"],
    summary="就绪状态",
    responses={**answers(), 503: {"model": ReadyResponse, "description": "至少一个部件不可用"}},
)
async def ready(_caller: Reader, parts: Injected, response: Response) -> ReadyResponse:
    """各部件的状态、起始时间与原因。"""
    if not parts.health.is_ready:
        response.status_code = 503
    return ReadyResponse(
        ready=parts.health.is_ready,
        version=__version__,
        model=parts.model_name,
        provider=parts.provider,
        components={
            name: ComponentState(ok=component.ok, since=parts.local(component.since), why=component.why)
            for name, component in sorted(parts.health.components.items())
        },
        archive_lag=_archive_lag(parts),
    )


def _archive_lag(parts: Context) -> ArchiveLag | None:
    if parts.archiver is None:
        return None
    lag = parts.archiver.lag(now())
    return ArchiveLag(facts=lag.facts, seconds=lag.seconds, last_error=parts.archiver.last_error)


@router.get(
    "/metrics",
    tags=["health"],
    summary="Prometheus 指标",
    response_class=Response,
    responses={**answers(), 200: {"content": {"text/plain": {}}, "description": "Prometheus 文本格式"}},
)
async def metrics(_caller: Reader, parts: Injected) -> Response:
    return Response(parts.metrics.exposition(), media_type=CONTENT_TYPE)
