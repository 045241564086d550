"""From `[imaging.fundus]` to its back end, and to the rules of its client."""

from typing import TYPE_CHECKING

from daemon.bridge import off_loop
from daemon.config import Settings
from daemon.domain.imaging import JobKind
from daemon.imaging.backend import BackEnd, Site
from daemon.imaging.jobs.steps import Gateway, JobBackEnd

if TYPE_CHECKING:
    from imaging.fundus.client import FundusRules


def fundus_back_end(site: Site) -> BackEnd:
    from daemon.imaging.fundus.routes import UPLOAD, routes

    bytes_max = site.settings.imaging.upload_max_mib * 2**20
    gateway = _gateway_of(site.settings) if is_fundus_configured(site.settings) else None
    return BackEnd(
        name="fundus",
        jobs=JobBackEnd(kind=JobKind.FUNDUS, gateway=gateway, missing="base_url"),
        routers=lambda imaging: [routes(imaging, file_bytes_max=bytes_max)],
        body_bytes_max={UPLOAD: bytes_max},
    )


def is_fundus_configured(settings: Settings) -> bool:
    return settings.imaging.fundus.base_url is not None


def fundus_rules_of(settings: Settings) -> "FundusRules":
    from imaging.fundus.client import RETRY_WAIT_S, FundusRules

    fundus = settings.imaging.fundus
    return FundusRules(
        base_url=fundus.base_url,
        allow_http=fundus.allow_http,
        ca_file=fundus.ca_file,
        app_id=fundus.app_id,
        token=fundus.token.get_secret_value() if fundus.token else None,
        app_id_45=fundus.app_id_45,
        token_45=fundus.token_45.get_secret_value() if fundus.token_45 else None,
        connect_timeout_s=fundus.connect_timeout_s,
        timeout_s=fundus.timeout_s,
        poll_interval_s=fundus.poll_interval_s,
        polls_max=fundus.polls_max,
        polls_max_45=fundus.polls_max_45,
        retry_wait_s=RETRY_WAIT_S,
    )


def _gateway_of(settings: Settings) -> Gateway:
    from daemon.imaging.fundus.job import FundusGateway
    from imaging.fundus.client import FundusClient

    return FundusGateway(FundusClient(fundus_rules_of(settings), off_loop=off_loop))
