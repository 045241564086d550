"""Puts the control plane together: routes, errors, limits, and docs that need no internet."""

from collections.abc import Mapping, Sequence

from fastapi import APIRouter
from fastapi_offline import FastAPIOffline
from starlette.types import ASGIApp

from daemon import __version__
from daemon.api import confirmations, corrections, errors, events, status, surgeries, voice_terminals
from daemon.api.context import Context
from daemon.api.limits import BodyLimit, RateLimit

_ABOUT = """手术室监控服务的控制面：开始与结束手术、查询消耗结果、处理待确认耗材。

业务错误统一为 `{"detail": {"code", "message", "surgery_id", ...}}`。
"""


def create_api(
    context: Context, pages: Mapping[str, ASGIApp], routers: Sequence[APIRouter], body_bytes_max: Mapping[str, int]
) -> ASGIApp:
    """pages: what the console serves, by path. routers: those beside the control plane's own.

    body_bytes_max: of a request, by path, where `server.body_max_kib` does not hold.
    """
    app = FastAPIOffline(title="orwatch", version=__version__, description=_ABOUT)
    app.state.context = context
    for module in (status, surgeries, confirmations, corrections, events, voice_terminals):
        app.include_router(module.router)
    for router in routers:
        app.include_router(router)
    for path, page in pages.items():
        app.mount(path, page)
    errors.install(app)
    server = context.settings.server
    of_others = server.body_max_kib * 1024
    app.add_middleware(BodyLimit, max_bytes=lambda path: body_bytes_max.get(path, of_others))
    app.add_middleware(RateLimit, per_minute=server.rate_per_minute)
    return app
