"""Puts the control plane together: routes, errors, limits, and docs that need no internet."""

from collections.abc import Mapping
from functools import partial

from fastapi_offline import FastAPIOffline
from starlette.types import ASGIApp

from daemon import __version__
from daemon.api import confirmations, corrections, errors, events, status, surgeries, voice_terminals
from daemon.api.context import Context
from daemon.api.limits import BodyLimit, RateLimit
from daemon.config import Settings
from daemon.imaging.http import creating as imaging
from daemon.imaging.http import events as imaging_events
from daemon.imaging.http import jobs as imaging_jobs
from daemon.imaging.retina import routes as retina
from daemon.imaging.ultrasound import routes as ultrasound

_ABOUT = """手术室监控服务的控制面：开始与结束手术、查询消耗结果、处理待确认耗材。

业务错误统一为 `{"detail": {"code", "message", "surgery_id", ...}}`。
"""


def create_api(context: Context, pages: Mapping[str, ASGIApp]) -> ASGIApp:
    """pages: what the console serves, by path."""
    app = FastAPIOffline(title="orwatch", version=__version__, description=_ABOUT)
    app.state.context = context
    for module in (status, surgeries, confirmations, corrections, events, voice_terminals):
        app.include_router(module.router)
    for module in (imaging, imaging_jobs, imaging_events):
        app.include_router(module.router)
    for prefix in ("", "/imaging/retina"):
        app.include_router(retina.router, prefix=prefix)
    app.include_router(ultrasound.router)
    for path, page in pages.items():
        app.mount(path, page)
    errors.install(app)
    server = context.settings.server
    app.add_middleware(BodyLimit, max_bytes=partial(_body_max, context.settings))
    app.add_middleware(RateLimit, per_minute=server.rate_per_minute)
    return app


def _body_max(settings: Settings, path: str) -> int:
    """Pictures and slides are bounded by their own setting, and file by file."""
    if path in retina.UPLOADS:
        return (settings.imaging.retina.image_max_mib + 1) * 2**20
    if path in ultrasound.UPLOADS:
        return settings.imaging.ultrasound.image_max_mib * 2**20 + ultrasound.FORM_BYTES_MAX
    if path in ultrasound.PREDICTIONS:
        return max(settings.imaging.ultrasound.records_max * ultrasound.RECORD_BYTES_MAX, ultrasound.FORM_BYTES_MAX)
    if path in imaging.UPLOADS:
        return settings.imaging.upload_max_mib * 2**20
    return settings.server.body_max_kib * 1024
