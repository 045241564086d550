"""Puts the control plane together: routes, errors, limits, and docs that need no internet."""

from fastapi_offline import FastAPIOffline
from starlette.types import ASGIApp

from daemon import __version__
from daemon.api import confirmations, corrections, errors, events, status, surgeries
from daemon.api.context import Context
from daemon.api.limits import BodyLimit, RateLimit

_ABOUT = """手术室监控服务的控制面：开始与结束手术、查询消耗结果、处理待确认耗材。

业务错误统一为 `{"detail": {"code", "message", "surgery_id", ...}}`。
"""


def create_api(context: Context) -> ASGIApp:
    app = FastAPIOffline(title="orwatch", version=__version__, description=_ABOUT)
    app.state.context = context
    for router in (status.router, surgeries.router, confirmations.router, corrections.router, events.router):
        app.include_router(router)
    errors.install(app)
    server = context.settings.server
    app.add_middleware(BodyLimit, max_bytes=server.body_max_kib * 1024)
    app.add_middleware(RateLimit, per_minute=server.rate_per_minute)
    return app
